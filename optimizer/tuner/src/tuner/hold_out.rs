//! What batching saves, by measurement: a small share of items runs alone, at the cheapest place for that.
//!
//! They come in runs, because the first of a run may find its environment cold, and what a start costs is not what an item alone costs
//! where all run alone. Only warm ones count. Deliberately absent: the turns themselves (the engine's).

use gateway_contract::{HoldOut, WindowStats};

use super::Tuner;
use crate::service::belief::RungPoint;

/// Items of a run: the cold first is then a small part of what measuring costs.
const RUN_ITEMS: u32 = 10;
/// Fewer warm items say nothing.
const FEWEST: f64 = 5.0;
/// Items that the mean goes back over, so that it follows a change of the inputs.
const MEMORY_ITEMS: f64 = 200.0;

/// Items that ran alone at one place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HoldOutRecord {
    place: Option<RungPoint>,
    items: f64,
    usd: f64,
}

impl HoldOutRecord {
    /// Where single items are cheapest now. Another place begins a new record.
    pub(super) fn set_place(&mut self, place: Option<RungPoint>) {
        if self.place != place {
            *self = Self { place, ..Self::default() };
        }
    }

    pub(super) fn add(&mut self, stats: &WindowStats) {
        self.items += stats.warm_hold_outs as f64;
        self.usd += stats.warm_hold_out_cost_usd;
        let fading = (MEMORY_ITEMS / self.items.max(MEMORY_ITEMS)).min(1.0);
        (self.items, self.usd) = (self.items * fading, self.usd * fading);
    }

    /// Mean, dollars; `None`: too few.
    pub(super) fn usd_per_item(&self) -> Option<f64> {
        (self.items >= FEWEST).then(|| self.usd / self.items)
    }
}

impl Tuner {
    /// Which items run alone beside batches of up to `max_batch_size` items.
    pub(super) fn hold_out(&self, max_batch_size: u32) -> Option<HoldOut> {
        let share = self.settings.exploration.hold_out_share;
        let place = self.hold_outs.place.filter(|_| share > 0.0 && max_batch_size > 1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shares are checked; the cast saturates"
        )]
        let every_items = (f64::from(RUN_ITEMS) / share).ceil() as u32;
        Some(HoldOut {
            rung: self.rung(1, place),
            every_items: every_items.max(RUN_ITEMS + 1),
            run_items: RUN_ITEMS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(items: u64, usd: f64) -> WindowStats {
        WindowStats { warm_hold_outs: items, warm_hold_out_cost_usd: usd, ..WindowStats::default() }
    }

    #[test]
    fn the_mean_needs_a_few_items_follows_the_inputs_and_belongs_to_a_place() {
        let place = |memory_mib| Some(RungPoint { memory_mib, process_count: 1 });
        let mut record = HoldOutRecord::default();
        record.set_place(place(512));
        record.add(&window(4, 4e-6));
        assert_eq!(record.usd_per_item(), None);
        record.add(&window(6, 6e-6));
        assert!((record.usd_per_item().unwrap() - 1e-6).abs() < 1e-15);
        for _ in 0..200 {
            record.add(&window(10, 20e-6));
        }
        assert!((record.usd_per_item().unwrap() / 2e-6 - 1.0).abs() < 1e-3);
        record.set_place(place(512));
        assert!(record.usd_per_item().is_some());
        record.set_place(place(1024));
        assert_eq!(record.usd_per_item(), None);
    }
}
