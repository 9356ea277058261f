//! The law of batch fill of a plan under an arrival law, without simulation.
//!
//! Problem: what a batch costs depends on how many items it really holds, and that on the arrivals while it gathers.
//!
//! Rule. Let N(t) be the items within t of a batch's start. The close times C(n) fall with n ([`super::closing`]), so the fill is above
//! n − 1 exactly if the n-th item comes by E(n): **P(F ≥ n) = P(N(E(n)) ≥ n)**, one look-up per n in the tables of
//! [`super::counts`], for any law of N. With a fixed delay D this is min(N(D), B). It is exact for Poisson arrivals of single
//! items under all closing rules of the engine.
//!
//! With several rates, the law is needed per rate i and with the share of batches that start there. Let sᵢ = λᵢeᵢ be starts per second,
//! eᵢ the probability of an empty queue at rate i, Tᵢ the mean time from a start to an empty queue, ρᵢ the chance that the rate
//! lasts that long, wᵢ its share of time. Balance of the empty state (leaves by an arrival or a change of rate, is entered by a closing
//! or a change) gives eᵢ ∝ wᵢ / (λᵢ(1 − ρᵢ) + 1/M), M the memory of the rate: long memory makes it wᵢ/(λᵢTᵢ + 1), a renewal process
//! per rate; short memory makes it wᵢ. Tᵢ comes from Wald's identity: items that arrived in a batch = λᵢ·E\[K\]·Tᵢ.
//!
//! Requests of several items: a full batch leaves a rest with the law of a renewal's overshoot; batches that start with a rest and those
//! that start with a request are mixed in the proportion of their embedded chain. At the end items are conserved: batches per
//! second = λ·E\[K\]/E\[F\].
//!
//! Cost: nodes × B look-ups, no allocation: the scratch memory is kept in the value.
//! Reference: Ross, "Stochastic Processes", 1996, chapter 3 (Wald, overshoot).

use std::time::Duration;

use super::closing::CloseCurve;
use super::counts::{ArrivalTable, StartTable};
use super::mixing::MAX_NODES;

/// A tail below this ends the sum.
const NEGLIGIBLE: f32 = 1e-7;

/// The law of fill of one plan, with what cost and latency need. Reused from candidate to candidate.
#[derive(Clone, Debug, Default)]
pub struct FillLaw {
    /// P(fill = n) over batches, from n = 0 (never) to the bound.
    pub(crate) pmf: Vec<f64>,
    /// Mean items of a batch.
    pub(crate) mean: f64,
    /// Batches per second.
    pub(crate) batches_per_second: f64,
    /// Requests per second.
    pub(crate) requests_per_second: f64,
    /// Batches of each node and start, as a share of all gathered batches.
    pub(crate) groups: Vec<Group>,
    /// Largest batch.
    pub(crate) max_batch_size: usize,
    /// Gathered batches as a share of all batches (the others are full at once).
    pub(crate) gathered: f64,
    /// Chance that a request at an empty queue leaves at once with nothing left, per gathered batch.
    pub(crate) at_once: f64,
    /// Tails by group and n.
    tails: Vec<f32>,
}

/// Batches of one rate and one kind of start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) node: usize,
    pub(crate) is_by_rest: bool,
    /// Share of gathered batches.
    pub(crate) share: f64,
    /// Mean fill, and chances to be full and to be cut.
    mean: f64,
    pub(crate) full: f64,
    cut: f64,
    /// Mean seconds from a batch's start to its close.
    pub(crate) gather_seconds: f64,
}

impl Group {
    /// Mean seconds between a batch and the start of the next, at a rate of requests per second.
    pub(crate) fn idle_seconds(&self, rate: f64) -> f64 {
        (1.0 - self.cut) / rate.max(1e-9)
    }
}

impl FillLaw {
    /// An empty law, with memory for bounds of up to `max_batch_size` items.
    #[must_use]
    pub fn with_capacity(max_batch_size: u32) -> Self {
        let width = max_batch_size as usize + 1;
        Self {
            pmf: Vec::with_capacity(width),
            tails: Vec::with_capacity(2 * MAX_NODES * width),
            groups: Vec::with_capacity(2 * MAX_NODES),
            ..Self::default()
        }
    }

    /// P(fill = n), index n from 0 (impossible) to the bound.
    #[must_use]
    pub fn pmf(&self) -> &[f64] {
        &self.pmf
    }

    /// Mean items of a batch.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Invocations per second.
    #[must_use]
    pub fn batches_per_second(&self) -> f64 {
        self.batches_per_second
    }

    /// Sets this to the law of a plan with this bound (at most the table's) and delay.
    pub fn set(
        &mut self,
        table: &ArrivalTable,
        curve: &CloseCurve,
        max_batch_size: u32,
        max_queue_delay: Duration,
    ) {
        let bound = (max_batch_size as usize).min(table.max_items).max(1);
        self.max_batch_size = bound;
        self.requests_per_second = table.law.requests_per_second;
        self.pmf.clear();
        self.pmf.resize(bound + 1, 0.0);
        self.groups.clear();
        self.tails.clear();
        if !curve.waits {
            self.set_unbatched(table, bound);
        } else if bound == 1 {
            self.pmf[1] = 1.0;
            (self.gathered, self.at_once) = (0.0, 1.0);
        } else {
            self.set_gathered(table, curve, max_queue_delay);
        }
        self.mean = self.pmf.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        let items = self.requests_per_second * table.law.items_per_request.mean();
        self.batches_per_second = items / self.mean;
    }

