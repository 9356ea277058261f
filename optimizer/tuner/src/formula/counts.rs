//! The table that is built once per arrival law: P(start + items within t ≥ n), by rate node, n and t.
//!
//! Problem: a plan search asks for the law of the fill of thousands of plans under one arrival law.
//!
//! Rule: for each rate of the mixture ([`super::mixing`]) the items that arrive within t after a batch was started at that rate. While
//! the rate lasts they are (compound) Poisson; once it may have been drawn anew, (compound) negative binomial with the exact conditional
//! mean and variance of ∫Λ. Both are filled by Panjer's recursion, which needs no special function. Times are spaced
//! evenly in √t, since a count's deviation grows with √t: [`STEPS`] cells then are a small, constant fraction of a deviation, and linear
//! interpolation between them is good to about 1e-3 of a probability.
//!
//! A batch is started by a request of K items that meets an empty queue, or by what a full batch left over of the request that filled it. Both
//! starts are in tables of their own; for single items they are the same.
//!
//! Bounds: memory is nodes × items × [`STEPS`] × 4 bytes (twice for requests of several items): 0.4 MB at 8 nodes and 128 items.
//! Reference: Panjer, "Recursive evaluation of a family of compound distributions", 1981.

use std::time::Duration;

use super::arrival::{ArrivalLaw, FormulaError, RateMemory};
use super::mixing::{RateNode, rate_nodes};

/// Cells of the time axis.
pub(crate) const STEPS: usize = 96;
/// Below this a tail counts as zero.
const NEGLIGIBLE: f64 = 1e-9;
/// Counts are rescaled when a weight exceeds this.
const RESCALE: f64 = 1e200;

/// Tables of one arrival law.
#[derive(Clone, Debug)]
pub struct ArrivalTable {
    pub(crate) law: ArrivalLaw,
    pub(crate) nodes: Vec<RateNode>,
    pub(crate) max_items: usize,
    pub(crate) horizon: f64,
    /// `∫Λ` by node and time: mean.
    means: Vec<f64>,
    /// For bounds above the largest request; then one for each smaller bound, from 1 on.
    starts: Vec<StartTable>,
}

/// How batches of one bound begin.
#[derive(Clone, Debug)]
pub(crate) struct StartTable {
    columns: usize,
    /// P(items ≥ n) of a batch that a request started, by (node, n, time).
    by_request: Vec<f32>,
    /// The same for one that was started by a rest; empty if equal.
    by_rest: Vec<f32>,
    /// Mean items at the start, either way.
    pub(crate) first_by_request: f64,
    pub(crate) first_by_rest: f64,
    /// A request at an empty queue: chance that it starts a batch, and full batches that it is at once.
    pub(crate) request_starts: f64,
    pub(crate) request_is_full: f64,
    /// A full batch: chance that a rest starts the next, and further full batches at once.
    pub(crate) rest_starts: f64,
    pub(crate) rest_is_full: f64,
}

/// Conditional mean and extra variance (beyond Poisson) of the requests within a time.
#[derive(Clone, Copy, Debug)]
struct Moments {
    mean: f64,
    extra: f64,
}

impl ArrivalTable {
    /// Builds the tables for bounds of up to `max_items` items and close times of up to `horizon`.
    ///
    /// # Errors
    /// When the law is out of range, or `max_items` is not 1 to 10,000.
    pub fn new(law: &ArrivalLaw, max_items: u32, horizon: Duration) -> Result<Self, FormulaError> {
        law.validate()?;
        if !(1..=10_000).contains(&max_items) {
            return Err(FormulaError::OutOfRange("max_items"));
        }
        let nodes = rate_nodes(law.requests_per_second, law.rate_std());
        let mut table = Self {
            law: law.clone(),
            nodes,
            max_items: max_items as usize,
            horizon: horizon.as_secs_f64().max(1e-6),
            means: Vec::new(),
            starts: Vec::new(),
        };
        let moments: Vec<Vec<Moments>> = table.nodes.iter().map(|node| table.moments(node.rate)).collect();
        table.means = moments.iter().flatten().map(|moment| moment.mean).collect();
        table.starts = table.build_starts(&moments);
        Ok(table)
    }

    /// The law that it was built for.
    #[must_use]
    pub fn law(&self) -> &ArrivalLaw {
        &self.law
    }

    /// Largest bound that it serves, in items.
    #[must_use]
    pub fn max_items(&self) -> u32 {
        u32::try_from(self.max_items).unwrap_or(u32::MAX)
    }

