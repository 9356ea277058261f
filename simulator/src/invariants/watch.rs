//! Watches a deployment: feeds the reference model, keeps the ledger, takes the fingerprint.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{ModelId, RequestId, ServiceObservation, ServingPlan, Timestamp, WindowStats};
use gateway_policy::{
    BatchOutcome, Dispatch, EnvironmentCall, Event, Rejection, RequestMeta, RequestOutcome,
};
use optimizer_tuner::TunerEvent;
use optimizer_tuner::settings::ExplorationLimits;

use super::digest::Digest;
use super::ledger::Ledger;
use super::reference::Reference;
use super::rules::{Findings, Rule};
use crate::deployment::{Account, DeploymentReport, Observer};

/// After the end so much time is let pass, so that what is overdue shows.
const AFTERMATH: Duration = Duration::from_secs(1_000);

/// Watches one run and finds what does not hold.
#[derive(Debug)]
pub struct Watch {
    reference: Reference,
    ledger: Ledger,
    /// `None`: nobody wants it, and it costs more than all else here.
    digest: Option<Digest>,
    account: Account,
    exploration: BTreeMap<ModelId, ExplorationLimits>,
    owners: BTreeMap<RequestId, ModelId>,
    batches: u64,
    requests: u64,
}

impl Watch {
    /// Nothing seen yet. `exploration`: the limits of models that a tuner steers.
    #[must_use]
    pub fn new(account: Account, exploration: BTreeMap<ModelId, ExplorationLimits>) -> Self {
        Self {
            reference: Reference::default(),
            ledger: Ledger::default(),
            digest: None,
            account,
            exploration,
            owners: BTreeMap::new(),
            batches: 0,
            requests: 0,
        }
    }

    /// The same, with a fingerprint of the log.
    #[must_use]
    pub fn with_fingerprint(self) -> Self {
        Self { digest: Some(Digest::default()), ..self }
    }

    fn log(&mut self, entry: std::fmt::Arguments<'_>) {
        if let Some(digest) = &mut self.digest {
            digest.add(entry);
        }
    }

    /// Compares with the world's own books. Comes last.
    pub fn close(&mut self, report: &DeploymentReport) {
        let findings = self.reference.findings_mut();
        self.ledger.close(&self.account, report, findings);
        for (model, limits) in &self.exploration {
            self.ledger.check_exploration(*model, limits.max_usd_per_hour, report.ended_s, findings);
        }
    }

    /// What did not hold.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        self.reference.findings()
    }

    pub(super) fn findings_mut(&mut self) -> &mut Findings {
        self.reference.findings_mut()
    }

    /// Equal for equal logs; `None` if it was not asked for.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        self.digest.map(Digest::value)
    }

    /// Requests that arrived, and batches that were sent.
    #[must_use]
    pub fn volume(&self) -> (u64, u64) {
        (self.requests, self.batches)
    }
}

impl Observer for Watch {
    fn on_plan(&mut self, now: Timestamp, plan: &ServingPlan) {
        self.log(format_args!("{now:?} {plan:?}"));
        if let (Some(canary), Some(limits)) = (&plan.canary, self.exploration.get(&plan.model)) {
            let share = 1.0 / f64::from(canary.every);
            let is_within = share <= limits.max_share * (1.0 + 1e-9);
            self.reference.findings_mut().check(is_within, Rule::CanaryShare, now, || {
                format!(
                    "plan {} sends {share} of its batches to a canary, {} may go",
                    plan.revision, limits.max_share
                )
            });
        }
        self.reference.handle_plan(now, plan);
    }

    fn on_request(&mut self, now: Timestamp, request: &RequestMeta, admission: Result<(), Rejection>) {
        self.log(format_args!("{now:?} {request:?} {admission:?}"));
        self.requests += 1;
        self.owners.insert(request.id, request.model);
        self.ledger.arrive(request.model, admission.is_err());
        self.reference.handle_request(now, request, admission);
    }

    fn on_dispatch(&mut self, now: Timestamp, dispatch: &Dispatch) {
        self.log(format_args!("{now:?} {dispatch:?}"));
        self.batches += 1;
        self.ledger.dispatch(now, dispatch.batch);
        self.reference.handle_dispatch(now, dispatch);
    }

    fn on_call(&mut self, now: Timestamp, call: &EnvironmentCall) {
        self.log(format_args!("{now:?} {call:?}"));
        self.reference.handle_call(now, call);
    }

    fn on_call_end(&mut self, now: Timestamp, call: &EnvironmentCall, ran: bool) {
        self.log(format_args!("{now:?} {} {ran}", call.call));
        self.reference.handle_call_end(now, call.call);
    }

    fn on_outcome(
        &mut self,
        now: Timestamp,
        dispatch: &Dispatch,
        outcome: &BatchOutcome,
        observation: &ServiceObservation,
        usd: f64,
    ) {
        self.log(format_args!("{now:?} {} {outcome:?} {observation:?} {usd}", dispatch.batch));
        let ended = (dispatch, outcome, observation);
        self.ledger.outcome(now, &self.account, ended, usd, self.reference.findings_mut());
        self.reference.handle_outcome(now, dispatch.batch, outcome);
    }

    fn on_answer(
        &mut self,
        now: Timestamp,
        model: ModelId,
        request: RequestId,
        _latency: Duration,
        outcome: &RequestOutcome,
    ) {
        self.log(format_args!("{now:?} {request} {outcome:?}"));
        let has_all = matches!(outcome, RequestOutcome::Answered { failed } if failed.is_empty());
        self.ledger.answer(model, has_all);
        self.reference.handle_answer(now, request, outcome);
    }

    fn on_stray_answer(&mut self, now: Timestamp, request: RequestId, outcome: &RequestOutcome) {
        self.log(format_args!("{now:?} stray {request} {outcome:?}"));
        self.reference.handle_answer(now, request, outcome);
    }

    fn on_cancel(&mut self, now: Timestamp, request: RequestId) {
        self.log(format_args!("{now:?} cancel {request}"));
        if let Some(model) = self.owners.get(&request) {
            self.ledger.cancel(*model);
        }
        self.reference.handle_cancel(now, request);
    }

    fn on_event(&mut self, now: Timestamp, event: &Event) {
        self.log(format_args!("{now:?} {event:?}"));
    }

    fn on_window(&mut self, model: ModelId, stats: &WindowStats) {
        self.log(format_args!("{model} {stats:?}"));
        self.ledger.window(model, stats);
    }

    fn on_tuner_event(&mut self, model: ModelId, event: &TunerEvent) {
        self.log(format_args!("{model} {event:?}"));
    }

    fn on_drain(&mut self, now: Timestamp) {
        self.log(format_args!("{now:?} drain"));
        self.reference.handle_drain(now);
    }

    fn on_end(&mut self, now: Timestamp, unanswered: &[RequestId]) {
        self.log(format_args!("{now:?} end {unanswered:?}"));
        self.reference.handle_end(now + AFTERMATH);
    }
}
