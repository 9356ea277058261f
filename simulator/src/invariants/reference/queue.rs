//! What waits for one model: how much, who came first, who is most urgent.

use std::collections::{BTreeMap, BTreeSet};

use gateway_contract::{PackingPolicy, RequestId, ServingPlan, Timestamp};

use super::requests::Known;

/// Order within a lane: urgency, then arrival number.
pub(super) type LaneEntry = (Timestamp, u64, RequestId);

/// Requests of one model with items that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) response_bytes: u64,
    /// By arrival number.
    pub(super) arrivals: BTreeMap<u64, RequestId>,
    /// By priority and class.
    pub(super) lanes: BTreeMap<(u8, u16), BTreeSet<LaneEntry>>,
}

impl Queue {
    /// A request begins to wait with all that waits of it.
    pub(super) fn enter(&mut self, plan: &ServingPlan, id: RequestId, request: &Known) {
        let items = request.waiting();
        self.items += u64::from(items);
        self.bytes += request.bytes(request.next_item, items);
        self.response_bytes += request.response_bytes(items);
        self.arrivals.insert(request.number, id);
        self.lanes.entry(lane(request)).or_default().insert(entry(plan, id, request));
    }

    /// So many items of a request leave; with the last the request does.
    pub(super) fn take(&mut self, plan: &ServingPlan, id: RequestId, request: &Known, items: u32) {
        self.items -= u64::from(items);
        self.bytes -= request.bytes(request.next_item, items);
        self.response_bytes -= request.response_bytes(items);
        if items == request.waiting() {
            self.arrivals.remove(&request.number);
            if let Some(entries) = self.lanes.get_mut(&lane(request)) {
                entries.remove(&entry(plan, id, request));
            }
        }
    }

    /// Sorts anew, for another plan.
    pub(super) fn rebuild<'a>(
        &mut self,
        plan: &ServingPlan,
        waiting: impl Iterator<Item = (RequestId, &'a Known)>,
    ) {
        *self = Self::default();
        for (id, request) in waiting {
            self.enter(plan, id, request);
        }
    }

    /// The request that came first.
    pub(super) fn oldest(&self) -> Option<RequestId> {
        self.arrivals.values().next().copied()
    }

    /// The earliest urgency of all.
    pub(super) fn earliest_urgency(&self) -> Option<Timestamp> {
        let fronts = self.lanes.values().filter_map(|lane| lane.first().map(|front| front.0));
        fronts.min().filter(|urgency| *urgency < Timestamp::MAX)
    }
}

/// The lane of a request.
pub(super) fn lane(request: &Known) -> (u8, u16) {
    (request.meta.priority, request.meta.class)
}

/// Its place in the lane.
pub(super) fn entry(plan: &ServingPlan, id: RequestId, request: &Known) -> LaneEntry {
    (urgency(plan, request), request.number, id)
}

/// The earlier of objective and hard deadline; an objective that not even one item can meet does not count.
pub(super) fn urgency(plan: &ServingPlan, request: &Known) -> Timestamp {
    let is_reachable = plan.slo_latency >= plan.service_time_upper.upper(1) + plan.deadline_margin;
    let soft = if is_reachable { request.arrival + plan.slo_latency } else { Timestamp::MAX };
    soft.min(request.deadline())
}

/// When what waits must have gone out, if there is room: at once ([`Timestamp::ZERO`]) or later.
pub(super) fn closes_at(
    plan: &ServingPlan,
    queue: &Queue,
    oldest_arrival: Timestamp,
    is_draining: bool,
) -> Timestamp {
    let is_full = queue.items >= u64::from(plan.max_batch_size)
        || queue.bytes >= plan.max_request_payload_bytes
        || queue.response_bytes >= plan.max_response_payload_bytes;
    if is_full || is_draining || plan.packing == PackingPolicy::None {
        return Timestamp::ZERO;
    }
    (oldest_arrival + plan.max_queue_delay).min(urgent_at(plan, queue))
}

/// When the earliest deadline asks for a batch; the end of time where deadlines do not count.
pub(super) fn urgent_at(plan: &ServingPlan, queue: &Queue) -> Timestamp {
    if plan.packing != PackingPolicy::Deadline {
        return Timestamp::MAX;
    }
    let fill = u32::try_from(queue.items).unwrap_or(u32::MAX);
    queue.earliest_urgency().map_or(Timestamp::MAX, |urgency| {
        urgency.saturating_sub(plan.service_time_upper.upper(fill)).saturating_sub(plan.deadline_margin)
    })
}
