//! Arrivals as people write them down, in scenarios and for simulations: `[arrivals] kind = "…"` and the values of that kind.
//!
//! Files are read by the caller: [`ArrivalSpec::build`] asks for their text by the path of the specification.

use serde::{Deserialize, Serialize};

use super::combined::BoxedArrivals;
use super::error::not_negative;
use super::{
    ArrivalError, GammaRenewal, GammaWindows, Map, Merge, Poisson, Shape, Splice, Times, Trace, above_zero,
    parse_counts, parse_times,
};

/// Gives the text of a file, or why it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Which arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ArrivalSpec {
    /// Independent arrivals.
    Poisson {
        /// Requests per second, above 0.
        rate_rps: f64,
    },
    /// Independent gamma-distributed gaps.
    Gamma {
        /// Requests per second, above 0.
        rate_rps: f64,
        /// Standard deviation over mean of the gaps, above 0; 1 is Poisson, more is burstier.
        coefficient_of_variation: f64,
    },
    /// A rate drawn anew from a gamma law in each window.
    GammaWindows {
        /// Requests per second, above 0.
        rate_rps: f64,
        /// Variance over mean of the counts in a window, at least 1.
        dispersion: f64,
        /// Length of a window in seconds, above 0.
        #[serde(default = "one")]
        window_seconds: f64,
    },
    /// A Poisson process whose rate switches.
    Mmpp {
        /// Requests per second by state.
        rates_rps: Vec<f64>,
        /// Mean stay in seconds by state.
        mean_stays_seconds: Vec<f64>,
        /// Run faster or slower for this mean rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale_to_rps: Option<f64>,
    },
    /// A Markovian arrival process.
    Map {
        /// Rates per second of moves without an arrival; the diagonal makes the rows of both sum to 0.
        d0: Vec<Vec<f64>>,
        /// Rates per second of moves with an arrival.
        d1: Vec<Vec<f64>>,
        /// Run faster or slower for this mean rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale_to_rps: Option<f64>,
    },
    /// Recorded traffic.
    Trace(TraceSpec),
    /// Generated traffic of a kind.
    Workload {
        /// The kind.
        shape: Shape,
        /// Mean requests per second, above 0.
        mean_rps: f64,
        /// Length in seconds, above 0.
        seconds: f64,
        /// What the rates are drawn from; the arrivals are the simulation's seed's.
        #[serde(default)]
        seed: u64,
    },
    /// One after another.
    Splice {
        /// In order.
        parts: Vec<PartSpec>,
    },
    /// Several at once.
    Merge {
        /// All of them.
        sources: Vec<ArrivalSpec>,
    },
}

/// A part of a splice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSpec {
    /// How long, above 0; by default as long as it has arrivals, or for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What.
    pub arrivals: ArrivalSpec,
}

/// A trace by its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// Path, as the reader of files understands it.
    pub file: String,
    /// What is in it.
    #[serde(default)]
    pub format: TraceFormat,
    /// Seconds of one count; 60 for counts by the minute.
    #[serde(default = "one")]
    pub step_seconds: f64,
    /// Column of the time, a name or a number from 1, where each line is a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Seconds of one unit of the times; 0.001 for milliseconds.
    #[serde(default = "one")]
    pub unit_seconds: f64,
    /// Leave out what comes before.
    #[serde(default)]
    pub from_seconds: f64,
    /// Leave out what comes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_seconds: Option<f64>,
    /// Another mean rate of the part that is left, requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_rps: Option<f64>,
    /// So many times the rate; not together with `scale_to_rps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

/// What a trace's file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// Counts by line or comma.
    #[default]
    Counts,
    /// A request a line, with its time.
    Times,
}

/// Arrivals, ready to run.
pub struct Arrivals {
    /// The process.
    pub process: BoxedArrivals,
    /// When it ends by itself, seconds; `None`: never.
    pub seconds: Option<f64>,
    /// Expected rates by step, where they are given.
    pub trace: Option<Trace>,
}

