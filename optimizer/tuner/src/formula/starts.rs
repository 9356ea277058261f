//! At which rate, and with what, batches start.
//!
//! Problem: the law of fill is known for a batch that starts at a given rate, with a given first request or rest. Which share of the batches
//! starts how depends on the plan itself: at a high rate or with a small bound batches follow each other, at a low one the queue is empty.
//!
//! Rule, rates. Let sᵢ = λᵢeᵢ be starts per second, eᵢ the probability of an empty queue at rate i, Tᵢ the mean time from a start to an
//! empty queue, ρᵢ the chance that the rate lasts that long, wᵢ its share of time. Balance of the empty state (leaves by an arrival or a
//! change of rate, is entered by a closing or a change) gives eᵢ ∝ wᵢ / (λᵢ(1 − ρᵢ) + 1/M), M the memory of the rate: long memory makes
//! it wᵢ/(λᵢTᵢ + 1), a renewal process per rate; short memory makes it wᵢ. Tᵢ comes from Wald's identity: requests that arrived in a
//! batch = λᵢ·Tᵢ.
//!
//! Rule, requests of several items. A full batch leaves a rest with the law of a renewal's overshoot, which starts the next batch at once;
//! so does a newcomer that no longer fitted a deadline. Per request that meets an empty queue there are so many batches of either
//! kind as the embedded chain of starts has visits.
//!
//! Reference: Ross, "Stochastic Processes", 1996, chapter 3 (Wald's identity, overshoot) and 4 (embedded chains).

use std::time::Duration;

use super::arrival::RateMemory;
use super::counts::{ArrivalTable, StartTable};

/// Batches of one rate and one kind of start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) node: usize,
    pub(crate) is_by_rest: bool,
    /// Share of gathered batches.
    pub(crate) share: f64,
    /// Mean fill, and chances to be full and to be cut.
    pub(crate) mean: f64,
    pub(crate) full: f64,
    pub(crate) cut: f64,
    /// Mean seconds from a batch's start to its close.
    pub(crate) gather_seconds: f64,
}

impl Group {
    /// Mean seconds between a batch and the start of the next, at a rate of requests per second.
    pub(crate) fn idle_seconds(&self, rate: f64) -> f64 {
        (1.0 - self.cut) / rate.max(1e-9)
    }
}

/// What leaves full at once, per gathered batch.
pub(crate) struct FullAtOnce {
    pub(crate) batches: f64,
    pub(crate) requests: f64,
}

/// Sets each group's share of the gathered batches.
pub(crate) fn weigh(
    groups: &mut [Group],
    table: &ArrivalTable,
    start: &StartTable,
    kinds: usize,
    max_queue_delay: Duration,
) -> FullAtOnce {
    let mean_items = table.law.items_per_request.mean();
    let excess = table.law.items_per_request.mean_excess();
    let memory = table.law.memory_seconds();
    let delay = max_queue_delay.as_secs_f64().clamp(1e-9, table.horizon);
    let (mut total, mut batches, mut requests) = (0.0, 0.0, 0.0);
    for pair in groups.chunks_mut(kinds) {
        let node = table.nodes[pair[0].node];
        let chain = Chain::new(pair, start);
        let arrived = |group: &Group, first: f64| {
            (group.mean - first + (group.full + group.cut) * (1.0 + excess) - group.full).max(0.0)
                / mean_items
        };
        let mut seen = chain.by_request * arrived(&pair[0], start.first_by_request);
        if let Some(rest) = pair.get(1) {
            seen += chain.by_rest * arrived(rest, start.first_by_rest);
        }
        let gathering = chain.by_request + chain.by_rest;
        let gather_seconds = busy_seconds(table, pair[0].node, seen / gathering.max(1e-12), delay);
        pair.iter_mut().for_each(|group| group.gather_seconds = gather_seconds);
        let busy = gathering * gather_seconds;
        let change = change_chance(table, busy);
        let empty = node.time_share / (node.rate * change + 1.0 / memory);
        let starts = if table.nodes.len() == 1 { 1.0 } else { node.rate * empty };
        pair[0].share = starts * chain.by_request;
        if let Some(rest) = pair.get_mut(1) {
            rest.share = starts * chain.by_rest;
        }
        total += starts * gathering;
        batches += starts * chain.full_at_once;
        requests += starts * (1.0 - start.request_starts);
    }
    // Requests that always fill whole batches leave nothing to gather.
    let total = f64::max(total, 1e-12);
    groups.iter_mut().for_each(|group| group.share /= total);
    FullAtOnce { batches: batches / total, requests: requests / total }
}

/// Seconds in which so many requests arrive after a start at a node, at most `delay`.
fn busy_seconds(table: &ArrivalTable, node: usize, requests: f64, delay: f64) -> f64 {
    let mut rate = table.nodes[node].rate;
    let mut seconds = delay;
    for _ in 0..2 {
        seconds = (requests / rate.max(1e-12)).clamp(1e-9, delay);
        rate = table.mean_requests(node, seconds) / seconds;
    }
    seconds
}

/// Chance that the rate is drawn anew within this time.
fn change_chance(table: &ArrivalTable, seconds: f64) -> f64 {
    let lags = seconds / table.law.memory_seconds();
    match table.law.rate_memory {
        RateMemory::Window => lags.min(1.0),
        RateMemory::Fading(_) => -(-lags).exp_m1(),
    }
}

/// Expected batches per request that meets an empty queue, by kind of start.
struct Chain {
    by_request: f64,
    by_rest: f64,
    full_at_once: f64,
}

impl Chain {
    fn new(pair: &[Group], start: &StartTable) -> Self {
        let request = pair[0];
        let rest = pair.get(1).copied().unwrap_or(request);
        let next = |group: &Group| start.rest_starts * group.full + group.cut;
        let by_request = start.request_starts;
        let by_rest = by_request * next(&request) / (1.0 - next(&rest)).max(1e-6);
        let full = by_request * request.full + by_rest * rest.full;
        let full_at_once = start.request_is_full + start.rest_is_full * full;
        if pair.len() == 1 {
            // Single items: a rest starts like a request, so both are one group.
            return Self { by_request: by_request + by_rest, by_rest: 0.0, full_at_once };
        }
        Self { by_request, by_rest, full_at_once }
    }
}
