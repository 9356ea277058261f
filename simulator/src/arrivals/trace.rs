//! A trace: requests per step, as published traces are, with what people do to them: cut, join, scale.
//!
//! Problem: scaling must not scale the noise. The count of a step is a rate and the chance of one realisation; ten times the count is not
//! what ten times the traffic would have been: its variance would be a hundredfold, not that of the rate and ten times the chance.
//!
//! Rule. *Down* by q, counts: each request is kept with chance q (binomial thinning), which is exact. *Up* by s: the counts are first split. The mean
//! of the neighbouring steps estimates the rate: of 4·s steps (at most 30 s), so that what is left of its own chance stays below a quarter of a Poisson
//! count's, and only of those within four deviations of the step's own count, so that edges stay edges. What the counts vary around it beyond
//! Poisson is variation of the rate from step to step: it is estimated over the trace and drawn anew, a gamma factor a step. The new counts are Poisson of
//! s·rate·factor: chance scales with s, variation of the rate with s². Loads that are no counts are rates at any scale.
//! Bounds: rises of less than four deviations are smeared over the window; steps of 30 s and more are never averaged.
//! Reference: Lee, "Digital image smoothing and the sigma filter", 1983.
//! Deliberately absent: files, and the text that they hold ([`super::trace_text`]).

use super::{ArrivalError, TraceArrivals, above_zero};

/// Longest moving average, seconds.
const LONGEST_AVERAGE_SECONDS: f64 = 30.0;
/// Steps averaged per unit of scale.
const STEPS_PER_SCALE: f64 = 4.0;
/// Steps of one estimate of the dispersion.
const DISPERSION_BLOCK: usize = 60;
/// Counts further apart than so many deviations of their difference are not of one rate.
const SAME_RATE_DEVIATIONS: f64 = 4.0;

/// How many requests come in a step of this value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepLaw {
    /// Exactly the value.
    Exact,
    /// Each of the value's requests with this chance.
    Thinned(f64),
    /// Poisson with a gamma factor of this variance (0: none) on the value.
    Poisson {
        /// Variance of the factor, whose mean is 1.
        rate_variance: f64,
    },
}

/// Requests per step of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Counts or expected counts by step, at least 0.
    pub(super) values: Vec<f64>,
    /// Length of a step in seconds, above 0.
    pub(super) step_seconds: f64,
    /// What a step's value means.
    pub(super) law: StepLaw,
}

impl Trace {
    /// Counts of requests; taken as rates if they are not all whole numbers.
    ///
    /// # Errors
    /// No value, a value below 0, a step that is not above 0.
    pub fn from_counts(values: Vec<f64>, step_seconds: f64) -> Result<Self, ArrivalError> {
        let is_whole = values.iter().all(|value| value.fract() == 0.0);
        let law = if is_whole { StepLaw::Exact } else { StepLaw::Poisson { rate_variance: 0.0 } };
        let trace = Self { values, step_seconds: above_zero("step_seconds", step_seconds)?, law };
        match trace.values.iter().position(|value| !(*value >= 0.0 && value.is_finite())) {
            _ if trace.values.is_empty() => {
                Err(ArrivalError::Value { field: "file", reason: "no value".to_owned() })
            }
            Some(at) => Err(ArrivalError::Line {
                line: at + 1,
                reason: format!("must be at least 0, is {}", trace.values[at]),
            }),
            None => Ok(trace),
        }
    }

    /// Expected requests per second by step: arrivals are Poisson with that rate.
    ///
    /// # Errors
    /// As [`Trace::from_counts`].
    pub fn from_rates(rates_rps: Vec<f64>, step_seconds: f64) -> Result<Self, ArrivalError> {
        let values = rates_rps.into_iter().map(|rate| rate * step_seconds).collect();
        let law = StepLaw::Poisson { rate_variance: 0.0 };
        Ok(Self { law, ..Self::from_counts(values, step_seconds)? })
    }

