//! What happened to a model lately, for people: windows, plans in force, decisions, batches. Bounded rings, oldest first out.
//!
//! The control loop writes, from what it is told anyway; the admin routes read. The data path knows nothing of it. It outlives a panic of the loop,
//! not the process. Every entry has a number that only grows, so that a reader asks for what it has not seen. Deliberately absent: anything that a
//! decision rests on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_contract::{ServiceObservation, ServingPlan, Timestamp};
use optimizer_tuner::{TunerAction, TunerEvent, TunerReport};
use serde::Serialize;
use serde_json::{Value, json};

use crate::driver::{ClosedWindow, Observed};
use crate::telemetry::model::close_label;

/// Windows that are kept: a quarter of an hour of windows of one second, a quarter of a mebibyte a model.
pub(super) const WINDOWS: usize = 900;
/// Plans that are kept.
pub(super) const PLANS: usize = 200;
/// Decisions that changed something.
pub(super) const DECISIONS: usize = 200;
/// Decisions to go on as before: they come often, and must not push the others out.
pub(super) const KEPT: usize = 20;
/// Batches that are kept, an eighth of a mebibyte.
pub(super) const BATCHES: usize = 512;

/// The histories of all models, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories(Arc<Mutex<BTreeMap<String, Arc<History>>>>);

impl Histories {
    /// A model's, made if there is none.
    pub(super) fn of(&self, model: &str) -> Arc<History> {
        self.lock().entry(model.to_owned()).or_default().clone()
    }

    /// A model's, if there is one.
    pub(super) fn get(&self, model: &str) -> Option<Arc<History>> {
        self.lock().get(model).cloned()
    }

    /// Drops those of models that are gone.
    pub(super) fn retain(&self, is_served: impl Fn(&str) -> bool) {
        self.lock().retain(|model, _| is_served(model));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<History>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One model's.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Rings>);

#[derive(Debug, Default)]
struct Rings {
    /// Number of the last entry, from 1.
    last: u64,
    windows: VecDeque<Numbered<WindowRecord>>,
    plans: VecDeque<Numbered<PlanRecord>>,
    decisions: VecDeque<Numbered<TunerEvent>>,
    kept: VecDeque<Numbered<TunerEvent>>,
    batches: VecDeque<Numbered<BatchRecord>>,
}

#[derive(Clone, Debug, Serialize)]
struct Numbered<T> {
    number: u64,
    #[serde(flatten)]
    entry: T,
}

/// A window.
#[derive(Clone, Debug, Serialize)]
struct WindowRecord {
    ended_s: f64,
    length_s: f64,
    requests: u64,
    items: u64,
    answered: u64,
    within_slo: u64,
    shed: u64,
    failed: u64,
    batches: u64,
    batch_items: u64,
    throttled: u64,
    cold_starts: u64,
    cost_usd: f64,
    canary_cost_usd: f64,
    hold_out_cost_usd: f64,
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    /// At the objective's percentile.
    latency_ms: Option<f64>,
    queue_items: u32,
    queue_oldest_ms: f64,
    in_flight: u32,
    /// Arrival rate of the present regime, as the tuner sees it.
    regime_per_s: f64,
    unbatched_usd_per_million: Option<f64>,
    measured_unbatched_usd_per_million: Option<f64>,
}

/// A plan that came into force.
#[derive(Clone, Debug, Serialize)]
struct PlanRecord {
    at_s: f64,
    revision: u64,
    #[serde(flatten)]
    point: PlanPoint,
}

/// What of a plan people compare; canaries and closing times are left aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PlanPoint {
    max_batch_size: u32,
    max_queue_delay_ms: f64,
    /// By fill: largest fill, MiB, processes.
    rungs: Vec<(u32, u32, u32)>,
}

/// A batch that ended.
#[derive(Clone, Debug, Serialize)]
struct BatchRecord {
    batch: u64,
    parent: Option<u64>,
    attempt: u32,
    revision: u64,
    is_canary: bool,
    is_hold_out: bool,
    /// Arrival of its oldest item.
    opened_s: f64,
    closed_s: f64,
    ended_s: f64,
    reason: &'static str,
    outcome: &'static str,
    items: u32,
    failed_items: u32,
    #[serde(serialize_with = "as_text")]
    qualifier: Arc<str>,
    memory_mib: u32,
    process_count: u32,
    handler_ms: f64,
    billed_ms: f64,
    /// Start of the sandbox, if this invocation started it.
    init_ms: Option<f64>,
    max_memory_used_mib: Option<u32>,
    process_restarts: u32,
    cost_usd: f64,
}

impl History {
    /// A window ended.
    pub(super) fn window(&self, closed: &ClosedWindow, report: &TunerReport) {
        let stats = &closed.stats;
        let ms = |latency: Option<std::time::Duration>| latency.map(|latency| latency.as_secs_f64() * 1e3);
        let finite = |usd: Option<f64>| usd.filter(|usd| usd.is_finite());
        let record = WindowRecord {
            ended_s: seconds(stats.ended_at),
            length_s: stats.length.as_secs_f64(),
            requests: stats.requests,
            items: stats.items,
            answered: stats.answered,
            within_slo: stats.within_slo,
            shed: stats.shed,
            failed: stats.failed,
            batches: stats.batches,
            batch_items: stats.batch_items,
            throttled: stats.throttled,
            cold_starts: closed.cold_starts,
            cost_usd: stats.cost_usd,
            canary_cost_usd: stats.canary_cost_usd,
            hold_out_cost_usd: stats.hold_out_cost_usd,
            latency_p50_ms: ms(closed.latency_p50),
            latency_p99_ms: ms(closed.latency_p99),
            latency_ms: ms(stats.latency_at_percentile),
            queue_items: closed.queue_items,
            queue_oldest_ms: closed.queue_oldest.as_secs_f64() * 1e3,
            in_flight: closed.in_flight,
            regime_per_s: report.load.requests_per_s,
            unbatched_usd_per_million: finite(report.unbatched_usd_per_million),
            measured_unbatched_usd_per_million: finite(report.measured_unbatched_usd_per_million),
        };
        self.lock().push(|rings| &mut rings.windows, WINDOWS, record);
    }

