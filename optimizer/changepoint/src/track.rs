//! What every detector keeps beside its statistic: the present regime, the latest windows, and the regime before.
//!
//! *When it began.* The split of the latest windows with the greatest quasi-likelihood: `S ln(S / jμ) − (S − jμ)` over
//! the last j windows with sum S, over all j. Also used when the run-length posterior is undecided.
//!
//! *After an alarm* the new regime starts from the windows since the change alone. If these agree with the regime
//! before the present one, the change was the end of a burst (or of a false alarm), and what was known of that regime
//! is taken up again: a burst of seconds leaves the estimate as it was.
//!
//! *Bounds.* [`RING_WINDOWS`] counts and two regimes.

use crate::bits;
use crate::regime::{RegimeEstimator, rate_of};
use crate::state::{StateError, in_range};
use crate::{ChangePoint, Direction};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Latest windows that are kept; a change that began earlier is dated to the oldest of them.
pub(crate) const RING_WINDOWS: usize = 1024;
/// A regime shorter than this is not worth being remembered.
const WORTH_KEEPING_WINDOWS: u64 = 30;
/// Standard errors within which the new windows agree with the regime before.
const AGREEMENT: f64 = 2.5;

/// Regime, latest windows, regime before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) regime: RegimeEstimator,
    before: Option<RegimeEstimator>,
    latest: Latest,
    /// Windows since the last change, the present one included: no later change can have begun before.
    since_change: u64,
}

/// The latest counts, oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Latest {
    #[serde(with = "bits::many")]
    counts: Vec<f64>,
    /// Where the next count goes once the list is full.
    next: usize,
}

impl Latest {
    fn push(&mut self, count: f64) {
        if self.counts.len() < RING_WINDOWS {
            self.counts.push(count);
        } else {
            self.counts[self.next] = count;
            self.next = (self.next + 1) % RING_WINDOWS;
        }
    }

    /// Newest first.
    fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        let (newer, older) = self.counts.split_at(self.next);
        newer.iter().rev().chain(older.iter().rev()).copied()
    }
}

impl Track {
    /// Remembers a count; to be called first in a window.
    pub(crate) fn remember(&mut self, count: f64) {
        self.latest.push(count);
        self.since_change = self.since_change.saturating_add(1);
    }

    /// Whether no change has been found yet.
    pub(crate) fn is_first_regime(&self) -> bool {
        self.before.is_none()
    }

    /// The latest `windows` counts, oldest first.
    pub(crate) fn recent(&self, windows: u32) -> VecDeque<f64> {
        let mut list = VecDeque::new();
        self.latest.iter().take(windows as usize).for_each(|count| list.push_front(count));
        list
    }

    /// Whether a change in this direction can have begun `windows` windows ago (this one included).
    pub(crate) fn can_have_begun(&self, windows: u32, direction: Direction) -> bool {
        let sum: f64 = self.latest.iter().take(windows as usize).sum();
        let expected = f64::from(windows) * self.regime.mean();
        let along = match direction {
            Direction::Up => sum > expected,
            Direction::Down => sum < expected,
        };
        along && u64::from(windows) <= self.since_change
    }

    /// Windows since the most likely moment of a change in this direction, this one included: at least 1.
    pub(crate) fn likeliest_split(&self, direction: Direction) -> u32 {
        let mean = self.regime.mean();
        let (mut sum, mut windows, mut best) = (0.0, 0.0, (f64::NEG_INFINITY, 1));
        let horizon = usize::try_from(self.since_change).unwrap_or(usize::MAX);
        for (index, count) in (1_u32..).zip(self.latest.iter().take(horizon)) {
            sum += count;
            windows += 1.0;
            let expected = windows * mean;
            let along = match direction {
                Direction::Up => sum > expected,
                Direction::Down => sum < expected,
            };
            let gain = if sum > 0.0 { sum * (sum / expected).ln() - (sum - expected) } else { expected };
            if along && gain > best.0 {
                best = (gain, index);
            }
        }
        best.1
    }

    /// Ends the regime: a new one began `windows` windows ago (this one included).
    pub(crate) fn change(&mut self, windows: u32, direction: Direction, probability: f64) -> ChangePoint {
        let windows = windows.max(1);
        self.since_change = u64::from(windows);
        let newest = self.latest.iter().next().unwrap_or(0.0);
        let sum: f64 = self.latest.iter().take(windows as usize).sum();
        let length = f64::from(windows);
        let before = self.regime.rate_without(length - 1.0, sum - newest);
        let mut after = self.regime.successor(sum / length, windows);
        let rate = after.rate();
        if let Some(known) = self.before.take_if(|known| agree(known, sum / length, length)) {
            after = known;
        }
        let old = std::mem::replace(&mut self.regime, after);
        if old.windows() >= WORTH_KEEPING_WINDOWS || self.before.is_none() {
            self.before = Some(old);
        }
        ChangePoint { windows_ago: windows - 1, direction, probability, before, after: rate }
    }

    /// Whether a saved state can be continued.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        self.regime.check()?;
        if let Some(before) = &self.before {
            before.check()?;
        }
        let length = self.latest.counts.len();
        if length > RING_WINDOWS || self.latest.next >= RING_WINDOWS || self.latest.next > length {
            return Err(StateError::Length { field: "counts", length });
        }
        self.latest.counts.iter().try_for_each(|count| in_range("counts", *count, 0.0, 1e12))
    }
}

/// Whether `windows` windows with this mean could come from the regime `known`.
fn agree(known: &RegimeEstimator, mean: f64, windows: f64) -> bool {
    let expected = rate_of(known.mean(), windows, known.dispersion());
    let variance = expected.standard_error.powi(2) + known.rate().standard_error.powi(2);
    (mean - known.mean()).abs() <= AGREEMENT * variance.sqrt()
}
