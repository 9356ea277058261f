//! Who is let in, and who is refused for what.

use gateway_contract::{PackingPolicy, RequestId, Timestamp};
use gateway_policy::{ItemBytes, Rejection, RequestMeta};

use super::model::ModelReference;
use super::requests::{Known, item_bytes};
use super::{Reference, Rule};

impl Reference {
    /// A request came, and was admitted or refused.
    pub fn handle_request(&mut self, now: Timestamp, meta: &RequestMeta, answer: Result<(), Rejection>) {
        self.advance(now);
        let refusals = self.refusals(now, meta);
        match answer {
            Ok(()) => {
                self.findings.check(refusals.is_empty(), Rule::Admission, now, || {
                    format!("{} was admitted in spite of {refusals:?}", meta.id)
                });
                self.admit(now, meta);
            }
            Err(rejection) => {
                let holds = refusals.contains(&kind(rejection))
                    || rejection == Rejection::DeadlineUnreachable && self.may_be_late(now, meta);
                self.findings.check(holds, Rule::Admission, now, || {
                    format!("{} was refused as {rejection:?}; reasons were {refusals:?}", meta.id)
                });
            }
        }
    }

    fn admit(&mut self, now: Timestamp, meta: &RequestMeta) {
        self.arrivals += 1;
        let request = Known::new(meta.clone(), now, self.arrivals);
        if let Some(deadline) = meta.deadline {
            self.deadlines.insert((deadline, meta.id));
        }
        if let Some(model) = self.models.get_mut(&meta.model) {
            model.queue.enter(&model.plan, meta.id, &request);
            let (plan, queue) = (&model.plan, &model.queue);
            let is_within = queue.items <= u64::from(plan.queue_capacity_items)
                && queue.bytes <= plan.queue_capacity_bytes;
            self.findings.check(is_within, Rule::QueueBounds, now, || {
                format!("{} items of {} bytes wait after {}", queue.items, queue.bytes, meta.id)
            });
        }
        self.requests.insert(meta.id, request);
    }

    /// All reasons for which a request must be refused.
    fn refusals(&self, now: Timestamp, meta: &RequestMeta) -> Vec<Refusal> {
        let mut reasons = Vec::new();
        if self.is_draining {
            reasons.push(Refusal::Draining);
        }
        if self.is_taken(meta.id) {
            reasons.push(Refusal::Invalid);
        }
        let Some(model) = self.models.get(&meta.model) else {
            reasons.push(Refusal::UnknownModel);
            return reasons;
        };
        if meta.items == 0
            || matches!(&meta.item_bytes, ItemBytes::Each(each) if each.len() != meta.items as usize)
        {
            reasons.push(Refusal::Invalid);
            return reasons;
        }
        let plan = &model.plan;
        let each = || (0..meta.items).map(|item| item_bytes(&meta.item_bytes, item));
        if each().any(|bytes| bytes > plan.max_request_payload_bytes) {
            reasons.push(Refusal::ItemTooLarge);
        }
        let bytes: u64 = each().sum();
        if meta.items > plan.queue_capacity_items || bytes > plan.queue_capacity_bytes {
            reasons.push(Refusal::Invalid);
        }
        if meta.deadline.is_some_and(|deadline| deadline < now + model.upper(1)) {
            reasons.push(Refusal::DeadlineUnreachable);
        }
        if model.queue.items + u64::from(meta.items) > u64::from(plan.queue_capacity_items)
            || model.queue.bytes + bytes > plan.queue_capacity_bytes
        {
            reasons.push(Refusal::QueueFull);
        }
        reasons
    }

    fn is_taken(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_some_and(|request| !request.is_expired)
    }

    /// Whether what waits ahead may make a request late.
    fn may_be_late(&self, now: Timestamp, meta: &RequestMeta) -> bool {
        let Some((model, deadline)) = self.models.get(&meta.model).zip(meta.deadline) else { return false };
        let waves = waves(model);
        deadline < now + model.upper(1) + model.upper(model.plan.max_batch_size).saturating_mul(waves)
    }
}

/// Whole windows of full batches that wait, where the order is that of arrival.
fn waves(model: &ModelReference) -> u32 {
    let plan = &model.plan;
    let waves = match plan.packing {
        PackingPolicy::None => model.queue.arrivals.len() as u64 / u64::from(plan.max_in_flight),
        PackingPolicy::Fifo => {
            model.queue.items / (u64::from(plan.max_batch_size) * u64::from(plan.max_in_flight))
        }
        PackingPolicy::Deadline => 0,
    };
    u32::try_from(waves).unwrap_or(u32::MAX)
}

/// A rejection without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    UnknownModel,
    Invalid,
    QueueFull,
    ItemTooLarge,
    DeadlineUnreachable,
    Draining,
}

fn kind(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::UnknownModel => Refusal::UnknownModel,
        Rejection::InvalidRequest => Refusal::Invalid,
        Rejection::QueueFull { .. } => Refusal::QueueFull,
        Rejection::ItemTooLarge { .. } => Refusal::ItemTooLarge,
        Rejection::DeadlineUnreachable => Refusal::DeadlineUnreachable,
        Rejection::Draining => Refusal::Draining,
    }
}
