//! Dollars of a batch by its fill, and of a request by the law of fill.
//!
//! Rule: cost per request = E\[usd(F)\] · E\[K\] / E\[F\] with usd(n) = E\[billed(n)\]·price + fee, K the items of a request. The first is a dot
//! product of the law of fill with a table that depends only on the function, so a search keeps one [`CostTable`] per memory and process
//! count and puts rungs together from slices of them.

use std::ops::RangeInclusive;

use super::fill::FillLaw;
use super::service::ServiceLaw;

/// Expected dollars of a batch of 1, 2, … items on one rung.
#[derive(Clone, Debug)]
pub struct CostTable {
    /// Index n; 0 unused.
    batch_usd: Vec<f64>,
    billed_seconds: Vec<f64>,
}

impl CostTable {
    /// Expected dollars of batches of up to `max_items` items on `rung`, at a price per billed second and a fee per invocation.
    #[must_use]
    pub fn new(
        service: &impl ServiceLaw,
        rung: usize,
        max_items: u32,
        usd_per_second: f64,
        fee_usd: f64,
    ) -> Self {
        let billed = |items| service.billed_seconds(items, rung).expected_billed();
        let billed_seconds: Vec<f64> = std::iter::once(0.0).chain((1..=max_items).map(billed)).collect();
        let batch_usd = billed_seconds.iter().map(|seconds| seconds * usd_per_second + fee_usd).collect();
        Self { batch_usd, billed_seconds }
    }

    /// Expected dollars of a batch.
    #[must_use]
    pub fn batch_usd(&self, items: u32) -> f64 {
        self.batch_usd.get(items as usize).copied().unwrap_or(f64::INFINITY)
    }

    /// Expected billed seconds of a batch.
    #[must_use]
    pub fn billed_seconds(&self, items: u32) -> f64 {
        self.billed_seconds.get(items as usize).copied().unwrap_or(f64::INFINITY)
    }

    /// This rung's part of the expected dollars of a batch: the sum over fills in `items`.
    #[must_use]
    #[inline]
    pub fn expected_usd(&self, fill: &FillLaw, items: RangeInclusive<u32>) -> f64 {
        let last = (*items.end() as usize).min(fill.max_batch_size).min(self.batch_usd.len() - 1);
        let first = (*items.start() as usize).max(1);
        if first > last {
            return 0.0;
        }
        fill.pmf[first..=last].iter().zip(&self.batch_usd[first..=last]).map(|(p, usd)| p * usd).sum()
    }
}

impl FillLaw {
    /// Dollars per request from the expected dollars of a batch.
    #[must_use]
    #[inline]
    pub fn usd_per_request(&self, expected_batch_usd: f64) -> f64 {
        expected_batch_usd * self.batches_per_second / self.requests_per_second
    }
}