fn one() -> f64 {
    1.0
}

fn endless(process: BoxedArrivals) -> Arrivals {
    Arrivals { process, seconds: None, trace: None }
}

fn of_trace(trace: Trace) -> Arrivals {
    Arrivals { process: Box::new(trace.arrivals()), seconds: Some(trace.seconds()), trace: Some(trace) }
}

impl ArrivalSpec {
    /// The arrivals of a specification; `read` gives the text of trace files.
    ///
    /// # Errors
    /// [`ArrivalError`], with file, line and reason for traces.
    pub fn build(&self, read: ReadFile<'_>) -> Result<Arrivals, ArrivalError> {
        let scaled = |map: Map, scale: Option<f64>| match scale {
            Some(rate) => above_zero("scale_to_rps", rate).map(|rate| map.scaled_to(rate)),
            None => Ok(map),
        };
        Ok(match self {
            Self::Poisson { rate_rps } => endless(Box::new(Poisson::new(above_zero("rate_rps", *rate_rps)?))),
            Self::Gamma { rate_rps, coefficient_of_variation } => {
                let variation = above_zero("coefficient_of_variation", *coefficient_of_variation)?;
                endless(Box::new(GammaRenewal::new(above_zero("rate_rps", *rate_rps)?, variation)))
            }
            Self::GammaWindows { rate_rps, dispersion, window_seconds } => {
                let rate = above_zero("rate_rps", *rate_rps)?;
                not_negative("dispersion", dispersion - 1.0)?;
                let window = above_zero("window_seconds", *window_seconds)?;
                endless(Box::new(GammaWindows::new(rate, *dispersion, window)))
            }
            Self::Mmpp { rates_rps, mean_stays_seconds, scale_to_rps } => {
                endless(Box::new(scaled(Map::mmpp(rates_rps, mean_stays_seconds)?, *scale_to_rps)?))
            }
            Self::Map { d0, d1, scale_to_rps } => {
                endless(Box::new(scaled(Map::new(d0, d1)?, *scale_to_rps)?))
            }
            Self::Trace(spec) => spec.build(read)?,
            Self::Workload { shape, mean_rps, seconds, seed } => {
                of_trace(shape.workload(*mean_rps, *seconds, *seed)?)
            }
            Self::Splice { parts } => splice(parts, read)?,
            Self::Merge { sources } => {
                let all = sources.iter().map(|source| source.build(read)).collect::<Result<Vec<_>, _>>()?;
                let ends: Option<Vec<f64>> = all.iter().map(|source| source.seconds).collect();
                let seconds = ends.and_then(|ends| ends.into_iter().reduce(f64::max));
                let merge = Merge::new(all.into_iter().map(|source| source.process).collect())?;
                Arrivals { process: Box::new(merge), seconds, trace: None }
            }
        })
    }
}

fn splice(parts: &[PartSpec], read: ReadFile<'_>) -> Result<Arrivals, ArrivalError> {
    let (mut processes, mut total) = (Vec::new(), Some(0.0));
    for part in parts {
        let arrivals = part.arrivals.build(read)?;
        let seconds = match part.seconds {
            Some(seconds) => Some(above_zero("seconds", seconds)?),
            None => arrivals.seconds,
        };
        total = total.zip(seconds).map(|(total, seconds)| total + seconds);
        processes.push((arrivals.process, seconds.unwrap_or(f64::INFINITY)));
    }
    Ok(Arrivals { process: Box::new(Splice::new(processes)?), seconds: total, trace: None })
}

