//! One model: its plan, its queue, its window, its retries. Control flow is here; arithmetic is in the leaf files.
//!
//! Every entry point ends in [`Model::settle`]: dead entries leave the fronts, whatever may go out goes out, and the next wake-up
//! time is exact.

mod admission;
mod deadlines;
mod dispatch;
mod environments;
mod hold_out;
mod outcome;
mod turnaround;

use std::collections::BTreeMap;

use gateway_contract::{ModelId, RequestId, ServingPlan};

use self::deadlines::Deadlines;
use self::hold_out::HoldOuts;
use self::turnaround::Turnaround;
use crate::batch::Batch;
use crate::breaker::Breaker;
use crate::closing::{self, Backlog, Close};
use crate::compiled_plan::CompiledPlan;
use crate::environments::Environments;
use crate::packing::{Packer, Packing};
use crate::request::{NEVER, Request};
use crate::retry::RetryBudget;
use crate::shared::Shared;
use crate::size_correction::SizeCorrection;
use crate::types::{Event, WakeReason};
use crate::waiting::Waiting;
use crate::window::Window;

/// One model of an engine. All times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Model {
    id: ModelId,
    plan: CompiledPlan,
    waiting: Waiting,
    packer: Packer,
    deadlines: Deadlines,
    window: Window,
    in_flight: u32,
    /// Batches that go out again, by the time when they may, then in order of their failure.
    again: BTreeMap<(u64, u64), Batch>,
    last_again: u64,
    budget: RetryBudget,
    breaker: Breaker,
    request_correction: SizeCorrection,
    response_correction: SizeCorrection,
    turnaround: Turnaround,
    /// Batches that fitted the canary since the last that went there.
    since_canary: u32,
    hold_outs: HoldOuts,
    environments: Environments,
    wake: Option<(u64, WakeReason)>,
}

impl Model {
    pub(crate) fn new(now: u64, plan: ServingPlan) -> Self {
        Self {
            id: plan.model,
            waiting: Waiting::default(),
            packer: Packer::new(plan.packing),
            deadlines: Deadlines::default(),
            window: Window::new(plan.max_in_flight),
            in_flight: 0,
            again: BTreeMap::new(),
            last_again: 0,
            budget: RetryBudget::new(now, &plan.retry, plan.max_in_flight),
            breaker: Breaker::default(),
            request_correction: SizeCorrection::default(),
            response_correction: SizeCorrection::default(),
            turnaround: Turnaround::default(),
            since_canary: 0,
            hold_outs: HoldOuts::default(),
            environments: Environments::default(),
            wake: None,
            plan: CompiledPlan::new(plan),
        }
    }

    /// Puts another plan into force. What waits is repacked under it; what is in flight is not touched.
    pub(crate) fn set_plan(&mut self, shared: &mut Shared, now: u64, plan: ServingPlan) {
        self.expire(shared, now);
        let before = self.window.size();
        self.window.set_max(plan.max_in_flight);
        self.report_window(shared, before);
        self.budget.set_limits(now, &plan.retry, plan.max_in_flight);
        self.plan = CompiledPlan::new(plan);
        self.packer = Packer::new(self.plan.plan.packing);
        for ticket in self.waiting.tickets() {
            let request = shared.requests.live(ticket.slot, ticket.sequence);
            if let Some(request) = request.filter(|request| request.waiting_items() > 0) {
                self.packer.push(request, ticket.slot, urgency(&self.plan, request));
            }
        }
        self.settle(shared, now);
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, shared: &mut Shared, now: u64) {
        self.expire(shared, now);
        self.settle(shared, now);
    }

    /// The caller left.
    pub(crate) fn cancel(&mut self, shared: &mut Shared, now: u64, id: RequestId) {
        self.expire(shared, now);
        if let Some(request) = shared.requests.remove(id) {
            if request.next_item == 0 {
                shared.events.push_back(Event::CancelledInQueue { model: self.id });
            }
            self.forget(shared, &request);
        }
        self.settle(shared, now);
    }

    /// When [`Model::handle_timeout`] is wanted.
    pub(crate) fn wake(&self) -> Option<(u64, WakeReason)> {
        self.wake
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.items == 0 && self.again.is_empty() && self.in_flight == 0
    }

    /// Waiting items, waiting bytes, arrival of the oldest.
    pub(crate) fn queue_depth(&self) -> (u32, u64, Option<u64>) {
        (self.waiting.items, self.waiting.bytes, self.waiting.oldest().map(|oldest| oldest.arrival))
    }

