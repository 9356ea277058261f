//! What all models of an engine share: the tables, the identities, the outputs.

use std::collections::VecDeque;

use gateway_contract::{BatchId, ItemFailure, ModelId, RequestId};

use crate::batch::Batch;
use crate::id_table::IdTable;
use crate::request::{Request, Requests, Segment};
use crate::types::{Dispatch, EnvironmentCall, Event, Part, RequestOutcome};

/// Vectors kept for reuse.
const MAX_POOLED: usize = 1_024;

/// Tables and outputs.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) requests: Requests,
    pub(crate) in_flight: IdTable<Batch>,
    /// Calls that are not back, and whose they are.
    pub(crate) calls_out: IdTable<ModelId>,
    pub(crate) calls: VecDeque<EnvironmentCall>,
    pub(crate) dispatches: VecDeque<Dispatch>,
    pub(crate) answers: VecDeque<(RequestId, RequestOutcome)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) is_draining: bool,
    last_batch: u64,
    parts: Vec<Vec<Part>>,
    segments: Vec<Vec<Segment>>,
}

/// What resolving a run of items did to its request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// The request had gone before.
    Gone,
    /// Other items are still open.
    Open,
    /// That was the last; the request was answered.
    Answered,
}

impl Shared {
    pub(crate) fn next_batch_id(&mut self) -> BatchId {
        self.last_batch += 1;
        BatchId(self.last_batch)
    }

    pub(crate) fn empty_parts(&mut self) -> Vec<Part> {
        self.parts.pop().unwrap_or_default()
    }

    pub(crate) fn empty_segments(&mut self) -> Vec<Segment> {
        self.segments.pop().unwrap_or_default()
    }

    pub(crate) fn recycle_parts(&mut self, mut parts: Vec<Part>) {
        if self.parts.len() < MAX_POOLED {
            parts.clear();
            self.parts.push(parts);
        }
    }

    pub(crate) fn recycle_segments(&mut self, mut segments: Vec<Segment>) {
        if self.segments.len() < MAX_POOLED {
            segments.clear();
            self.segments.push(segments);
        }
    }

    /// `items` more items of a request have a result. Answers it with the last one.
    #[inline]
    pub(crate) fn resolve(&mut self, segment: &Segment, items: u32) -> Resolved {
        let Some(request) = self.requests.live_mut(segment.slot, segment.sequence) else {
            return Resolved::Gone;
        };
        request.unresolved -= items;
        if request.unresolved > 0 {
            return Resolved::Open;
        }
        let id = request.id;
        if let Some(mut request) = self.requests.remove(id) {
            request.failed.sort_unstable();
            self.answers.push_back((id, RequestOutcome::Answered { failed: request.failed }));
        }
        Resolved::Answered
    }

    /// Notes that an item failed. It counts as open until it is resolved.
    pub(crate) fn note_failure(&mut self, segment: &Segment, item: u32, failure: ItemFailure) {
        if let Some(request) = self.requests.live_mut(segment.slot, segment.sequence) {
            request.failed.push((item, failure));
        }
    }

    /// Fails a whole run of items.
    pub(crate) fn fail(&mut self, segment: &Segment, failure: ItemFailure) -> Resolved {
        for item in segment.first_item..segment.first_item + segment.items {
            self.note_failure(segment, item, failure);
        }
        self.resolve(segment, segment.items)
    }

    /// Ends a request at its hard deadline.
    pub(crate) fn expire(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(id)?;
        self.answers.push_back((id, RequestOutcome::DeadlineExceeded));
        Some(request)
    }
}
