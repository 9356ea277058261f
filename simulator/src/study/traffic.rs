//! The traffic of a study: other loads of the same shape, and words for it.

use crate::arrivals::spec::{ArrivalSpec, PartSpec, TraceFormat, TraceSpec};
use crate::arrivals::{ArrivalError, SizeLaw};
use crate::deployment::{self, SizeClass};
use crate::report::number::{duration, plain};

use super::problem::Problem;

/// The same shape at another rate. `mean`: requests per second of the traffic as it is.
pub(super) fn scaled(spec: &ArrivalSpec, factor: f64, mean: f64) -> ArrivalSpec {
    let again = |source: &ArrivalSpec| scaled(source, factor, mean);
    let mut spec = spec.clone();
    match &mut spec {
        ArrivalSpec::Poisson { rate_rps } | ArrivalSpec::Gamma { rate_rps, .. } => *rate_rps *= factor,
        ArrivalSpec::GammaWindows { rate_rps, dispersion, .. } => {
            *rate_rps *= factor;
            // The rate's own variation stays; what counts add to it does not grow.
            *dispersion = 1.0 + (*dispersion - 1.0) * factor;
        }
        ArrivalSpec::Mmpp { scale_to_rps, .. } | ArrivalSpec::Map { scale_to_rps, .. } => {
            *scale_to_rps = Some(scale_to_rps.unwrap_or(mean) * factor);
        }
        ArrivalSpec::Trace(trace) => match &mut trace.scale_to_rps {
            Some(rate) => *rate *= factor,
            None => trace.scale = Some(trace.scale.unwrap_or(1.0) * factor),
        },
        ArrivalSpec::Workload { mean_rps, .. } => *mean_rps *= factor,
        ArrivalSpec::Splice { parts } => {
            for PartSpec { arrivals, .. } in parts {
                *arrivals = again(arrivals);
            }
        }
        ArrivalSpec::Merge { sources } => {
            for source in sources {
                *source = again(source);
            }
        }
    }
    spec
}

/// What arrives, in words.
pub(super) fn words(spec: &ArrivalSpec) -> String {
    let rate = |rps: f64| format!("{} requests/s", plain(rps));
    match spec {
        ArrivalSpec::Poisson { rate_rps } => format!("independent (Poisson), {}", rate(*rate_rps)),
        ArrivalSpec::Gamma { rate_rps, coefficient_of_variation } => format!(
            "gamma-distributed gaps with a coefficient of variation of {}, {}",
            plain(*coefficient_of_variation),
            rate(*rate_rps)
        ),
        ArrivalSpec::GammaWindows { rate_rps, dispersion, window_seconds } => format!(
            "a rate drawn anew every {}, index of dispersion {}, {} on average",
            duration(*window_seconds),
            plain(*dispersion),
            rate(*rate_rps)
        ),
        ArrivalSpec::Mmpp { rates_rps, .. } => {
            format!("a Poisson process that switches between {} rates", rates_rps.len())
        }
        ArrivalSpec::Map { d0, .. } => format!("a Markovian arrival process of {} states", d0.len()),
        ArrivalSpec::Trace(trace) => trace_words(trace),
        ArrivalSpec::Workload { shape, mean_rps, seconds, .. } => {
            format!("generated, {}: {} on average over {}", shape.name(), rate(*mean_rps), duration(*seconds))
        }
        ArrivalSpec::Splice { parts } => {
            let each = parts.iter().map(|part| match part.seconds {
                Some(seconds) => format!("{} for {}", words(&part.arrivals), duration(seconds)),
                None => words(&part.arrivals),
            });
            each.collect::<Vec<_>>().join("; then ")
        }
        ArrivalSpec::Merge { sources } => {
            sources.iter().map(words).collect::<Vec<_>>().join("; together with ")
        }
    }
}

fn trace_words(trace: &TraceSpec) -> String {
    let what = match trace.format {
        TraceFormat::Counts => format!("counts per {}", duration(trace.step_seconds)),
        TraceFormat::Times => "recorded times".to_owned(),
    };
    let scale = match (trace.scale_to_rps, trace.scale) {
        (Some(rate), _) => format!(", scaled to {} requests/s", plain(rate)),
        (None, Some(factor)) => format!(", × {}", plain(factor)),
        (None, None) => String::new(),
    };
    format!("trace {} ({what}){scale}", trace.file)
}

/// As deployments know it.
pub(super) fn size_law(sizes: &SizeLaw) -> deployment::SizeLaw {
    let class = |&share: &f64| SizeClass { share, ..SizeClass::default() };
    deployment::SizeLaw { items_pmf: sizes.items.clone(), classes: sizes.classes.iter().map(class).collect() }
}

/// The file, line and reason of an error. `file` and `text` are the study's.
pub(super) fn problem(file: &str, text: &str, error: &ArrivalError) -> Problem {
    match error {
        ArrivalError::Value { field, reason } => {
            let is_it = |line: &str| line.split('=').next().is_some_and(|key| key.trim() == *field);
            let line = text.lines().position(is_it).map(|at| at + 1);
            Problem { file: file.to_owned(), line, reason: format!("`{field}`: {reason}") }
        }
        ArrivalError::Line { line, reason } => {
            Problem { file: file.to_owned(), line: Some(*line), reason: reason.clone() }
        }
        ArrivalError::File { file, reason } => {
            let numbered = reason.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
            let numbered = numbered.and_then(|(line, reason)| line.parse().ok().map(|line| (line, reason)));
            let (line, reason) =
                numbered.map_or((None, reason.as_str()), |(line, reason)| (Some(line), reason));
            Problem { file: file.clone(), line, reason: reason.to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_scaled_load_has_the_asked_mean_whatever_its_kind() {
        for text in [
            "kind = 'poisson'\nrate_rps = 20",
            "kind = 'gamma_windows'\nrate_rps = 20\ndispersion = 3",
            "kind = 'mmpp'\nrates_rps = [5, 50]\nmean_stays_seconds = [2, 1]\nscale_to_rps = 20",
            "kind = 'map'\nd0 = [[-20.0]]\nd1 = [[20.0]]",
            "kind = 'workload'\nshape = 'periodic'\nmean_rps = 20\nseconds = 3000",
            "kind = 'merge'\nsources = [{ kind = 'poisson', rate_rps = 8 }, { kind = 'poisson', rate_rps = 12 }]",
        ] {
            let spec: ArrivalSpec = toml::from_str(text).unwrap();
            let mut arrivals = scaled(&spec, 3.0, 20.0).build(&|_| Err(String::new())).unwrap();
            let mut random = Random::new(5);
            let times = std::iter::from_fn(|| arrivals.process.next(&mut random));
            let count = times.take_while(|&at_s| at_s < 3000.0).count();
            assert!((count as f64 / 180_000.0 - 1.0).abs() < 0.06, "{count} {text}");
        }
    }

    #[test]
    fn the_line_of_a_traces_error_is_told_apart() {
        let error =
            ArrivalError::File { file: "a.txt".to_owned(), reason: "line 7: `x` is no count".to_owned() };
        assert_eq!(problem("s.toml", "", &error).to_string(), "a.txt:7: `x` is no count");
        let error = ArrivalError::Value { field: "rate_rps", reason: "must be above 0, is 0".to_owned() };
        let text = "title = 't'\n[arrivals]\nrate_rps = 0\n";
        assert_eq!(
            problem("s.toml", text, &error).to_string(),
            "s.toml:3: `rate_rps`: must be above 0, is 0"
        );
    }
}
