//! Axes: range, ticks at round numbers, and how a number is written beside them.
//!
//! A logarithmic axis is a linear one over log10: the drawing library then needs one type of axis only.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// How numbers lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; numbers above zero only.
    Log,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// How numbers lie on it.
    pub scale: Scale,
    /// From and to, in the numbers shown.
    pub range: (f64, f64),
    /// Where a number stands beside it.
    pub ticks: Vec<f64>,
    /// How a number is written.
    pub text: fn(f64) -> String,
}

impl Axis {
    /// From zero (or a little below the smallest value) to a round number above all values.
    #[must_use]
    pub fn linear(label: &str, values: impl Iterator<Item = f64>, text: fn(f64) -> String) -> Self {
        let (low, high) = extent(values.chain([0.0])).unwrap_or((0.0, 1.0));
        Self::fixed(label, (low.min(0.0), if high > low { high * 1.04 } else { low + 1.0 }), text)
    }

    /// Exactly this range.
    #[must_use]
    pub fn fixed(label: &str, range: (f64, f64), text: fn(f64) -> String) -> Self {
        let step = round_step((range.1 - range.0) / 6.0);
        let first = (range.0 / step - 1e-9).ceil() * step;
        let ticks = (0..=20).map(|n| first + f64::from(n) * step);
        let ticks = ticks.filter(|&tick| tick <= range.1 + step * 1e-9).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, range, ticks, text }
    }

    /// Round powers around all values above zero.
    #[must_use]
    pub fn log(label: &str, values: impl Iterator<Item = f64>, text: fn(f64) -> String) -> Self {
        let (low, high) = extent(values.filter(|&value| value > 0.0)).unwrap_or((0.1, 10.0));
        let range = (below(low), above(high));
        let decades = (range.1 / range.0).log10();
        let factors: &[f64] = match decades {
            ..=2.5 => &[1.0, 2.0, 5.0],
            ..=4.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        #[expect(clippy::cast_possible_truncation, reason = "exponents of plain numbers")]
        let (from, to) = (range.0.log10().floor() as i32, range.1.log10().ceil() as i32);
        let all = (from..=to).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        let within = |tick: &f64| *tick >= range.0 * 0.999 && *tick <= range.1 * 1.001;
        let ticks = all.filter(within).collect();
        Self { label: label.to_owned(), scale: Scale::Log, range, ticks, text }
    }

    /// Linear, or logarithmic when the values span more than a factor of 12.
    #[must_use]
    pub fn fitting(label: &str, values: &[f64], text: fn(f64) -> String) -> Self {
        let positive = values.iter().copied().filter(|&value| value > 0.0);
        match extent(positive) {
            Some((low, high)) if high / low > 12.0 => {
                Self::log(&format!("{label}, log scale"), values.iter().copied(), text)
            }
            Some(_) | None => Self::linear(label, values.iter().copied(), text),
        }
    }

    /// With ticks at these numbers only, as far as they are within its range.
    #[must_use]
    pub fn with_ticks(mut self, ticks: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = self.range;
        self.ticks = ticks.into_iter().filter(|tick| (low..=high).contains(tick)).collect();
        self
    }

    /// With ticks at whole numbers only.
    #[must_use]
    pub fn in_whole_steps(mut self) -> Self {
        self.ticks.retain(|tick| (tick - tick.round()).abs() < 1e-9);
        self
    }

    /// Where a number lies on the drawing's own axis.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.range.0 * 0.5).log10(),
        }
    }

    /// The number at a place.
    pub(super) fn value(&self, place: f64) -> f64 {
        match self.scale {
            Scale::Linear => place,
            Scale::Log => 10_f64.powf(place),
        }
    }
}

/// An axis as the drawing library wants it: a range, either way up, with its ticks given.
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<f64>,
}

impl Ranged for Ruler {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let way = (value - self.from) / (self.to - self.from);
        let place = f64::from(low) + f64::from(high - low) * way;
        #[expect(clippy::cast_possible_truncation, reason = "a pixel; saturates")]
        let pixel = place.round() as i32;
        pixel
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl Axis {
    /// The drawing's own axis.
    pub(super) fn ruler(&self) -> Ruler {
        Ruler {
            from: self.place(self.range.0),
            to: self.place(self.range.1),
            ticks: self.ticks.iter().map(|&tick| self.place(tick)).collect(),
        }
    }
}

/// Smallest and largest; `None` without any.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

const FACTORS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

/// The next of 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-12).log10().floor());
    FACTORS.iter().map(|factor| factor * power).find(|&step| step >= least * 0.999).unwrap_or(power * 10.0)
}

fn above(value: f64) -> f64 {
    round_step(value)
}

fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factors = FACTORS.iter().rev().map(|factor| factor * power);
    factors.clone().find(|&step| step <= value * 1.001).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::number::plain;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        let axis = Axis::linear("x", [0.0, 73.0].into_iter(), plain);
        assert_eq!(axis.ticks, [0.0, 20.0, 40.0, 60.0]);
        let axis = Axis::log("x", [0.3, 450.0].into_iter(), plain);
        assert_eq!(axis.range, (0.2, 500.0));
        assert!(axis.ticks.iter().all(|&tick| (0.19..=501.0).contains(&tick)) && axis.ticks.len() >= 4);
    }

    #[test]
    fn a_logarithmic_axis_gives_numbers_back() {
        let axis = Axis::log("x", [1.0, 100.0].into_iter(), plain);
        assert!((axis.value(axis.place(42.0)) - 42.0).abs() < 1e-9);
    }

    #[test]
    fn an_axis_without_values_has_a_range() {
        let axis = Axis::linear("x", std::iter::empty(), plain);
        assert!(axis.range.1 > axis.range.0);
    }
}
