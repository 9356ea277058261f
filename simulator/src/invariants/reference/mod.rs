//! The reference model: what the data plane may and must do, told from outside.
//!
//! It sees what goes into the engine and what comes out of it, in order, and keeps its own account: where each item is, what waits, what may
//! go out again and when. It is written from the engine's promises, not from its code, and decides nothing: where a promise leaves the engine
//! a choice (the jitter of a back-off, the adaptive window below its bound) the reference accepts every choice.
//! Calls must come in the order in which the shell made them; what a call made the engine put out follows before the next call.
//! Deliberately absent: service times and money, which are the world's; see `super::observer`.

mod admission;
mod budget;
mod closing;
mod dispatch;
mod ending;
mod liveness;
mod model;
mod outcome;
mod queue;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_contract::{BatchId, ModelId, RequestId, ServingPlan, Timestamp};
use gateway_policy::{CallPurpose, EnvironmentCall};

use self::model::{Flight, ModelReference};
use self::requests::{Known, Place};
use super::rules::{Findings, Rule};

/// What a shell's clock may be late by.
const CLOCK: Duration = Duration::from_micros(1);

/// The reference model of one engine.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    now: Timestamp,
    is_draining: bool,
    models: BTreeMap<ModelId, ModelReference>,
    /// Admitted and unanswered.
    requests: BTreeMap<RequestId, Known>,
    /// Answered or cancelled.
    gone: BTreeSet<RequestId>,
    flights: BTreeMap<BatchId, Flight>,
    /// No-op calls that are out.
    calls: BTreeMap<BatchId, ModelId>,
    last_batch: Option<BatchId>,
    deadlines: BTreeSet<(Timestamp, RequestId)>,
    /// Deadlines that passed at `now`, unanswered so far.
    expired: BTreeSet<RequestId>,
    /// Requests whose items moved since time did.
    touched: BTreeSet<RequestId>,
    arrivals: u64,
    findings: Findings,
}

impl Reference {
    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// For rules that others check beside this.
    pub(super) fn findings_mut(&mut self) -> &mut Findings {
        &mut self.findings
    }

    /// A plan was put into force.
    pub fn handle_plan(&mut self, now: Timestamp, plan: &ServingPlan) {
        self.advance(now);
        let Some(model) = self.models.get_mut(&plan.model) else {
            self.models.insert(plan.model, ModelReference::new(now, plan.clone()));
            return;
        };
        let (before, after) = (model.plan.revision, plan.revision);
        self.findings.check(before < after, Rule::Order, now, || {
            format!("plan {after} of model {} after {before}", plan.model)
        });
        model.bucket.set_limits(now, &plan.retry, plan.max_in_flight);
        model.plan = plan.clone();
        for again in model.again.values_mut() {
            // Under another plan what goes out again may be cut to single items.
            again.pieces = again.live;
        }
        let waiting = self.requests.iter().filter(|(_, it)| it.meta.model == plan.model && it.waiting() > 0);
        model.queue.rebuild(plan, waiting.map(|(id, request)| (*id, request)));
    }

    /// The caller of a request left.
    pub fn handle_cancel(&mut self, now: Timestamp, id: RequestId) {
        self.advance(now);
        // One whose deadline passed at this very time is answered so, not cancelled.
        if self.requests.get(&id).is_some_and(|request| !request.is_expired) {
            self.leave(id);
        }
    }

