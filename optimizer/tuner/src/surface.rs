//! What is believed of every operating point, for people to look at: batch size × memory × processes.
//!
//! Each figure is of a batch of exactly so many items on one warm place, as the plan search would take it; how often batches get that full is the
//! law of arrivals' matter and not in it. Deliberately absent: anything that a decision reads.

use serde::Serialize;

use crate::search::{MAX_BATCH, allowed, percentile_z, places, usd_per_second};
use crate::service::belief::{Belief, RungPoint};
use crate::service::knowledge::Knowledge;
use crate::settings::TunerSettings;
use crate::tuner::Economics;

/// Fills that are shown, as far as the bounds go: steps of about a half, which a plot tells apart.
const FILLS: [u32; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

/// All places and fills.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Surface {
    /// Items per batch, ascending; every list of a [`PlaceSurface`] has one entry for each.
    pub batch_sizes: Vec<u32>,
    /// By place: memory ascending, then processes.
    pub places: Vec<PlaceSurface>,
}

/// One function size with a process count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaceSurface {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
    /// Whether a plan may use it: not below the memory floor, and not given up for now.
    pub is_allowed: bool,
    /// Expected service time of a warm batch, ms.
    pub service_ms: Vec<f64>,
    /// Time from dispatch to answer that the objective's share of batches is expected to stay below, ms: with noise, what is not known, and overhead.
    pub upper_ms: Vec<f64>,
    /// Dollars per million items, duration and request fee.
    pub usd_per_million_items: Vec<f64>,
    /// Standard deviation of what is not known of ln(service time); a trial removes it.
    pub unknown_ln_std: Vec<f64>,
}

