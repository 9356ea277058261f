//! Batches on their way out: new ones from the queue, and those that go out again.

use gateway_contract::{BatchId, Mebibytes, Timestamp};

use super::Model;
use crate::batch::Batch;
use crate::closing::{Backlog, fill_bound};
use crate::packing::{Fill, Moment, Packing};
use crate::shared::Shared;
use crate::types::{CloseReason, Dispatch, Event, Part};

/// A request leads whatever its priority once it has waited this many times the objective or the queue delay, whichever is longer.
const STARVED_AFTER: u64 = 10;

impl Model {
    /// Forms a batch from the queue and sends it.
    pub(super) fn send_new(&mut self, shared: &mut Shared, now: u64, backlog: &Backlog, reason: CloseReason) {
        let moment = self.moment(now);
        let (segments, parts) = (shared.empty_segments(), shared.empty_parts());
        let takes_last_slot = self.in_flight + 1 >= self.window.allowed(now);
        let is_hold_out = !takes_last_slot && self.hold_outs.is_next(self.plan.plan.hold_out.as_ref());
        let max_items = if is_hold_out { 1 } else { fill_bound(&self.plan, backlog, now) };
        let mut fill = Fill::new(segments, parts, max_items, backlog.max_bytes, backlog.max_response_bytes);
        // Only where this takes the last slot and leaves items behind is time with one item time lost for another.
        let is_overloaded = backlog.items > self.plan.plan.max_batch_size && takes_last_slot;
        if is_overloaded {
            fill.hopeless_before = now.saturating_add(self.probable_service_time());
        }
        self.packer.pack(&mut self.waiting, &mut shared.requests, &mut fill, moment);
        self.waiting.settle(&shared.requests);
        for id in std::mem::take(&mut fill.hopeless) {
            // Its deadline would answer it so in a moment; what of it is in flight finishes silently.
            shared.expire(id);
            shared.events.push_back(Event::DeadlineExceeded { model: self.id, in_queue: true });
        }
        if fill.items == 0 {
            shared.recycle_segments(fill.segments);
            shared.recycle_parts(fill.parts);
            return;
        }
        let reason =
            if reason == CloseReason::Full && fill.is_full_in_bytes { CloseReason::Bytes } else { reason };
        self.budget.deposit();
        self.note_wait(shared, now, fill.items);
        self.hold_outs.on_dispatch(self.plan.plan.hold_out.as_ref(), fill.items, is_hold_out);
        let latest_deadline = fill.latest_deadline();
        let batch = Batch {
            model: self.id,
            revision: self.plan.plan.revision,
            segments: fill.segments,
            items: fill.items,
            attempt: 1,
            unknown_outcomes: 0,
            is_hold_out,
            parent: None,
            reason,
            dispatched: now,
        };
        let oldest_wait = Timestamp::from_nanos(now) - Timestamp::from_nanos(fill.oldest);
        let id = self.send(shared, now, batch, fill.parts, latest_deadline);
        shared.events.push_back(Event::BatchClosed {
            batch: id,
            model: self.id,
            items: fill.items,
            bytes: fill.bytes,
            reason,
            oldest_wait,
        });
    }

    /// Sends the next batch that waits to go out again, if its time has come. Whether something was done.
    pub(super) fn send_again(&mut self, shared: &mut Shared, now: u64) -> bool {
        let Some(entry) = self.again.first_entry().filter(|entry| entry.key().0 <= now) else {
            return false;
        };
        let mut batch = entry.remove();
        batch.prune(&shared.requests);
        if batch.items == 0 {
            return true;
        }
        if batch.revision != self.plan.plan.revision && self.splits_under_new_plan(shared, now, &mut batch) {
            return true;
        }
        let mut parts = shared.empty_parts();
        parts.extend(batch.segments.iter().filter_map(|segment| {
            let request = shared.requests.live(segment.slot, segment.sequence)?.id;
            Some(Part { request, first_item: segment.first_item, items: segment.items })
        }));
        let latest_deadline = batch.measure(&shared.requests).latest_deadline;
        self.send(shared, now, batch, parts, latest_deadline);
        true
    }

    /// Queues a batch to go out again at `ready`.
    pub(super) fn queue_again(&mut self, ready: u64, batch: Batch) {
        self.last_again += 1;
        self.again.insert((ready, self.last_again), batch);
    }