    /// Each request alone, cut into batches where it exceeds the bound.
    fn set_unbatched(&mut self, table: &ArrivalTable, bound: usize) {
        for (at, p) in table.law.items_per_request.pmf().iter().enumerate() {
            let items = at + 1;
            self.pmf[bound] += p * (items / bound) as f64;
            if !items.is_multiple_of(bound) {
                self.pmf[items % bound] += p;
            }
        }
        let batches: f64 = self.pmf.iter().sum();
        self.pmf.iter_mut().for_each(|p| *p /= batches);
        (self.gathered, self.at_once) = (0.0, 1.0);
    }

    fn set_gathered(&mut self, table: &ArrivalTable, curve: &CloseCurve, max_queue_delay: Duration) {
        let bound = self.max_batch_size;
        let start = table.start(bound);
        let delay = table.position(max_queue_delay.as_secs_f64());
        let has_rests = table.law.items_per_request.max() > 1;
        let needs_cuts = curve.cuts && (has_rests || table.nodes.len() > 1);
        let cut = Cut { bound, delay, mean_items: table.law.items_per_request.mean() };
        for node in 0..table.nodes.len() {
            for is_by_rest in [false, true] {
                if is_by_rest && !has_rests {
                    continue;
                }
                let mut group = self.read_tails(start, curve, node, is_by_rest, delay);
                if needs_cuts {
                    group.cut = cut_share(start, curve, &group, cut);
                }
                self.groups.push(group);
            }
        }
        let full_at_once = weigh(&mut self.groups, table, start, has_rests, max_queue_delay);
        self.at_once = full_at_once.requests;
        self.gathered = 1.0 / (1.0 + full_at_once.batches);
        let width = bound + 1;
        for (at, group) in self.groups.iter().enumerate() {
            let tails = &self.tails[at * width..(at + 1) * width];
            for (p, pair) in self.pmf[1..].iter_mut().zip(tails[1..].windows(2)) {
                *p += group.share * f64::from(pair[0] - pair[1]);
            }
            self.pmf[bound] += group.share * f64::from(tails[bound]);
        }
        let gathered = self.gathered;
        self.pmf.iter_mut().for_each(|p| *p *= gathered);
        self.pmf[bound] += 1.0 - gathered;
    }

    /// P(F ≥ n) of one group, into the scratch memory.
    fn read_tails(
        &mut self,
        start: &StartTable,
        curve: &CloseCurve,
        node: usize,
        is_by_rest: bool,
        delay: f32,
    ) -> Group {
        let bound = self.max_batch_size;
        let begin = self.tails.len();
        self.tails.resize(begin + bound + 1, 0.0);
        let tails = &mut self.tails[begin..];
        (tails[0], tails[1]) = (1.0, 1.0);
        let (mut sum, mut last) = (1.0_f32, 1.0_f32);
        for n in 2..=bound {
            let by = if n < bound { curve.reach[n] } else { curve.fills[n] };
            // Interpolation must not make a tail rise.
            last = start.reaches(node, is_by_rest, n, by.min(delay)).min(last);
            tails[n] = last;
            sum += last;
            if last < NEGLIGIBLE {
                break;
            }
        }
        let (mean, full) = (f64::from(sum), f64::from(tails[bound]));
        Group { node, is_by_rest, mean, full, ..Group::default() }
    }
}

/// Chance that a batch leaves without its last arrival, because with it a deadline would be missed.
fn cut_share(start: &StartTable, curve: &CloseCurve, group: &Group, cut: Cut) -> f64 {
    let mut share = 0.0;
    for n in 2..cut.bound {
        let (from, until) = (curve.cut_from[n].min(cut.delay), curve.cut_until[n].min(cut.delay));
        if until <= from {
            continue;
        }
        let by_until = start.reaches(group.node, group.is_by_rest, n, until);
        share += f64::from((by_until - start.reaches(group.node, group.is_by_rest, n, from)).max(0.0));
        if by_until < NEGLIGIBLE {
            break;
        }
    }
    // Of the arrivals that carry a batch to n or beyond, one in E[K] lands on n.
    (share / cut.mean_items).min(1.0 - group.full)
}

/// Bounds of what can be cut.
#[derive(Clone, Copy)]
struct Cut {
    bound: usize,
    delay: f32,
    mean_items: f64,
}

/// What leaves full at once, per gathered batch.
struct FullAtOnce {
    batches: f64,
    requests: f64,
}

/// Sets each group's share of the gathered batches.
fn weigh(
    groups: &mut [Group],
    table: &ArrivalTable,
    start: &StartTable,
    has_rests: bool,
    max_queue_delay: Duration,
) -> FullAtOnce {
    let mean_items = table.law.items_per_request.mean();
    let excess = table.law.items_per_request.mean_excess();
    let kinds = if has_rests { 2 } else { 1 };
    let memory = table.law.memory_seconds();
    let delay = max_queue_delay.as_secs_f64().min(table.horizon);
    let (mut total, mut batches, mut requests) = (0.0, 0.0, 0.0);
    for pair in groups.chunks_mut(kinds) {
        let node = table.nodes[pair[0].node];
        let chain = Chain::new(pair, start);
        let arrived = |group: &Group, first: f64| {
            (group.mean - first + (group.full + group.cut) * (1.0 + excess) - group.full).max(0.0) / mean_items
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
        let starts = if groups_are_single(table) { 1.0 } else { node.rate * empty };
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

fn groups_are_single(table: &ArrivalTable) -> bool {
    table.nodes.len() == 1
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
        super::arrival::RateMemory::Window => lags.min(1.0),
        super::arrival::RateMemory::Fading(_) => -(-lags).exp_m1(),
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