impl Surface {
    pub(crate) fn of(
        belief: &Belief,
        knowledge: &Knowledge,
        settings: &TunerSettings,
        economics: &Economics,
        vetoed: &dyn Fn(RungPoint) -> bool,
    ) -> Self {
        let (low, high) = settings.bounds.batch_size;
        let (low, high) = (low.min(MAX_BATCH), high.min(MAX_BATCH));
        let within = FILLS.into_iter().filter(|&items| items < high && (items >= low || items == 1));
        let batch_sizes: Vec<u32> = within.chain([high]).collect();
        let z = percentile_z(settings.slo_percentile);
        let (drift, extra_s) = (knowledge.drift_ln(), knowledge.billing_extra_s());
        let (overhead_s, overhead_std_s) = knowledge.overhead_s();
        let fee_usd = economics.prices.request_usd();
        let mut places: Vec<PlaceSurface> = Vec::new();
        for place in self::places(settings) {
            let per_second = usd_per_second(&economics.prices, economics, place.memory_mib);
            let mut surface = PlaceSurface {
                memory_mib: place.memory_mib,
                process_count: place.process_count,
                is_allowed: allowed(knowledge, place) && !vetoed(place),
                service_ms: Vec::with_capacity(batch_sizes.len()),
                upper_ms: Vec::with_capacity(batch_sizes.len()),
                usd_per_million_items: Vec::with_capacity(batch_sizes.len()),
                unknown_ln_std: Vec::with_capacity(batch_sizes.len()),
            };
            for &items in &batch_sizes {
                let at = belief.usually(place, items);
                let ln_s = at.ln_mean + drift;
                // The mean of a log-normal is above its median: bills are sums.
                let billed_s = (ln_s + 0.5 * at.noise_std * at.noise_std).exp() + extra_s;
                let upper_s =
                    (ln_s + z * at.noise_std.hypot(at.unknown_std)).exp() + overhead_s + overhead_std_s;
                surface.service_ms.push(ln_s.exp() * 1e3);
                surface.upper_ms.push(upper_s * 1e3);
                surface
                    .usd_per_million_items
                    .push((billed_s * per_second + fee_usd) / f64::from(items) * 1e6);
                surface.unknown_ln_std.push(at.unknown_std);
            }
            places.push(surface);
        }
        Self { batch_sizes, places }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_contract::{
        Architecture, Mebibytes, ModelId, PackingPolicy, PlanRevision, PriceTable, RetryLimits, Rung,
        ServiceObservation, ServiceOutcome, ServiceTimeTable, ServingPlan, Timestamp,
    };

    use super::*;
    use crate::Tuner;

    /// 4 ms a batch and 12 ms an item on one vCPU.
    fn observation(n: u64, items: u32) -> ServiceObservation {
        let handler = Duration::from_millis(u64::from(4 + 12 * items));
        ServiceObservation {
            at: Timestamp::from_nanos(n * 100_000_000),
            revision: PlanRevision(1),
            is_canary: false,
            is_hold_out: false,
            outcome: ServiceOutcome::Completed,
            items,
            memory_mib: Mebibytes(1769),
            process_count: 1,
            shard_padded_units: u64::from(items),
            work_units: u64::from(items),
            handler,
            billed: handler,
            billed_is_estimate: false,
            round_trip: handler + Duration::from_millis(5),
            init: None,
            max_memory_used: None,
            process_restarts: 0,
        }
    }

    fn tuner() -> Tuner {
        let rung = Rung {
            max_items: 8,
            qualifier: "mem-1769".to_owned(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        };
        let base = ServingPlan {
            model: ModelId(0),
            revision: PlanRevision(1),
            parent: None,
            packing: PackingPolicy::Deadline,
            max_batch_size: 8,
            max_queue_delay: Duration::from_millis(20),
            max_in_flight: 10,
            queue_capacity_items: 1000,
            queue_capacity_bytes: 1 << 20,
            max_request_payload_bytes: 1 << 20,
            max_response_payload_bytes: 1 << 20,
            slo_latency: Duration::from_millis(500),
            deadline_margin: Duration::from_millis(5),
            service_time_upper: ServiceTimeTable::new(vec![(1, Duration::from_millis(100))]).unwrap(),
            rungs: vec![rung],
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits::default(),
        };
        let economics = Economics {
            prices: PriceTable::default(),
            architecture: Architecture::X86_64,
            month_gb_seconds: 0.0,
        };
        Tuner::new(TunerSettings::default(), base, economics).unwrap()
    }

    #[test]
    fn the_surface_shows_what_was_measured_and_doubts_what_was_not() {
        let mut tuner = tuner();
        assert_eq!(tuner.surface(), None);
        for n in 0..200 {
            tuner.handle_observation(&observation(n, [1, 2, 4, 8][(n % 4) as usize]));
        }
        let refitted = tuner.start_refit().unwrap().run();
        tuner.finish_refit(refitted);
        let surface = tuner.surface().unwrap();
        assert_eq!((surface.batch_sizes[0], *surface.batch_sizes.last().unwrap()), (1, 128));
        let place = |memory, processes| {
            let found =
                surface.places.iter().find(|it| (it.memory_mib, it.process_count) == (memory, processes));
            found.unwrap()
        };
        let known = place(1769, 1);
        let at = surface.batch_sizes.iter().position(|&items| items == 4).unwrap();
        assert!((known.service_ms[at] / 52.0 - 1.0).abs() < 0.05, "{}", known.service_ms[at]);
        assert!(known.upper_ms[at] > known.service_ms[at]);
        // 53 ms billed (one of rounding at the most) on 1769 MiB, and the request.
        let usd = 0.053 * 1769.0 / 1024.0 * 0.000_016_666_7 + 0.2e-6;
        let per_million = usd / 4.0 * 1e6;
        assert!((known.usd_per_million_items[at] / per_million - 1.0).abs() < 0.05, "{per_million}");
        assert!(known.usd_per_million_items[at] < known.usd_per_million_items[0]);
        let other = place(3008, 2);
        assert!(other.unknown_ln_std[at] > known.unknown_ln_std[at], "{other:?}");
        for place in &surface.places {
            let lists =
                [&place.service_ms, &place.upper_ms, &place.usd_per_million_items, &place.unknown_ln_std];
            for list in lists {
                assert_eq!(list.len(), surface.batch_sizes.len());
                assert!(list.iter().all(|value| value.is_finite()), "{place:?}");
            }
        }
    }
}
