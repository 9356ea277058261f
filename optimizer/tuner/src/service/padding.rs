//! How much work a shard of so many items holds: its padded units, which depend on the lengths that happen to meet.
//!
//! Rule: ln(units per item) is a line in ln(items of the shard), with forgetting; rows are padded to the longest, so the slope is not negative.
//! Where the model names no unit, a unit is an item and the line is zero.

use serde::{Deserialize, Serialize};

/// Batches that are remembered.
const MEMORY: f64 = 500.0;
/// Steepest growth of units per item with the items: padding cannot do more than carry all to the longest text.
const STEEPEST: f64 = 0.6;
/// Ridge: batches of one size say nothing of a slope.
const RIDGE: f64 = 0.05;

/// The line, by its moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Padding {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Padding {
    /// A batch whose largest shard had `shard_items` with `units` padded units.
    pub fn add(&mut self, shard_items: f64, units: f64) {
        let (x, y) = (shard_items.max(1.0).ln(), (units / shard_items.max(1.0)).ln());
        if !(x.is_finite() && y.is_finite()) {
            return;
        }
        self.weight = (self.weight + 1.0).min(MEMORY);
        let rate = 1.0 / self.weight;
        for (mean, value) in [
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
            (&mut self.yy, y * y),
        ] {
            *mean += rate * (value - *mean);
        }
    }

    fn slope(&self) -> f64 {
        let (spread, together) = (self.xx - self.x * self.x, self.xy - self.x * self.y);
        (together / (spread + RIDGE)).clamp(0.0, STEEPEST)
    }

    /// Padded units of a shard of so many items.
    #[must_use]
    pub fn units(&self, shard_items: f64) -> f64 {
        let x = shard_items.max(1.0).ln();
        shard_items.max(1.0) * (self.y + self.slope() * (x - self.x)).exp()
    }

    /// Standard deviation of the logarithm of a shard's units, its items known.
    #[must_use]
    pub fn ln_std(&self) -> f64 {
        let slope = self.slope();
        let (xx, xy, yy) = (self.xx - self.x * self.x, self.xy - self.x * self.y, self.yy - self.y * self.y);
        (yy - 2.0 * slope * xy + slope * slope * xx).max(0.0).sqrt()
    }

    /// Whether every number is usable.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        [self.weight, self.x, self.y, self.xx, self.xy, self.yy]
            .iter()
            .all(|it| it.is_finite() && it.abs() < 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_grows_with_the_shard() {
        let mut padding = Padding::default();
        for shard in [1.0_f64, 2.0, 4.0, 8.0, 16.0].iter().cycle().take(300) {
            padding.add(*shard, shard * 16.0 * shard.powf(0.2));
        }
        assert!((padding.units(32.0) / (32.0 * 16.0 * 32.0_f64.powf(0.2)) - 1.0).abs() < 0.1);
        assert!(padding.ln_std() < 0.1);
    }

    #[test]
    fn without_units_a_unit_is_an_item() {
        let mut padding = Padding::default();
        (1..20).for_each(|shard| padding.add(f64::from(shard), f64::from(shard)));
        assert!((padding.units(64.0) - 64.0).abs() < 1e-9);
        assert!((Padding::default().units(5.0) - 5.0).abs() < 1e-12);
    }
}