    /// Counts of requests at these seconds, ascending, in steps of this length.
    ///
    /// # Errors
    /// As [`Trace::from_counts`].
    pub fn from_times(times: &[f64], step_seconds: f64) -> Result<Self, ArrivalError> {
        let mut values = Vec::new();
        for time in times {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a step of a finite trace"
            )]
            let step = (time / above_zero("step_seconds", step_seconds)?) as usize;
            values.resize(values.len().max(step + 1), 0.0);
            values[step] += 1.0;
        }
        Self::from_counts(values, step_seconds)
    }

    /// Seconds that it covers.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.values.len() as f64 * self.step_seconds
    }

    /// Mean requests per second.
    #[must_use]
    pub fn mean_rps(&self) -> f64 {
        let kept = if let StepLaw::Thinned(chance) = self.law { chance } else { 1.0 };
        self.values.iter().sum::<f64>() * kept / self.seconds()
    }

    /// Expected requests per second in each step.
    #[must_use]
    pub fn rates_rps(&self) -> Vec<f64> {
        let kept = if let StepLaw::Thinned(chance) = self.law { chance } else { 1.0 };
        self.values.iter().map(|value| value * kept / self.step_seconds).collect()
    }

    /// Expected requests per second in each stretch of `seconds` (a whole number of steps, rounded): what a planner that knows the arrivals sees.
    #[must_use]
    pub fn rates_over(&self, seconds: f64) -> Vec<f64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "steps of a trace")]
        let steps = (seconds / self.step_seconds).round().max(1.0) as usize;
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        self.rates_rps().chunks(steps).map(mean).collect()
    }

    /// The part from one second to another, in whole steps; the first becomes second 0.
    ///
    /// # Errors
    /// A part that holds no step.
    pub fn cut(&self, from_seconds: f64, to_seconds: f64) -> Result<Self, ArrivalError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a step; a float saturates"
        )]
        let step = |seconds: f64| ((seconds / self.step_seconds + 1e-9) as usize).min(self.values.len());
        let (from, to) = (step(from_seconds), step(to_seconds));
        if from >= to {
            let reason = format!(
                "{from_seconds} s to {to_seconds} s hold no step of the {:.0} s of the trace",
                self.seconds()
            );
            return Err(ArrivalError::Value { field: "from_seconds", reason });
        }
        Ok(Self { values: self.values[from..to].to_vec(), step_seconds: self.step_seconds, law: self.law })
    }

    /// This trace and then another of the same step length and law.
    ///
    /// # Errors
    /// Another step length or law: those are spliced as processes ([`super::Splice`]).
    pub fn then(mut self, other: &Self) -> Result<Self, ArrivalError> {
        if self.step_seconds.to_bits() != other.step_seconds.to_bits() || self.law != other.law {
            let reason = "traces of different steps or scales cannot be joined".to_owned();
            return Err(ArrivalError::Value { field: "step_seconds", reason });
        }
        self.values.extend_from_slice(&other.values);
        Ok(self)
    }

    /// The same traffic at another mean rate.
    ///
    /// # Errors
    /// A rate that is not above 0; a trace without any request.
    pub fn scaled_to(&self, mean_rps: f64) -> Result<Self, ArrivalError> {
        let mean = above_zero("scale_to_rps", mean_rps)? / self.mean_rps();
        if !mean.is_finite() {
            return Err(ArrivalError::Value {
                field: "scale_to_rps",
                reason: "the trace is empty".to_owned(),
            });
        }
        Ok(self.scaled(mean))
    }

    /// The same traffic at `factor` times the rate, above 0.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let times = |factor: f64| self.values.iter().map(|value| value * factor).collect::<Vec<f64>>();
        match self.law {
            StepLaw::Exact if factor == 1.0 => self.clone(),
            StepLaw::Exact if factor < 1.0 => Self { law: StepLaw::Thinned(factor), ..self.clone() },
            StepLaw::Thinned(chance) if chance * factor < 1.0 => {
                Self { law: StepLaw::Thinned(chance * factor), ..self.clone() }
            }
            StepLaw::Thinned(chance) => Self { law: StepLaw::Exact, ..self.clone() }.scaled(chance * factor),
            StepLaw::Poisson { .. } => Self { values: times(factor), ..self.clone() },
            StepLaw::Exact => {
                let (rates, rate_variance) = self.rates_and_variance(factor);
                // What the average moved across the ends and edges is given back: the mean is the asked one.
                let kept = self.values.iter().sum::<f64>() / rates.iter().sum::<f64>().max(f64::MIN_POSITIVE);
                let values = rates.iter().map(|rate| rate * factor * kept).collect();
                Self { values, law: StepLaw::Poisson { rate_variance }, ..self.clone() }
            }
        }
    }

    /// The arrivals.
    #[must_use]
    pub fn arrivals(&self) -> TraceArrivals {
        TraceArrivals::new(self)
    }

    /// Mean of the counts around each step, and the variance of the rate around it beyond Poisson, relative.
    fn rates_and_variance(&self, factor: f64) -> (Vec<f64>, f64) {
        let wanted = (STEPS_PER_SCALE * factor).min(LONGEST_AVERAGE_SECONDS / self.step_seconds);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 30 s of steps")]
        let half = (wanted / 2.0) as usize;
        if half == 0 {
            return (self.values.clone(), 0.0);
        }
        let near = SAME_RATE_DEVIATIONS.powi(2) * self.local_dispersion();
        let (mut rates, mut excess, mut squares) = (Vec::with_capacity(self.values.len()), 0.0, 0.0);
        for (at, value) in self.values.iter().enumerate() {
            let around = &self.values[at.saturating_sub(half)..(at + half + 1).min(self.values.len())];
            let is_near = |other: f64| (other - value).powi(2) <= near * (other + value);
            let (mut sum, mut steps) = (0.0, 0.0);
            for &other in around {
                if is_near(other) {
                    sum += other;
                    steps += 1.0;
                }
            }
            let rate = sum / steps;
            if steps > 1.0 {
                // E[(value − rate)²] = (1 − 1/steps)·(rate + v·rate²), v the relative variance of the rate.
                excess += (value - rate).powi(2) / (1.0 - 1.0 / steps) - rate;
                squares += rate * rate;
            }
            rates.push(rate);
        }
        (rates, if squares > 0.0 { (excess / squares).max(0.0) } else { 0.0 })
    }

    /// Variance over mean of the counts, from the differences of neighbours: the median over blocks, at least 1. Edges are in few blocks.
    fn local_dispersion(&self) -> f64 {
        let of = |block: &[f64]| {
            let mean = block.iter().sum::<f64>() / block.len() as f64;
            let squares: f64 = block.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
            squares / 2.0 / (block.len() - 1) as f64 / mean
        };
        let blocks = self.values.chunks(DISPERSION_BLOCK).filter(|block| block.len() > 1);
        let mut each: Vec<f64> = blocks.map(of).filter(|index| index.is_finite()).collect();
        each.sort_unstable_by(f64::total_cmp);
        each.get(each.len() / 2).map_or(1.0, |index| index.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::ArrivalProcess as _;
    use crate::arrivals::tests::dispersion;
    use crate::random::Random;

    /// Counts a second of a Poisson process whose rate is drawn anew each second, with this relative variance.
    fn counts(mean: f64, rate_variance: f64, seconds: usize) -> Trace {
        let mut random = Random::new(11);
        let value = |_| {
            let factor = if rate_variance > 0.0 { random.gamma(1.0 / rate_variance, 1.0) } else { 1.0 };
            random.poisson(mean * factor) as f64
        };
        Trace::from_counts((0..seconds).map(value).collect(), 1.0).unwrap()
    }

    #[test]
    fn thinning_keeps_poisson_poisson() {
        let thin = counts(60.0, 0.0, 20_000).scaled_to(6.0).unwrap();
        let (mean, index) = dispersion(&mut thin.arrivals(), 1.0, 20_000);
        assert!((mean / 6.0 - 1.0).abs() < 0.02 && (index - 1.0).abs() < 0.05, "{mean} {index}");
    }

    #[test]
    fn scaling_up_scales_the_rate_and_not_the_chance() {
        // Poisson stays (nearly) Poisson; multiplying the counts would give an index of 5.
        let up = counts(60.0, 0.0, 20_000).scaled(5.0);
        let (mean, index) = dispersion(&mut up.arrivals(), 1.0, 20_000);
        assert!((mean / 300.0 - 1.0).abs() < 0.02 && (0.9..1.5).contains(&index), "{mean} {index}");
        // Relative variance 0.05 at 60/s is an index of 1 + 3; at 300/s it is 1 + 15.
        let bursty = counts(60.0, 0.05, 20_000).scaled(5.0);
        let (_, index) = dispersion(&mut bursty.arrivals(), 1.0, 20_000);
        assert!((index / 16.0 - 1.0).abs() < 0.15, "{index}");
    }

    #[test]
    fn edges_stay_edges_when_scaled_up() {
        let square: Vec<f64> = (0..600).map(|second| if second / 50 % 2 == 0 { 50.0 } else { 0.0 }).collect();
        let up = Trace::from_counts(square.clone(), 1.0).unwrap().scaled(6.0);
        for (rate, value) in up.rates_rps().into_iter().zip(square) {
            assert!((rate - 6.0 * value).abs() < 1e-9, "{rate} for {value}");
        }
        assert_eq!(up.law, StepLaw::Poisson { rate_variance: 0.0 });
    }

    #[test]
    fn scaling_down_and_up_again_is_the_trace_itself() {
        let trace = counts(60.0, 0.0, 500);
        let back = trace.scaled(0.25).scaled(4.0);
        assert_eq!(back, trace);
        assert!((trace.scaled(0.25).mean_rps() / trace.mean_rps() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn unscaled_counts_are_kept_exactly() {
        let trace = Trace::from_counts(vec![3.0, 0.0, 5.0], 60.0).unwrap();
        let (mut arrivals, mut random) = (trace.arrivals(), Random::new(1));
        let times: Vec<f64> = std::iter::from_fn(|| arrivals.next(&mut random)).collect();
        assert_eq!(times.len(), 8);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(times.iter().filter(|&&at| at < 60.0).count(), 3);
        assert!(times[3] >= 120.0 && times[7] < 180.0);
    }

    #[test]
    fn parts_are_cut_and_joined() {
        let trace = Trace::from_counts((0..10).map(f64::from).collect(), 60.0).unwrap();
        let part = trace.cut(120.0, 300.0).unwrap();
        assert_eq!(part.values, [2.0, 3.0, 4.0]);
        assert_eq!(part.clone().then(&trace.cut(0.0, 60.0).unwrap()).unwrap().values, [2.0, 3.0, 4.0, 0.0]);
        assert!(trace.cut(600.0, 700.0).is_err() && trace.cut(130.0, 140.0).is_err());
        assert!(part.then(&Trace::from_counts(vec![1.0], 1.0).unwrap()).is_err());
        let rates = trace.rates_over(120.0);
        assert!((rates[0] - 0.5 / 60.0).abs() < 1e-12 && rates.len() == 5);
    }

    #[test]
    fn times_become_counts() {
        let trace = Trace::from_times(&[0.5, 0.9, 3.2], 1.0).unwrap();
        assert_eq!(trace.values, [2.0, 0.0, 0.0, 1.0]);
    }
}
