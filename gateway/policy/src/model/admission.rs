//! Which requests are let in.
//!
//! A request is refused when it cannot be served at all, when there is no room, or when its hard deadline cannot be met. The estimate of
//! the queue ahead is used only where items are served in order of arrival, only whole waves of the full window count, and each is
//! taken at the mean turnaround, or at the plan's upper service time if that is less: so it refuses only what would almost surely be late. Earliest-deadline-first serves an urgent newcomer
//! first, so there the queue says nothing about it.

use std::time::Duration;

use gateway_contract::PackingPolicy;

use super::{Model, urgency};
use crate::packing::Packing;
use crate::request::total_bytes;
use crate::shared::Shared;
use crate::types::{ItemBytes, Rejection, RequestMeta};

/// Bounds of the hint when to come again.
const RETRY_AFTER_MIN: u64 = 50_000_000;
const RETRY_AFTER_MAX: u64 = 30_000_000_000;

impl Model {
    /// Takes a request, or says why not. Its id is not in the table.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        shared: &mut Shared,
        now: u64,
        meta: RequestMeta,
    ) -> Result<(), Rejection> {
        self.expire(shared, now);
        let checked = self.check(now, &meta);
        if checked.is_ok() {
            let (slot, sequence) = shared.requests.insert(meta, now);
            if let Some(request) = shared.requests.live(slot, sequence) {
                self.deadlines.push(request, slot);
                self.waiting.push(request, slot);
                self.packer.push(request, slot, urgency(&self.plan, request));
            }
        }
        self.settle(shared, now);
        checked
    }

    #[inline]
    fn check(&self, now: u64, meta: &RequestMeta) -> Result<(), Rejection> {
        let plan = &self.plan.plan;
        let bytes = check_sizes(meta, plan.max_request_payload_bytes)?;
        if meta.items > plan.queue_capacity_items || bytes > plan.queue_capacity_bytes {
            return Err(Rejection::InvalidRequest);
        }
        if let Some(deadline) = meta.deadline
            && deadline.as_nanos() < now.saturating_add(self.wait_ahead()).saturating_add(self.plan.upper(1))
        {
            return Err(Rejection::DeadlineUnreachable);
        }
        let items = u64::from(self.waiting.items) + u64::from(meta.items);
        let has_room = items <= u64::from(plan.queue_capacity_items)
            && self.waiting.bytes + bytes <= plan.queue_capacity_bytes;
        if has_room { Ok(()) } else { Err(Rejection::QueueFull { retry_after: self.retry_after() }) }
    }

    /// Nanoseconds until what waits now has begun, at the least; zero where the order is not that of arrival.
    #[inline]
    fn wait_ahead(&self) -> u64 {
        let mean = self.turnaround.mean();
        match (self.plan.plan.packing, mean) {
            (PackingPolicy::Fifo | PackingPolicy::None, Some(mean)) => {
                // A cold start in the mean must not refuse what warm batches would serve.
                self.waves().saturating_mul(mean.min(self.plan.upper(self.plan.plan.max_batch_size)))
            }
            (PackingPolicy::Deadline, _) | (_, None) => 0,
        }
    }

    /// Whole windows of full batches that wait.
    fn waves(&self) -> u64 {
        let per_batch = match self.plan.plan.packing {
            PackingPolicy::None => 1,
            PackingPolicy::Fifo | PackingPolicy::Deadline => u64::from(self.plan.plan.max_batch_size),
        };
        let waiting = match self.plan.plan.packing {
            PackingPolicy::None => self.waiting.requests as u64,
            PackingPolicy::Fifo | PackingPolicy::Deadline => u64::from(self.waiting.items),
        };
        waiting / (per_batch * u64::from(self.plan.plan.max_in_flight))
    }

    /// About when there is room again.
    fn retry_after(&self) -> Duration {
        let mean = self.turnaround.mean().unwrap_or_else(|| self.plan.upper(self.plan.plan.max_batch_size));
        let wait = mean.saturating_mul(self.waves().max(1));
        Duration::from_nanos(wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
    }
}

/// Total bytes, if sizes fit the items and each item may be sent.
#[inline]
fn check_sizes(meta: &RequestMeta, max_item_bytes: u64) -> Result<u64, Rejection> {
    if meta.items == 0 {
        return Err(Rejection::InvalidRequest);
    }
    let oversize = match &meta.item_bytes {
        ItemBytes::Uniform(bytes) => (u64::from(*bytes) > max_item_bytes).then_some(0),
        ItemBytes::Each(each) => {
            if each.len() != meta.items as usize {
                return Err(Rejection::InvalidRequest);
            }
            each.iter().position(|&bytes| u64::from(bytes) > max_item_bytes)
        }
    };
    match oversize {
        Some(item) => Err(Rejection::ItemTooLarge { item: u32::try_from(item).unwrap_or(u32::MAX) }),
        None => Ok(total_bytes(&meta.item_bytes, meta.items)),
    }
}
