//! What the loop keeps of one model between turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_contract::{Rung, ServiceObservation, ServiceOutcome, ServingPlan, WindowStats};
use optimizer_tuner::warm_up::{STAYS_WARM, cold_rungs};
use optimizer_tuner::{Economics, TunerReport, TunerSettings, TunerState};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::decide::Decide;
use super::handle::{Believed, Pinning, Snapshot};
use super::history::History;
use super::point::StoredPlan;
use super::shared::ModelLease;
use super::store::StoredState;
use crate::driver::Observed;
use crate::lifecycle::Steered;
use crate::telemetry::ControlMetrics;

/// One model.
pub(super) struct ModelControl {
    pub(super) steered: Steered,
    /// Whether this gateway decides; else it serves what it is told.
    pub(super) leads: bool,
    /// `None`: nothing is shared with other gateways.
    pub(super) lease: Option<ModelLease>,
    /// Whether something was learned since it was published last.
    pub(super) is_published_changed: bool,
    /// `None`: it has panicked too often, is at work, or another gateway decides.
    pub(super) tuner: Option<Box<dyn Decide>>,
    pub(super) metrics: ControlMetrics,
    /// Not yet handed over.
    pub(super) waiting: Vec<ServiceObservation>,
    pub(super) next_window: Instant,
    pub(super) report: TunerReport,
    pub(super) last_window: WindowStats,
    /// When the next report is wanted.
    pub(super) next_report: Instant,
    /// A plan whose aliases are being warmed.
    pub(super) switching: Option<ServingPlan>,
    /// Aliases of `policy` that are not there.
    pub(super) missing: BTreeMap<String, Rung>,
    /// When an alias last answered.
    answered: BTreeMap<String, Instant>,
    /// Why the configured plan cannot be served.
    pub(super) unservable: Option<String>,
    pub(super) next_probe: Option<Instant>,
    pub(super) is_probing: bool,
    /// Whether a probe has ended since the start.
    pub(super) is_probed: bool,
    /// Whether something was learned since the last save.
    pub(super) is_changed: bool,
    pub(super) last_state: Option<TunerState>,
    /// Panics of its tuner that followed one another, and the last one's time.
    pub(super) panics: (u32, Instant),
    /// Attempts to bring the tuner's plan and the one in force together.
    pub(super) resyncs: u32,
    explored_usd: f64,
    pub(super) history: Arc<History>,
    /// The last surface that was asked for, and when.
    pub(super) surface: Option<(Instant, Believed)>,
}

impl ModelControl {
    pub(super) fn new(
        steered: Steered,
        metrics: ControlMetrics,
        history: Arc<History>,
        now: Instant,
    ) -> Self {
        metrics.plan(&steered.plan);
        let mut model = Self {
            next_window: now + steered.policy.window,
            metrics,
            leads: false,
            lease: None,
            is_published_changed: true,
            tuner: None,
            waiting: Vec::new(),
            report: TunerReport::default(),
            last_window: WindowStats::default(),
            next_report: now,
            switching: None,
            missing: BTreeMap::new(),
            answered: BTreeMap::new(),
            unservable: None,
            next_probe: None,
            is_probing: false,
            is_probed: false,
            is_changed: false,
            last_state: None,
            panics: (0, now),
            resyncs: 0,
            explored_usd: 0.0,
            history,
            surface: None,
            steered,
        };
        model.note_answers(now);
        model
    }

    /// The aliases of the plan in force count as warm: requests are about to use them.
    pub(super) fn note_answers(&mut self, now: Instant) {
        for rung in &self.steered.plan.rungs {
            self.answered.insert(rung.qualifier.clone(), now);
        }
    }

    /// Takes an observation in.
    pub(super) fn observe(&mut self, observed: Observed, now: Instant) {
        self.history.batch(&observed);
        if observed.observation.outcome == ServiceOutcome::Completed {
            match self.answered.get_mut(&*observed.qualifier) {
                Some(at) => *at = now,
                None => {
                    self.answered.insert(observed.qualifier.to_string(), now);
                }
            }
        }
        self.waiting.push(observed.observation);
        (self.is_changed, self.is_published_changed) = (true, true);
    }

