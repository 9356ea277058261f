//! What was observed, by operating point: a mean and a spread of the logarithm of warm service times, with slow forgetting.
//!
//! *Problem:* production brings millions of invocations; a Gaussian process takes some hundred points.
//! *Rule:* invocations of the same memory, process count and nearly the same fill and work share a cell. A cell's mean forgets
//! exponentially once it holds [`MAX_WEIGHT`] observations, so a service time that changes for good is followed within as many batches
//! at that point. An outlier counts only up to four spreads away, once the cell knows its spread.
//! *Bounds:* [`MAX_CELLS`] cells; the one with the least weight makes room.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;
use serde::{Deserialize, Serialize};

/// Most cells.
pub const MAX_CELLS: usize = 200;
/// Observations after which a cell begins to forget.
const MAX_WEIGHT: f64 = 400.0;
/// Observations from which a cell's own spread is believed.
const SPREAD_KNOWN: f64 = 6.0;
/// Observations further than this many spreads off are drawn in to it.
const OUTLIER_SPREADS: f64 = 4.0;
/// Least spread that outliers are judged by.
const LEAST_SPREAD: f64 = 0.03;

/// One warm invocation, as the model of the service time sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// MiB.
    pub memory_mib: u32,
    /// Processes asked for.
    pub process_count: u32,
    /// Items.
    pub items: u32,
    /// Padded work units of the largest shard; its items where the model names no unit.
    pub shard_units: f64,
    /// Seconds.
    pub service_s: f64,
}

/// Which invocations share a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellKey {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
    fill: u16,
    units: i16,
}

/// The mean of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Observations, at most [`MAX_WEIGHT`].
    pub weight: f64,
    /// Mean logarithm of the items.
    pub ln_items: f64,
    /// Mean logarithm of the shard's units.
    pub ln_units: f64,
    /// Mean logarithm of the seconds, the drift of the moment taken out.
    pub ln_service: f64,
    /// Variance of that logarithm between invocations.
    pub variance: f64,
    /// Whether only exploration has been here.
    pub explored: bool,
}

/// All cells of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cells {
    #[serde(with = "as_pairs")]
    cells: BTreeMap<CellKey, Cell>,
}

impl CellKey {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "buckets of numbers up to 1e9"
    )]
    fn of(sample: &Sample) -> Self {
        let items = f64::from(sample.items.max(1));
        let fill = if items <= 8.0 { items } else { 8.0 + ((items / 8.0).ln() / 1.15_f64.ln()).round() };
        let units = (sample.shard_units.max(1e-3).ln() / 1.3_f64.ln()).round();
        Self {
            memory_mib: sample.memory_mib,
            process_count: sample.process_count,
            fill: fill as u16,
            units: units as i16,
        }
    }
}

impl Cells {
    /// Takes an observation in. `drift` is the present factor (logarithm) of all service times.
    pub fn add(&mut self, sample: &Sample, drift: f64, explored: bool) {
        let key = CellKey::of(sample);
        let value = sample.service_s.ln() - drift;
        if !value.is_finite() {
            return;
        }
        if self.cells.len() >= MAX_CELLS && !self.cells.contains_key(&key) {
            let lightest =
                self.cells.iter().min_by(|a, b| a.1.weight.total_cmp(&b.1.weight)).map(|(key, _)| *key);
            lightest.map(|key| self.cells.remove(&key));
        }
        let cell = self.cells.entry(key).or_insert(Cell {
            weight: 0.0,
            ln_items: 0.0,
            ln_units: 0.0,
            ln_service: value,
            variance: 0.0,
            explored,
        });
        cell.weight = (cell.weight + 1.0).min(MAX_WEIGHT);
        cell.explored &= explored;
        let rate = 1.0 / cell.weight;
        let mut deviation = value - cell.ln_service;
        if cell.weight > SPREAD_KNOWN {
            let bound = OUTLIER_SPREADS * cell.variance.sqrt().max(LEAST_SPREAD);
            deviation = deviation.clamp(-bound, bound);
        }
        cell.ln_service += rate * deviation;
        cell.variance += rate * ((1.0 - rate) * deviation * deviation - cell.variance);
        cell.ln_items += rate * (f64::from(sample.items.max(1)).ln() - cell.ln_items);
        cell.ln_units += rate * (sample.shard_units.max(1e-3).ln() - cell.ln_units);
    }

    /// All cells.
    pub fn iter(&self) -> impl Iterator<Item = (&CellKey, &Cell)> {
        self.cells.iter()
    }

