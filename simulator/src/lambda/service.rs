//! Log-normal service by rung and batch size, in a table: drawn by the world, and read by the formula as the truth it should predict.

use gateway_contract::ServingPlan;
use optimizer_tuner::formula::{LogNormal, ServiceLaw};

use super::CreditModel;
use crate::random::Random;

/// Laws of the billed seconds by rung and items, and the seconds beside them that only the caller sees.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    laws: Vec<Vec<LogNormal>>,
    overhead_seconds: f64,
}

impl ServiceTable {
    /// From means by `(rung, items)` and one coefficient of variation.
    #[must_use]
    pub fn new(
        rungs: usize,
        max_items: u32,
        coefficient_of_variation: f64,
        overhead_seconds: f64,
        mean_seconds: impl Fn(usize, u32) -> f64,
    ) -> Self {
        let law = |rung, items: u32| {
            LogNormal::from_mean(mean_seconds(rung, items.max(1)), coefficient_of_variation)
        };
        let laws = (0..rungs).map(|rung| (0..=max_items).map(|items| law(rung, items)).collect()).collect();
        Self { laws, overhead_seconds }
    }

    /// The credit model on a plan's rungs.
    #[must_use]
    pub fn of_plan(
        plan: &ServingPlan,
        model: &CreditModel,
        coefficient_of_variation: f64,
        overhead_seconds: f64,
    ) -> Self {
        Self::new(
            plan.rungs.len(),
            plan.max_batch_size,
            coefficient_of_variation,
            overhead_seconds,
            |rung, items| model.seconds(items, plan.rungs[rung].memory_mib, plan.rungs[rung].process_count),
        )
    }

    /// Seconds of one run.
    #[inline]
    pub(crate) fn draw(&self, items: u32, rung: usize, random: &mut Random) -> f64 {
        let law = self.billed_seconds(items, rung);
        (law.ln_mean + law.ln_std * random.normal()).exp()
    }
}

impl ServiceLaw for ServiceTable {
    #[inline]
    fn billed_seconds(&self, items: u32, rung: usize) -> LogNormal {
        self.laws[rung][items as usize]
    }

    fn overhead_seconds(&self, _items: u32, _rung: usize) -> f64 {
        self.overhead_seconds
    }
}

/// Seconds billed for a run of so many seconds: whole milliseconds, rounded up, at least one. A nanosecond above does not count: it would be
/// the rounding of the arithmetic.
#[must_use]
#[inline]
pub fn billed_seconds(seconds: f64) -> f64 {
    (seconds * 1e3 - 1e-6).ceil().max(1.0) * 1e-3
}
