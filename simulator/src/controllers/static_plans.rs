//! Plans that people choose once: unbatched, and the batchers of two serving systems at their best parameters.
//!
//! *Unbatched:* one request an invocation; at its best size: the cheapest at which the objective's percentile of the true service law keeps it.
//! *KServe-style:* its inference batcher waits for 32 items or 5,000 ms, as documented, whatever the objective; the memory size is chosen in
//! hindsight. *Triton-style:* its dynamic batcher with a fixed queue delay and a largest batch, one instance; size, bound and delay are the
//! best in hindsight for the whole run, by the formula, among those that keep the objective.
//! References: KServe documentation, "Inference Batcher" (`maxBatchSize`, `maxLatency`); NVIDIA Triton Inference Server documentation,
//! "Dynamic Batcher" (`max_queue_delay_microseconds`, `preferred_batch_size`).

use std::time::Duration;

use gateway_contract::{Mebibytes, PackingPolicy, ServingPlan};
use optimizer_tuner::formula::ArrivalLaw;

use crate::bounds::{Known, KnownPlace, PlanSearch, SearchLimits};

/// A plan for good, and how many invocations it should keep in flight.
#[derive(Clone, Debug)]
pub struct StaticPlan {
    /// The plan.
    pub plan: ServingPlan,
    /// Mean invocations in flight; 0: not known.
    pub concurrency: f64,
}

/// Memory that buys one vCPU.
const ONE_VCPU: Mebibytes = Mebibytes(1769);
/// KServe's defaults: items of a batch, and seconds of waiting.
const KSERVE: (u32, f64) = (32, 5.0);

/// Each request alone, at the cheapest size that keeps the objective; if none does, at the fastest.
#[must_use]
pub fn best_unbatched(known: &Known) -> StaticPlan {
    let places: Vec<KnownPlace> =
        known.places().into_iter().filter(|place| place.process_count == 1).collect();
    let upper = |place: &KnownPlace| known.upper_seconds(*place, 1, known.slo_percentile);
    let usd = |place: &KnownPlace| known.batch_usd(*place, 1);
    let fast = places.iter().filter(|place| upper(place) <= known.slo_seconds());
    let best = fast.min_by(|a, b| usd(a).total_cmp(&usd(b))).or_else(|| {
        places.iter().min_by(|a, b| upper(a).total_cmp(&upper(b)).then(usd(a).total_cmp(&usd(b))))
    });
    let memory = best.map_or(ONE_VCPU, |place| place.memory_mib);
    StaticPlan { plan: known.unbatched(memory), concurrency: 0.0 }
}

/// KServe's batcher with its documented defaults, at the size that is cheapest for full batches.
#[must_use]
pub fn kserve(known: &Known) -> StaticPlan {
    let (bound, delay_s) = (KSERVE.0.min(known.max_batch_size), KSERVE.1);
    let places = known.places().into_iter().filter(|place| place.process_count == 1);
    let usd = |place: &KnownPlace| known.batch_usd(*place, bound);
    let best = places.min_by(|a, b| usd(a).total_cmp(&usd(b)));
    let place = best.unwrap_or(KnownPlace { memory_mib: ONE_VCPU, process_count: 1 });
    let plan = ServingPlan {
        packing: PackingPolicy::Fifo,
        max_batch_size: bound,
        max_queue_delay: Duration::from_secs_f64(delay_s),
        service_time_upper: known
            .table(bound, |items| known.upper_seconds(place, items, known.slo_percentile)),
        rungs: vec![known.rung(bound, place)],
        canary: None,
        hold_out: None,
        environments: None,
        ..known.base.clone()
    };
    StaticPlan { plan, concurrency: 0.0 }
}

/// Triton's dynamic batcher at its best size, bound and delay for these laws of arrivals (weights are shares of time), one instance.
#[must_use]
pub fn triton(known: &Known, search: &PlanSearch<'_>, laws: &[(f64, ArrivalLaw)]) -> StaticPlan {
    let limits = SearchLimits {
        packing: PackingPolicy::Fifo,
        per_batch_rungs: false,
        max_process_count: 1,
        allowed_late: 1.0 - known.slo_percentile,
        plans: 1,
        max_latency_laws: 3000,
    };
    match search.run(laws, &limits).into_iter().next() {
        Some(best) => StaticPlan { plan: best.plan, concurrency: best.concurrency },
        None => best_unbatched(known),
    }
}
