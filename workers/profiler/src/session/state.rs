//! How far each point is: what was measured of it, what is due, and what the rest will take.

use std::collections::BTreeMap;

use super::PER_VISIT;
use super::budget::Next;
use crate::estimate::{Estimate, Prediction, Prices};
use crate::experiment::{Experiment, Model, Point, Runs};
use crate::invocation::{Run, RunKind};
use crate::journal::Journal;
use crate::random::Random;
use crate::stopping::{FEWEST, relative_width};

/// A point of a model.
#[derive(Clone, Debug)]
pub(super) struct PointState {
    pub(super) point: Point,
    predicted: Prediction,
    /// What each warm run is judged by, milliseconds.
    judged_ms: Vec<f64>,
    /// Sum of the handlers' seconds of warm runs, and how many invocations that were.
    handler_s: (f64, u32),
    cold_done: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) is_given_up: bool,
}

/// A model.
#[derive(Clone, Debug)]
pub(super) struct ModelState {
    /// Measured points only.
    pub(super) points: Vec<PointState>,
    /// Versions kept for warm runs, by memory.
    pub(super) warm_versions: BTreeMap<u32, String>,
    runs: Runs,
}

impl PointState {
    /// Takes a run into account.
    pub(super) fn add(&mut self, run: &Run) {
        if !run.is_answered() || run.kind == RunKind::Cold && !run.is_true_to_kind() {
            self.failures += 1;
            return;
        }
        self.failures = 0;
        match run.kind {
            RunKind::Cold => self.cold_done += 1,
            RunKind::Warm if run.is_true_to_kind() => {
                self.judged_ms.push(run.judged_ms());
                for invocation in &run.invocations {
                    self.handler_s.0 += invocation.handler_us as f64 / 1e6;
                    self.handler_s.1 += 1;
                }
            }
            RunKind::Warm | RunKind::WarmUp => {}
        }
    }

    /// Warm runs after the visit that begins now.
    pub(super) fn warm_target(&self, runs: &Runs) -> usize {
        (self.judged_ms.len() + PER_VISIT).min(runs.warm() as usize)
    }

    /// Whether another warm run is due before `target`.
    pub(super) fn needs_warm(&self, target: usize, stop_width: f64) -> bool {
        self.judged_ms.len() < target && !self.is_narrow(stop_width)
    }

    /// Cold runs of the visit that begins now: what is left, spread over the visits that are left.
    pub(super) fn cold_due(&self, runs: &Runs) -> u32 {
        let left = runs.cold().saturating_sub(self.cold_done);
        let warm_left = (runs.warm() as usize).saturating_sub(self.judged_ms.len());
        let visits = if self.is_narrow(runs.stop_width) { 1 } else { warm_left.div_ceil(PER_VISIT).max(1) };
        left.div_ceil(u32::try_from(visits).unwrap_or(1))
    }

    fn is_narrow(&self, stop_width: f64) -> bool {
        self.judged_ms.len() >= FEWEST && relative_width(&self.judged_ms) < stop_width
    }

    fn is_done(&self, runs: &Runs) -> bool {
        let has_warm = self.judged_ms.len() >= runs.warm() as usize || self.is_narrow(runs.stop_width);
        self.is_given_up || has_warm && self.cold_done >= runs.cold()
    }

    /// The measured mean, or the law with what it was wrong by elsewhere.
    fn expected(&self, scale: f64) -> Prediction {
        let handler_s = match self.handler_s {
            (sum, count) if count > 0 => sum / f64::from(count),
            _ => self.predicted.handler_s * scale,
        };
        Prediction { handler_s, ..self.predicted }
    }

    /// What a run of this kind is expected to take.
    pub(super) fn next(&self, runs: &Runs, prices: &Prices, scale: f64, kind: RunKind) -> Next {
        let expected = self.expected(scale);
        let seconds = match kind {
            RunKind::Cold => expected.handler_s + expected.init_s,
            RunKind::Warm | RunKind::WarmUp => expected.handler_s,
        };
        Next {
            usd: prices.invocation_usd(self.point.memory_mib, seconds) * f64::from(self.point.concurrency),
            time: runs.pause + std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e6)),
        }
    }
}

impl ModelState {
    /// What the journal says of a model's points.
    pub(super) fn new(
        experiment: &Experiment,
        model: &Model,
        journal: &Journal,
        predict: &dyn Fn(&Model, &Point) -> Prediction,
    ) -> Self {
        let measured = model.points.iter().filter(|point| experiment.is_measured(point));
        let point = |&point: &Point| PointState {
            point,
            predicted: predict(model, &point),
            judged_ms: Vec::new(),
            handler_s: (0.0, 0),
            cold_done: 0,
            failures: 0,
            is_given_up: journal
                .given_up()
                .iter()
                .any(|(name, given_up, _)| *name == model.name && *given_up == point),
        };
        let mut points: Vec<PointState> = measured.map(point).collect();
        for run in journal.runs().iter().filter(|run| run.model == model.name) {
            if let Ok(at) = points.binary_search_by_key(&run.point, |state| state.point) {
                points[at].add(run);
            }
        }
        // Failures of a session that has ended say nothing of this one.
        points.iter_mut().for_each(|point| point.failures = 0);
        Self { points, warm_versions: BTreeMap::new(), runs: experiment.runs }
    }

