//! MBS-style: the configuration of a buffer found by Bayesian optimization over the analytic model, again and again.
//!
//! As published, MBS sorts requests by size into several buffers, each with memory, batch bound and time-out, and searches that space by
//! Bayesian optimization over BATCH's kind of model, since a grid grows with the power of the buffers. With one size of requests there is one
//! buffer. In its favour: the service law is the true one, and it searches anew every half hour.
//! Reference: Ali, Pinciroli, Yan and Smirni, "Optimizing inference serving on serverless platforms", PVLDB 15(10), 2022.

use gateway_contract::WindowStats;
use optimizer_bayesopt::{Measurement, Outcome, SearchSpace, Study, StudySettings, Variable};

use super::batch::better;
use super::mmpp::Mmpp;
use super::periodic::{Chosen, Periodic, Planner};
use super::timed_batches::{TimedBatches, TimedPlan};
use crate::bounds::Known;

/// Seconds of the first searches, and between later ones.
const FIRST_S: [f64; 2] = [60.0, 300.0];
const EVERY_S: f64 = 1800.0;
/// Configurations that one search evaluates.
const EVALUATIONS: u32 = 40;

/// Fits and searches.
#[derive(Clone, Debug)]
pub struct MbsPlanner {
    known: Known,
    seed: u64,
}

/// MBS-style as a controller; before its first search each request runs alone.
#[must_use]
pub fn mbs(known: &Known, seed: u64) -> Periodic<MbsPlanner> {
    let first = super::static_plans::best_unbatched(known).plan;
    Periodic::new(MbsPlanner { known: known.clone(), seed }, first, FIRST_S.to_vec(), EVERY_S)
}

impl Planner for MbsPlanner {
    fn plan(&mut self, windows: &[WindowStats]) -> Option<Chosen> {
        // What has arrived since about the last search.
        let recent = &windows[windows.len().saturating_sub(1800)..];
        let process = Mmpp::fit(recent)?;
        let model = TimedBatches::new(&self.known, &process);
        self.seed = self.seed.wrapping_add(1);
        let best = search(&model, 1.0 - self.known.slo_percentile, self.seed)?;
        Some(Chosen { plan: model.plan(&best), concurrency: best.concurrency })
    }
}

/// The best of so many evaluated configurations.
fn search(model: &TimedBatches<'_>, allowed_late: f64, seed: u64) -> Option<TimedPlan> {
    let bounds: Vec<u32> = model.bounds().collect();
    let index = |count: usize| Variable::Integer {
        low: 0,
        high: i64::try_from(count.saturating_sub(1)).unwrap_or(0),
        log: false,
    };
    let space = SearchSpace::new([
        ("memory", index(model.sizes().len())),
        ("bound", index(bounds.len())),
        ("timeout", index(model.timeouts())),
    ])
    .ok()?;
    let settings = StudySettings { seed, constraint_count: 1, ..StudySettings::default() };
    let mut study = Study::new(space, settings).ok()?;
    let mut best: Option<TimedPlan> = None;
    for _ in 0..EVALUATIONS {
        let Ok(trial) = study.ask() else { break };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "indices of short lists")]
        let at = |place: usize| trial.point.get(place).copied().unwrap_or(0.0) as usize;
        let plan = model.evaluate(at(0), bounds[at(1)], at(2));
        let constraint = (plan.late_share.max(1e-6) / allowed_late.max(1e-6)).ln();
        let outcome = Outcome::Measured(Measurement {
            objective: plan.usd_per_request.ln(),
            noise_variance: 0.0,
            constraints: vec![constraint],
            constraint_noise_variances: Vec::new(),
        });
        study.tell(trial.id, outcome).ok()?;
        if best.as_ref().is_none_or(|best| better(&plan, best, allowed_late).is_lt()) {
            best = Some(plan);
        }
    }
    best
}