    /// When the next window ends after one that ended now; windows that were slept through are left out.
    pub(super) fn schedule_window(&mut self, now: Instant) {
        let window = self.steered.policy.window;
        self.next_window += window;
        if self.next_window <= now {
            self.next_window = now + window;
        }
    }

    /// Gives every rung the alias of its size: the configured name where the configuration has one, else `mem-<MiB>`. Aliases are
    /// the shell's to name, whatever a tuner calls them.
    pub(super) fn name_aliases(&self, plan: &mut ServingPlan) {
        let canary = plan.canary.as_mut().map(|canary| &mut canary.rung);
        let hold_out = plan.hold_out.as_mut().map(|hold_out| &mut hold_out.rung);
        for rung in plan.rungs.iter_mut().chain(canary).chain(hold_out) {
            let configured = self.steered.base.rungs.iter().find(|other| other.memory_mib == rung.memory_mib);
            rung.qualifier = configured.map_or_else(
                || format!("mem-{}", rung.memory_mib.0),
                |configured| configured.qualifier.clone(),
            );
        }
    }

    /// The policy without the sizes whose aliases are not there.
    pub(super) fn policy(&self) -> TunerSettings {
        let mut policy = self.steered.policy.clone();
        let is_missing = |size| self.missing.values().any(|rung| rung.memory_mib == size);
        let left: Vec<_> =
            policy.bounds.memory_mib.iter().copied().filter(|&size| !is_missing(size)).collect();
        if left.first().is_some_and(|&smallest| smallest <= policy.account.memory_ceiling) {
            policy.bounds.memory_mib = left;
        }
        policy
    }

    pub(super) fn economics(&self) -> Economics {
        Economics {
            prices: self.steered.prices.clone(),
            architecture: self.steered.architecture,
            month_gb_seconds: 0.0, // the table holds the tier in force alone
        }
    }

    /// Whether a plan runs on an alias that is not there.
    pub(super) fn uses_missing(&self, plan: &ServingPlan) -> bool {
        plan.places().any(|rung| self.missing.contains_key(&rung.qualifier))
    }

    /// What to warm, and how many sandboxes of each, before `plan` is put into force.
    pub(super) fn cold_rungs(&self, plan: &ServingPlan, now: Instant) -> Vec<(Rung, usize)> {
        let is_warm = |rung: &Rung| {
            self.answered.get(&rung.qualifier).is_some_and(|&at| now.duration_since(at) < STAYS_WARM)
        };
        let busy = self.report.incumbent.as_ref().map_or(1.0, |plan| plan.expected.concurrency);
        let cold = cold_rungs(plan, busy, self.steered.max_warm_up_environments, is_warm);
        cold.into_iter().map(|(rung, count)| (rung, count as usize)).collect()
    }

    /// What to probe: the configured plan's aliases, and those that were missing.
    pub(super) fn probed_rungs(&self) -> Vec<(Rung, usize)> {
        let mut probed: Vec<(Rung, usize)> = Vec::new();
        for rung in self.steered.base.rungs.iter().chain(self.missing.values()) {
            if !probed.iter().any(|(other, _)| other.qualifier == rung.qualifier) {
                probed.push((rung.clone(), 1));
            }
        }
        probed
    }

    pub(super) fn is_base_alias(&self, qualifier: &str) -> bool {
        self.steered.base.rungs.iter().any(|rung| rung.qualifier == qualifier)
    }

    /// The rung behind an alias of the plan in force.
    pub(super) fn rung_of(&self, qualifier: &str) -> Option<Rung> {
        self.steered.plan.places().find(|rung| rung.qualifier == qualifier).cloned()
    }

    /// Takes a report in.
    pub(super) fn note_report(&mut self, report: TunerReport) {
        self.metrics.report(&report);
        self.metrics.explored(report.exploration_usd - self.explored_usd);
        self.explored_usd = report.exploration_usd;
        self.report = report;
    }

    /// What is written to the disk.
    pub(super) fn stored(&self, tuner: TunerState) -> StoredState {
        let is_chosen = StoredPlan::of(&self.steered.plan) != StoredPlan::of(&self.steered.base);
        StoredState {
            model: self.steered.name.clone(),
            manifest: self.steered.manifest.clone(),
            function: self.steered.function.to_string(),
            plan: is_chosen.then(|| StoredPlan::of(&self.steered.plan)),
            tuner,
        }
    }

