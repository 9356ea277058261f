//! What is believed of the warm service time at every operating point: physics, and a Gaussian process over what it leaves.
//!
//! *Problem:* predict ln S(n, w, p, m) with its uncertainty, from cells that production and exploration have filled unevenly.
//! *Rule:* the mean is [`Physics`]; the residual of its logarithm is a Gaussian process over the logarithms of fill, busy processes, memory
//! and units per item, each scaled to about 0..1. A cell's noise is its own spread over its weight. Two things are kept apart: the
//! *noise* between invocations, which stays, and what is *not known*, which a trial removes.
//! *First start:* one cell is enough. Until [`FIT_FROM`] cells are there, and wherever cells are far, the residual has the prior spread
//! [`PRIOR_LN_STD`]: physics alone is trusted to about that much.
//!
//! Everything here is pure and may run on another thread; a decision reads the finished table.

use std::collections::{BTreeMap, BTreeSet};

use optimizer_bayesopt::{FitSettings, GaussianProcess, Hyperparameters, MeanRule, Observation};

use super::cells::Cells;
use super::padding::Padding;
use super::physics::{Observed, Physics, Place};

/// Prior spread of the residual: how far physics alone is trusted, as a standard deviation of ln S.
const PRIOR_LN_STD: f64 = 0.15;
/// Cells from which the hyperparameters are fitted.
const FIT_FROM: usize = 6;
/// Residual beyond a cell's sampling noise that the cells of a place share, as a variance.
const FLOOR_VARIANCE: f64 = 0.01 * 0.01;
/// Longest length scales in the unit cube, by coordinate: another memory size or process count is never taken as known from afar.
const LONGEST: [f64; 4] = [1.5, 0.6, 0.4, 1.5];
/// Shortest: what physics leaves is smooth, above all in the fill; what is not is noise.
const SHORTEST: [f64; 4] = [0.6, 0.2, 0.12, 0.5];
/// Cells of the padding spread that count: its effect on S is taken at this step of ln(units).
const UNIT_STEP: f64 = 0.05;

/// Fills at which the table is computed; between them it is linear in the logarithm.
const KNOTS: [u32; 24] =
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 512, 1024, 4096, 10_000];

/// A function size with a process count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RungPoint {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
}

/// Service time at one fill.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Predicted {
    /// Mean of ln seconds.
    pub ln_mean: f64,
    /// Spread between invocations.
    pub noise_std: f64,
    /// What is not known of `ln_mean`.
    pub unknown_std: f64,
}

/// All that is believed, as of one moment.
#[derive(Debug)]
pub struct Belief {
    physics: Physics,
    residual: Option<GaussianProcess>,
    padding: Padding,
    noise: BTreeMap<RungPoint, [f64; KNOTS.len()]>,
    /// Usual service times at [`KNOTS`], by point: what decisions read.
    table: BTreeMap<RungPoint, Vec<Predicted>>,
}

impl Belief {
    /// Learns from the cells. `fit` searches hyperparameters, otherwise those of `before` are kept. `None`: nothing to learn from.
    #[must_use]
    pub fn learn(
        cells: &Cells,
        padding: &Padding,
        points: &[RungPoint],
        before: Option<&Hyperparameters>,
        fit: bool,
    ) -> Option<Self> {
        let observed: Vec<Observed> = cells
            .iter()
            .map(|(key, cell)| Observed {
                place: Place {
                    memory_mib: key.memory_mib,
                    process_count: key.process_count,
                    items: cell.ln_items.exp(),
                    shard_units: cell.ln_units.exp(),
                },
                service_s: cell.ln_service.exp(),
                // A cell with a hundred observations is not a hundred times another: physics is not that exact.
                weight: 1.0 / (1.0 + 10.0 / cell.weight),
            })
            .collect();
        let physics = Physics::fit(&observed)?;
        let data: Vec<Observation> = cells
            .iter()
            .zip(&observed)
            .map(|((key, cell), it)| Observation {
                at: coordinates(&it.place),
                value: cell.ln_service - physics.service_s(&it.place).ln(),
                noise_variance: cells.noise_variance(key.memory_mib, key.process_count) / cell.weight,
            })
            .collect();
        let residual = Self::condition(&data, before, fit && data.len() >= FIT_FROM);
        let seen = cells
            .iter()
            .map(|(key, _)| RungPoint { memory_mib: key.memory_mib, process_count: key.process_count });
        let points: BTreeSet<RungPoint> = points.iter().copied().chain(seen).collect();
        let noise = points
            .iter()
            .map(|&point| {
                (
                    point,
                    KNOTS.map(|items| {
                        cells.noise_variance_at(point.memory_mib, point.process_count, f64::from(items))
                    }),
                )
            })
            .collect();
        let mut belief = Self { physics, residual, padding: *padding, noise, table: BTreeMap::new() };
        belief.fill_table(&points);
        Some(belief)
    }