    /// Number of cells.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// Variance of ln S between invocations of the same cell: pooled over those of one size and process count, drawn towards the mean
    /// over those that are throttled like it.
    #[must_use]
    pub fn noise_variance(&self, memory_mib: u32, process_count: u32) -> f64 {
        /// What is assumed before anything is known: a spread of 10 %, counted as so many observations.
        const PRIOR: (f64, f64) = (0.01, 5.0);
        /// Observations that the mean over all counts as, for one place.
        const SHARED: f64 = 8.0;
        // Few observations may have missed the wide part of the law: the estimate is raised by its own uncertainty.
        const CARE: f64 = 3.0;
        let pooled = |prior: (f64, f64), of: &dyn Fn(&CellKey) -> bool| {
            let (mut sum, mut weight) = (prior.0 * prior.1, prior.1);
            for (_, cell) in self.cells.iter().filter(|(key, _)| of(key)) {
                sum += cell.variance * cell.weight;
                weight += (cell.weight - 1.0).max(0.0);
            }
            (sum / weight, weight)
        };
        // Where the quota's periods decide, times spread as they do nowhere else.
        let is_throttled =
            |memory_mib: u32, processes: u32| Mebibytes(memory_mib).vcpus() < f64::from(processes) - 1e-9;
        let here = is_throttled(memory_mib, process_count);
        let is_alike = |key: &CellKey| is_throttled(key.memory_mib, key.process_count) == here;
        let (all, _) = pooled(PRIOR, &is_alike);
        let is_here = |key: &CellKey| key.memory_mib == memory_mib && key.process_count == process_count;
        let (here, weight) = pooled((all, SHARED), &is_here);
        here * (1.0 + CARE / weight)
    }

    /// The same at one fill: drawn towards that of the size and process count. A quota that comes in periods spreads some fills and not others.
    #[must_use]
    pub fn noise_variance_at(&self, memory_mib: u32, process_count: u32, items: f64) -> f64 {
        /// Observations that the place's own counts as, and how near a fill is, in ln items.
        const PLACE: f64 = 20.0;
        const NEAR: f64 = 0.15;
        let all = self.noise_variance(memory_mib, process_count);
        let (mut sum, mut weight) = (all * PLACE, PLACE);
        let is_here = |key: &CellKey| key.memory_mib == memory_mib && key.process_count == process_count;
        for (_, cell) in self.cells.iter().filter(|(key, _)| is_here(key)) {
            let far = (items.max(1.0).ln() - cell.ln_items) / NEAR;
            let counts = cell.weight * (-far * far).exp();
            sum += counts * cell.variance;
            weight += counts;
        }
        sum / weight
    }

    /// Whether every number is usable: state comes from files.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.cells.len() <= MAX_CELLS
            && self.cells.iter().all(|(key, cell)| {
                let numbers = [cell.weight, cell.ln_items, cell.ln_units, cell.ln_service, cell.variance];
                numbers.iter().all(|number| number.is_finite() && number.abs() < 1e6)
                    && cell.weight > 0.0
                    && cell.variance >= 0.0
                    && (1..=64).contains(&key.process_count)
                    && (128..=10_240).contains(&key.memory_mib)
            })
    }
}

/// JSON has no maps with structured keys.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Cell, CellKey};

    pub(super) fn serialize<S: Serializer>(
        cells: &BTreeMap<CellKey, Cell>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(cells)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<CellKey, Cell>, D::Error> {
        Ok(Vec::<(CellKey, Cell)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(items: u32, service_s: f64) -> Sample {
        Sample { memory_mib: 1769, process_count: 1, items, shard_units: f64::from(items), service_s }
    }

    #[test]
    fn an_outlier_moves_a_known_cell_little() {
        let mut cells = Cells::default();
        for n in 0..100 {
            cells.add(&sample(4, 0.1 + 0.001 * f64::from(n % 3)), 0.0, false);
        }
        let before = cells.iter().next().unwrap().1.ln_service;
        cells.add(&sample(4, 10.0), 0.0, false);
        assert!((cells.iter().next().unwrap().1.ln_service - before).abs() < 0.01);
    }

    #[test]
    fn a_lasting_change_is_followed() {
        let mut cells = Cells::default();
        (0..1000).for_each(|_| cells.add(&sample(4, 0.1), 0.0, false));
        (0..3000).for_each(|_| cells.add(&sample(4, 0.2), 0.0, false));
        assert!((cells.iter().next().unwrap().1.ln_service - 0.2_f64.ln()).abs() < 0.05);
    }

    #[test]
    fn memory_is_bounded_and_the_heaviest_stay() {
        let mut cells = Cells::default();
        (0..50).for_each(|_| cells.add(&sample(3, 0.1), 0.0, false));
        for memory_mib in 128..2000 {
            cells.add(&Sample { memory_mib, ..sample(4, 0.1) }, 0.0, true);
        }
        assert_eq!(cells.count(), MAX_CELLS);
        assert!(cells.iter().any(|(key, cell)| key.memory_mib == 1769 && cell.weight > 40.0));
        assert!(cells.is_sound());
    }
}
