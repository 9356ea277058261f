//! What a plan costs at a load by the measured sweep: Poisson arrivals, batches closed by size or by the deadline, service drawn from what was
//! measured at that memory, process count and fill.
//!
//! This is the yardstick beside live runs, and independent of the optimizer's own formula on purpose. Between measured fills the same
//! quantile of both neighbours is interpolated on logarithms. Deliberately absent: cold starts, and invocations that wait for one another (a
//! batch always finds an idle environment).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::live::lines;

/// us-east-1, x86-64, first tier.
const USD_PER_GB_SECOND: f64 = 0.000_016_666_7;
const USD_PER_REQUEST: f64 = 0.2e-6;
/// Requests of one evaluation.
const REQUESTS: u32 = 20_000;
/// Share of requests that may be late.
const ALLOWED_LATE: f64 = 0.01;
/// Kept free before a deadline, seconds.
const MARGIN_S: f64 = 0.005;
/// Quantiles of the service time by which fixed plans close their batches; each is tried.
const CLOSING_QUANTILES: [f64; 2] = [0.9, 0.99];

/// A line of a sweep, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Record {
    memory_mib: u32,
    process_count: u32,
    items: u32,
    billed_ms: f64,
    round_trip_us: f64,
    cold: bool,
}

/// Billed milliseconds and round trips in seconds, each ascending.
#[derive(Debug, Default)]
struct Measured {
    billed_ms: Vec<f64>,
    round_trip_s: Vec<f64>,
}

/// Measured invocations by memory and processes, and fill.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    places: BTreeMap<(u32, u32), BTreeMap<u32, Measured>>,
}

/// A plan: its rungs as (largest fill, MiB, processes), and by which quantile of the service time it closes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    rungs: Vec<(u32, u32, u32)>,
    max_delay_s: f64,
    closing_quantile: f64,
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Dollars per million requests.
    pub(super) usd_per_million: f64,
    /// Share outside the objective.
    pub(super) late_share: f64,
}

impl Sweep {
    /// Reads a sweep's file.
    ///
    /// # Errors
    /// When it cannot be read or holds no warm invocation.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut sweep = Self::default();
        for record in lines::<Record>(path)?.into_iter().filter(|record| !record.cold) {
            let fills = sweep.places.entry((record.memory_mib, record.process_count)).or_default();
            let measured = fills.entry(record.items).or_default();
            measured.billed_ms.push(record.billed_ms);
            measured.round_trip_s.push(record.round_trip_us / 1e6);
        }
        ensure!(!sweep.places.is_empty(), "{} holds no warm invocation", path.display());
        for measured in sweep.places.values_mut().flat_map(BTreeMap::values_mut) {
            measured.billed_ms.sort_by(f64::total_cmp);
            measured.round_trip_s.sort_by(f64::total_cmp);
        }
        Ok(sweep)
    }

    /// The cheapest fixed plan that keeps the objective: every measured place with every measured fill as the bound.
    ///
    /// # Errors
    /// When none keeps it.
    pub(super) fn best(&self, rate: f64, slo_s: f64) -> Result<(Plan, Cost)> {
        let mut best: Option<(Plan, Cost)> = None;
        for (&(memory_mib, process_count), fills) in &self.places {
            for &bound in fills.keys() {
                for closing_quantile in CLOSING_QUANTILES {
                    let rungs = vec![(bound, memory_mib, process_count)];
                    let plan = Plan { rungs, max_delay_s: slo_s, closing_quantile };
                    let cost = self.cost(&plan, rate, slo_s).context("a measured place")?;
                    let is_better =
                        best.as_ref().is_none_or(|(_, least)| cost.usd_per_million < least.usd_per_million);
                    if cost.late_share <= ALLOWED_LATE && is_better {
                        best = Some((plan, cost));
                    }
                }
            }
        }
        best.context("no fixed plan keeps the objective")
    }

    /// What a plan costs; `None` when it names a place that was not measured.
    pub(super) fn cost(&self, plan: &Plan, rate: f64, slo_s: f64) -> Option<Cost> {
        let mut random = Random(1);
        let (mut usd, mut late, mut now) = (0.0, 0_u32, 0.0);
        let mut waiting: Vec<f64> = Vec::new();
        let bound = plan.rungs.last()?.0;
        let mut closes_at = f64::INFINITY;
        for _ in 0..REQUESTS {
            now += -(1.0 - random.unit()).ln() / rate;
            if now >= closes_at {
                usd += self.close(plan, &mut waiting, closes_at, slo_s, &mut late, &mut random)?;
            }
            waiting.push(now);
            let fill = u32::try_from(waiting.len()).ok()?;
            let upper = self.at(plan, fill, |measured| &measured.round_trip_s, plan.closing_quantile)?;
            let wait = plan.max_delay_s.min(slo_s - MARGIN_S - upper).max(0.0);
            closes_at = (waiting[0] + wait).max(now);
            if fill >= bound {
                usd += self.close(plan, &mut waiting, now, slo_s, &mut late, &mut random)?;
                closes_at = f64::INFINITY;
            }
        }
        let answered = f64::from(REQUESTS) - waiting.len() as f64;
        Some(Cost { usd_per_million: usd / answered * 1e6, late_share: f64::from(late) / answered })
    }

    /// Runs the waiting batch; gives its dollars.
    fn close(
        &self,
        plan: &Plan,
        waiting: &mut Vec<f64>,
        at: f64,
        slo_s: f64,
        late: &mut u32,
        random: &mut Random,
    ) -> Option<f64> {
        let fill = u32::try_from(waiting.len()).ok()?;
        let share = random.unit();
        let seconds = self.at(plan, fill, |measured| &measured.round_trip_s, share)?;
        let billed_ms = self.at(plan, fill, |measured| &measured.billed_ms, share)?;
        *late += waiting.drain(..).map(|arrival| u32::from(at - arrival + seconds > slo_s)).sum::<u32>();
        let memory_mib = plan.rungs.iter().find(|rung| fill <= rung.0)?.1;
        Some(billed_ms / 1e3 * f64::from(memory_mib) / 1024.0 * USD_PER_GB_SECOND + USD_PER_REQUEST)
    }

    /// A quantile at the rung that runs this fill.
    fn at(&self, plan: &Plan, fill: u32, of: fn(&Measured) -> &Vec<f64>, share: f64) -> Option<f64> {
        let &(_, memory_mib, process_count) = plan.rungs.iter().find(|rung| fill <= rung.0)?;
        let fills = self.places.get(&(memory_mib, process_count))?;
        let (&above, high) = fills.range(fill..).next().or_else(|| fills.iter().next_back())?;
        let (&below, low) = fills.range(..=fill).next_back().unwrap_or((&above, high));
        let (low, high) = (quantile(of(low), share), quantile(of(high), share));
        if below == above {
            return Some(low);
        }
        let way = (f64::from(fill) / f64::from(below)).ln() / (f64::from(above) / f64::from(below)).ln();
        Some((low.ln() + (high / low).ln() * way).exp())
    }
}

