//! The policies that measure whole plans: black box (constrained expected improvement), grid and random.
//!
//! *Rule:* each trial puts a plan into force for `windows_per_trial` windows, of which the first [`SETTLE`] do not count (queues and cold
//! starts of the plan before); its measured cost per request is the objective, its measured latency over the latency objective the
//! constraint. After the trials the best feasible plan by posterior mean holds; a change-point starts all over, since nothing that was
//! measured says anything of another load.
//! *Reference:* Cai et al., 2023, for the search without prior information after each change-point; Gardner et al., "Bayesian optimization
//! with inequality constraints", 2014, for the acquisition function.

use std::collections::VecDeque;
use std::time::Duration;

use gateway_contract::{PackingPolicy, ServingPlan, WindowStats};
use optimizer_bayesopt::{Measurement, Outcome, SearchSpace, Study, StudySettings, Variable};

use super::Tuner;
use super::account::Realised;
use crate::event::{Phase, SwitchReason, TrialVerdict, TunerAction};
use crate::search::Point;
use crate::service::belief::RungPoint;
use crate::settings::{PolicyKind, TunerSettings};

/// Windows of a trial that do not count.
const SETTLE: u32 = 3;
/// Trials of the searches; the grid has as many as it has plans.
const MAX_TRIALS: u32 = 25;
/// Shares of the latency objective that a batch may gather for.
const DELAY_SHARES: [f64; 4] = [0.1, 0.3, 0.5, 0.7];
/// Largest batch that is tried, items.
const MAX_BATCH: u32 = 64;
/// Most plans of a grid.
const MAX_GRID: usize = 4096;
/// A trial is cut short when more than half of so many answers are late.
const HOPELESS_FROM: f64 = 40.0;

/// The search, its trial, and what is left of the list.
#[derive(Debug)]
pub(super) struct WholePlan {
    study: Study,
    /// The grid's plans; empty for the searches.
    list: VecDeque<Vec<f64>>,
    is_grid: bool,
    asked: u32,
    restarts: u64,
    trial: Option<Trial>,
    is_settled: bool,
}

#[derive(Clone, Debug)]
struct Trial {
    id: u64,
    point: Vec<f64>,
    windows: u32,
    measured: Realised,
    latency_sum_s: f64,
    latency_windows: f64,
}

impl WholePlan {
    /// `None` for the policies that need none, or if nothing can be varied.
    pub(super) fn for_policy(settings: &TunerSettings) -> Option<Self> {
        Self::new(settings, 0)
    }

    fn new(settings: &TunerSettings, restarts: u64) -> Option<Self> {
        let (acquisition, is_grid) = match settings.policy {
            PolicyKind::BlackBox => ("constrained_expected_improvement", false),
            PolicyKind::Random => ("random", false),
            PolicyKind::Grid => ("random", true),
            PolicyKind::GreyBox | PolicyKind::Pinned | PolicyKind::Observe => return None,
        };
        let space = space(settings)?;
        let list = if is_grid { space.lattice(MAX_GRID)?.into() } else { VecDeque::new() };
        let study = StudySettings {
            seed: settings.seed.wrapping_add(restarts),
            acquisition: acquisition.to_owned(),
            constraint_count: 1,
            ..StudySettings::default()
        };
        Some(Self {
            study: Study::new(space, study).ok()?,
            list,
            is_grid,
            asked: 0,
            restarts,
            trial: None,
            is_settled: false,
        })
    }

    fn next(&mut self) -> Option<Trial> {
        let (id, point) = if self.is_grid {
            (u64::from(self.asked), self.list.pop_front()?)
        } else if self.asked < MAX_TRIALS {
            let trial = self.study.ask().ok()?;
            (trial.id, trial.point)
        } else {
            return None;
        };
        self.asked += 1;
        Some(Trial {
            id,
            point,
            windows: 0,
            measured: Realised::default(),
            latency_sum_s: 0.0,
            latency_windows: 0.0,
        })
    }

    fn tell(&mut self, trial: &Trial, outcome: Outcome) {
        if self.is_grid {
            let _ = self.study.observe(&trial.point, outcome);
        } else {
            let _ = self.study.tell(trial.id, outcome);
        }
    }
}

/// Batch, processes, memory, share of the objective for gathering.
fn space(settings: &TunerSettings) -> Option<SearchSpace> {
    let bounds = &settings.bounds;
    let ladder = |rungs: Vec<f64>| Variable::Ladder { rungs };
    let (low, high) = (bounds.batch_size.0, bounds.batch_size.1.min(MAX_BATCH));
    let mut batches: Vec<u32> = std::iter::successors(Some(1_u32), |batch| batch.checked_mul(2))
        .take_while(|&batch| batch < high)
        .filter(|&batch| batch > low)
        .collect();
    batches.insert(0, low);
    batches.push(high);
    batches.dedup();
    let memories = bounds.memory_mib.iter().filter(|&&size| size <= settings.account.memory_ceiling);
    SearchSpace::new([
        ("max_batch_size", ladder(batches.into_iter().map(f64::from).collect())),
        (
            "process_count",
            Variable::Integer {
                low: i64::from(bounds.process_count.0),
                high: i64::from(bounds.process_count.1),
                log: false,
            },
        ),
        ("memory_mib", ladder(memories.map(|size| f64::from(size.0)).collect())),
        ("delay_share", ladder(DELAY_SHARES.to_vec())),
    ])
    .ok()
}

