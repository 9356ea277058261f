//! Batches that close when full or when their first request has waited for a fixed time: cost and latency under a two-phase process.
//!
//! The analytic model that BATCH and MBS choose by: one process, a bound B, a time-out T, a memory size. The fill follows from the counts after an
//! arrival; requests are taken to arrive evenly within their batch; a batch that fills closes with its last arrival.
//! Deliberately absent: waits for a place (Lambda starts what is missing) and cold starts.
//! Reference: Ali, Pinciroli, Yan and Smirni, "BATCH: machine learning inference serving on serverless platforms with adaptive batching",
//! SC 2020, section 5.

use std::time::Duration;

use gateway_contract::{Mebibytes, PackingPolicy, ServingPlan};
use optimizer_tuner::formula::LogNormal;

use super::mmpp::Mmpp;
use crate::bounds::{Known, KnownPlace};

/// Time-outs that are looked at, as shares of the objective.
pub(super) const TIMEOUT_SHARES: [f64; 16] =
    [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9];
/// Bounds that are looked at, items.
pub(super) const BOUNDS: [u32; 16] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128];
/// Places within a batch at which latency is computed.
const PLACES: usize = 6;

/// Tables of one function under one process.
#[derive(Debug)]
pub struct TimedBatches<'a> {
    known: &'a Known,
    rate: f64,
    timeouts_s: Vec<f64>,
    /// P(at least k more within the time-out): index \[time-out\]\[k\].
    tails: Vec<Vec<f64>>,
    places: Vec<KnownPlace>,
    /// By place and items.
    laws: Vec<Vec<LogNormal>>,
    /// By place and items: dollars of a batch.
    batch_usd: Vec<Vec<f64>>,
}

/// A choice, as indices into the lists of sizes, bounds and time-outs, and what it should do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedPlan {
    /// Memory.
    pub memory_mib: Mebibytes,
    /// Bound, items.
    pub max_batch_size: u32,
    /// Time-out, seconds.
    pub timeout_s: f64,
    /// Dollars per request.
    pub usd_per_request: f64,
    /// Share of requests outside the objective.
    pub late_share: f64,
    /// Mean invocations in flight.
    pub concurrency: f64,
}

impl<'a> TimedBatches<'a> {
    /// Tabulates.
    #[must_use]
    pub fn new(known: &'a Known, process: &Mmpp) -> Self {
        let slo_s = known.slo_seconds();
        let timeouts_s: Vec<f64> = TIMEOUT_SHARES.iter().map(|share| share * slo_s).collect();
        let most = BOUNDS.iter().copied().filter(|&bound| bound <= known.max_batch_size).max().unwrap_or(1);
        let places: Vec<KnownPlace> =
            known.places().into_iter().filter(|place| place.process_count == 1).collect();
        let laws = places.iter().map(|&place| (0..=most).map(|items| known.billed(place, items)).collect());
        let usd = places
            .iter()
            .map(|&place| (0..=most).map(|items| known.batch_usd(place, items.max(1))).collect());
        Self {
            rate: process.rate(),
            tails: process.tails(&timeouts_s, most as usize),
            timeouts_s,
            laws: laws.collect(),
            batch_usd: usd.collect(),
            places,
            known,
        }
    }

    /// Sizes that can be chosen.
    #[must_use]
    pub fn sizes(&self) -> Vec<Mebibytes> {
        self.places.iter().map(|place| place.memory_mib).collect()
    }

    /// Bounds that can be chosen.
    pub fn bounds(&self) -> impl Iterator<Item = u32> + use<> {
        let most = self.known.max_batch_size;
        BOUNDS.into_iter().filter(move |&bound| bound <= most)
    }

    /// What a choice should do. `size` and `timeout` are indices.
    #[must_use]
    pub fn evaluate(&self, size: usize, max_batch_size: u32, timeout: usize) -> TimedPlan {
        let bound = max_batch_size as usize;
        let more = &self.tails[timeout];
        // P(fill = n): exactly n − 1 more within the time-out, or at least B − 1.
        let pmf = |n: usize| if n < bound { more[n - 1] - more[n] } else { more[bound - 1] };
        let (mut usd, mut items, mut late, mut seconds) = (0.0, 0.0, 0.0, 0.0);
        for n in 1..=bound {
            let p = pmf(n);
            if p < 1e-9 {
                continue;
            }
            let law = &self.laws[size][n];
            usd += p * self.batch_usd[size][n];
            items += p * n as f64;
            seconds += p * law.mean();
            late += p * n as f64 * self.late(law, n, n == bound, timeout);
        }
        TimedPlan {
            memory_mib: self.places[size].memory_mib,
            max_batch_size,
            timeout_s: if bound == 1 { 0.0 } else { self.timeouts_s[timeout] },
            usd_per_request: usd / items,
            late_share: late / items,
            concurrency: self.rate / items * seconds,
        }
    }

    /// Mean chance that a request of a batch of `n` is late.
    fn late(&self, law: &LogNormal, n: usize, is_full: bool, timeout: usize) -> f64 {
        let left_s = self.known.slo_seconds() - self.known.network_seconds;
        if n == 1 && is_full {
            return law.upper_tail(left_s);
        }
        let points = n.min(PLACES);
        let at_wait = |wait_s: f64| {
            let each = (0..points).map(|place| {
                // Evenly spread: the first waits the whole time, the last of a full batch not at all.
                let share = if is_full && n > 1 {
                    1.0 - place as f64 / (points - 1).max(1) as f64
                } else {
                    1.0 - place as f64 / points as f64
                };
                law.upper_tail(left_s - wait_s * share)
            });
            each.sum::<f64>() / points as f64
        };
        if !is_full {
            return at_wait(self.timeouts_s[timeout]);
        }
        let full_by = |index: usize| self.tails[index][n - 1];
        let all = full_by(timeout).max(1e-300);
        let (mut late, mut before_s, mut before) = (0.0, 0.0, 0.0);
        for index in 0..=timeout {
            let share = (full_by(index) - before).max(0.0) / all;
            late += share * at_wait(f64::midpoint(before_s, self.timeouts_s[index]));
            (before_s, before) = (self.timeouts_s[index], full_by(index));
        }
        late
    }

    /// The plan of a choice.
    #[must_use]
    pub fn plan(&self, chosen: &TimedPlan) -> ServingPlan {
        let place = KnownPlace { memory_mib: chosen.memory_mib, process_count: 1 };
        let known = self.known;
        ServingPlan {
            packing: if chosen.max_batch_size == 1 { PackingPolicy::None } else { PackingPolicy::Fifo },
            max_batch_size: chosen.max_batch_size,
            max_queue_delay: Duration::from_secs_f64(chosen.timeout_s),
            service_time_upper: known.table(chosen.max_batch_size, |items| {
                known.upper_seconds(place, items, known.slo_percentile)
            }),
            rungs: vec![known.rung(chosen.max_batch_size, place)],
            canary: None,
            hold_out: None,
            environments: None,
            ..known.base.clone()
        }
    }

    /// How many time-outs there are.
    #[must_use]
    pub fn timeouts(&self) -> usize {
        self.timeouts_s.len()
    }
}