    /// Answers requests whose hard deadline has passed. Comes before anything else at each time: nothing dead is started.
    #[inline]
    fn expire(&mut self, shared: &mut Shared, now: u64) {
        while let Some(id) = self.deadlines.pop_due(&shared.requests, now) {
            if let Some(request) = shared.expire(id) {
                let in_queue = request.waiting_items() > 0;
                shared.events.push_back(Event::DeadlineExceeded { model: self.id, in_queue });
                self.forget(shared, &request);
            }
        }
    }

    /// A request left the table before all its items were resolved.
    fn forget(&mut self, shared: &Shared, request: &Request) {
        self.waiting.leave(request);
        self.packer.forget(&self.waiting, &shared.requests);
    }

    /// Sends what may go and computes the next wake-up.
    #[inline]
    fn settle(&mut self, shared: &mut Shared, now: u64) {
        self.waiting.settle(&shared.requests);
        let close = self.send_what_may_go(shared, now);
        self.deadlines.settle(&shared.requests);
        self.keep_warm(shared, now);
        self.wake = self.next_wake(now, close, shared.is_draining);
    }

    /// What waits, in numbers.
    #[inline]
    fn backlog(&self, is_draining: bool) -> Backlog {
        Backlog {
            items: self.waiting.items,
            bytes: self.waiting.bytes,
            response_bytes: self.waiting.response_bytes,
            max_bytes: self.request_correction.corrected(self.plan.plan.max_request_payload_bytes),
            max_response_bytes: self.response_correction.corrected(self.plan.plan.max_response_payload_bytes),
            oldest: self.waiting.oldest().map_or(NEVER, |oldest| oldest.arrival),
            earliest_urgency: self.packer.earliest_urgency(),
            is_draining,
        }
    }

    /// Sends retries, then new batches, as long as the window has room. Gives when the next new batch closes.
    fn send_what_may_go(&mut self, shared: &mut Shared, now: u64) -> Close {
        loop {
            let allowed = self.window.allowed(now);
            if self.in_flight < allowed && self.send_again(shared, now) {
                continue;
            }
            let backlog = self.backlog(shared.is_draining);
            let close = closing::close(&self.plan, &backlog, now);
            // A batch that waits to go out again keeps its place in the window: older work is not overtaken, and what
            // waits for its back-off stays bounded.
            let places = self.again.len().saturating_add(self.in_flight as usize);
            match close {
                Close::Now(reason) if places < allowed as usize => {
                    if let Some(until) = self.waits_for_environment(shared, now, &backlog) {
                        return Close::At(until, WakeReason::BatchCloses);
                    }
                    self.send_new(shared, now, &backlog, reason);
                    if self.waiting.items >= backlog.items {
                        // Cannot be; but a gauge that was wrong must cost one request its answer, not everybody the engine.
                        debug_assert!(false, "a batch closed and nothing left the queue");
                        return Close::Never;
                    }
                }
                Close::Never | Close::At(..) => {
                    self.environments.on_nothing_due();
                    return close;
                }
                Close::Now(_) => return close,
            }
        }
    }

    #[inline]
    fn next_wake(&self, now: u64, close: Close, is_draining: bool) -> Option<(u64, WakeReason)> {
        let allowed = self.window.allowed(now);
        let deadline = self.deadlines.next().map(|at| (at, WakeReason::RequestDeadline));
        let mut wake = deadline;
        let mut earlier = |candidate: Option<(u64, WakeReason)>| {
            if let Some(candidate) = candidate {
                wake = Some(wake.map_or(candidate, |wake| wake.min(candidate)));
            }
        };
        let places = self.again.len().saturating_add(self.in_flight as usize);
        if let Close::At(at, reason) = close
            && places < allowed as usize
        {
            earlier(Some((at, reason)));
        }
        if !is_draining {
            earlier(self.called_at().map(|at| (at, WakeReason::EnvironmentCall)));
        }
        if self.in_flight < allowed {
            earlier(self.again.first_key_value().map(|(&(at, _), _)| (at, WakeReason::RetryReady)));
        }
        if !self.again.is_empty() || self.waiting.items > 0 {
            earlier(self.window.paused_until(now).map(|at| (at, WakeReason::RetryReady)));
        }
        wake
    }

    fn report_window(&self, shared: &mut Shared, before: u32) {
        let window = self.window.size();
        if window != before {
            shared.events.push_back(Event::WindowChanged { model: self.id, window });
        }
    }
}

/// What a request is sorted by and closes batches for: the earlier of its soft and its hard deadline.
#[inline]
fn urgency(plan: &CompiledPlan, request: &Request) -> u64 {
    plan.reachable_slo
        .map_or(request.deadline, |slo| request.arrival.saturating_add(slo).min(request.deadline))
}