    fn condition(
        data: &[Observation],
        before: Option<&Hyperparameters>,
        fit: bool,
    ) -> Option<GaussianProcess> {
        let fitted = fit.then(|| {
            let settings = FitSettings {
                mean: MeanRule::Fixed(0.0),
                warm_start: before.cloned(),
                starts: if before.is_some() { 1 } else { 2 },
                ..FitSettings::default()
            };
            GaussianProcess::fit(data, &settings).ok().map(|process| process.hyperparameters().clone())
        });
        let chosen = fitted.flatten().or_else(|| before.cloned()).unwrap_or_else(|| Hyperparameters {
            mean: 0.0,
            signal_variance: PRIOR_LN_STD * PRIOR_LN_STD,
            length_scales: vec![0.8, 0.5, 0.3, 0.8],
            noise_variance: FLOOR_VARIANCE,
        });
        let bounded = Hyperparameters {
            mean: 0.0,
            signal_variance: chosen.signal_variance.max(PRIOR_LN_STD * PRIOR_LN_STD),
            length_scales: chosen
                .length_scales
                .iter()
                .zip(SHORTEST.into_iter().zip(LONGEST))
                .map(|(length, (least, most))| length.clamp(least, most))
                .collect(),
            noise_variance: chosen.noise_variance.max(FLOOR_VARIANCE),
        };
        GaussianProcess::with_hyperparameters(data, bounded).ok()
    }

    /// All usual service times, in one question to the process.
    fn fill_table(&mut self, points: &BTreeSet<RungPoint>) {
        let places: Vec<Place> = points
            .iter()
            .flat_map(|&point| KNOTS.map(|items| self.usual_place(point, f64::from(items))))
            .collect();
        let posteriors = self
            .residual
            .as_ref()
            .map(|process| process.predict_many(&places.iter().map(coordinates).collect::<Vec<_>>()));
        let mut rows = places.chunks(KNOTS.len()).enumerate().map(|(row, places)| {
            let each = places.iter().enumerate().map(|(knot, place)| {
                let posterior = posteriors.as_ref().and_then(|all| all.get(row * KNOTS.len() + knot));
                let (residual, variance) =
                    posterior.map_or((0.0, PRIOR_LN_STD * PRIOR_LN_STD), |it| (it.mean, it.variance));
                self.usual(place, residual, variance)
            });
            each.collect::<Vec<Predicted>>()
        });
        let table: BTreeMap<RungPoint, Vec<Predicted>> =
            points.iter().copied().map(|point| (point, rows.next().unwrap_or_default())).collect();
        self.table = table;
    }

    /// For the next fit to start from.
    #[must_use]
    pub fn hyperparameters(&self) -> Option<Hyperparameters> {
        self.residual.as_ref().map(|process| process.hyperparameters().clone())
    }

    fn predicted(&self, place: &Place, residual: f64, variance: f64) -> Predicted {
        let point = RungPoint { memory_mib: place.memory_mib, process_count: place.process_count };
        let knot = KNOTS.partition_point(|&knot| f64::from(knot) < place.items).min(KNOTS.len() - 1);
        let noise = self.noise.get(&point).map_or(0.01, |variance| variance[knot]);
        Predicted {
            ln_mean: self.physics.service_s(place).ln() + residual,
            noise_std: noise.sqrt(),
            unknown_std: variance.max(0.0).sqrt(),
        }
    }

    /// Service times of batches of 1 to `max_items` items on a point, with the work that such batches usually hold.
    #[must_use]
    pub fn row(&self, point: RungPoint, max_items: u32) -> Vec<Predicted> {
        (0..=max_items).map(|items| self.usually(point, items.max(1))).collect()
    }

    /// Service time of a batch of usual work, from the table.
    #[must_use]
    pub fn usually(&self, point: RungPoint, items: u32) -> Predicted {
        let Some(row) = self.table.get(&point) else { return self.asked(point, items) };
        let next = KNOTS.partition_point(|&knot| knot < items).min(KNOTS.len() - 1);
        if next == 0 || KNOTS[next] <= items {
            return row[next];
        }
        let (low, high) = (f64::from(KNOTS[next - 1]).ln(), f64::from(KNOTS[next]).ln());
        let share = (f64::from(items).ln() - low) / (high - low);
        let mix = |of: fn(&Predicted) -> f64| of(&row[next - 1]) * (1.0 - share) + of(&row[next]) * share;
        Predicted {
            ln_mean: mix(|it| it.ln_mean),
            noise_std: mix(|it| it.noise_std),
            unknown_std: mix(|it| it.unknown_std),
        }
    }

