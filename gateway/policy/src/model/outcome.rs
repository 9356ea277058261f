//! How a batch ended, and what follows: answers, a retry, or two halves.
//!
//! | outcome | what follows |
//! |---|---|
//! | completed | each item has a value or its failure |
//! | throttled, unreachable | the same batch again, after a back-off, within budget, attempts and deadlines |
//! | unknown | the same, but at most `max_unknown_outcome_retries` times: it may have run |
//! | function error | two halves, down to one item, unless the breaker is open |
//! | too large | two halves, down to one item; the estimate is corrected |
//! | refused for good | every item fails |
//!
//! Halves do not take from the retry budget: their number is bounded by the bisection itself.

use gateway_contract::{BatchId, ItemFailure};

use super::Model;
use crate::batch::Batch;
use crate::compiled_plan::nanos;
use crate::request::Segment;
use crate::retry::backoff;
use crate::shared::Shared;
use crate::types::{BatchOutcome, CloseReason, Event, RetryReason, TooLarge};

/// Longest pause that a throttle may ask for, in nanoseconds: 60 s. More would be a fault, and must not stop a model for hours.
const MAX_RETRY_AFTER: u64 = 60_000_000_000;

impl Model {
    /// A batch of this model is back. It has been taken out of the table of those in flight.
    pub(crate) fn handle_outcome(
        &mut self,
        shared: &mut Shared,
        now: u64,
        id: BatchId,
        mut batch: Batch,
        outcome: BatchOutcome,
    ) {
        self.expire(shared, now);
        self.in_flight -= 1;
        if std::mem::take(&mut batch.is_hold_out) {
            self.hold_outs.on_outcome();
        }
        // What crashed, or was lost, may have taken its environment along.
        let ran =
            matches!(outcome, BatchOutcome::Completed { .. } | BatchOutcome::TooLarge(TooLarge::Response));
        self.environments.on_back(now, id.0, ran);
        let before = self.window.size();
        match outcome {
            BatchOutcome::Completed { failed } => {
                self.turnaround.observe(now.saturating_sub(batch.dispatched));
                self.window.on_executed(now);
                self.breaker.on_success();
                self.request_correction.on_success();
                self.response_correction.on_success();
                scatter(shared, &batch.segments, &failed);
                shared.recycle_segments(batch.segments);
            }
            BatchOutcome::Throttled { retry_after } => {
                let wait = retry_after.map(|wait| nanos(wait).min(MAX_RETRY_AFTER));
                self.window.on_throttled(now, batch.dispatched, self.in_flight, wait);
                self.retry(shared, now, id, batch, RetryReason::Throttled, wait.unwrap_or(0));
            }
            BatchOutcome::FunctionError => {
                self.window.on_executed(now);
                batch.prune(&shared.requests);
                let may_bisect = self.breaker.on_failure(self.in_flight);
                self.bisect(shared, now, id, batch, ItemFailure::FunctionError, may_bisect);
            }
            BatchOutcome::TooLarge(which) => self.handle_too_large(shared, now, id, batch, which),
            BatchOutcome::Unknown => {
                batch.unknown_outcomes += 1;
                self.retry(shared, now, id, batch, RetryReason::UnknownOutcome, 0);
            }
            BatchOutcome::Refused { permanent: true } => fail_all(shared, batch, ItemFailure::Refused),
            BatchOutcome::Refused { permanent: false } => {
                self.retry(shared, now, id, batch, RetryReason::Unreachable, 0);
            }
        }
        self.report_window(shared, before);
        self.settle(shared, now);
    }

    fn handle_too_large(
        &mut self,
        shared: &mut Shared,
        now: u64,
        id: BatchId,
        mut batch: Batch,
        which: TooLarge,
    ) {
        let measure = batch.measure(&shared.requests);
        batch.prune(&shared.requests);
        let failure = match which {
            TooLarge::Request => {
                let bound = self.plan.plan.max_request_payload_bytes;
                self.request_correction.on_too_large(bound, measure.bytes);
                ItemFailure::RequestTooLarge
            }
            TooLarge::Response => {
                self.window.on_executed(now);
                let bound = self.plan.plan.max_response_payload_bytes;
                self.response_correction.on_too_large(bound, measure.response_bytes);
                ItemFailure::ResponseTooLarge
            }
        };
        self.bisect(shared, now, id, batch, failure, true);
    }