    /// Place of a time on the axis, in cells; beyond the horizon: its end.
    #[must_use]
    pub(crate) fn position(&self, seconds: f64) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "a place of at most STEPS in single precision")]
        let cells = ((seconds.max(0.0) / self.horizon).sqrt().min(1.0) * STEPS as f64) as f32;
        cells
    }

    /// The time at a place, in seconds.
    #[must_use]
    pub(crate) fn seconds(&self, position: f32) -> f64 {
        let share = f64::from(position) / STEPS as f64;
        self.horizon * share * share
    }

    /// How batches of this bound begin.
    pub(crate) fn start(&self, max_batch_size: usize) -> &StartTable {
        &self.starts[if max_batch_size > self.law.items_per_request.max() { 0 } else { max_batch_size }]
    }

    /// Mean requests within `seconds` after a start at a node.
    pub(crate) fn mean_requests(&self, node: usize, seconds: f64) -> f64 {
        let position = self.position(seconds);
        let (cell, share) = cell(position);
        let at = node * (STEPS + 1) + cell;
        let (low, high) = (self.means[at], self.means[at + 1]);
        let inside = low + (high - low) * f64::from(share);
        if seconds > self.horizon { inside + (seconds - self.horizon) * self.law.requests_per_second } else { inside }
    }

    fn build_starts(&self, moments: &[Vec<Moments>]) -> Vec<StartTable> {
        let items = &self.law.items_per_request;
        let shared = if self.max_items > items.max() { self.max_items } else { 1 };
        let mut starts = vec![self.build_start(shared, shared.max(items.max() + 1), moments)];
        let small = items.max().min(self.max_items);
        starts.extend((1..=small).map(|bound| self.build_start(bound, bound, moments)));
        starts
    }

    /// Tables with columns for up to `columns` items, for batches bounded by `bound`.
    fn build_start(&self, columns: usize, bound: usize, moments: &[Vec<Moments>]) -> StartTable {
        let items = &self.law.items_per_request;
        let request = fold(std::iter::once(0.0).chain(items.pmf().iter().copied()), bound);
        let rest = fold(items.excess_pmf().into_iter(), bound);
        let width = columns + 1;
        let mut by_request = vec![0.0_f32; self.nodes.len() * width * (STEPS + 1)];
        let mut by_rest = vec![0.0_f32; if items.max() > 1 { by_request.len() } else { 0 }];
        let mut pmf = vec![0.0; width];
        for (node, moments) in moments.iter().enumerate() {
            for (step, moment) in moments.iter().enumerate() {
                let counted = panjer(*moment, items.pmf(), &mut pmf);
                let write = |table: &mut [f32], first: &[f64]| {
                    write_tails(&pmf[..counted], first, |n, tail| {
                        #[expect(clippy::cast_possible_truncation, reason = "a probability in single precision")]
                        let tail = tail as f32;
                        table[(node * width + n) * (STEPS + 1) + step] = tail;
                    }, width);
                };
                write(&mut by_request, &request.first);
                if !by_rest.is_empty() {
                    write(&mut by_rest, &rest.first);
                }
            }
        }
        StartTable {
            columns: width,
            by_request,
            by_rest,
            first_by_request: request.mean(),
            first_by_rest: if items.max() > 1 { rest.mean() } else { 1.0 },
            request_starts: request.starts,
            request_is_full: request.full,
            rest_starts: rest.starts,
            rest_is_full: rest.full,
        }
    }

    /// Mean and extra variance of the requests by time, given a start at `rate`.
    fn moments(&self, rate: f64) -> Vec<Moments> {
        let (mean, variance) = (self.law.requests_per_second, self.law.rate_std().powi(2));
        let gap = rate - mean;
        let times = (0..=STEPS).map(|step| self.seconds(step as f32));
        if variance < 1e-6 * mean * mean {
            return times.map(|t| Moments { mean: mean * t, extra: 0.0 }).collect();
        }
        match self.law.rate_memory {
            RateMemory::Window => {
                let window = self.law.dispersion_window.as_secs_f64();
                times.map(|t| window_moments(t, window, mean, gap, variance)).collect()
            }
            RateMemory::Fading(memory) => fading_moments(times, memory.as_secs_f64(), mean, gap, variance),
        }
    }
}

impl StartTable {
    /// P(items ≥ n) at a place of the time axis, of a batch that a request (or a rest) started.
    #[inline]
    pub(crate) fn reaches(&self, node: usize, is_by_rest: bool, n: usize, position: f32) -> f32 {
        let table = if is_by_rest && !self.by_rest.is_empty() { &self.by_rest } else { &self.by_request };
        let (cell, share) = cell(position);
        let at = (node * self.columns + n) * (STEPS + 1) + cell;
        match table.get(at..at + 2) {
            Some(&[low, high]) => low + (high - low) * share,
            _ => 0.0,
        }
    }
}