impl TraceSpec {
    /// A whole file of counts by the second.
    #[must_use]
    pub fn of_file(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            format: TraceFormat::Counts,
            step_seconds: 1.0,
            column: None,
            unit_seconds: 1.0,
            from_seconds: 0.0,
            to_seconds: None,
            scale_to_rps: None,
            scale: None,
        }
    }

    /// The trace, cut and scaled; recorded times are counted by `step_seconds`.
    ///
    /// # Errors
    /// [`ArrivalError::File`] with line and reason.
    pub fn trace(&self, read: ReadFile<'_>) -> Result<Trace, ArrivalError> {
        let found = match self.format {
            TraceFormat::Counts => {
                let text = read(&self.file).map_err(|reason| self.unread(&reason))?;
                parse_counts(&text).and_then(|counts| Trace::from_counts(counts, self.step_seconds))
            }
            TraceFormat::Times => {
                self.times(read).and_then(|times| Trace::from_times(&times, self.step_seconds))
            }
        };
        let to = self.to_seconds.unwrap_or(f64::INFINITY);
        let from = not_negative("from_seconds", self.from_seconds);
        let cut = found.and_then(|trace| trace.cut(from?, to));
        let scaled = cut.and_then(|trace| match (self.scale, self.scale_to_rps) {
            (None, None) => Ok(trace),
            (None, Some(rate)) => trace.scaled_to(rate),
            (Some(factor), None) => Ok(trace.scaled(above_zero("scale", factor)?)),
            (Some(_), Some(_)) => {
                let reason = "`scale_to_rps` says it already".to_owned();
                Err(ArrivalError::Value { field: "scale", reason })
            }
        });
        scaled.map_err(|error| self.named(error))
    }

    fn build(&self, read: ReadFile<'_>) -> Result<Arrivals, ArrivalError> {
        let trace = self.trace(read)?;
        if self.format == TraceFormat::Counts {
            return Ok(of_trace(trace));
        }
        // Times are kept as they are where nothing has to be added to them.
        let all = self.times(read).map_err(|error| self.named(error))?;
        let to = self.from_seconds + trace.seconds();
        let is_inside = |at: &f64| *at >= self.from_seconds && *at < to;
        let times: Vec<f64> = all.into_iter().filter(is_inside).map(|at| at - self.from_seconds).collect();
        let kept = trace.mean_rps() * trace.seconds() / times.len().max(1) as f64;
        if kept > 1.0 + 1e-9 {
            return Ok(of_trace(trace));
        }
        let process = Times::new(times, kept.min(1.0)).map_err(|error| self.named(error))?;
        Ok(Arrivals { process: Box::new(process), seconds: Some(trace.seconds()), trace: Some(trace) })
    }

    fn times(&self, read: ReadFile<'_>) -> Result<Vec<f64>, ArrivalError> {
        let text = read(&self.file).map_err(|reason| self.unread(&reason))?;
        parse_times(&text, self.column.as_deref(), above_zero("unit_seconds", self.unit_seconds)?)
    }

    fn unread(&self, reason: &str) -> ArrivalError {
        ArrivalError::File { file: self.file.clone(), reason: reason.to_owned() }
    }

    fn named(&self, error: ArrivalError) -> ArrivalError {
        if matches!(error, ArrivalError::File { .. }) { error } else { self.unread(&error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::ArrivalProcess as _;
    use crate::random::Random;

    fn read(file: &str) -> Result<String, String> {
        match file {
            "minutes.csv" => Ok("60,120,0,6\n".to_owned()),
            "times.csv" => Ok("t,n\n10.0,1\n10.5,1\n12.0,1\n19.5,3\n".to_owned()),
            "broken.txt" => Ok("5\nfive\n".to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn spec(text: &str) -> ArrivalSpec {
        toml::from_str(text).unwrap()
    }

    fn count(text: &str, seconds: f64) -> usize {
        let mut arrivals = spec(text).build(&read).unwrap();
        let mut random = Random::new(9);
        let times: Vec<f64> = std::iter::from_fn(|| arrivals.process.next(&mut random))
            .take_while(|at| *at < seconds)
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{text}");
        times.len()
    }

    #[test]
    fn every_kind_is_read_and_has_its_mean() {
        for text in [
            "kind = 'poisson'\nrate_rps = 20",
            "kind = 'gamma'\nrate_rps = 20\ncoefficient_of_variation = 2",
            "kind = 'gamma_windows'\nrate_rps = 20\ndispersion = 3",
            "kind = 'mmpp'\nrates_rps = [5, 50]\nmean_stays_seconds = [2, 1]\nscale_to_rps = 20",
            "kind = 'map'\nd0 = [[-20.0]]\nd1 = [[20.0]]",
            "kind = 'workload'\nshape = 'periodic'\nmean_rps = 20\nseconds = 6000",
            "kind = 'splice'\nparts = [{ seconds = 3000, arrivals = { kind = 'poisson', rate_rps = 10 } }, \
             { arrivals = { kind = 'poisson', rate_rps = 30 } }]",
            "kind = 'merge'\nsources = [{ kind = 'poisson', rate_rps = 8 }, { kind = 'poisson', rate_rps = 12 }]",
        ] {
            let requests = count(text, 6000.0) as f64;
            assert!((requests / 120_000.0 - 1.0).abs() < 0.05, "{requests} {text}");
            let again: ArrivalSpec = toml::from_str(&toml::to_string(&spec(text)).unwrap()).unwrap();
            assert_eq!(again, spec(text));
        }
    }

    #[test]
    fn traces_are_cut_and_scaled() {
        assert_eq!(count("kind = 'trace'\nfile = 'minutes.csv'\nstep_seconds = 60", 1e9), 186);
        let cut =
            "kind = 'trace'\nfile = 'minutes.csv'\nstep_seconds = 60\nfrom_seconds = 60\nto_seconds = 180";
        assert_eq!(count(cut, 1e9), 120);
        let scaled = count(&format!("{cut}\nscale_to_rps = 20"), 1e9);
        assert!((2_150..2_650).contains(&scaled), "{scaled}");
        let trace = spec(&format!("{cut}\nscale_to_rps = 20")).build(&read).unwrap().trace.unwrap();
        assert!((trace.mean_rps() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn recorded_times_stay_as_they_are() {
        let text = "kind = 'trace'\nformat = 'times'\nfile = 'times.csv'\ncolumn = 't'\nfrom_seconds = 1";
        let mut arrivals = spec(text).build(&read).unwrap();
        let mut random = Random::new(1);
        let times: Vec<f64> = std::iter::from_fn(|| arrivals.process.next(&mut random)).collect();
        assert_eq!(times, [1.0, 8.5]);
        assert!(
            count(&format!("{text}\nscale = 30"), 1e9) > 30,
            "more than were recorded are made by counts"
        );
    }

    #[test]
    fn errors_name_file_line_and_reason() {
        let error = |text: &str| spec(text).build(&read).err().map(|error| error.to_string()).unwrap();
        assert_eq!(
            error("kind = 'trace'\nfile = 'broken.txt'"),
            "`broken.txt`: line 2: `five` is no count of at least 0"
        );
        assert_eq!(error("kind = 'trace'\nfile = 'none.txt'"), "`none.txt`: no such file");
        assert_eq!(error("kind = 'poisson'\nrate_rps = 0"), "`rate_rps`: must be above 0, is 0");
        let both = "kind = 'trace'\nfile = 'minutes.csv'\nscale = 2\nscale_to_rps = 3";
        assert_eq!(error(both), "`minutes.csv`: `scale`: `scale_to_rps` says it already");
        assert!(error("kind = 'trace'\nfile = 'minutes.csv'\nfrom_seconds = 9").contains("hold no step"));
        let unknown = toml::from_str::<ArrivalSpec>("kind = 'poisson'\nrate = 3").unwrap_err();
        assert!(unknown.to_string().contains("unknown field `rate`"), "{unknown}");
    }
}