    /// Two halves at once; or the end, for one item or when bisecting is not worth while.
    fn bisect(
        &mut self,
        shared: &mut Shared,
        now: u64,
        id: BatchId,
        mut batch: Batch,
        failure: ItemFailure,
        may_bisect: bool,
    ) {
        if batch.items <= 1 || !may_bisect {
            fail_all(shared, batch, failure);
            return;
        }
        shared.events.push_back(Event::Bisected { model: self.id, items: batch.items });
        let rest = batch.split_off(batch.items / 2);
        for half in [batch, rest] {
            let half = Batch { attempt: 1, parent: Some(id), reason: CloseReason::Bisect, ..half };
            self.queue_again(now, half);
        }
    }

    /// The same batch again, as far as budget, attempts and deadlines allow.
    fn retry(
        &mut self,
        shared: &mut Shared,
        now: u64,
        id: BatchId,
        mut batch: Batch,
        reason: RetryReason,
        at_least: u64,
    ) {
        batch.prune(&shared.requests);
        if batch.items == 0 {
            return;
        }
        let (limits, failure) = (self.plan.plan.retry, failure_of(reason));
        let ready = now.saturating_add(backoff(&limits, batch.attempt, id).max(at_least));
        let is_exhausted = batch.attempt >= limits.max_attempts
            || (reason == RetryReason::UnknownOutcome
                && batch.unknown_outcomes > limits.max_unknown_outcome_retries);
        if !is_exhausted {
            self.drop_late(shared, &mut batch, ready, failure);
        }
        if is_exhausted || batch.items == 0 || !self.budget.withdraw(now) {
            shared.events.push_back(Event::RetryDenied { model: self.id, reason });
            fail_all(shared, batch, failure);
            return;
        }
        shared.events.push_back(Event::Retried { model: self.id, reason });
        let retry =
            Batch { attempt: batch.attempt + 1, parent: Some(id), reason: CloseReason::Retry, ..batch };
        self.queue_again(ready, retry);
    }

    /// Fails the items that a retry at `ready` could not finish in time.
    fn drop_late(&self, shared: &mut Shared, batch: &mut Batch, ready: u64, failure: ItemFailure) {
        let done = ready.saturating_add(self.plan.upper(batch.items));
        let mut late = Vec::new();
        batch.segments.retain(|segment| {
            let request = shared.requests.live(segment.slot, segment.sequence);
            let in_time = request.is_some_and(|request| request.deadline >= done);
            if !in_time {
                late.push(*segment);
            }
            in_time
        });
        batch.items = batch.segments.iter().map(|segment| segment.items).sum();
        for segment in late {
            shared.fail(&segment, failure);
        }
    }
}

/// What items fail with when a retry is not possible.
fn failure_of(reason: RetryReason) -> ItemFailure {
    match reason {
        RetryReason::Throttled => ItemFailure::Throttled,
        RetryReason::UnknownOutcome => ItemFailure::UnknownOutcome,
        RetryReason::Unreachable => ItemFailure::Refused,
    }
}

fn fail_all(shared: &mut Shared, batch: Batch, failure: ItemFailure) {
    for segment in &batch.segments {
        shared.fail(segment, failure);
    }
    shared.recycle_segments(batch.segments);
}

/// Gives each item of a completed batch its result.
#[inline]
fn scatter(shared: &mut Shared, segments: &[Segment], failed: &[(u32, ItemFailure)]) {
    if !failed.is_empty() {
        note_failures(shared, segments, failed);
    }
    for segment in segments {
        shared.resolve(segment, segment.items);
    }
}

/// Positions must ascend and lie within the batch; one that does not is a second answer for an item, or for none.
fn note_failures(shared: &mut Shared, segments: &[Segment], failed: &[(u32, ItemFailure)]) {
    let mut segments = segments.iter();
    let mut current = segments.next();
    let mut first_position = 0;
    let mut next_position = 0;
    for &(position, failure) in failed {
        while let Some(segment) = current
            && position >= first_position + segment.items
        {
            first_position += segment.items;
            current = segments.next();
        }
        match current {
            Some(segment) if position >= next_position => {
                shared.note_failure(segment, segment.first_item + (position - first_position), failure);
                next_position = position + 1;
            }
            Some(_) | None => shared.events.push_back(Event::DuplicateSuppressed),
        }
    }
}
