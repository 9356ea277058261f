//! Which batches may be formed, and in which order items go into them.

use gateway_contract::{PackingPolicy, RequestId, Timestamp};
use gateway_policy::{CloseReason, Dispatch};

use super::model::ModelReference;
use super::queue::{LaneEntry, entry, lane, urgent_at};
use super::requests::Known;
use super::{Reference, Rule};

/// A request leads once it has waited this many times the objective or the queue delay, whichever is longer.
const STARVED_AFTER: u32 = 10;

impl Reference {
    /// A new batch closes for one of the plan's reasons. Comes before its items leave the queue.
    pub(super) fn check_reason(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get(&dispatch.model) else { return };
        let oldest = model.queue.oldest().and_then(|id| self.requests.get(&id));
        let holds = has_reason(model, oldest, self.is_draining, now, dispatch.reason);
        let (items, most) = (model.queue.items, model.plan.max_batch_size);
        self.findings.check(holds, Rule::CloseReason, now, || {
            format!(
                "batch {} of {} closed as {:?} while {items} waited, {most} fill one",
                dispatch.batch, dispatch.items, dispatch.reason
            )
        });
    }

    /// Items leave in the order of the packing policy. Comes before they leave.
    pub(super) fn check_order(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let Some(model) = self.models.get(&dispatch.model) else { return };
        let breach = match model.plan.packing {
            PackingPolicy::None if dispatch.parts.windows(2).any(|two| two[0].request != two[1].request) => {
                Some("holds more than one request".to_owned())
            }
            PackingPolicy::None | PackingPolicy::Fifo => self.overtaken_in_line(model, now, dispatch),
            PackingPolicy::Deadline => {
                self.starved(model, now, dispatch).or_else(|| self.overtaken_in_lane(model, now, dispatch))
            }
        };
        if let Some(breach) = breach {
            self.findings.note(Rule::PackingOrder, now, || format!("batch {} {breach}", dispatch.batch));
        }
    }

    /// In order of arrival, each request whole before the next.
    fn overtaken_in_line(
        &self,
        model: &ModelReference,
        now: Timestamp,
        dispatch: &Dispatch,
    ) -> Option<String> {
        let mut line = model.queue.arrivals.values();
        let mut parts = dispatch.parts.iter().peekable();
        while let Some(part) = parts.next() {
            let ahead = line.by_ref().find(|id| **id == part.request || !self.is_hopeless(model, now, **id));
            if ahead != Some(&part.request) {
                return Some(format!("overtakes {ahead:?} with {}", part.request));
            }
            let waiting = self.requests.get(&part.request).map_or(0, Known::waiting);
            if parts.peek().is_some() && part.items < waiting {
                return Some(format!("leaves items of {} behind and takes from others", part.request));
            }
        }
        None
    }

    /// Within a lane, in order of urgency.
    fn overtaken_in_lane(
        &self,
        model: &ModelReference,
        now: Timestamp,
        dispatch: &Dispatch,
    ) -> Option<String> {
        let lead = self.starving(model, now);
        for part in &dispatch.parts {
            if Some(part.request) == lead {
                continue;
            }
            let request = self.requests.get(&part.request)?;
            let own: LaneEntry = entry(&model.plan, part.request, request);
            let ahead = model.queue.lanes.get(&lane(request)).into_iter().flat_map(|lane| lane.range(..own));
            for &(_, _, id) in ahead {
                let taken: u32 = dispatch.parts.iter().filter(|it| it.request == id).map(|it| it.items).sum();
                let waiting = self.requests.get(&id).map_or(0, Known::waiting);
                if taken < waiting && !self.is_hopeless(model, now, id) {
                    return Some(format!("overtakes {id}, more urgent in its lane, with {}", part.request));
                }
            }
        }
        None
    }

    /// Who has waited so long that it must lead.
    fn starving(&self, model: &ModelReference, now: Timestamp) -> Option<RequestId> {
        let plan = &model.plan;
        let is_reachable = plan.slo_latency >= plan.service_time_upper.upper(1) + plan.deadline_margin;
        let slo = if is_reachable { plan.slo_latency } else { std::time::Duration::ZERO };
        let patience = slo.max(plan.max_queue_delay).max(std::time::Duration::from_millis(1)) * STARVED_AFTER;
        let oldest = model.queue.oldest()?;
        let arrival = self.requests.get(&oldest)?.arrival;
        (arrival + patience <= now).then_some(oldest)
    }

    fn starved(&self, model: &ModelReference, now: Timestamp, dispatch: &Dispatch) -> Option<String> {
        let starving = self.starving(model, now).filter(|id| !self.is_hopeless(model, now, *id))?;
        let leads = dispatch.parts.first().is_some_and(|part| part.request == starving);
        (!leads).then(|| format!("lets {starving} starve"))
    }

    fn is_hopeless(&self, model: &ModelReference, now: Timestamp, id: RequestId) -> bool {
        self.requests.get(&id).is_none_or(|request| model.may_be_hopeless(now, request.deadline()))
    }
}

fn has_reason(
    model: &ModelReference,
    oldest: Option<&Known>,
    is_draining: bool,
    now: Timestamp,
    reason: CloseReason,
) -> bool {
    let (plan, queue) = (&model.plan, &model.queue);
    let is_full = queue.items >= u64::from(plan.max_batch_size);
    match reason {
        CloseReason::Full => is_full,
        CloseReason::Bytes => {
            is_full
                || model.is_corrected
                || queue.bytes >= plan.max_request_payload_bytes
                || queue.response_bytes >= plan.max_response_payload_bytes
        }
        CloseReason::Delay => oldest.is_some_and(|oldest| oldest.arrival + plan.max_queue_delay <= now),
        CloseReason::Deadline => urgent_at(plan, queue) <= now,
        CloseReason::Immediate => plan.packing == PackingPolicy::None,
        CloseReason::Drain => is_draining,
        CloseReason::Retry | CloseReason::Bisect => false,
    }
}
