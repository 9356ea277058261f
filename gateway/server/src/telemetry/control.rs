//! The control loop's metrics of one model: what it put into force and why, what that costs, what it saves.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Canary, ServingPlan, WindowStats};
use optimizer_tuner::event::{Expectation, RollbackReason, SwitchReason, TrialVerdict};
use optimizer_tuner::{TunerAction, TunerReport};
use prometheus::{Counter, Gauge, Histogram, IntGauge};

use super::Catalogue;

/// One model's metrics.
#[derive(Debug)]
pub struct ControlMetrics {
    catalogue: Arc<Catalogue>,
    model: String,
    revision: IntGauge,
    max_batch_size: IntGauge,
    max_queue_delay: Gauge,
    memory: IntGauge,
    processes: IntGauge,
    rungs: IntGauge,
    canary_share: Gauge,
    predicted_usd: Gauge,
    realised_usd: Gauge,
    predicted_latency: Gauge,
    realised_latency: Gauge,
    predicted_late: Gauge,
    realised_late: Gauge,
    drift: Gauge,
    dispersion: Gauge,
    load: Gauge,
    exploration: Counter,
    decision: Histogram,
    saved_unbatched: Gauge,
    saved_lambda: Gauge,
    hold_out_usd: Counter,
    warm_up_usd: Counter,
}

/// Why the control loop went back to a plan that it did not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing usable was observed.
    Blind,
    /// No plan keeps the objective.
    Infeasible,
    /// The plan names an alias that does not exist.
    AliasMissing,
    /// The tuner or the loop panicked.
    Panic,
    /// What was kept on the disk cannot be used.
    CorruptState,
}

impl Fallback {
    /// Label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Infeasible => "infeasible",
            Self::AliasMissing => "alias_missing",
            Self::Panic => "panic",
            Self::CorruptState => "corrupt_state",
        }
    }
}

