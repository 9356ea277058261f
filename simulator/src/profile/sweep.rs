//! Sweeps of a real function, one JSON object a line as the profiler writes them: fitted to a profile, or replayed run by run.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;
use serde::Deserialize;

use super::{Cell, Fitted, InitLaw, MemoryNeed, ModelProfile, ProfileError, ServiceWork, minimise};
use crate::lambda::{BatchShape, Invocation, Replay};

/// Fewest runs of a place that tell something of its spread.
const RUNS_FOR_SPREAD: usize = 5;

/// One invocation; further keys are the profiler's own.
#[derive(Deserialize)]
struct Line {
    memory_mib: u32,
    process_count: u32,
    items: u32,
    #[serde(default)]
    shard_padded_units: u64,
    handler_us: u64,
    #[serde(default)]
    init_us: Option<u64>,
    #[serde(default)]
    cold: bool,
    #[serde(default)]
    max_memory_used_mib: u32,
}

/// Memory in MiB, processes, items.
type Place = (u32, u32, u32);

/// Warm runs at one place.
#[derive(Clone, Debug, Default)]
struct Runs {
    /// Ascending once all are read.
    seconds: Vec<f64>,
    shard_padded_units: Vec<f64>,
}

/// A sweep that was read.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    places: BTreeMap<Place, Runs>,
    /// INIT seconds by memory.
    inits: BTreeMap<u32, Vec<f64>>,
    /// Largest memory used by processes.
    used_mib: BTreeMap<u32, u32>,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Sweep {
    /// Reads a sweep; blank lines are skipped.
    ///
    /// # Errors
    /// [`ProfileError::Line`] for a line that is no record, [`ProfileError::TooFew`] without any warm invocation.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let mut sweep = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fail = |reason: String| ProfileError::Line { line: number + 1, reason };
            let record: Line = serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
            if record.memory_mib == 0 || record.process_count == 0 {
                return Err(fail("`memory_mib` and `process_count` must be at least 1".to_owned()));
            }
            sweep.add(&record);
        }
        if sweep.places.is_empty() {
            return Err(ProfileError::TooFew { found: 0, needed: 1 });
        }
        sweep.places.values_mut().for_each(|runs| runs.seconds.sort_unstable_by(f64::total_cmp));
        Ok(sweep)
    }

    fn add(&mut self, record: &Line) {
        let used = self.used_mib.entry(record.process_count).or_default();
        *used = (*used).max(record.max_memory_used_mib);
        if record.cold {
            let init_s = record.init_us.unwrap_or(0) as f64 / 1e6;
            self.inits.entry(record.memory_mib).or_default().push(init_s);
        } else if record.items > 0 && record.handler_us > 0 {
            let place = (record.memory_mib, record.process_count, record.items);
            let runs = self.places.entry(place).or_default();
            runs.seconds.push(record.handler_us as f64 / 1e6);
            runs.shard_padded_units.push(record.shard_padded_units as f64);
        }
    }

    /// Medians of the measured places.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a median of whole numbers")]
    pub fn cells(&self) -> Vec<Cell> {
        let cell = |(place, runs): (&Place, &Runs)| {
            let (memory_mib, process_count, items) = *place;
            let shard_padded_units = median(&mut runs.shard_padded_units.clone()) as u64;
            let batch = BatchShape { items, process_count, units: 0, shard_padded_units };
            Cell { memory: Mebibytes(memory_mib), batch, seconds: runs.seconds[runs.seconds.len() / 2] }
        };
        self.places.iter().map(cell).collect()
    }

    /// A profile fitted to the medians. Processes are compared at the same places, so what they share is in it.
    ///
    /// # Errors
    /// [`ProfileError::TooFew`].
    pub fn fit(&self, name: &str) -> Result<Fitted, ProfileError> {
        let cells = self.cells();
        let mut service = ServiceWork::fit(&cells, false)?;
        service.coefficient_of_variation = self.coefficient_of_variation();
        let profile = ModelProfile {
            name: name.to_owned(),
            service,
            init: self.init(),
            memory: self.memory(),
            class_units: self.class_units(&cells),
        };
        Ok(Fitted { errors: service.errors(&cells), profile })
    }

    /// The measured invocations themselves, to be drawn from.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let runs = self.places.iter().flat_map(|(place, runs)| {
            let (memory_mib, process_count, items) = *place;
            runs.seconds.iter().map(move |&seconds| Invocation { memory_mib, process_count, items, seconds })
        });
        let inits = self.inits.iter().map(|(&memory, all)| (memory, median(&mut all.clone())));
        Replay::new(runs, inits.collect(), self.used_mib.clone())
    }

    /// Half the spread of the middle half, of the typical place that no quota slows: outliers are the machine's, not the model's.
    fn coefficient_of_variation(&self) -> f64 {
        let spread = |free_only: bool| -> Vec<f64> {
            let is_free = |memory: u32, processes: u32, items: u32| {
                Mebibytes(memory).vcpus() >= f64::from(processes.min(items))
            };
            let places = self.places.iter().filter(|((memory, processes, items), runs)| {
                let is_wanted = !free_only || is_free(*memory, *processes, *items);
                runs.seconds.len() >= RUNS_FOR_SPREAD && is_wanted
            });
            places
                .map(|(_, runs)| {
                    let at = |quarter: usize| runs.seconds[runs.seconds.len() * quarter / 4];
                    // A normal law's middle half is 1.349 deviations wide.
                    (at(3) - at(1)) / 1.349 / at(2)
                })
                .collect()
        };
        let mut values = spread(true);
        if values.is_empty() {
            values = spread(false);
        }
        median(&mut values)
    }

    fn init(&self) -> InitLaw {
        let seen: Vec<(f64, f64)> = self
            .inits
            .iter()
            .map(|(&memory, all)| (Mebibytes(memory).vcpus().min(1.0), median(&mut all.clone())))
            .filter(|(_, seconds)| *seconds > 0.0)
            .collect();
        let Some(fastest) = seen.iter().map(|(_, seconds)| *seconds).reduce(f64::min) else {
            return InitLaw::default();
        };
        let of = |values: &[f64], credit: f64| values[0] + values[1] / credit;
        let loss = |values: &[f64]| {
            seen.iter().map(|(credit, seconds)| (of(values, *credit) / seconds).ln().powi(2)).sum::<f64>()
        };
        let found = minimise(&[0.1 * fastest, 0.9 * fastest], loss);
        InitLaw { floor_seconds: found[0], cpu_seconds: found[1] }
    }

    /// A line through the memory used by processes, which does not fall.
    fn memory(&self) -> MemoryNeed {
        let count = self.used_mib.len().max(1) as f64;
        let mean = |of: fn((&u32, &u32)) -> f64| self.used_mib.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|(p, _)| f64::from(*p)), mean(|(_, used)| f64::from(*used)));
        let (xx, xy) =
            (mean(|(p, _)| f64::from(*p).powi(2)), mean(|(p, used)| f64::from(*p) * f64::from(*used)));
        let spread = xx - x * x;
        let slope = if spread > 0.0 { ((xy - x * y) / spread).max(0.0) } else { 0.0 };
        MemoryNeed { base_mib: (y - slope * x).max(0.0), per_process_mib: slope }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "work units of an item")]
    fn class_units(&self, cells: &[Cell]) -> Vec<u64> {
        let of = |cell: &Cell| cell.batch.shard_padded_units as f64 / f64::from(cell.batch.shard_items());
        let mut each: Vec<f64> = cells.iter().map(of).filter(|&units| units > 0.0).collect();
        if each.is_empty() { Vec::new() } else { vec![median(&mut each).round().max(1.0) as u64] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::FunctionModel as _;

    fn line(memory: u32, processes: u32, items: u32, us: u64) -> String {
        format!(
            "{{\"memory_mib\":{memory},\"process_count\":{processes},\"items\":{items},\"shard_padded_units\":{},\"handler_us\":{us},\
             \"billed_ms\":9,\"init_us\":null,\"cold\":false,\"round_trip_us\":1,\"max_memory_used_mib\":{}}}\n",
            items.div_ceil(processes) * 16,
            100 + 10 * processes
        )
    }

    fn sweep() -> String {
        let mut text = String::new();
        for memory in [1769, 3538] {
            text += &format!(
                "{{\"memory_mib\":{memory},\"process_count\":1,\"items\":1,\"handler_us\":9,\"init_us\":500000,\"cold\":true}}\n"
            );
            for items in [2_u32, 8, 32] {
                for noise in [96, 98, 100, 102, 104] {
                    let us = |per: u32| u64::from(6000 + items / per * 4000) * noise / 100;
                    text += &line(memory, 1, items, us(1));
                    if memory == 3538 {
                        text += &line(memory, 2, items, us(2));
                    }
                }
            }
        }
        text
    }

    #[test]
    fn a_sweep_becomes_a_profile() {
        let fitted = Sweep::parse(&sweep()).unwrap().fit("minilm").unwrap();
        let profile = &fitted.profile;
        assert!((profile.service.unit_seconds / 0.000_25 - 1.0).abs() < 0.05, "{profile:?}");
        assert!((profile.service.coefficient_of_variation - 0.03).abs() < 0.015, "{profile:?}");
        assert_eq!(profile.class_units, [16]);
        assert_eq!((profile.memory_used(1).0, profile.memory_used(2).0), (110, 120));
        assert!((profile.init_seconds(Mebibytes(1769)) - 0.5).abs() < 0.02, "{profile:?}");
        assert!(fitted.errors.worst < 0.1, "{:?}", fitted.errors);
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = sweep() + "{\"memory_mib\":1}\n";
        let error = Sweep::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {}: missing field", text.lines().count())), "{error}");
        assert!(Sweep::parse("\n\n").is_err());
    }

    #[test]
    fn a_sweep_is_replayed_as_it_was() {
        let replay = Sweep::parse(&sweep()).unwrap().replay();
        assert!((replay.quantile(3538, 2, 8, 1.0) - 0.022 * 1.04).abs() < 1e-9);
    }
}
