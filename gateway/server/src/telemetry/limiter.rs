//! Bounds the log lines of failures that repeat: the first of a kind is told at once, then one line per period with the number of those that were
//! not, and a last one when they have ceased.
//!
//! For lines whose kinds share one place in the code. Whatever repeats otherwise is bounded by [`super::line_bound`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line per kind in this time.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);
/// Kinds that are told apart; further ones share a place.
const MAX_KINDS: usize = 256;

/// Remembers which failures were told when.
#[derive(Debug, Default)]
pub(crate) struct RepeatedFailures {
    seen: Mutex<HashMap<Kind, Entry>>,
}

/// What happened, of which kind, to which model.
type Kind = (&'static str, &'static str, String);

#[derive(Debug)]
struct Entry {
    told: Instant,
    silent: u64,
}

/// Whether to log a failure now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// Log it; `suppressed` of its kind were not logged since the last line.
    Tell {
        /// Failures of this kind since the last line.
        suppressed: u64,
    },
    /// Be silent.
    Suppress,
}

impl RepeatedFailures {
    /// Notes a failure: what happened, of which kind, to which model.
    pub(super) fn note(&self, now: Instant, what: &'static str, kind: &'static str, model: &str) -> Repeated {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (what, kind, model.to_owned());
        if seen.len() >= MAX_KINDS && !seen.contains_key(&key) {
            key = (what, "other", String::new());
        }
        let mut is_new = false;
        let entry = seen.entry(key).or_insert_with(|| {
            is_new = true;
            Entry { told: now, silent: 0 }
        });
        if !is_new && now.duration_since(entry.told) < PERIOD {
            entry.silent += 1;
            return Repeated::Suppress;
        }
        entry.told = now;
        Repeated::Tell { suppressed: std::mem::take(&mut entry.silent) }
    }

    /// Kinds that have ceased, with the number of failures that no line has told of yet.
    fn ceased(&self, now: Instant) -> Vec<(Kind, u64)> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |entry: &Entry| now.duration_since(entry.told) >= PERIOD;
        let over = seen.extract_if(|_, entry| is_over(entry));
        over.filter(|(_, entry)| entry.silent > 0).map(|(kind, entry)| (kind, entry.silent)).collect()
    }

    /// Tells of failures that have ceased.
    pub(crate) fn tell_ceased(&self) {
        for ((what, kind, model), suppressed) in self.ceased(Instant::now()) {
            tracing::warn!(model, kind, suppressed, "{what}: this many more were not logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_becomes_one_line_per_period_with_its_count() {
        let failures = RepeatedFailures::default();
        let start = Instant::now();
        let note = |at, model| failures.note(at, "invocation failed", "throttled", model);
        assert_eq!(note(start, "m"), Repeated::Tell { suppressed: 0 });
        for _ in 0..99 {
            assert_eq!(note(start, "m"), Repeated::Suppress);
        }
        assert_eq!(note(start, "n"), Repeated::Tell { suppressed: 0 }, "another model is another kind");
        assert_eq!(note(start + PERIOD, "m"), Repeated::Tell { suppressed: 99 });
    }

    #[test]
    fn the_end_of_a_storm_is_told_once() {
        let failures = RepeatedFailures::default();
        let start = Instant::now();
        for _ in 0..5 {
            failures.note(start, "invocation failed", "throttled", "m");
        }
        assert!(failures.ceased(start).is_empty(), "it may go on");
        let ceased = failures.ceased(start + PERIOD);
        assert_eq!(ceased, [(("invocation failed", "throttled", "m".to_owned()), 4)]);
        assert!(failures.ceased(start + 2 * PERIOD).is_empty());
    }

    #[test]
    fn kinds_are_bounded() {
        let failures = RepeatedFailures::default();
        let now = Instant::now();
        for n in 0..10 * MAX_KINDS {
            failures.note(now, "request failed", "internal", &n.to_string());
        }
        assert!(failures.seen.lock().unwrap().len() <= MAX_KINDS + 1);
    }
}