    /// Brings a batch of an earlier plan under the one in force. Whether it had to be cut, and the pieces were queued.
    fn splits_under_new_plan(&mut self, shared: &Shared, now: u64, batch: &mut Batch) -> bool {
        let plan = &self.plan.plan;
        let measure = batch.measure(&shared.requests);
        let fits = batch.items <= plan.max_batch_size
            && measure.bytes <= self.request_correction.corrected(plan.max_request_payload_bytes)
            && measure.response_bytes <= self.response_correction.corrected(plan.max_response_payload_bytes);
        if fits || batch.items == 1 {
            batch.revision = plan.revision;
            return false;
        }
        let rest = batch.split_off((batch.items / 2).min(plan.max_batch_size));
        let front = Batch { segments: std::mem::take(&mut batch.segments), ..*batch };
        self.queue_again(now, front);
        self.queue_again(now, rest);
        true
    }

    fn send(
        &mut self,
        shared: &mut Shared,
        now: u64,
        mut batch: Batch,
        parts: Vec<Part>,
        latest_deadline: Option<u64>,
    ) -> BatchId {
        let before = self.window.size();
        self.window.on_dispatch(now, self.in_flight);
        self.report_window(shared, before);
        let id = shared.next_batch_id();
        let is_new = batch.attempt == 1 && batch.parent.is_none() && !batch.is_hold_out;
        let is_canary = is_new && self.takes_canary(batch.items);
        let plan = &self.plan.plan;
        let (rung, qualifier) = match (&plan.canary, &plan.hold_out) {
            (Some(canary), _) if is_canary => (Some(&canary.rung), self.plan.canary_qualifier.as_ref()),
            (_, Some(hold_out)) if batch.is_hold_out => {
                (Some(&hold_out.rung), self.plan.hold_out_qualifier.as_ref())
            }
            _ => {
                let index = plan.rung_for(batch.items);
                (plan.rungs.get(index), self.plan.qualifiers.get(index))
            }
        };
        let (memory_mib, process_count) =
            rung.map_or((Mebibytes::LAMBDA_MIN, 1), |rung| (rung.memory_mib, rung.process_count));
        shared.dispatches.push_back(Dispatch {
            batch: id,
            model: self.id,
            revision: batch.revision,
            qualifier: qualifier.cloned().unwrap_or_default(),
            memory_mib,
            process_count,
            parts,
            items: batch.items,
            is_canary,
            is_hold_out: batch.is_hold_out,
            reason: batch.reason,
            attempt: batch.attempt,
            parent: batch.parent,
            latest_deadline: latest_deadline.map(Timestamp::from_nanos),
            service_time_upper: std::time::Duration::from_nanos(self.plan.upper(batch.items)),
        });
        batch.dispatched = now;
        if let (Some(policy), Some(qualifier)) = (&plan.environments, qualifier) {
            self.environments.on_dispatch(policy, qualifier, now, id.0);
        }
        self.in_flight += 1;
        shared.in_flight.insert(id.0, batch);
        id
    }

    /// Whether a new batch of `items` items is the canary's turn.
    fn takes_canary(&mut self, items: u32) -> bool {
        let Some(canary) = self.plan.plan.canary.as_ref().filter(|canary| items <= canary.rung.max_items)
        else {
            return false;
        };
        self.since_canary += 1;
        let is_due = self.since_canary >= canary.every;
        if is_due {
            self.since_canary = 0;
        }
        is_due
    }

    /// What a full batch will take, in nanoseconds: the plan's upper service time, or twice the mean of late if that is less;
    /// zero until something was observed.
    ///
    /// Used to put hopeless items aside when more waits than fits. Earliest-deadline-first would otherwise spend an overloaded
    /// function on the very items that are about to expire, and answer nobody in time.
    fn probable_service_time(&self) -> u64 {
        let upper = self.plan.upper(self.plan.plan.max_batch_size);
        self.turnaround.mean().map_or(0, |mean| mean.saturating_mul(2).min(upper))
    }

    fn moment(&self, now: u64) -> Moment {
        let upper = self.plan.upper(self.plan.plan.max_batch_size);
        let patience = self.plan.reachable_slo.unwrap_or(0).max(self.plan.max_queue_delay);
        let starved_after = patience.max(1_000_000).saturating_mul(STARVED_AFTER);
        Moment {
            must_go_until: now.saturating_add(upper).saturating_add(self.plan.margin),
            starved_until: now.checked_sub(starved_after),
        }
    }
}
