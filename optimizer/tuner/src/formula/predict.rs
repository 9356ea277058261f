//! One plan under one arrival law: everything at once, for reports, tests and benchmarks. A search uses the parts.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServiceTimeTable, ServingPlan};

use super::arrival::{ArrivalLaw, FormulaError};
use super::closing::CloseCurve;
use super::cost::CostTable;
use super::counts::ArrivalTable;
use super::fill::{FillLaw, Gathering};
use super::latency::LatencyLaw;
use super::service::{LogNormal, ServiceLaw};
use super::window::WindowWait;

/// What of a serving plan shapes batches.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanShape {
    /// How waiting items become batches.
    pub packing: PackingPolicy,
    /// Size bound of a batch, in items.
    pub max_batch_size: u32,
    /// Longest wait to fill a batch.
    pub max_queue_delay: Duration,
    /// Latency objective.
    pub slo_latency: Duration,
    /// Margin kept before a deadline.
    pub deadline_margin: Duration,
    /// Upper service time by fill.
    pub service_time_upper: ServiceTimeTable,
    /// Largest fill of each rung, ascending; the last covers `max_batch_size`.
    pub rung_max_items: Vec<u32>,
    /// Parallel invocations.
    pub max_in_flight: u32,
}

impl From<&ServingPlan> for PlanShape {
    fn from(plan: &ServingPlan) -> Self {
        Self {
            packing: plan.packing,
            max_batch_size: plan.max_batch_size,
            max_queue_delay: plan.max_queue_delay,
            slo_latency: plan.slo_latency,
            deadline_margin: plan.deadline_margin,
            service_time_upper: plan.service_time_upper.clone(),
            rung_max_items: plan.rungs.iter().map(|rung| rung.max_items).collect(),
            max_in_flight: plan.max_in_flight,
        }
    }
}

impl PlanShape {
    /// Index of the rung for a batch of `items` items, as in [`ServingPlan::rung_for`].
    #[must_use]
    pub fn rung_for(&self, items: u32) -> usize {
        let index = self.rung_max_items.partition_point(|&max| max < items);
        index.min(self.rung_max_items.len().saturating_sub(1))
    }

    /// Longest time that a batch may gather: the horizon that an [`ArrivalTable`] for it needs.
    #[must_use]
    pub fn longest_gathering(&self) -> Duration {
        match self.packing {
            PackingPolicy::None => Duration::ZERO,
            PackingPolicy::Fifo => self.max_queue_delay,
            PackingPolicy::Deadline if self.is_reachable() => self.max_queue_delay.min(self.slo_latency),
            PackingPolicy::Deadline => self.max_queue_delay,
        }
    }

    fn is_reachable(&self) -> bool {
        self.slo_latency >= self.service_time_upper.upper(1) + self.deadline_margin
    }
}

/// Prices as a plan's rungs pay them.
#[derive(Clone, Debug, PartialEq)]
pub struct RungPrices {
    /// Dollars per billed second, by rung.
    pub usd_per_second: Vec<f64>,
    /// Dollars per invocation.
    pub fee_usd: f64,
}

/// What a plan will do, warm.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// P(fill = n), index n from 0.
    pub fill_pmf: Vec<f64>,
    /// Mean items of a batch.
    pub mean_fill: f64,
    /// Dollars per request.
    pub usd_per_request: f64,
    /// Invocations per second.
    pub invocations_per_second: f64,
    /// Latency at the asked percentile, in seconds.
    pub latency_quantile_seconds: f64,
    /// Share of requests above `slo_latency`.
    pub share_outside_slo: f64,
    /// Mean invocations in flight, waits for a place, use of the window.
    pub window: WindowWait,
    /// The whole law of latency.
    pub latency: LatencyLaw,
}

/// Predicts a plan. `percentile` is the latency asked for, between 0 and 1.
///
/// # Errors
/// When the arrival law is out of range, or rungs and prices do not match.
pub fn predict(
    arrivals: &ArrivalLaw,
    plan: &PlanShape,
    service: &impl ServiceLaw,
    prices: &RungPrices,
    percentile: f64,
) -> Result<Prediction, FormulaError> {
    if plan.rung_max_items.is_empty() || prices.usd_per_second.len() != plan.rung_max_items.len() {
        return Err(FormulaError::OutOfRange("rungs"));
    }
    let table = ArrivalTable::new(arrivals, plan.max_batch_size, plan.longest_gathering())?;
    let curve = CloseCurve::new(&table, plan.packing, plan.slo_latency, plan.deadline_margin, |items| {
        plan.service_time_upper.upper(items)
    });
    let mut fill = FillLaw::with_capacity(plan.max_batch_size);
    let gathering = Gathering {
        table: &table,
        curve: &curve,
        max_batch_size: plan.max_batch_size,
        max_queue_delay: plan.max_queue_delay,
    };
    fill.set(&gathering);
    let mut batch_usd = 0.0;
    let mut first = 1;
    for (rung, &max_items) in plan.rung_max_items.iter().enumerate() {
        let usd_per_second = prices.usd_per_second[rung];
        let costs = CostTable::new(service, rung, plan.max_batch_size, usd_per_second, prices.fee_usd);
        batch_usd += costs.expected_usd(&fill, first..=max_items);
        first = max_items + 1;
    }
    let window = WindowWait::new(&table, &fill, plan.max_in_flight, in_flight_law(plan, service, &fill));
    let mut latency = LatencyLaw::default();
    latency.set(&gathering, &fill, window, service, |items| plan.rung_for(items));
    Ok(Prediction {
        mean_fill: fill.mean(),
        usd_per_request: fill.usd_per_request(batch_usd),
        invocations_per_second: fill.batches_per_second(),
        latency_quantile_seconds: latency.quantile(percentile),
        share_outside_slo: latency.upper_tail(plan.slo_latency.as_secs_f64()),
        window,
        latency,
        fill_pmf: fill.pmf,
    })
}

/// Seconds of an invocation as the caller sees it, over all fills, as one log-normal law.
fn in_flight_law(plan: &PlanShape, service: &impl ServiceLaw, fill: &FillLaw) -> LogNormal {
    let (mut mean, mut square) = (0.0, 0.0);
    for (items, p) in fill.pmf().iter().enumerate().skip(1) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let rung = plan.rung_for(items);
        let law = service.billed_seconds(items, rung);
        let seconds = law.mean() + service.overhead_seconds(items, rung);
        mean += p * seconds;
        square += p * (seconds * seconds + law.mean().powi(2) * law.ln_std.powi(2).exp_m1());
    }
    LogNormal::from_mean(mean, (square / (mean * mean) - 1.0).max(0.0).sqrt())
}
