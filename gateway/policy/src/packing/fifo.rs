//! In order of arrival, whatever the deadlines.

use super::{Fill, Moment, Packing};
use crate::request::{Request, Requests};
use crate::waiting::Waiting;

/// Order of arrival.
#[derive(Debug)]
pub(crate) struct Fifo;

impl Packing for Fifo {
    fn push(&mut self, _request: &Request, _slot: u32, _urgency: u64) {}

    fn forget(&mut self, _waiting: &Waiting, _requests: &Requests) {}

    fn earliest_urgency(&self) -> Option<u64> {
        None
    }

    fn pack(&mut self, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, _moment: Moment) {
        while let Some(ticket) = waiting.oldest() {
            if fill.is_closed() {
                break;
            }
            // A ticket whose request has gone is dropped on the way.
            let exhausted = requests
                .live_mut(ticket.slot, ticket.sequence)
                .is_none_or(|request| waiting.take(request, ticket.slot, u32::MAX, fill));
            if !exhausted {
                break;
            }
            waiting.pop();
        }
    }
}
