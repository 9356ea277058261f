//! What the service manager is told, by systemd's protocol: a datagram to `NOTIFY_SOCKET`. Without that variable nothing is.
//!
//! *Watchdog.* A process that is there need not serve. So nothing here ticks on its own: the sign of life is sent when the driver and the control loop
//! have both answered a question that was put to them after the last one. A driver that is stuck, or was given up after panics, or a control loop that
//! hangs, answers nothing; then the manager hears nothing and starts the service again. A control loop that waits out the pause after a panic is not
//! stuck: serving goes on without it.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// Speaks to the service manager.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServiceManager;

impl ServiceManager {
    /// It serves, or serves again after a reload.
    pub(super) fn ready(self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It is about to read its configuration again. The time tells the manager to which request the next `ready` belongs.
    pub(super) fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// It drains.
    pub(super) fn stopping(self, status: &str) {
        send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// One line for people.
    pub(super) fn status(self, status: &str) {
        send(&[NotifyState::Status(status)]);
    }

    /// Sends signs of life for as long as it is polled, if the manager wants them. `is_alive` asks.
    pub(super) async fn watchdog<F: Future<Output = bool>>(self, is_alive: impl Fn() -> F) {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return std::future::pending().await;
        };
        beat(limit, is_alive, || send(&[NotifyState::Watchdog])).await;
    }
}

/// Asks three times within `limit`, and tells of each answer.
async fn beat<F: Future<Output = bool>>(limit: Duration, is_alive: impl Fn() -> F, tell: impl Fn()) {
    let mut tick = tokio::time::interval(limit / 3);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match tokio::time::timeout(limit, is_alive()).await {
            Ok(true) => tell(),
            Ok(false) => tracing::error!("the driver has been given up; the service manager is told nothing"),
            Err(_) => tracing::error!(
                ?limit,
                "the driver or the control loop does not answer; the service manager is told nothing"
            ),
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_with_the_answers_and_come_back_with_them() {
        let (told, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, asked) = (told.clone(), answers.clone());
        let is_alive = move || {
            let answers = asked.clone();
            async move {
                if !answers.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                true
            }
        };
        let limit = Duration::from_secs(30);
        let beating = tokio::spawn(beat(limit, is_alive, move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(told.swap(0, Ordering::Relaxed), 7, "one at the start, then one in ten seconds");
        answers.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(told.swap(0, Ordering::Relaxed), 0, "a clock alone is no sign of life");
        answers.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(told.load(Ordering::Relaxed) >= 3);
        beating.abort();
    }
}
