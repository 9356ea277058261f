//! Live traffic goes first: permits for the invocations of all jobs, by the rule of [`FairShare`].
//!
//! Deliberately absent: fairness among jobs beyond first come, first served.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_contract::Timestamp;
use gateway_policy::share::{FairShare, LiveLoad, Share, ShareSettings};
use tokio::sync::Notify;

use crate::{Capacity, Permit};

/// How soon a waiting job looks again although nobody told it to: the rule grows with time.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Weight of the newest chunk in the mean time of a chunk.
const NEWEST: f64 = 0.2;

/// The gate. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    origin: Instant,
}

struct State {
    share: FairShare,
    in_flight: u32,
    /// Mean time of a chunk, seconds; `None` before the first ended.
    chunk_seconds: Option<f64>,
}

impl Gate {
    /// A gate with nobody in it.
    #[must_use]
    pub fn new(settings: ShareSettings) -> Self {
        let share = FairShare::new(settings, Timestamp::ZERO);
        let state = State { share, in_flight: 0, chunk_seconds: None };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), origin: Instant::now() }))
    }

    /// Live traffic since the last report: every 100 ms or so.
    pub fn live(&self, load: &LiveLoad) {
        let now = self.0.now();
        self.0.lock().share.handle_live(now, load);
        self.0.changed.notify_waiters();
    }

    /// Concurrency that live traffic and jobs have together.
    pub fn set_capacity(&self, capacity: u32) {
        self.0.lock().share.handle_capacity(capacity);
    }

    /// What jobs may have now, and what they use.
    #[must_use]
    pub fn share(&self) -> (Share, u32) {
        let now = self.0.now();
        let state = self.0.lock();
        (state.share.share(now), state.in_flight)
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let now = self.now();
        let mut state = self.lock();
        if state.in_flight >= state.share.share(now).allowed {
            return None;
        }
        state.in_flight += 1;
        let in_flight = state.in_flight;
        state.share.handle_bulk(now, in_flight);
        Some(Entered { gate: Arc::clone(self), at: Instant::now() })
    }
}

/// One invocation's place; given back when dropped.
struct Entered {
    gate: Arc<Inner>,
    at: Instant,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let now = self.gate.now();
        let mut state = self.gate.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        let in_flight = state.in_flight;
        state.share.handle_bulk(now, in_flight);
        let took = self.at.elapsed().as_secs_f64();
        let mean = state.chunk_seconds.map_or(took, |mean| mean + NEWEST * (took - mean));
        state.chunk_seconds = Some(mean);
        state.share.handle_chunk_time(Duration::from_secs_f64(mean));
        drop(state);
        self.gate.changed.notify_waiters();
    }
}

impl Capacity for Gate {
    fn permit(&self) -> Pin<Box<dyn Future<Output = Permit> + Send + '_>> {
        Box::pin(async move {
            loop {
                let changed = self.0.changed.notified(); // before the look, so that no change is missed
                if let Some(entered) = self.0.enter() {
                    return Box::new(entered) as Permit;
                }
                let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
            }
        })
    }

    fn invoked(&self, was_throttled: bool) {
        if was_throttled {
            let now = self.0.now();
            self.0.lock().share.handle_bulk_throttled(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(capacity: u32) -> Gate {
        Gate::new(ShareSettings { capacity, ..ShareSettings::default() })
    }

    async fn enters(gate: &Gate) -> Option<Permit> {
        tokio::time::timeout(Duration::from_millis(50), gate.permit()).await.ok()
    }

    #[tokio::test]
    async fn jobs_use_what_live_traffic_leaves_and_give_it_back() {
        let gate = gate(10);
        gate.live(&LiveLoad { in_flight: 4, ..LiveLoad::default() });
        let (share, _) = gate.share();
        assert!((1..=6).contains(&share.allowed), "{share:?}");
        let mut held = Vec::new();
        for _ in 0..share.allowed {
            held.push(enters(&gate).await.expect("there is room"));
        }
        assert!(enters(&gate).await.is_none(), "no more than the share");
        assert_eq!(gate.share().1, share.allowed);
        held.pop();
        assert!(enters(&gate).await.is_some(), "a place that was given back is taken");
    }

    #[tokio::test]
    async fn a_throttle_closes_the_gate_at_once() {
        let gate = gate(100);
        gate.live(&LiveLoad::default());
        let held: Vec<_> =
            [enters(&gate).await, enters(&gate).await, enters(&gate).await, enters(&gate).await].into();
        assert!(held.iter().all(Option::is_some));
        gate.invoked(true);
        assert_eq!(gate.share().0.allowed, 2, "half of what was in flight");
        assert!(enters(&gate).await.is_none());
    }
}
