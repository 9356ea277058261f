//! Sizes of requests: how many items, and of which size class (short or long inputs).

use serde::{Deserialize, Serialize};

use super::{ArrivalError, ItemsSampler};
use crate::random::Random;

/// Shares must sum to 1 within this.
const TOLERANCE: f64 = 1e-6;

/// The law of a request's size, as a specification has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SizeLaw {
    /// Shares of requests with 1, 2, 3, … items; they sum to 1. Default: one item each.
    pub items: Vec<f64>,
    /// Shares of requests of class 0, 1, …; they sum to 1. What a class weighs, the model's profile says. Default: all of class 0.
    pub classes: Vec<f64>,
}

impl Default for SizeLaw {
    fn default() -> Self {
        Self { items: vec![1.0], classes: vec![1.0] }
    }
}

/// Size of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSize {
    /// Items, at least 1.
    pub items: u32,
    /// Size class of all of them.
    pub class: u16,
}

/// Draws sizes.
#[derive(Clone, Debug)]
pub struct SizeSampler {
    items: ItemsSampler,
    classes: ItemsSampler,
}

impl SizeLaw {
    /// The sampler of a law.
    ///
    /// # Errors
    /// Shares below 0 or that do not sum to 1.
    pub fn sampler(&self) -> Result<SizeSampler, ArrivalError> {
        for (field, shares) in [("items", &self.items), ("classes", &self.classes)] {
            let sum: f64 = shares.iter().sum();
            if shares.iter().any(|share| share.is_nan() || *share < 0.0) || (sum - 1.0).abs() > TOLERANCE {
                let reason = format!("shares must be at least 0 and sum to 1, not to {sum}");
                return Err(ArrivalError::Value { field, reason });
            }
        }
        Ok(SizeSampler { items: ItemsSampler::new(&self.items), classes: ItemsSampler::new(&self.classes) })
    }

    /// Mean items of a request.
    #[must_use]
    pub fn mean_items(&self) -> f64 {
        self.items.iter().enumerate().map(|(at, share)| (at + 1) as f64 * share).sum()
    }

    /// Shares of 1, 2, … items, as the formula's arrival law wants them.
    #[must_use]
    pub fn items_pmf(&self) -> &[f64] {
        &self.items
    }
}

impl SizeSampler {
    /// One request's size.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> RequestSize {
        let items = self.items.draw(random);
        let class = u16::try_from(self.classes.draw(random) - 1).unwrap_or(u16::MAX);
        RequestSize { items, class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_their_shares() {
        let law = SizeLaw { items: vec![0.5, 0.0, 0.5], classes: vec![0.9, 0.1] };
        let (sampler, mut random) = (law.sampler().unwrap(), Random::new(1));
        let drawn: Vec<RequestSize> = (0..20_000).map(|_| sampler.draw(&mut random)).collect();
        let share = |of: &dyn Fn(&RequestSize) -> bool| drawn.iter().filter(|it| of(it)).count() as f64 / 2e4;
        assert!((share(&|it| it.items == 3) - 0.5).abs() < 0.02 && share(&|it| it.items == 2) == 0.0);
        assert!((share(&|it| it.class == 1) - 0.1).abs() < 0.01);
        assert!((law.mean_items() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_default_is_one_item_of_class_0() {
        let size = SizeLaw::default().sampler().unwrap().draw(&mut Random::new(1));
        assert_eq!(size, RequestSize { items: 1, class: 0 });
    }

    #[test]
    fn bad_shares_are_named() {
        let error = SizeLaw { items: vec![0.5, 0.4], classes: vec![1.0] }.sampler().unwrap_err();
        assert!(error.to_string().starts_with("`items`: shares must"), "{error}");
        assert!(SizeLaw { items: vec![1.0], classes: vec![2.0, -1.0] }.sampler().is_err());
        assert!(SizeLaw { items: Vec::new(), classes: vec![1.0] }.sampler().is_err());
    }
}