    /// A plan serves from now on. One that differs from the last in nothing that people compare is left out.
    pub(super) fn plan(&self, at: Timestamp, plan: &ServingPlan) {
        let rungs = plan.rungs.iter();
        let point = PlanPoint {
            max_batch_size: plan.max_batch_size,
            max_queue_delay_ms: plan.max_queue_delay.as_secs_f64() * 1e3,
            rungs: rungs.map(|rung| (rung.max_items, rung.memory_mib.0, rung.process_count)).collect(),
        };
        let mut rings = self.lock();
        if rings.plans.back().is_none_or(|last| last.entry.point != point) {
            let record = PlanRecord { at_s: seconds(at), revision: plan.revision.0, point };
            rings.push(|rings| &mut rings.plans, PLANS, record);
        }
    }

    /// The tuner decided something.
    pub(super) fn decision(&self, event: &TunerEvent) {
        let goes_on = matches!(event.what, TunerAction::Kept { .. } | TunerAction::Refreshed { .. });
        if goes_on {
            self.lock().push(|rings| &mut rings.kept, KEPT, event.clone());
        } else {
            self.lock().push(|rings| &mut rings.decisions, DECISIONS, event.clone());
        }
    }

    /// A batch ended.
    pub(super) fn batch(&self, observed: &Observed) {
        let Observed { observation, qualifier, facts, .. } = observed;
        let &ServiceObservation { at, revision, is_canary, is_hold_out, items, process_count, .. } =
            observation;
        let record = BatchRecord {
            batch: facts.batch.0,
            parent: facts.parent.map(|parent| parent.0),
            attempt: facts.attempt,
            revision: revision.0,
            is_canary,
            is_hold_out,
            opened_s: seconds(facts.opened),
            closed_s: seconds(facts.closed),
            ended_s: seconds(at),
            reason: close_label(facts.reason),
            outcome: facts.outcome,
            items,
            failed_items: facts.failed_items,
            qualifier: qualifier.clone(),
            memory_mib: observation.memory_mib.0,
            process_count,
            handler_ms: observation.handler.as_secs_f64() * 1e3,
            billed_ms: observation.billed.as_secs_f64() * 1e3,
            init_ms: observation.init.map(|init| init.as_secs_f64() * 1e3),
            max_memory_used_mib: observation.max_memory_used.map(|used| used.0),
            process_restarts: observation.process_restarts,
            cost_usd: facts.cost_usd,
        };
        self.lock().push(|rings| &mut rings.batches, BATCHES, record);
    }

    /// What came after entry `after` (0: all that is kept): windows, plans and decisions, each oldest first.
    pub(super) fn since(&self, after: u64) -> Value {
        let rings = self.lock().clone_after(after);
        json!({
            "last": rings.last, "windows": rings.windows, "plans": rings.plans, "decisions": rings.decisions, "kept": rings.kept,
        })
    }

