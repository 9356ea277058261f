//! What the handle tells the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_contract::{ModelId, RequestId};
use gateway_policy::share::LiveLoad;
use tokio::sync::oneshot;

use super::{ClosedWindow, ModelSet};
use crate::inference::{Completed, InferError, Submission};

pub(super) type Reply = oneshot::Sender<Result<Completed, InferError>>;

/// One message to the driver.
pub(super) enum Command {
    /// A request arrived.
    Submit {
        id: RequestId,
        submission: Submission,
        arrived: tokio::time::Instant,
        reply: Reply,
        ticket: Ticket,
    },
    /// Its caller left.
    Cancel(RequestId),
    /// Models or plans changed.
    Models(Arc<ModelSet>),
    /// A window of a model ends; answered with what was counted in it.
    CloseWindow {
        model: ModelId,
        /// Of the latency, 0 to 1.
        percentile: f64,
        reply: oneshot::Sender<ClosedWindow>,
    },
    /// Answered with live traffic since the last time.
    LiveLoad(oneshot::Sender<LiveLoad>),
    /// Bring the gauges up to date.
    RefreshGauges(oneshot::Sender<()>),
    /// Answered at once: a sign of life.
    Ping(oneshot::Sender<()>),
    /// Stop admitting, flush; answered when idle.
    Drain(oneshot::Sender<()>),
    /// Panic, so that a test can see the supervisor work.
    #[cfg(test)]
    Panic,
}

/// What waits in the channel, in requests and bytes.
#[derive(Debug, Default)]
pub(super) struct ChannelLoad {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// A request's share of the channel; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    load: Arc<ChannelLoad>,
    bytes: usize,
}

impl ChannelLoad {
    /// Takes a share, unless a bound is reached.
    pub(super) fn admit(
        self: &Arc<Self>,
        bytes: usize,
        max_requests: usize,
        max_bytes: usize,
    ) -> Option<Ticket> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let ticket = Ticket { load: self.clone(), bytes };
        // An empty channel takes any single request: its size was bounded where it was read.
        (requests < max_requests && (held == 0 || held.saturating_add(bytes) <= max_bytes)).then_some(ticket)
    }

    #[cfg(test)]
    pub(super) fn get(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.requests.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_refuses_and_gives_back() {
        let load = Arc::new(ChannelLoad::default());
        let first = load.admit(80, 2, 100).expect("empty takes it");
        assert!(load.admit(30, 2, 100).is_none(), "over the bytes");
        let second = load.admit(20, 2, 100).expect("fits");
        assert!(load.admit(0, 2, 100).is_none(), "over the requests");
        drop((first, second));
        assert_eq!(load.get(), (0, 0));
    }
}