    /// Points that are not done.
    pub(super) fn open(&self) -> Vec<usize> {
        (0..self.points.len()).filter(|&at| !self.points[at].is_done(&self.runs)).collect()
    }

    /// Those in the order of the first round.
    pub(super) fn first_round(&self, random: &mut Random) -> Vec<usize> {
        let mut order = self.open();
        random.shuffle(&mut order);
        // Stable: the order within a process count stays shuffled.
        order.sort_by_key(|&at| self.points[at].point.process_count);
        order
    }

    /// Measured time over predicted time, of all that was measured.
    pub(super) fn scale(&self) -> f64 {
        let measured = self.points.iter().filter(|point| point.handler_s.1 > 0);
        let sum = |of: fn(&PointState) -> f64| measured.clone().map(of).sum::<f64>();
        let predicted = sum(|point| point.predicted.handler_s);
        let mean = |point: &PointState| point.handler_s.0 / f64::from(point.handler_s.1);
        if predicted > 0.0 { sum(mean) / predicted } else { 1.0 }
    }

    /// What the points that are not done will take.
    pub(super) fn left(&self, experiment: &Experiment, prices: &Prices) -> Estimate {
        let mut left = Estimate::default();
        let (runs, scale) = (&self.runs, self.scale());
        for at in self.open() {
            let state = &self.points[at];
            let warm = if state.is_narrow(runs.stop_width) {
                0
            } else {
                runs.warm() as usize - state.judged_ms.len()
            };
            let cold = runs.cold().saturating_sub(state.cold_done);
            left.add_runs(
                experiment,
                prices,
                &state.point,
                state.expected(scale),
                (warm as u64, u64::from(cold)),
            );
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Invocation;

    fn state() -> PointState {
        PointState {
            point: Point { memory_mib: 1769, process_count: 1, items: 4, concurrency: 1 },
            predicted: Prediction { handler_s: 0.1, init_s: 0.5 },
            judged_ms: Vec::new(),
            handler_s: (0.0, 0),
            cold_done: 0,
            failures: 0,
            is_given_up: false,
        }
    }

    fn run(kind: RunKind, cold: bool, handler_us: u64) -> Run {
        let invocation = Invocation { cold, handler_us, ..Invocation::default() };
        let point = state().point;
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

    fn runs(stop_width: f64) -> Runs {
        Runs { per_point: 20, cold_share: 0.2, warm_up: 1, stop_width, pause: std::time::Duration::ZERO }
    }

    #[test]
    fn a_point_is_done_with_all_its_runs_or_a_narrow_interval() {
        let mut state = state();
        assert_eq!((runs(0.0).cold(), runs(0.0).warm()), (4, 16));
        assert_eq!(state.cold_due(&runs(0.0)), 1, "four over four visits");
        (0..4).for_each(|_| state.add(&run(RunKind::Cold, true, 1)));
        (0..5).for_each(|_| state.add(&run(RunKind::Warm, false, 40_000)));
        assert!(!state.is_done(&runs(0.0)) && state.is_done(&runs(0.05)));
        (0..11).for_each(|_| state.add(&run(RunKind::Warm, false, 60_000)));
        assert!(state.is_done(&runs(0.0)));
    }

    #[test]
    fn a_quiet_point_has_all_its_cold_runs_at_once() {
        let mut state = state();
        (0..5).for_each(|_| state.add(&run(RunKind::Warm, false, 40_000)));
        assert_eq!(state.cold_due(&runs(0.05)), 4);
    }

    #[test]
    fn a_cold_run_that_was_warm_is_a_failure_and_a_cold_warm_one_does_not_count() {
        let mut state = state();
        state.add(&run(RunKind::Cold, false, 1));
        assert_eq!((state.failures, state.cold_done), (1, 0));
        state.add(&run(RunKind::Warm, true, 1));
        assert_eq!((state.failures, state.judged_ms.len()), (0, 0));
    }

    #[test]
    fn a_measured_point_is_expected_to_be_as_it_was() {
        let mut state = state();
        let prices = Prices { usd_per_gb_second: 1.0, usd_per_request: 0.0 };
        let next = state.next(&runs(0.0), &prices, 2.0, RunKind::Warm);
        assert!((next.usd - 0.2 * 1769.0 / 1024.0).abs() < 1e-9, "the law, scaled");
        state.add(&run(RunKind::Warm, false, 50_000));
        let next = state.next(&runs(0.0), &prices, 2.0, RunKind::Cold);
        assert!((next.usd - 0.55 * 1769.0 / 1024.0).abs() < 1e-9, "measured, and INIT as it was predicted");
    }
}