impl ControlMetrics {
    /// Looks up the children of `model`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, model: &str) -> Self {
        let c = &catalogue;
        let labels = &[model];
        Self {
            revision: c.plan_revision.with_label_values(labels),
            max_batch_size: c.plan_max_batch_size.with_label_values(labels),
            max_queue_delay: c.plan_max_queue_delay.with_label_values(labels),
            memory: c.plan_memory.with_label_values(labels),
            processes: c.plan_processes.with_label_values(labels),
            rungs: c.plan_rungs.with_label_values(labels),
            canary_share: c.plan_canary_share.with_label_values(labels),
            predicted_usd: c.plan_predicted_usd.with_label_values(labels),
            realised_usd: c.plan_realised_usd.with_label_values(labels),
            predicted_latency: c.plan_predicted_latency.with_label_values(labels),
            realised_latency: c.plan_realised_latency.with_label_values(labels),
            predicted_late: c.plan_predicted_late.with_label_values(labels),
            realised_late: c.plan_realised_late.with_label_values(labels),
            drift: c.drift_factor.with_label_values(labels),
            dispersion: c.load_dispersion.with_label_values(labels),
            load: c.load_rate.with_label_values(labels),
            exploration: c.exploration_usd.with_label_values(labels),
            decision: c.decision_seconds.with_label_values(labels),
            saved_unbatched: c.savings_usd.with_label_values(&[model, "unbatched"]),
            saved_lambda: c.savings_usd.with_label_values(&[model, "lambda"]),
            hold_out_usd: c.hold_out_usd.with_label_values(labels),
            warm_up_usd: c.cost_usd.with_label_values(&[model, "lambda_warm_up"]),
            model: model.to_owned(),
            catalogue,
        }
    }

    /// A plan was put into force.
    pub fn plan(&self, plan: &ServingPlan) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.revision.set(gauge(plan.revision.0));
        self.max_batch_size.set(i64::from(plan.max_batch_size));
        self.max_queue_delay.set(plan.max_queue_delay.as_secs_f64());
        if let Some(largest) = plan.rungs.last() {
            self.memory.set(gauge(u64::from(largest.memory_mib.0) << 20));
            self.processes.set(i64::from(largest.process_count));
        }
        self.rungs.set(gauge(plan.rungs.len() as u64));
        let share = |canary: &Canary| 1.0 / f64::from(canary.every.max(1));
        self.canary_share.set(plan.canary.as_ref().map_or(0.0, share));
    }

    /// The tuner did something.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most actions are told by gauges or only logged")]
    pub fn acted(&self, action: &TunerAction) {
        let count = |family: &prometheus::IntCounterVec, label: &str| {
            family.with_label_values(&[&*self.model, label]).inc();
        };
        match action {
            TunerAction::ChangePoint { before_per_s, after_per_s, .. } => {
                count(&self.catalogue.change_points, if after_per_s >= before_per_s { "up" } else { "down" });
            }
            TunerAction::Switched { reason, .. } => {
                count(&self.catalogue.plan_switches, switch_label(*reason))
            }
            TunerAction::TrialStarted { .. } => count(&self.catalogue.trials, "started"),
            TunerAction::TrialEnded { verdict, .. } => count(&self.catalogue.trials, verdict_label(*verdict)),
            TunerAction::RolledBack { reason, .. } => {
                count(&self.catalogue.plan_rollbacks, rollback_label(*reason));
            }
            TunerAction::Blind { .. } => self.fell_back(Fallback::Blind),
            TunerAction::Infeasible { .. } => self.fell_back(Fallback::Infeasible),
            _ => {}
        }
    }

    /// The loop went back to a safe plan.
    pub fn fell_back(&self, why: Fallback) {
        self.catalogue.plan_fallbacks.with_label_values(&[&*self.model, why.label()]).inc();
    }

    /// A window's decision was made.
    pub fn decided(&self, took: Duration) {
        self.decision.observe(took.as_secs_f64());
    }

    /// What the tuner knows.
    pub fn report(&self, report: &TunerReport) {
        if let Some(incumbent) = &report.incumbent {
            let Expectation { usd_per_million, latency_ms, late_share, .. } = incumbent.expected;
            self.predicted_usd.set(usd_per_million);
            self.predicted_latency.set(latency_ms / 1e3);
            self.predicted_late.set(late_share);
        }
        self.unbatched(report);
        if report.realised.requests > 0 {
            self.realised_usd.set(report.realised.usd_per_million);
            self.realised_late.set(report.realised.late_share);
        }
        self.drift.set(report.drift_factor);
        self.dispersion.set(report.load.dispersion);
        self.load.set(report.load.requests_per_s);
    }

    /// Exploration has cost more.
    pub fn explored(&self, usd: f64) {
        if usd > 0.0 {
            self.exploration.inc_by(usd);
        }
    }

    fn unbatched(&self, report: &TunerReport) {
        let bases = [
            ("formula", report.unbatched_usd_per_million),
            ("measured", report.measured_unbatched_usd_per_million),
        ];
        for (basis, usd) in bases {
            let Some(usd) = usd.filter(|usd| usd.is_finite() && *usd > 0.0) else { continue };
            let labels = &[&*self.model, basis];
            self.catalogue.unbatched_usd.with_label_values(labels).set(usd);
            if report.realised.requests > 0 {
                let saved = 1.0 - report.realised.usd_per_million / usd;
                self.catalogue.savings_ratio.with_label_values(labels).set(saved);
            }
        }
    }

    /// A window ended, whose requests would have cost so much unbatched; `None`: that is not known yet, and nothing is counted.
    pub fn window(&self, stats: &WindowStats, unbatched_usd_per_million: Option<f64>) {
        if let Some(latency) = stats.latency_at_percentile {
            self.realised_latency.set(latency.as_secs_f64());
        }
        self.hold_out_usd.inc_by(stats.hold_out_cost_usd);
        if let Some(unbatched) = unbatched_usd_per_million.filter(|usd| usd.is_finite()) {
            self.saved_unbatched.add(unbatched * stats.answered as f64 / 1e6);
            self.saved_lambda.sub(stats.cost_usd);
        }
    }

    /// A no-op call ended, at this price.
    pub fn called(&self, purpose: &'static str, outcome: &'static str, usd: f64) {
        self.catalogue.no_op_calls.with_label_values(&[&*self.model, purpose, outcome]).inc();
        self.warm_up_usd.inc_by(usd);
        self.saved_lambda.sub(usd);
    }
}

const fn switch_label(reason: SwitchReason) -> &'static str {
    match reason {
        SwitchReason::Learned => "learned",
        SwitchReason::ChangePoint => "change_point",
        SwitchReason::Better => "better",
        SwitchReason::ObjectiveAtRisk => "objective_at_risk",
        SwitchReason::Configuration => "configuration",
        SwitchReason::Operator => "operator",
        SwitchReason::Guard => "guard",
    }
}

const fn verdict_label(verdict: TrialVerdict) -> &'static str {
    match verdict {
        TrialVerdict::Measured => "measured",
        TrialVerdict::Vetoed => "vetoed",
        TrialVerdict::Abandoned => "abandoned",
    }
}

const fn rollback_label(reason: RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Late => "late",
        RollbackReason::Dear => "dear",
        RollbackReason::Failing => "failing",
    }
}