    /// The engine makes a no-op call: under a plan that has a use for it, to one of its sizes, and not while it drains.
    pub fn handle_call(&mut self, now: Timestamp, call: &EnvironmentCall) {
        self.advance(now);
        self.findings.check(self.last_batch < Some(call.call), Rule::Order, now, || {
            format!("call {} after {:?}", call.call, self.last_batch)
        });
        self.last_batch = self.last_batch.max(Some(call.call));
        let is_allowed = self.models.get(&call.model).is_some_and(|model| {
            let plan = &model.plan;
            plan.rungs.iter().any(|rung| *rung.qualifier == *call.qualifier)
                && plan.environments.is_some_and(|policy| match call.purpose {
                    CallPurpose::Start => true,
                    CallPurpose::Keep => policy.keep_calls > 0,
                })
        });
        self.findings.check(is_allowed && !self.is_draining, Rule::Calls, now, || {
            format!("{call:?} is made, and the plan has no use for it")
        });
        self.calls.insert(call.call, call.model);
        let out = self.calls.values().filter(|model| **model == call.model).count();
        let most = self.models.get(&call.model).map_or(0, |model| model.plan.max_in_flight) as usize;
        if call.purpose == CallPurpose::Start {
            self.findings.check(out <= most.max(1) * 2, Rule::Calls, now, || {
                format!("{out} calls of model {} are out, {most} invocations may run", call.model)
            });
        }
    }

    /// A no-op call is back.
    pub fn handle_call_end(&mut self, now: Timestamp, call: BatchId) {
        self.advance(now);
        let was_out = self.calls.remove(&call).is_some();
        self.findings.check(was_out, Rule::Calls, now, || format!("call {call} ends and was not out"));
    }

    /// The engine was told to drain.
    pub fn handle_drain(&mut self, now: Timestamp) {
        self.advance(now);
        self.is_draining = true;
    }

    /// The world has ended: nothing more comes, and everything had its time.
    pub fn handle_end(&mut self, now: Timestamp) {
        self.advance(now);
        self.check_expired();
        let (waiting, flights) = (self.requests.len(), self.flights.len());
        if let Some(id) = self.requests.keys().next() {
            self.findings.note(Rule::ExactlyOnce, now, || {
                format!("{waiting} requests were never answered, among them {id}")
            });
        }
        self.findings.check(flights == 0, Rule::Idle, now, || format!("{flights} batches are still out"));
    }

    /// Time moves on: what had to happen before must have happened.
    fn advance(&mut self, now: Timestamp) {
        let before = self.now;
        self.findings.check(now >= before, Rule::Order, now, || {
            format!("time ran backwards, from {} ns", before.as_nanos())
        });
        if now > before {
            self.check_expired();
            self.check_liveness(now);
            self.now = now;
        }
        while let Some(&(deadline, id)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.pop_first();
            self.expire(id);
            self.findings.check(deadline + CLOCK >= now || deadline >= before, Rule::Deadline, now, || {
                format!("{id} was not answered at its deadline, {} ns", deadline.as_nanos())
            });
        }
    }

    /// A hard deadline passes: what waits of the request leaves, and it must be answered now.
    fn expire(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(model) = self.models.get_mut(&request.meta.model) {
            let waiting = request.waiting();
            if waiting > 0 {
                model.queue.take(&model.plan, id, request, waiting);
            }
            forget_again(model, request);
        }
        request.is_expired = true;
        self.expired.insert(id);
    }

    fn check_expired(&mut self) {
        let now = self.now;
        if let Some(id) = self.expired.pop_first() {
            let more = self.expired.len();
            self.findings.note(Rule::Deadline, now, || {
                format!("the deadline of {id} (and {more} more) passed and it was not answered")
            });
            self.expired.clear();
        }
    }

    /// A request goes, answered or cancelled.
    fn leave(&mut self, id: RequestId) -> Option<Known> {
        let request = self.requests.remove(&id)?;
        self.deadlines.remove(&(request.deadline(), id));
        self.expired.remove(&id);
        if !request.is_expired
            && let Some(model) = self.models.get_mut(&request.meta.model)
        {
            let waiting = request.waiting();
            if waiting > 0 {
                model.queue.take(&model.plan, id, &request, waiting);
            }
            forget_again(model, &request);
        }
        self.gone.insert(id);
        Some(request)
    }
}

/// Items of a request that leaves do not go out again.
fn forget_again(model: &mut ModelReference, request: &Known) {
    for place in &request.items {
        match place {
            Place::Again(parent) | Place::AgainOrFailed(parent, _) => model.forget_again(*parent),
            Place::Waiting | Place::InFlight(_) | Place::Done | Place::Failed(_) => {}
        }
    }
}