    /// Where the policy looks, and what may be pinned.
    fn bounds_json(&self) -> Value {
        let bounds = self.policy().bounds;
        let base = self.steered.base.rungs.iter().map(|rung| rung.memory_mib);
        let pinnable: BTreeSet<u32> =
            bounds.memory_mib.iter().copied().chain(base).map(|size| size.0).collect();
        json!({
            "max_batch_size": bounds.batch_size, "process_count": bounds.process_count,
            "memory_mib": bounds.memory_mib.iter().map(|size| size.0).collect::<Vec<_>>(),
            "max_queue_delay_ms": bounds.queue_delay.as_secs_f64() * 1e3,
            "pinnable_memory_mib": pinnable,
        })
    }

    /// What operators see.
    pub(super) fn snapshot(&self) -> Snapshot {
        let report = &self.report;
        let common = json!({
            "model": self.steered.name,
            "policy": self.steered.policy.policy,
            "leads": self.leads,
            "leader": self.lease.as_ref().and_then(ModelLease::leader),
            "phase": report.phase,
            "hold": report.hold,
            "plan": plan_json(&self.steered.plan),
            "warming_revision": self.switching.as_ref().map(|plan| plan.revision.0),
            "missing_aliases": self.missing.keys().collect::<Vec<_>>(),
            "unservable": self.unservable,
        });
        let with = |fields: Value| {
            let mut value = common.clone();
            if let (Value::Object(all), Value::Object(more)) = (&mut value, fields) {
                all.extend(more);
            }
            value
        };
        let summary = json!({
            "incumbent": report.incumbent, "recommended": report.recommended, "realised": report.realised, "load": report.load,
        });
        let detail = json!({
            "slo_latency_ms": self.steered.base.slo_latency.as_secs_f64() * 1e3,
            "slo_percentile": self.steered.policy.slo_percentile,
            "account_concurrency": self.steered.policy.account.concurrency,
            "window_ms": self.steered.policy.window.as_secs_f64() * 1e3,
            "bounds": self.bounds_json(),
            "last_window": window_json(&self.last_window),
            "report": report,
        });
        Snapshot {
            summary: with(summary),
            detail: with(detail),
            pinning: Some(Pinning {
                in_force: self.steered.plan.clone(),
                base: self.steered.base.clone(),
                allowed: self.policy().bounds.memory_mib,
            }),
        }
    }
}

fn rung_json(rung: &Rung) -> Value {
    json!({
        "max_items": rung.max_items, "qualifier": rung.qualifier, "memory_mib": rung.memory_mib.0,
        "process_count": rung.process_count,
    })
}

fn plan_json(plan: &ServingPlan) -> Value {
    let canary =
        plan.canary.as_ref().map(|canary| json!({ "every": canary.every, "rung": rung_json(&canary.rung) }));
    let hold_out = plan.hold_out.as_ref().map(|hold_out| {
        json!({
            "every_items": hold_out.every_items, "run_items": hold_out.run_items, "rung": rung_json(&hold_out.rung),
        })
    });
    json!({
        "revision": plan.revision.0,
        "max_batch_size": plan.max_batch_size,
        "max_queue_delay_ms": plan.max_queue_delay.as_secs_f64() * 1e3,
        "rungs": plan.rungs.iter().map(rung_json).collect::<Vec<_>>(),
        "canary": canary,
        "hold_out": hold_out,
    })
}

fn window_json(stats: &WindowStats) -> Value {
    json!({
        "length_ms": stats.length.as_secs_f64() * 1e3,
        "requests": stats.requests, "items": stats.items, "answered": stats.answered, "within_slo": stats.within_slo,
        "shed": stats.shed, "failed": stats.failed, "batches": stats.batches, "batch_items": stats.batch_items,
        "throttled": stats.throttled, "cost_usd": stats.cost_usd, "estimated_cost_usd": stats.estimated_cost_usd,
        "canary_cost_usd": stats.canary_cost_usd, "hold_out_cost_usd": stats.hold_out_cost_usd,
        "latency_ms": stats.latency_at_percentile.map(|latency| latency.as_secs_f64() * 1e3),
    })
}
