//! Lambda's side: batches are sent and come back, environments are given back or lost.

use gateway_contract::{Mebibytes, ModelId, Timestamp};
use gateway_policy::{BatchOutcome, Dispatch, EnvironmentCall, Event};

use super::Deployment;
use super::attempt::{Around, Attempt, attempt};
use super::config::ColdStarts;
use super::jobs::Job;
use super::observer::Observer;
use crate::lambda::billed_seconds;

impl<O: Observer> Deployment<'_, O> {
    pub(super) fn send(&mut self, dispatch: Dispatch) {
        self.observer.on_dispatch(Timestamp::from_nanos(self.now), &dispatch);
        let model = &mut self.models[usize::from(dispatch.model.0)];
        let mut around = Around {
            account: &self.account,
            limits: &mut self.limits,
            open: &self.open,
            sharder: &mut self.sharder,
            now: self.now,
        };
        let attempt = attempt(model, &mut around, &dispatch);
        model.report.counts.batches += 1;
        let ends = self.now + attempt.takes;
        self.jobs.begin(ends, Job::Batch { dispatch, attempt, began: self.now });
    }

    pub(super) fn end_job(&mut self) {
        match self.jobs.end() {
            Some(Job::Batch { dispatch, attempt, began }) => self.end_batch(dispatch, attempt, began),
            Some(Job::WarmUp { model, memory, began }) => self.end_environment(model, memory, began, false),
            Some(Job::Call { call, ran, began }) => self.end_call(&call, ran, began),
            None => {}
        }
    }

    /// An environment is done with its work: it stays, unless it was killed or a storm took it.
    pub(super) fn end_environment(&mut self, model: usize, memory: Mebibytes, began: u64, is_killed: bool) {
        self.limits.release(model);
        let model = &mut self.models[model];
        let is_taken = model.active.keeps_none || (model.storm_at > 0 && began < model.storm_at);
        if is_killed || is_taken {
            model.environments.lose(memory);
        } else {
            model.environments.give_back(memory, self.now, &mut model.streams.keep_alive);
        }
    }

    pub(super) fn end_batch(&mut self, dispatch: Dispatch, attempt: Attempt, began: u64) {
        let (now, index) = (Timestamp::from_nanos(self.now), usize::from(dispatch.model.0));
        if let Some(ran) = attempt.ran {
            self.end_environment(index, dispatch.memory_mib, began, ran.is_killed);
        }
        let model = &mut self.models[index];
        model.report.count_batch(&dispatch, &attempt, self.now - began);
        let usd = attempt.ran.map_or(0.0, |ran| ran.usd());
        if let Some(tally) = &mut model.tally {
            let is_throttled = matches!(attempt.outcome, BatchOutcome::Throttled { .. });
            tally.batch(&attempt.observation, is_throttled, attempt.known_usd, usd);
        }
        if let Some(reason) = attempt.throttle {
            self.observer.on_throttle(now, dispatch.model, reason);
        }
        self.observer.on_outcome(now, &dispatch, &attempt.outcome, &attempt.observation, usd);
        if model.controller_wants_windows {
            model.report.controller.handle_observation(&attempt.observation);
        }
        self.engine.handle_outcome(now, dispatch.batch, attempt.outcome);
        self.engine.recycle(dispatch.parts);
    }

    /// A no-op invocation, as far as the account allows: it finds a warm environment, or starts one.
    pub(super) fn make_call(&mut self, call: EnvironmentCall) {
        self.observer.on_call(Timestamp::from_nanos(self.now), &call);
        let at = usize::from(call.model.0);
        let model = &mut self.models[at];
        let network_s = self.account.network.draw(&mut model.streams.network);
        let is_refused = model.active.is_unreachable
            || model.active.throttled.is_some()
            || model.active.refused_at.contains(&call.memory_mib)
            || self.limits.admit(at, self.now).is_err();
        let mut takes_s = network_s;
        let mut ran = !is_refused;
        if ran {
            let is_warm = model.environments.take_warm(call.memory_mib, self.now);
            let is_cold = !is_warm && self.account.cold_starts == ColdStarts::Paid;
            if is_cold && self.limits.start_environment(at, self.now).is_err() {
                self.limits.release(at);
                ran = false;
            } else {
                if !is_warm {
                    model.environments.start(call.memory_mib);
                }
                let init_s = if is_cold { model.profile.init_seconds(call.memory_mib) } else { 0.0 };
                let billed_s = billed_seconds(init_s + self.account.runtime_s);
                let usd = billed_s * self.account.usd_per_second(call.memory_mib)
                    + self.account.economics.prices.request_usd();
                takes_s +=
                    self.account.runtime_s + init_s + if is_cold { self.account.placement_s } else { 0.0 };
                model.bill_call(is_cold, usd, call.memory_mib.gibibytes() * billed_s);
            }
        }
        self.jobs.begin(self.now + super::nanos(takes_s), Job::Call { call, ran, began: self.now });
    }

    fn end_call(&mut self, call: &EnvironmentCall, ran: bool, began: u64) {
        let now = Timestamp::from_nanos(self.now);
        if ran {
            self.end_environment(usize::from(call.model.0), call.memory_mib, began, false);
        }
        self.observer.on_call_end(now, call, ran);
        self.engine.handle_call(now, call.call, ran);
    }

    #[inline]
    pub(super) fn count_event(&mut self, event: &Event) {
        self.observer.on_event(Timestamp::from_nanos(self.now), event);
        let of = |model: &ModelId| usize::from(model.0);
        match event {
            Event::Retried { model, .. } => self.models[of(model)].report.counts.retries += 1,
            Event::RetryDenied { model, .. } => self.models[of(model)].report.counts.retries_denied += 1,
            Event::Bisected { model, .. } => self.models[of(model)].report.counts.bisected += 1,
            Event::BatchClosed { .. }
            | Event::DuplicateSuppressed
            | Event::CancelledInQueue { .. }
            | Event::DeadlineExceeded { .. }
            | Event::WaitedForEnvironment { .. }
            | Event::WindowChanged { .. } => {}
        }
    }
}