impl Tuner {
    pub(super) fn measure_whole_plans(&mut self, stats: &WindowStats) {
        let is_changed = self.searched.is_due.take() == Some(SwitchReason::ChangePoint);
        if is_changed {
            self.restart_whole_plan();
        }
        let Some(search) = &mut self.whole_plan else { return };
        let Some(trial) = &mut search.trial else {
            if !search.is_settled && stats.requests > 0 {
                self.next_trial();
            }
            return;
        };
        trial.windows += 1;
        if trial.windows > SETTLE {
            trial.measured.add(stats, 0.0);
            if let Some(latency) = stats.latency_at_percentile {
                trial.latency_sum_s += latency.as_secs_f64();
                trial.latency_windows += 1.0;
            }
        }
        let is_hopeless = trial.measured.answered + trial.measured.failed >= HOPELESS_FROM
            && trial.measured.late_share() > 0.5;
        let is_measured =
            trial.windows >= SETTLE + self.settings.windows_per_trial && trial.measured.answered > 0.0;
        if is_hopeless || is_measured {
            self.finish_trial(is_hopeless);
            self.next_trial();
        }
    }

    fn restart_whole_plan(&mut self) {
        let Some(old) = self.whole_plan.take() else { return };
        if let Some(trial) = &old.trial {
            let (trial, batches) = (trial.id, 0);
            let verdict = TrialVerdict::Abandoned;
            self.emit(TunerAction::TrialEnded { trial, verdict, batches, usd_per_million: None });
        }
        self.whole_plan = WholePlan::new(&self.settings, old.restarts + 1);
    }

    fn finish_trial(&mut self, is_hopeless: bool) {
        let slo_s = self.base.slo_latency.as_secs_f64();
        let allowed = self.allowed_late();
        let Some(search) = &mut self.whole_plan else { return };
        let Some(trial) = search.trial.take() else { return };
        let usd = trial.measured.usd_per_request();
        let late = trial.measured.late_share();
        let outcome = match usd.filter(|usd| *usd > 0.0) {
            Some(usd) => {
                let latency_s = trial.latency_sum_s / trial.latency_windows.max(1.0);
                // The share decides; the latency says how far off it is.
                let over = (latency_s.max(1e-6) / slo_s).ln();
                let constraint = if late > allowed { over.max(0.01) } else { over.min(-0.01) };
                Outcome::Measured(Measurement {
                    objective: usd.ln(),
                    noise_variance: 0.0,
                    constraints: vec![constraint],
                    constraint_noise_variances: Vec::new(),
                })
            }
            None => Outcome::Failed,
        };
        search.tell(&trial, outcome);
        let verdict = if is_hopeless { TrialVerdict::Vetoed } else { TrialVerdict::Measured };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of batches")]
        let batches = trial.measured.batches as u32;
        self.emit(TunerAction::TrialEnded {
            trial: trial.id,
            verdict,
            batches,
            usd_per_million: usd.map(|usd| usd * 1e6),
        });
    }

    fn next_trial(&mut self) {
        let Some(search) = &mut self.whole_plan else { return };
        let Some(trial) = search.next() else {
            search.is_settled = true;
            let best = search.study.recommend().ok().flatten().or_else(|| search.study.best());
            let best = best.map(|finished| finished.point);
            if let Some(plan) = best.and_then(|point| self.measured_plan(&point)) {
                self.put_in_force(plan);
                self.counts.switches += 1;
            } else {
                self.return_to_base();
            }
            self.phase = Phase::Holding;
            self.realised = Realised::default();
            return;
        };
        let (id, point) = (trial.id, trial.point.clone());
        search.trial = Some(trial);
        let Some(plan) = self.measured_plan(&point) else { return };
        self.put_in_force(plan);
        self.counts.trials += 1;
        self.phase = Phase::Exploring;
        let point = Self::point_of(&point, self.base.slo_latency).summary();
        self.emit(TunerAction::TrialStarted { trial: id, point, expected_gain: None });
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "values of the space are whole and bounded"
    )]
    fn point_of(values: &[f64], slo: Duration) -> Point {
        let at = |index: usize| values.get(index).copied().unwrap_or(1.0);
        let bound = at(0) as u32;
        let place = RungPoint { process_count: at(1) as u32, memory_mib: at(2) as u32 };
        Point {
            max_batch_size: bound,
            max_queue_delay: slo.mul_f64(at(3)),
            rungs: vec![(bound, place)],
            close_z: 0.0,
        }
    }

    /// A plan as the black box knows it: nothing of service times, so batches close when full or by their delay.
    fn measured_plan(&self, values: &[f64]) -> Option<ServingPlan> {
        let point = Self::point_of(values, self.base.slo_latency);
        let plan = self.plan_of(&point, self.base.service_time_upper.clone());
        let plan = ServingPlan { packing: PackingPolicy::Fifo, ..plan };
        plan.validate().is_ok().then_some(plan)
    }
}
