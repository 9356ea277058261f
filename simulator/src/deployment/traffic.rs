//! The callers' side: requests arrive, are answered, or leave.

use std::cmp::Reverse;
use std::time::Duration;

use gateway_contract::{RequestId, Timestamp};
use gateway_policy::{ItemBytes, RequestMeta, RequestOutcome};

use super::observer::Observer;
use super::requests::Open;
use super::{Deployment, nanos};

impl<O: Observer> Deployment<'_, O> {
    /// The next arrival of all models.
    #[inline]
    pub(super) fn next_arrival(&self) -> Option<(u64, usize)> {
        let each = self.models.iter().map(|model| model.next_arrival).zip(0..);
        each.min().filter(|(at, _)| *at < u64::MAX)
    }

    pub(super) fn arrive(&mut self, at: u64, index: usize) {
        self.now = at;
        let (now, id) = (Timestamp::from_nanos(at), self.open.next_id());
        let model = &mut self.models[index];
        let (items, class) = model.draw_size();
        let size = model.sizes.classes[usize::from(class)];
        let meta = RequestMeta {
            id: RequestId(id),
            model: model.id,
            items,
            item_bytes: ItemBytes::Uniform(size.item_bytes),
            response_bytes_per_item: size.response_bytes,
            class,
            priority: size.priority,
            deadline: model.request_timeout.map(|timeout| now + timeout),
        };
        let poison = model.active.poison;
        let is_poison = poison > 0.0 && model.streams.poison.unit() < poison;
        self.open.push(Open { arrived: at, model: model.id.0, class, is_poison });
        let admission = self.engine.handle_request(now, meta.clone());
        self.observer.on_request(now, &meta, admission);
        let counts = &mut model.report.counts;
        counts.requests += 1;
        counts.items += u64::from(items);
        if let Some(tally) = &mut model.tally {
            tally.arrive(at, items, admission.is_err());
        }
        if admission.is_err() {
            counts.shed += 1;
            self.open.close(id);
        } else if let Some(patience) = model.patience
            && model.streams.patience.unit() < patience.share
        {
            let stays_s = model.streams.patience.exponential(1.0 / patience.mean_s);
            self.leaving.push(Reverse((at.saturating_add(nanos(stays_s)), id)));
        }
        self.drain();
    }

    /// A client leaves, if it has not been answered.
    pub(super) fn leave(&mut self, request: u64) {
        let Some(open) = self.open.close(request) else { return };
        self.models[usize::from(open.model)].report.counts.cancelled += 1;
        let now = Timestamp::from_nanos(self.now);
        self.observer.on_cancel(now, RequestId(request));
        self.engine.handle_cancel(now, RequestId(request));
    }

    #[inline]
    pub(super) fn answer(&mut self, request: RequestId, outcome: &RequestOutcome) {
        let Some(open) = self.open.close(request.0) else {
            self.observer.on_stray_answer(Timestamp::from_nanos(self.now), request, outcome);
            return;
        };
        let model = &mut self.models[usize::from(open.model)];
        let (latency, counts) = (self.now - open.arrived, &mut model.report.counts);
        let waited = Duration::from_nanos(latency);
        self.observer.on_answer(Timestamp::from_nanos(self.now), model.id, request, waited, outcome);
        if matches!(outcome, RequestOutcome::Answered { failed } if failed.is_empty()) {
            let is_within_slo = latency <= model.slo_nanos;
            counts.answered += 1;
            counts.within_slo += u64::from(is_within_slo);
            model.report.latency.record(latency);
            if let Some(tally) = &mut model.tally {
                tally.answer(latency, is_within_slo);
            }
        } else {
            counts.failed += 1;
            counts.timed_out += u64::from(matches!(outcome, RequestOutcome::DeadlineExceeded));
            if let Some(tally) = &mut model.tally {
                tally.fail();
            }
        }
    }
}