    /// The batches after entry `after`, at most the newest `limit`.
    pub(super) fn batches_since(&self, after: u64, limit: usize) -> Value {
        let (last, batches) = {
            let rings = self.lock();
            let newest = rings.batches.iter().rev().take(limit).take_while(|batch| batch.number > after);
            (rings.last, newest.cloned().collect::<Vec<_>>())
        };
        json!({ "last": last, "batches": batches.into_iter().rev().collect::<Vec<_>>() })
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies of what is shown; JSON is made without the lock.
struct Shown {
    last: u64,
    windows: Vec<Numbered<WindowRecord>>,
    plans: Vec<Numbered<PlanRecord>>,
    decisions: Vec<Numbered<TunerEvent>>,
    kept: Vec<Numbered<TunerEvent>>,
}

impl Rings {
    fn push<T>(&mut self, ring: impl Fn(&mut Self) -> &mut VecDeque<Numbered<T>>, capacity: usize, entry: T) {
        self.last += 1;
        let number = self.last;
        let ring = ring(self);
        if ring.len() >= capacity {
            ring.pop_front();
        }
        ring.push_back(Numbered { number, entry });
    }

    fn clone_after(&self, after: u64) -> Shown {
        fn newer<T: Clone>(ring: &VecDeque<Numbered<T>>, after: u64) -> Vec<Numbered<T>> {
            let begin = ring.partition_point(|entry| entry.number <= after);
            ring.range(begin..).cloned().collect()
        }
        Shown {
            last: self.last,
            windows: newer(&self.windows, after),
            plans: newer(&self.plans, after),
            decisions: newer(&self.decisions, after),
            kept: newer(&self.kept, after),
        }
    }
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_contract::{BatchId, Mebibytes, ModelId, PlanRevision, ServiceOutcome, WindowStats};
    use gateway_policy::CloseReason;
    use optimizer_tuner::event::{Candidate, Expectation, PointSummary};

    use super::*;
    use crate::driver::BatchFacts;

    fn observed(batch: u64) -> Observed {
        let observation = ServiceObservation {
            at: Timestamp::from_nanos(batch * 1_000_000),
            revision: PlanRevision(1),
            is_canary: false,
            is_hold_out: false,
            outcome: ServiceOutcome::Completed,
            items: 4,
            memory_mib: Mebibytes(1024),
            process_count: 1,
            shard_padded_units: 4,
            work_units: 4,
            handler: Duration::from_millis(20),
            billed: Duration::from_millis(20),
            billed_is_estimate: false,
            round_trip: Duration::from_millis(25),
            init: None,
            max_memory_used: None,
            process_restarts: 0,
        };
        let facts = BatchFacts {
            batch: BatchId(batch),
            parent: None,
            attempt: 1,
            opened: Timestamp::ZERO,
            closed: Timestamp::ZERO,
            reason: CloseReason::Full,
            outcome: "ok",
            failed_items: 0,
            cost_usd: 1e-6,
        };
        Observed { model: ModelId(0), observation, refused: None, qualifier: "mem-1024".into(), facts }
    }

    fn kept() -> TunerEvent {
        let point = PointSummary { max_batch_size: 4, max_queue_delay_ms: 10.0, rungs: vec![(4, 1024, 1)] };
        let candidate = Candidate { point, expected: Expectation::default() };
        let what = TunerAction::Kept { incumbent: candidate.clone(), challenger: candidate };
        TunerEvent::new(Timestamp::ZERO, what)
    }

    #[test]
    fn the_past_is_bounded_and_the_oldest_go_first() {
        let history = History::default();
        let closed = |n: u64| ClosedWindow {
            stats: WindowStats { requests: n, ..WindowStats::default() },
            ..ClosedWindow::default()
        };
        let drift = TunerEvent::new(Timestamp::ZERO, TunerAction::Drift { factor: 1.2 });
        for n in 0..2_000 {
            history.window(&closed(n), &TunerReport::default());
            history.batch(&observed(n));
            history.decision(&drift);
            history.decision(&kept());
        }
        let shown = history.since(0);
        let length = |key: &str| shown[key].as_array().map(Vec::len);
        assert_eq!((length("windows"), length("decisions")), (Some(WINDOWS), Some(DECISIONS)));
        assert_eq!(length("kept"), Some(KEPT), "going on as before does not push decisions out");
        assert_eq!(shown["windows"][0]["requests"], 2_000 - WINDOWS);
        let batches = history.batches_since(0, usize::MAX);
        assert_eq!(batches["batches"].as_array().map(Vec::len), Some(BATCHES));
        assert_eq!(batches["batches"][0]["batch"], 2_000 - BATCHES);
        assert_eq!(shown["last"], 8_000);
        assert_eq!(history.since(8_000)["windows"].as_array().map(Vec::len), Some(0));
        assert!(size_of::<Numbered<WindowRecord>>() * WINDOWS <= 256 << 10, "a quarter of a mebibyte");
        assert!(size_of::<Numbered<BatchRecord>>() * BATCHES <= 128 << 10, "an eighth");
    }

    #[test]
    fn a_model_that_is_gone_takes_its_past_along() {
        let histories = Histories::default();
        histories.of("a").decision(&kept());
        let _ = histories.of("b");
        histories.retain(|name| name == "b");
        assert!(histories.get("a").is_none() && histories.get("b").is_some());
    }
}
