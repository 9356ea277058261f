//! Measured runs → the profile of each model, and its file: what `penstock simulate --profile` and the planner of bulk jobs read.

use std::fmt::Write as _;

use serde_json::json;
use simulator::profile::{Fitted, ProfileError, Sweep};
use workers_profiler::{Run, RunKind};

/// The runs of one model as a sweep, a JSON object a line: one invocation at a time, measured ones only.
pub(super) fn sweep_lines(model: &str, runs: &[&Run]) -> String {
    let mut out = String::new();
    let is_wanted = |run: &&&Run| {
        run.model == model && !run.simulated && run.point.concurrency == 1 && run.is_true_to_kind()
    };
    for run in runs.iter().filter(is_wanted) {
        for invocation in &run.invocations {
            let line = json!({
                "memory_mib": run.point.memory_mib,
                "process_count": run.point.process_count,
                "items": run.point.items,
                "shard_padded_units": invocation.shard_padded_units,
                "handler_us": invocation.handler_us,
                "billed_ms": invocation.billed_ms,
                "init_us": invocation.init_us,
                "cold": run.kind == RunKind::Cold,
                "round_trip_us": invocation.round_trip_us,
                "max_memory_used_mib": invocation.max_memory_used_mib,
            });
            // Writing into a string cannot fail.
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The law of one model.
pub(super) fn fit(model: &str, runs: &[&Run]) -> Result<Fitted, ProfileError> {
    Sweep::parse(&sweep_lines(model, runs))?.fit(model)
}

/// The profile's file.
pub(super) fn profile_text(fitted: &Fitted, experiment: &str) -> String {
    let errors = &fitted.errors;
    format!(
        "# Fitted by `penstock profile` to {} measured points of the experiment `{experiment}`: the law is off by {:.1} % at the median point,\n\
         # by {:.1} % at the 95th percentile and by {:.1} % at worst.\n{}",
        errors.count,
        errors.median * 100.0,
        errors.p95 * 100.0,
        errors.worst * 100.0,
        fitted.profile.to_toml()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulator::profile::ModelProfile;
    use workers_profiler::{Invocation, Point};

    fn run(memory_mib: u32, items: u32, kind: RunKind, handler_us: u64) -> Run {
        let init_us = (kind == RunKind::Cold).then_some(300_000);
        let invocation = Invocation {
            handler_us,
            init_us,
            cold: init_us.is_some(),
            max_memory_used_mib: 90,
            ..Invocation::default()
        };
        let point = Point { memory_mib, process_count: 1, items, concurrency: 1 };
        let model = "m".to_owned();
        Run {
            id: 0,
            model,
            point,
            kind,
            simulated: false,
            started_ms: 0,
            total_us: 0,
            spent_ms: 0,
            invocations: vec![invocation],
        }
    }

    #[test]
    fn a_profile_survives_its_file() {
        let mut runs = Vec::new();
        for memory in [1769, 3538] {
            runs.push(run(memory, 1, RunKind::Cold, 30_000));
            for items in [1_u32, 4, 16] {
                runs.extend(
                    (0..5).map(|_| run(memory, items, RunKind::Warm, 5000 + 2000 * u64::from(items))),
                );
            }
        }
        let all: Vec<&Run> = runs.iter().collect();
        let fitted = fit("m", &all).unwrap();
        let again = ModelProfile::from_toml(&profile_text(&fitted, "e")).unwrap();
        assert_eq!(again, fitted.profile);
        assert!((again.service.item_seconds - 0.002).abs() < 1e-4, "{again:?}");
        assert!((again.init.floor_seconds + again.init.cpu_seconds - 0.3).abs() < 0.01, "{again:?}");
        assert!(fit("other", &all).is_err());
    }
}
