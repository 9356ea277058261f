//! Whose turn it is to run alone, to measure what batching saves.
//!
//! After every `every_items` items a run is due: that many items go out alone, each after the one before it is back, so that a run
//! needs one environment and only its first item may find it cold. Deliberately absent: what follows from the measurement (the tuner's).

use gateway_contract::HoldOut;

/// Turns of a model.
#[derive(Debug, Default)]
pub(super) struct HoldOuts {
    /// Items sent since the last run fell due.
    since: u32,
    /// Items of the run that still have to go.
    due: u32,
    /// One of them is in flight.
    is_out: bool,
}

impl HoldOuts {
    /// Whether the next item goes alone.
    pub(super) fn is_next(&self, hold_out: Option<&HoldOut>) -> bool {
        hold_out.is_some() && self.due > 0 && !self.is_out
    }

    /// A new batch of `items` items goes out.
    pub(super) fn on_dispatch(&mut self, hold_out: Option<&HoldOut>, items: u32, is_hold_out: bool) {
        let Some(hold_out) = hold_out else { return };
        if is_hold_out {
            self.due -= 1;
            self.is_out = true;
        }
        self.since = self.since.saturating_add(items);
        if self.since >= hold_out.every_items {
            self.since = 0;
            self.due = hold_out.run_items;
        }
    }

    /// The one in flight is back.
    pub(super) fn on_outcome(&mut self) {
        self.is_out = false;
    }
}