/// Interpolated quantile of ascending values, of which there is at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index: `share` is 0 to 1")]
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let place = share * (values.len() - 1) as f64;
    let index = place as usize;
    let next = values[(index + 1).min(values.len() - 1)];
    values[index] + (next - values[index]) * (place - index as f64)
}

impl Plan {
    /// From the gateway's admin answer. It does not show its table of closing times: the 99th percentile stands for it.
    pub(super) fn from_control(plan: &Value) -> Option<Self> {
        let whole = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let rung = |rung: &Value| {
            Some((whole(&rung["max_items"])?, whole(&rung["memory_mib"])?, whole(&rung["process_count"])?))
        };
        let mut rungs: Vec<_> = plan["rungs"].as_array()?.iter().map(rung).collect::<Option<_>>()?;
        rungs.last_mut()?.0 = whole(&plan["max_batch_size"])?;
        Some(Self { rungs, max_delay_s: plan["max_queue_delay_ms"].as_f64()? / 1e3, closing_quantile: 0.99 })
    }

    /// In few words.
    pub(super) fn label(&self) -> String {
        let rung =
            |(items, memory, processes): &(u32, u32, u32)| format!("≤{items}: {memory} MiB × {processes}");
        self.rungs.iter().map(rung).collect::<Vec<_>>().join(", ")
    }
}

/// SplitMix64: equal numbers for every plan, so that plans differ by themselves only.
struct Random(u64);

impl Random {
    /// 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 ms and 2 ms an item, at two sizes.
    fn sweep() -> Sweep {
        let mut sweep = Sweep::default();
        for memory_mib in [1024, 2048] {
            for items in [1, 2, 4, 8] {
                let ms = 10.0 + 2.0 * f64::from(items);
                let measured = Measured { billed_ms: vec![ms], round_trip_s: vec![ms / 1e3] };
                sweep.places.entry((memory_mib, 1)).or_default().insert(items, measured);
            }
        }
        sweep
    }

    #[test]
    fn unbatched_costs_what_arithmetic_says() {
        let plan = Plan { rungs: vec![(1, 1024, 1)], max_delay_s: 1.0, closing_quantile: 0.99 };
        let cost = sweep().cost(&plan, 10.0, 0.2).unwrap();
        assert!((cost.usd_per_million - (0.012 * 16.666_7 + 0.2)).abs() < 1e-6, "{cost:?}");
        assert!(cost.late_share < 1e-9);
    }

    #[test]
    fn full_batches_cost_what_arithmetic_says_and_the_smaller_size_wins() {
        let (plan, cost) = sweep().best(1e5, 0.2).unwrap();
        assert_eq!(plan.rungs, [(8, 1024, 1)]);
        assert!((cost.usd_per_million - (0.026 * 16.666_7 + 0.2) / 8.0).abs() < 1e-6, "{cost:?}");
    }

    #[test]
    fn a_plan_that_waits_too_long_is_late_and_an_unmeasured_place_is_told() {
        let sweep = sweep();
        assert!(sweep.best(5.0, 0.011).is_err(), "nothing is as fast as that");
        let unknown = Plan { rungs: vec![(8, 512, 1)], max_delay_s: 0.1, closing_quantile: 0.99 };
        assert!(sweep.cost(&unknown, 5.0, 0.2).is_none());
    }

    #[test]
    fn plans_are_read_from_the_admin_answer() {
        let answer = serde_json::json!({ "max_batch_size": 6, "max_queue_delay_ms": 150.0,
            "rungs": [{ "max_items": 2, "memory_mib": 512, "process_count": 1 }, { "max_items": 32, "memory_mib": 1024, "process_count": 2 }] });
        let plan = Plan::from_control(&answer).unwrap();
        assert_eq!(plan.rungs, [(2, 512, 1), (6, 1024, 2)]);
        assert!((plan.max_delay_s - 0.15).abs() < 1e-12);
    }
}
