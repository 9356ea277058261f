//! No batching: each request is a dispatch of its own (several, if it has more items than a batch may). The folder's baseline.

use super::{Fill, Moment, Packing};
use crate::request::{Request, Requests};
use crate::waiting::Waiting;

/// Order of arrival, one request per batch.
#[derive(Debug)]
pub(crate) struct None;

impl Packing for None {
    fn push(&mut self, _request: &Request, _slot: u32, _urgency: u64) {}

    fn forget(&mut self, _waiting: &Waiting, _requests: &Requests) {}

    fn earliest_urgency(&self) -> Option<u64> {
        Option::None
    }

    fn pack(&mut self, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, _moment: Moment) {
        waiting.settle(requests);
        let Some(ticket) = waiting.oldest() else { return };
        let Some(request) = requests.live_mut(ticket.slot, ticket.sequence) else {
            return;
        };
        if waiting.take(request, ticket.slot, u32::MAX, fill) {
            waiting.pop();
        }
    }
}
