//! Bounds the rate of log lines for failures that repeat: the first is told at once, then one line per period with a count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// One line per kind in this time.
const PERIOD: Duration = Duration::from_secs(10);
/// Kinds that are told apart; further ones share the last place.
const MAX_KINDS: usize = 256;

/// Remembers which failures were told when.
#[derive(Debug, Default)]
pub struct RepeatedFailures {
    seen: HashMap<(u16, &'static str), Entry>,
}

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
    /// Notes a failure of a kind, for a model.
    pub fn note(&mut self, now: Instant, model: u16, kind: &'static str) -> Repeated {
        let key = if self.seen.len() < MAX_KINDS { (model, kind) } else { (u16::MAX, "other") };
        match self.seen.get_mut(&key) {
            Some(entry) if now.duration_since(entry.told) < PERIOD => {
                entry.silent += 1;
                Repeated::Suppress
            }
            Some(entry) => {
                entry.told = now;
                Repeated::Tell { suppressed: std::mem::take(&mut entry.silent) }
            }
            None => {
                self.seen.insert(key, Entry { told: now, silent: 0 });
                Repeated::Tell { suppressed: 0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_becomes_one_line_per_period_with_its_count() {
        let mut failures = RepeatedFailures::default();
        let start = Instant::now();
        assert_eq!(failures.note(start, 0, "throttled"), Repeated::Tell { suppressed: 0 });
        for _ in 0..99 {
            assert_eq!(failures.note(start, 0, "throttled"), Repeated::Suppress);
        }
        assert_eq!(
            failures.note(start, 1, "throttled"),
            Repeated::Tell { suppressed: 0 },
            "another model is another kind"
        );
        assert_eq!(failures.note(start + PERIOD, 0, "throttled"), Repeated::Tell { suppressed: 99 });
    }
}
