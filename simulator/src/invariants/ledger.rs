//! Money and counts of a run, added up beside the world's own books.
//!
//! Rules: what an invocation costs follows from its bill and the prices alone; what did not run costs nothing; windows, report and the single
//! bills agree; so do requests that arrived, were shed, answered, failed or left. No more ran at a time than the account has concurrency.
//! Exploration is judged by what canary batches cost above the mean of the others, item for item.

use std::collections::BTreeMap;

use gateway_contract::{BatchId, ModelId, ServiceObservation, ServiceOutcome, Timestamp, WindowStats};
use gateway_policy::{BatchOutcome, Dispatch};

use super::rules::{Findings, Rule};
use crate::deployment::{Account, DeploymentReport, ModelReport};

/// Relative difference that comes of adding up in another order.
const ROUNDING: f64 = 1e-9;
/// The tuner sets off what it expects a normal batch to cost, not what it costs: so many times its budget may be spent by our measure.
const EXPECTED_AND_TRUE: f64 = 2.0;

/// Sums of one model.
#[derive(Clone, Debug, Default)]
struct Sums {
    requests: u64,
    shed: u64,
    answered: u64,
    failed: u64,
    cancelled: u64,
    billed_usd: f64,
    known_usd: f64,
    /// Dollars and items of batches that ran where planned.
    normal: (f64, f64),
    /// Dollars and items of each canary batch.
    canaries: Vec<(f64, f64)>,
    windows: WindowStats,
    most_canary_usd_in_a_window: f64,
}

/// Everything of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    models: BTreeMap<ModelId, Sums>,
    began: BTreeMap<BatchId, Timestamp>,
    /// When something that ran began (+1) and ended (−1); ends first.
    running: Vec<(Timestamp, i64)>,
}

impl Ledger {
    pub(super) fn arrive(&mut self, model: ModelId, is_shed: bool) {
        let sums = self.models.entry(model).or_default();
        sums.requests += 1;
        sums.shed += u64::from(is_shed);
    }

    pub(super) fn answer(&mut self, model: ModelId, has_all: bool) {
        let sums = self.models.entry(model).or_default();
        if has_all {
            sums.answered += 1;
        } else {
            sums.failed += 1;
        }
    }

    pub(super) fn cancel(&mut self, model: ModelId) {
        self.models.entry(model).or_default().cancelled += 1;
    }

    pub(super) fn dispatch(&mut self, now: Timestamp, batch: BatchId) {
        self.began.insert(batch, now);
    }

    pub(super) fn window(&mut self, model: ModelId, stats: &WindowStats) {
        let sums = self.models.entry(model).or_default();
        sums.windows.requests += stats.requests;
        sums.windows.shed += stats.shed;
        sums.windows.answered += stats.answered;
        sums.windows.failed += stats.failed;
        sums.windows.cost_usd += stats.cost_usd;
        sums.most_canary_usd_in_a_window = sums.most_canary_usd_in_a_window.max(stats.canary_cost_usd);
    }

    /// A batch ended and Lambda bills so much.
    pub(super) fn outcome(
        &mut self,
        now: Timestamp,
        account: &Account,
        ended: (&Dispatch, &BatchOutcome, &ServiceObservation),
        usd: f64,
        findings: &mut Findings,
    ) {
        let (dispatch, outcome, observation) = ended;
        let is_lost = *outcome == BatchOutcome::Unknown;
        let has_run = is_lost || observation.outcome != ServiceOutcome::NotRun;
        let economics = &account.economics;
        let per_gb_second =
            economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
        let gb_seconds = dispatch.memory_mib.gibibytes() * observation.billed.as_secs_f64();
        let bill = if has_run { gb_seconds * per_gb_second + economics.prices.request_usd() } else { 0.0 };
        // What the bill of a lost answer says the gateway never sees: it knows only how long it waited.
        let is_right =
            if is_lost { usd > 0.0 && usd <= bill * (1.0 + ROUNDING) } else { is_close(usd, bill) };
        findings.check(is_right, Rule::Money, now, || {
            format!("batch {} is billed {usd} USD, by its own numbers {bill}", dispatch.batch)
        });
        let began = self.began.remove(&dispatch.batch);
        if let Some(began) = began.filter(|_| has_run) {
            self.running.extend([(began, 1), (now, -1)]);
        }
        let sums = self.models.entry(dispatch.model).or_default();
        sums.billed_usd += usd;
        sums.known_usd += bill;
        if observation.init.is_none() && matches!(outcome, BatchOutcome::Completed { .. }) {
            let items = f64::from(dispatch.items);
            if dispatch.is_canary {
                sums.canaries.push((usd, items));
            } else if !dispatch.is_hold_out {
                sums.normal = (sums.normal.0 + usd, sums.normal.1 + items);
            }
        }
    }

