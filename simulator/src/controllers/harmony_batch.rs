//! HarmonyBatch's provisioning of one application on CPU functions.
//!
//! As published: a function size c and a batch bound b are chosen to minimise (L_avg(c, b)·price(c) + fee)/b subject to L_max(c, b) + T ≤ SLO with
//! the time-out T = SLO − L_max(c, b), where the rate r must fill the batch: b ≤ ⌊r·T⌋ + 1. Its grouping of applications with different
//! objectives and its GPU functions do not apply to one application on Lambda.
//! In its favour: L_avg and L_max are the true mean and the objective's quantile, and it provisions anew every minute from the minute before.
//! Reference: Chen, Xu, Gu, Chen, Liu and Zhou, "HarmonyBatch: batching multi-SLO DNN inference with heterogeneous serverless functions", IWQoS
//! 2024, sections III and IV.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServingPlan, WindowStats};

use super::periodic::{Chosen, Periodic, Planner, rate};
use crate::bounds::{Known, KnownPlace};

/// Seconds of the first provisionings, and between later ones.
const FIRST_S: [f64; 1] = [20.0];
const EVERY_S: f64 = 60.0;
/// A rate that has moved by less than this share needs no new provisioning.
const RATE_MOVED: f64 = 0.1;

/// Provisions by the last minute's rate.
#[derive(Clone, Debug)]
pub struct HarmonyPlanner {
    known: Known,
    provisioned_for: f64,
}

/// HarmonyBatch as a controller; before its first provisioning each request runs alone.
#[must_use]
pub fn harmony_batch(known: &Known) -> Periodic<HarmonyPlanner> {
    let first = super::static_plans::best_unbatched(known).plan;
    let planner = HarmonyPlanner { known: known.clone(), provisioned_for: 0.0 };
    Periodic::new(planner, first, FIRST_S.to_vec(), EVERY_S)
}

impl Planner for HarmonyPlanner {
    fn plan(&mut self, windows: &[WindowStats]) -> Option<Chosen> {
        let now = rate(&windows[windows.len().saturating_sub(60)..]);
        if now <= 0.0 || (now / self.provisioned_for.max(1e-9)).ln().abs() < RATE_MOVED {
            return None;
        }
        self.provisioned_for = now;
        Some(provision(&self.known, now))
    }
}

/// The cheapest size, bound and time-out for a rate; without a feasible one, each request alone.
fn provision(known: &Known, requests_per_s: f64) -> Chosen {
    let slo_s = known.slo_seconds();
    let mut best: Option<(f64, KnownPlace, u32, f64)> = None;
    for place in known.places().into_iter().filter(|place| place.process_count == 1) {
        for bound in 1..=known.max_batch_size.min(128) {
            let timeout_s = slo_s - known.upper_seconds(place, bound, known.slo_percentile);
            if timeout_s < 0.0 || f64::from(bound) > (requests_per_s * timeout_s).floor() + 1.0 {
                break;
            }
            let usd = known.batch_usd(place, bound) / f64::from(bound);
            if best.is_none_or(|(least, ..)| usd < least) {
                best = Some((usd, place, bound, timeout_s));
            }
        }
    }
    let Some((_, place, bound, timeout_s)) = best else {
        let alone = super::static_plans::best_unbatched(known);
        return Chosen { plan: alone.plan, concurrency: requests_per_s * slo_s };
    };
    let plan = ServingPlan {
        packing: if bound == 1 { PackingPolicy::None } else { PackingPolicy::Fifo },
        max_batch_size: bound,
        max_queue_delay: Duration::from_secs_f64(timeout_s),
        service_time_upper: known
            .table(bound, |items| known.upper_seconds(place, items, known.slo_percentile)),
        rungs: vec![known.rung(bound, place)],
        canary: None,
        hold_out: None,
        environments: None,
        ..known.base.clone()
    };
    let concurrency = requests_per_s / f64::from(bound) * known.billed(place, bound).mean();
    Chosen { plan, concurrency }
}
