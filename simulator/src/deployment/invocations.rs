//! Lambda's side: batches are sent and come back, environments are given back or lost.

use gateway_contract::{Mebibytes, ModelId, Timestamp};
use gateway_policy::{BatchOutcome, Dispatch, Event};

use super::Deployment;
use super::attempt::{Around, Attempt, attempt};
use super::jobs::Job;
use super::observer::Observer;

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
            | Event::WindowChanged { .. } => {}
        }
    }
}
