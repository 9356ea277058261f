//! How long to wait for AWS, and how often to ask. Deliberately absent: what is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds of waiting: for an update to end, for a conflict to pass, for a throttle to be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// First pause, default 250 ms; doubles with each try. Less: quicker, and more calls (an account has 15 a second in all).
    pub first_pause: Duration,
    /// Longest pause, default 5 s. The answer's `Retry-After` may ask for more, to 30 s.
    pub longest_pause: Duration,
    /// Longest wait of one call or state in all, default 5 min: updates of functions in a VPC take up to one.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(5),
            limit: Duration::from_secs(300),
        }
    }
}

/// The longest pause that an answer can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// One wait under way.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Patience,
    pause: Duration,
    until: Instant,
}

impl Waiting {
    /// Begins now.
    pub(super) fn begin(patience: Patience) -> Self {
        Self { patience, pause: patience.first_pause, until: Instant::now() + patience.limit }
    }

    /// The next pause, at least `asked`; `None` when patience is at its end.
    pub(super) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let pause = self.pause.max(asked.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        self.pause = (self.pause * 2).min(self.patience.longest_pause);
        (Instant::now() + pause <= self.until).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(300),
            limit: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn pauses_double_to_their_bound_and_follow_what_the_answer_asks() {
        let mut waiting = Waiting::begin(patience());
        let pauses: Vec<_> = (0..4).map(|_| waiting.next_pause(None).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 300, 300]);
        assert_eq!(waiting.next_pause(Some(Duration::from_secs(2))), Some(Duration::from_secs(2)));
        assert_eq!(waiting.next_pause(Some(Duration::from_secs(3600))), Some(LONGEST_RETRY_AFTER));
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut waiting = Waiting::begin(Patience { limit: Duration::from_millis(50), ..patience() });
        assert_eq!(waiting.next_pause(None), None);
    }
}