#[inline]
fn cell(position: f32) -> (usize, f32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place between 0 and STEPS")]
    let cell = (position as usize).min(STEPS - 1);
    (cell, position - cell as f32)
}

/// A number of items that meets an empty batch of a bound: full batches at once, and what begins to gather.
struct Folded {
    /// P(first = j | something is left), from j = 0 on.
    first: Vec<f64>,
    starts: f64,
    full: f64,
}

impl Folded {
    fn mean(&self) -> f64 {
        self.first.iter().enumerate().map(|(j, p)| j as f64 * p).sum()
    }
}

/// Takes full batches off. `pmf` from 0 items on.
fn fold(pmf: impl Iterator<Item = f64>, bound: usize) -> Folded {
    let mut folded = Folded { first: vec![0.0; bound], starts: 0.0, full: 0.0 };
    for (items, p) in pmf.enumerate() {
        folded.full += p * (items / bound) as f64;
        if items % bound > 0 {
            folded.starts += p;
            folded.first[items % bound] += p;
        }
    }
    let starts = folded.starts;
    folded.first.iter_mut().for_each(|p| *p /= starts.max(1e-300));
    while folded.first.last().is_some_and(|&p| p == 0.0) {
        folded.first.pop();
    }
    folded
}

/// The rate lasts until the end of its window, in which the start falls anywhere.
fn window_moments(t: f64, window: f64, mean: f64, gap: f64, variance: f64) -> Moments {
    if t <= window {
        let kept = t - t * t / (2.0 * window);
        let kept_square = t * t - 2.0 * t * t * t / (3.0 * window);
        let fresh = variance * t * t * t / (3.0 * window);
        return Moments {
            mean: mean * t + gap * kept,
            extra: fresh + gap * gap * (kept_square - kept * kept),
        };
    }
    const PHASES: u32 = 32;
    let fresh: f64 = (0..PHASES)
        .map(|phase| {
            let rest = t - window * (f64::from(phase) + 0.5) / f64::from(PHASES);
            let whole = (rest / window).floor();
            let part = rest - whole * window;
            whole * window * window + part * part
        })
        .sum::<f64>()
        / f64::from(PHASES);
    Moments {
        mean: mean * t + gap * window / 2.0,
        extra: variance * fresh + gap * gap * window * window / 12.0,
    }
}

/// The rate lasts for an exponential time. The variance V of ∫Λ obeys V′ = 2c, c′ = Var Λ − c/memory, c its covariance with Λ.
fn fading_moments(
    times: impl Iterator<Item = f64>,
    memory: f64,
    mean: f64,
    gap: f64,
    variance: f64,
) -> Vec<Moments> {
    const SUBSTEPS: u32 = 4;
    let (mut at, mut extra, mut covariance) = (0.0_f64, 0.0, 0.0);
    let mut moments = Vec::with_capacity(STEPS + 1);
    for t in times {
        let step = (t - at) / f64::from(SUBSTEPS);
        for _ in 0..SUBSTEPS {
            let kept = (-(at + step / 2.0) / memory).exp();
            let rate_variance = (1.0 - kept) * (variance + kept * gap * gap);
            let decay = (-step / memory).exp();
            let next = covariance * decay + rate_variance * memory * (1.0 - decay);
            extra += (covariance + next) * step;
            covariance = next;
            at += step;
        }
        moments.push(Moments { mean: mean * t - gap * memory * (-t / memory).exp_m1(), extra });
    }
    moments
}

