//! Packing policies: which waiting items make the next batch. One file per policy, one line in the registry below.
//!
//! A policy decides the order and nothing else: when a batch closes is decided in `closing`, what fits is decided by [`Fill`].

mod deadline;
mod fifo;
mod fill;
mod none;

use gateway_contract::PackingPolicy;

pub(crate) use self::fill::Fill;
use crate::request::{Request, Requests};
use crate::waiting::Waiting;

/// What a policy may know beside the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Items with an urgency up to here (nanoseconds) are late if they miss this batch.
    pub(crate) must_go_until: u64,
    /// A request that arrived up to here (nanoseconds) leads whatever its priority.
    /// `None`: not that much time has passed at all.
    pub(crate) starved_until: Option<u64>,
}

/// A packing policy.
pub(crate) trait Packing {
    /// A request begins to wait. `urgency`: the earlier of its soft and hard deadline, in nanoseconds.
    fn push(&mut self, request: &Request, slot: u32, urgency: u64);

    /// A waiting request has left the table.
    fn forget(&mut self, waiting: &Waiting, requests: &Requests);

    /// Earliest urgency that should close a batch, in nanoseconds.
    fn earliest_urgency(&self) -> Option<u64>;

    /// Fills a batch. Puts at least one item in if one waits.
    fn pack(&mut self, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, moment: Moment);
}

/// A policy in use.
#[derive(Debug)]
pub(crate) enum Packer {
    None(none::None),
    Fifo(fifo::Fifo),
    Deadline(deadline::Deadline),
}

impl Packer {
    /// The registry.
    pub(crate) fn new(policy: PackingPolicy) -> Self {
        match policy {
            PackingPolicy::None => Self::None(none::None),
            PackingPolicy::Fifo => Self::Fifo(fifo::Fifo),
            PackingPolicy::Deadline => Self::Deadline(deadline::Deadline::default()),
        }
    }
}

impl Packing for Packer {
    #[inline]
    fn push(&mut self, request: &Request, slot: u32, urgency: u64) {
        match self {
            Self::None(policy) => policy.push(request, slot, urgency),
            Self::Fifo(policy) => policy.push(request, slot, urgency),
            Self::Deadline(policy) => policy.push(request, slot, urgency),
        }
    }

    fn forget(&mut self, waiting: &Waiting, requests: &Requests) {
        match self {
            Self::None(policy) => policy.forget(waiting, requests),
            Self::Fifo(policy) => policy.forget(waiting, requests),
            Self::Deadline(policy) => policy.forget(waiting, requests),
        }
    }

    #[inline]
    fn earliest_urgency(&self) -> Option<u64> {
        match self {
            Self::None(policy) => policy.earliest_urgency(),
            Self::Fifo(policy) => policy.earliest_urgency(),
            Self::Deadline(policy) => policy.earliest_urgency(),
        }
    }

    #[inline]
    fn pack(&mut self, waiting: &mut Waiting, requests: &mut Requests, fill: &mut Fill, moment: Moment) {
        match self {
            Self::None(policy) => policy.pack(waiting, requests, fill, moment),
            Self::Fifo(policy) => policy.pack(waiting, requests, fill, moment),
            Self::Deadline(policy) => policy.pack(waiting, requests, fill, moment),
        }
    }
}