    /// Service time of one batch: the table's, corrected by physics for how its work differs from the usual.
    #[must_use]
    pub fn about(&self, place: &Place) -> Predicted {
        let point = RungPoint { memory_mib: place.memory_mib, process_count: place.process_count };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "items of a batch")]
        let usually = self.usually(point, place.items.round().max(1.0) as u32);
        let usual_place = self.usual_place(point, place.items);
        let correction = (self.physics.service_s(place) / self.physics.service_s(&usual_place)).ln();
        Predicted { ln_mean: usually.ln_mean + correction, ..usually }
    }

    /// With the spread that the work of a batch brings, which varies from batch to batch.
    fn usual(&self, place: &Place, residual: f64, variance: f64) -> Predicted {
        let predicted = self.predicted(place, residual, variance);
        let more = Place { shard_units: place.shard_units * UNIT_STEP.exp(), ..*place };
        let steepness = (self.physics.service_s(&more) / self.physics.service_s(place)).ln() / UNIT_STEP;
        let from_work = steepness * self.padding.ln_std();
        Predicted { noise_std: predicted.noise_std.hypot(from_work), ..predicted }
    }

    /// A point that the table lacks.
    fn asked(&self, point: RungPoint, items: u32) -> Predicted {
        let place = self.usual_place(point, f64::from(items));
        let (residual, variance) = match &self.residual {
            Some(process) => {
                let posterior = process.predict(&coordinates(&place));
                (posterior.mean, posterior.variance)
            }
            None => (0.0, PRIOR_LN_STD * PRIOR_LN_STD),
        };
        self.usual(&place, residual, variance)
    }

    /// Where a batch of so many items usually is.
    #[must_use]
    pub fn usual_place(&self, point: RungPoint, items: f64) -> Place {
        let place = Place {
            memory_mib: point.memory_mib,
            process_count: point.process_count,
            items,
            shard_units: 1.0,
        };
        // Shards hold whole items: the largest has more than its even part.
        let shard = (items / place.busy()).ceil();
        Place { shard_units: self.padding.units(shard), ..place }
    }
}

/// Fill, busy processes, memory and units per item of the largest shard, each about 0..1.
fn coordinates(place: &Place) -> Vec<f64> {
    vec![
        place.items.max(1.0).ln() / 128.0_f64.ln(),
        place.busy().ln() / 8.0_f64.ln(),
        (f64::from(place.memory_mib) / 128.0).ln() / 80.0_f64.ln(),
        (place.shard_units / place.shard_items()).max(1e-3).ln() / 64.0_f64.ln(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::cells::Sample;
    use super::*;

    fn filled(points: &[(u32, u32)], fills: &[u32], truth: impl Fn(u32, u32, u32) -> f64) -> Cells {
        let mut cells = Cells::default();
        for &(memory_mib, process_count) in points {
            for &items in fills {
                for n in 0..20 {
                    let service_s =
                        truth(memory_mib, process_count, items) * (1.0 + 0.02 * f64::from(n % 5 - 2));
                    let shard_units = f64::from(items.div_ceil(process_count));
                    cells.add(
                        &Sample { memory_mib, process_count, items, shard_units, service_s },
                        0.0,
                        false,
                    );
                }
            }
        }
        cells
    }

    fn truth(memory_mib: u32, process_count: u32, items: u32) -> f64 {
        let credit = f64::from(memory_mib) / 1769.0;
        let busy = f64::from(process_count.min(items));
        let shard = 0.012 * f64::from(items.div_ceil(process_count));
        let contention = 1.0 + 0.08 * (busy - 1.0); // what physics does not know
        (0.004 + shard) * contention / (credit / busy).min(1.0)
    }

    #[test]
    fn what_was_tried_is_known_and_what_was_not_is_less_so() {
        let points =
            [(1769, 1), (3008, 2)].map(|(memory_mib, process_count)| RungPoint { memory_mib, process_count });
        let cells = filled(&[(1769, 1), (3008, 2)], &[1, 2, 4, 8, 16], truth);
        let belief = Belief::learn(&cells, &Padding::default(), &points, None, true).unwrap();
        for point in points {
            let row = belief.row(point, 32);
            for items in [2_u32, 8, 16] {
                let at = row[items as usize];
                let error = at.ln_mean.exp() / truth(point.memory_mib, point.process_count, items) - 1.0;
                assert!(error.abs() < 0.05, "{point:?} {items}: {error}");
                assert!(at.unknown_std < 0.05, "{at:?}");
            }
        }
        let elsewhere = belief.row(RungPoint { memory_mib: 512, process_count: 1 }, 32);
        assert!(elsewhere[8].unknown_std > 0.05, "{:?}", elsewhere[8]);
    }

    #[test]
    fn one_cell_is_enough_to_begin() {
        let cells = filled(&[(1769, 1)], &[1], truth);
        let point = RungPoint { memory_mib: 1769, process_count: 1 };
        let row = Belief::learn(&cells, &Padding::default(), &[point], None, true).unwrap().row(point, 4);
        assert!((row[1].ln_mean.exp() / truth(1769, 1, 1) - 1.0).abs() < 0.05);
        assert!(row[4].ln_mean >= row[1].ln_mean && row.len() == 5);
    }
}