/// Probabilities of 0, 1, … items of a compound Poisson or negative binomial count, as many as matter. Gives how many.
fn panjer(moments: Moments, items: &[f64], pmf: &mut [f64]) -> usize {
    let mean = moments.mean.max(0.0);
    if mean < 1e-12 {
        pmf[0] = 1.0;
        return 1;
    }
    // p(n) = Σₖ (a + b·k/n)·q(k)·p(n−k); Poisson: a = 0, b = mean.
    let ratio = moments.extra / mean;
    let is_poisson = ratio < 1e-4;
    let (a, b, ln_first) = if is_poisson {
        (0.0, mean, -mean)
    } else {
        let shape = mean / ratio;
        let a = ratio / (1.0 + ratio);
        (a, (shape - 1.0) * a, -shape * ratio.ln_1p())
    };
    let (mut ln_scale, mut scale) = (ln_first, ln_first.exp());
    let mean_items: f64 = items.iter().enumerate().map(|(at, q)| (at + 1) as f64 * q).sum();
    let beyond = mean * mean_items;
    pmf[0] = 1.0;
    let mut total = 0.0;
    for n in 1..pmf.len() {
        let inverse = 1.0 / n as f64;
        let reach = items.len().min(n);
        let next: f64 = if reach == 1 && items.len() == 1 {
            (a + b * inverse) * pmf[n - 1]
        } else {
            (1..=reach).map(|k| (a + b * k as f64 * inverse) * items[k - 1] * pmf[n - k]).sum()
        };
        pmf[n] = next;
        if next > RESCALE {
            pmf[..=n].iter_mut().for_each(|p| *p /= RESCALE);
            ln_scale += RESCALE.ln();
            scale = ln_scale.exp();
            total = 0.0;
        }
        if n as f64 > beyond {
            total += pmf[n] * scale;
            if pmf[n] * scale * (n as f64) < 0.01 * NEGLIGIBLE && total > 0.0 {
                pmf[..=n].iter_mut().for_each(|p| *p *= scale);
                return n + 1;
            }
        }
    }
    pmf.iter_mut().for_each(|p| *p *= scale);
    pmf.len()
}

/// P(first + count ≥ n) for n below `width`.
fn write_tails(pmf: &[f64], first: &[f64], mut write: impl FnMut(usize, f64), width: usize) {
    let mut tail = 1.0;
    for n in 0..width {
        write(n, tail);
        // P(first + count = n)
        let mut here = 0.0;
        for (j, p) in first.iter().enumerate().take(n + 1) {
            here += p * pmf.get(n - j).copied().unwrap_or(0.0);
        }
        tail = (tail - here).max(0.0);
        if tail < NEGLIGIBLE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_tails_have_their_closed_form() {
        let table = ArrivalTable::new(&ArrivalLaw::poisson(10.0), 16, Duration::from_secs(1)).unwrap();
        let start = table.start(16);
        for seconds in [0.01_f64, 0.1, 0.33, 1.0] {
            let mean = 10.0 * seconds;
            let (mut term, mut below) = ((-mean).exp(), 0.0);
            for n in 2..=16_usize {
                below += term;
                term *= mean / (n as f64 - 1.0);
                let tail = f64::from(start.reaches(0, false, n, table.position(seconds)));
                assert!((tail - (1.0 - below)).abs() < 1e-3, "{n} {seconds}: {tail} {}", 1.0 - below);
            }
        }
    }

    #[test]
    fn a_count_far_beyond_the_table_is_certain() {
        let mut pmf = vec![0.0; 64];
        let counted = panjer(Moments { mean: 5_000.0, extra: 100.0 }, &[1.0], &mut pmf);
        assert_eq!(counted, 64);
        assert!(pmf.iter().sum::<f64>() < 1e-12);
        let mut pmf = vec![0.0; 3_000];
        panjer(Moments { mean: 1_000.0, extra: 0.0 }, &[1.0], &mut pmf);
        let mean: f64 = pmf.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((mean - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn negative_binomial_counts_have_the_asked_moments() {
        let mut pmf = vec![0.0; 2_000];
        panjer(Moments { mean: 20.0, extra: 60.0 }, &[0.5, 0.5], &mut pmf);
        let moment = |power: i32| pmf.iter().enumerate().map(|(n, p)| p * (n as f64).powi(power)).sum::<f64>();
        assert!((moment(1) - 30.0).abs() < 1e-4);
        // Var = E[N]·Var K + Var N·E[K]²
        assert!((moment(2) - moment(1).powi(2) - (20.0 * 0.25 + 80.0 * 2.25)).abs() < 1e-2);
    }

    #[test]
    fn a_window_and_a_fading_rate_agree_while_the_rate_lasts() {
        let window = window_moments(0.001, 1.0, 10.0, 5.0, 20.0);
        let fading = fading_moments([0.0, 0.001].into_iter(), 1.0, 10.0, 5.0, 20.0)[1];
        assert!((window.mean - fading.mean).abs() < 1e-9 && (window.extra - fading.extra).abs() < 1e-9);
    }

    #[test]
    fn the_window_variance_is_continuous_at_its_length() {
        let (before, after) =
            (window_moments(0.999_999, 1.0, 10.0, 5.0, 20.0), window_moments(1.000_001, 1.0, 10.0, 5.0, 20.0));
        assert!((before.mean - after.mean).abs() < 1e-4 && (before.extra / after.extra - 1.0).abs() < 2e-3);
    }
}