    /// The world's books must agree with these.
    pub(super) fn close(&mut self, account: &Account, report: &DeploymentReport, findings: &mut Findings) {
        let at = Timestamp::ZERO + std::time::Duration::from_secs_f64(report.ended_s.max(0.0));
        for (id, model) in (0..).zip(&report.models) {
            let sums = self.models.entry(ModelId(id)).or_default();
            compare_money(sums, model, at, findings);
            compare_counts(sums, model, at, findings);
        }
        self.running.sort_unstable();
        let mut running = 0_i64;
        let mut most = 0;
        for (_, change) in &self.running {
            running += change;
            most = most.max(running);
        }
        let limit = account.limits.concurrency;
        findings.check(most <= i64::from(limit), Rule::InFlight, at, || {
            format!("{most} invocations ran at once on an account that allows {limit}")
        });
    }

    /// What exploration cost above normal batches stays within its budget, but for what was out when it was used up.
    pub(super) fn check_exploration(
        &self,
        model: ModelId,
        max_usd_per_hour: f64,
        seconds: f64,
        findings: &mut Findings,
    ) {
        let Some(sums) = self.models.get(&model) else { return };
        let usd_per_item = if sums.normal.1 > 0.0 { sums.normal.0 / sums.normal.1 } else { return };
        let excess = |&(usd, items): &(f64, f64)| (usd - items * usd_per_item).max(0.0);
        let spent: f64 = sums.canaries.iter().map(excess).sum();
        let allowed = EXPECTED_AND_TRUE * max_usd_per_hour * (1.0 + seconds / 3600.0)
            + 2.0 * sums.most_canary_usd_in_a_window;
        findings.check(spent <= allowed, Rule::ExplorationDollars, Timestamp::ZERO, || {
            format!(
                "exploration of model {model} cost {spent} USD in {seconds} s, {allowed} at most were allowed"
            )
        });
    }
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= ROUNDING * one.abs().max(other.abs()) + 1e-15
}

fn compare_money(sums: &Sums, model: &ModelReport, at: Timestamp, findings: &mut Findings) {
    let calls = model.usd.warm_up + model.usd.keeping;
    let ran = model.usd.total() - calls;
    let records: f64 = model.windows.iter().map(|record| record.usd).sum();
    let pairs = [
        ("the report's batches", ran, sums.billed_usd),
        ("the records' dollars", records, model.usd.total()),
        ("the windows' dollars as known", sums.windows.cost_usd, sums.known_usd + calls),
    ];
    for (what, said, summed) in pairs {
        findings.check(is_close(said, summed), Rule::Money, at, || {
            format!("{what} of `{}` are {said} USD, its bills {summed}", model.name)
        });
    }
}

fn compare_counts(sums: &Sums, model: &ModelReport, at: Timestamp, findings: &mut Findings) {
    let counts = &model.counts;
    let ended = counts.shed + counts.answered + counts.failed + counts.cancelled + counts.unanswered;
    let pairs = [
        ("requests", counts.requests, sums.requests),
        ("requests that ended", ended, sums.requests),
        ("shed", counts.shed, sums.shed),
        ("answered", counts.answered, sums.answered),
        ("failed", counts.failed, sums.failed),
        ("cancelled", counts.cancelled, sums.cancelled),
        ("requests in windows", sums.windows.requests, sums.requests),
        ("shed in windows", sums.windows.shed, sums.shed),
        ("answered in windows", sums.windows.answered, sums.answered),
        ("failed in windows", sums.windows.failed, sums.failed),
    ];
    for (what, said, seen) in pairs {
        findings.check(said == seen, Rule::Counts, at, || {
            format!("{what} of `{}`: {said} counted, {seen} seen", model.name)
        });
    }
}
