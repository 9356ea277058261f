//! What a model's tuner knows before it has served anything: invocations that `penstock profile` has measured.
//!
//! Each measured invocation is an observation like one of live traffic, so the belief gets exactly the noise that was measured. Of cold starts only the mean INIT of
//! each memory size is taken, before the warm ones: how often an experiment forces them says nothing of how often traffic meets them.
//! Deliberately absent: fitted laws. A law's error is not a spread, and would be believed too firmly.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gateway_contract::{Mebibytes, PlanRevision, ServiceObservation, ServiceOutcome, Timestamp};
use serde::Deserialize;

/// An invocation, one line of JSON; further keys are the profiler's own.
#[derive(Deserialize)]
struct Line {
    memory_mib: u32,
    process_count: u32,
    items: u32,
    #[serde(default)]
    shard_padded_units: u64,
    handler_us: u64,
    billed_ms: u64,
    #[serde(default)]
    init_us: Option<u64>,
    #[serde(default)]
    cold: bool,
    round_trip_us: u64,
    #[serde(default)]
    max_memory_used_mib: u32,
}

/// Reads a profile's measured invocations: observations of no plan, since none of ours formed the batches.
pub(super) fn read(path: &Path) -> Result<Vec<ServiceObservation>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot be read at `{}`: {error}", path.display()))?;
    let (mut inits, mut warm): (BTreeMap<u32, Vec<Line>>, Vec<ServiceObservation>) = Default::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| format!("`{}`, line {}: {error}", path.display(), number + 1))?;
        if line.cold {
            inits.entry(line.memory_mib).or_default().push(line);
        } else {
            warm.push(line.observation(None));
        }
    }
    if warm.is_empty() {
        return Err(format!("`{}` has no warm invocation", path.display()));
    }
    let mut observations: Vec<ServiceObservation> =
        inits.into_values().filter_map(|lines| mean_init(&lines)).collect();
    observations.append(&mut warm);
    Ok(observations)
}

fn mean_init(lines: &[Line]) -> Option<ServiceObservation> {
    let sum: u64 = lines.iter().filter_map(|line| line.init_us).sum();
    let mean = Duration::from_micros(sum / u64::try_from(lines.len()).ok()?);
    lines.first().map(|line| line.observation(Some(mean)))
}

impl Line {
    fn observation(&self, init: Option<Duration>) -> ServiceObservation {
        ServiceObservation {
            at: Timestamp::ZERO,
            revision: PlanRevision(0),
            is_canary: false,
            is_hold_out: false,
            outcome: ServiceOutcome::Completed,
            items: self.items,
            memory_mib: Mebibytes(self.memory_mib),
            process_count: self.process_count,
            shard_padded_units: self.shard_padded_units,
            work_units: 0,
            handler: Duration::from_micros(self.handler_us),
            billed: Duration::from_millis(self.billed_ms),
            billed_is_estimate: false,
            round_trip: Duration::from_micros(self.round_trip_us),
            init,
            max_memory_used: (self.max_memory_used_mib > 0).then_some(Mebibytes(self.max_memory_used_mib)),
            process_restarts: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(memory_mib: u32, handler_us: u64, init_us: Option<u64>) -> String {
        format!(
            "{{\"memory_mib\":{memory_mib},\"process_count\":2,\"items\":8,\"shard_padded_units\":64,\"handler_us\":{handler_us},\"billed_ms\":41,\
             \"init_us\":{},\"cold\":{},\"round_trip_us\":45000,\"max_memory_used_mib\":90}}\n",
            init_us.map_or("null".to_owned(), |us| us.to_string()),
            init_us.is_some()
        )
    }

    #[test]
    fn every_warm_invocation_is_an_observation_and_cold_ones_are_their_mean() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let text = line(1024, 40_000, None)
            + &line(1024, 50_000, Some(200_000))
            + &line(1024, 42_000, None)
            + &line(1024, 50_000, Some(400_000))
            + &line(2048, 50_000, Some(100_000));
        std::fs::write(&path, text).unwrap();
        let found = read(&path).unwrap();
        let inits: Vec<_> =
            found.iter().filter_map(|seen| Some((seen.memory_mib.0, seen.init?.as_millis()))).collect();
        assert_eq!(inits, [(1024, 300), (2048, 100)]);
        let warm: Vec<_> =
            found.iter().filter(|seen| seen.init.is_none()).map(|seen| seen.handler.as_millis()).collect();
        assert_eq!(warm, [40, 42]);
        assert!(found[0].init.is_some(), "cold ones come first");
        assert_eq!((found[2].items, found[2].process_count, found[2].revision), (8, 2, PlanRevision(0)));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        assert!(read(&path).unwrap_err().contains("cannot be read"));
        std::fs::write(&path, line(1024, 1, None) + "{}\n").unwrap();
        assert!(read(&path).unwrap_err().contains("line 2"));
        std::fs::write(&path, line(1024, 1, Some(2))).unwrap();
        assert!(read(&path).unwrap_err().contains("no warm invocation"));
    }
}
