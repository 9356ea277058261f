//! The law of batch fill of a plan under an arrival law, without simulation.
//!
//! Problem: what a batch costs depends on how many items it really holds, and that on the arrivals while it gathers.
//!
//! Rule. Let N(t) be the items within t of a batch's start. The close times C(n) fall with n ([`super::closing`]), so the fill is above
//! n − 1 exactly if the n-th item comes by E(n): **P(F ≥ n) = P(N(E(n)) ≥ n)**, one look-up per n in the tables of
//! [`super::counts`], for any law of N. With a fixed delay D this is min(N(D), B). It is exact for Poisson arrivals of single
//! items under all closing rules of the engine.
//!
//! With several rates and with requests of several items, the law is a mixture over the rate and the kind of start of a batch, in the
//! proportions of [`super::starts`]. At the end items are conserved: batches per second = λ·E\[K\]/E\[F\].
//!
//! Cost: B look-ups, each for all rates at once (they lie side by side in the table); no allocation: the scratch memory is kept.
//! Reference: Ross, "Stochastic Processes", 1996, chapter 3.

use std::time::Duration;

use super::closing::CloseCurve;
use super::counts::{ArrivalTable, LANES_MAX, StartTable, place};
use super::starts::{Group, weigh};

/// A tail below this ends the sum.
const NEGLIGIBLE: f32 = 1e-7;

/// How a plan gathers batches: all that their fill depends on.
#[derive(Clone, Copy, Debug)]
pub struct Gathering<'a> {
    /// The arrivals. Its horizon must cover the longest time that a batch gathers.
    pub table: &'a ArrivalTable,
    /// Close times by fill.
    pub curve: &'a CloseCurve,
    /// Size bound of a batch, in items; at most the table's.
    pub max_batch_size: u32,
    /// Longest wait to fill a batch.
    pub max_queue_delay: Duration,
}

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
    /// Requests that leave at once with nothing left, per gathered batch.
    pub(crate) at_once: f64,
    /// Tails by kind of start, n and node.
    tails: Vec<f32>,
}

impl FillLaw {
    /// An empty law, with memory for bounds of up to `max_batch_size` items.
    #[must_use]
    pub fn with_capacity(max_batch_size: u32) -> Self {
        let width = max_batch_size as usize + 1;
        Self {
            pmf: Vec::with_capacity(width),
            tails: Vec::with_capacity(2 * LANES_MAX * width),
            groups: Vec::with_capacity(2 * LANES_MAX),
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

    /// Sets this to the law of a plan.
    pub fn set(&mut self, gathering: &Gathering<'_>) {
        let table = gathering.table;
        let bound = (gathering.max_batch_size as usize).min(table.max_items).max(1);
        self.max_batch_size = bound;
        self.requests_per_second = table.law.requests_per_second;
        self.pmf.clear();
        self.pmf.resize(bound + 1, 0.0);
        self.groups.clear();
        if !gathering.curve.waits {
            self.set_unbatched(table, bound);
        } else if bound == 1 {
            self.pmf[1] = 1.0;
            (self.gathered, self.at_once) = (0.0, 1.0);
        } else {
            match table.lanes {
                1 => self.set_gathered::<1>(gathering),
                4 => self.set_gathered::<4>(gathering),
                _ => self.set_gathered::<LANES_MAX>(gathering),
            }
        }
        // Single precision leaves the sum within 1e-6 of one.
        let sum: f64 = self.pmf.iter().sum();
        self.pmf.iter_mut().for_each(|p| *p /= sum);
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
        (self.gathered, self.at_once) = (0.0, 1.0);
    }

    fn set_gathered<const LANES: usize>(&mut self, gathering: &Gathering<'_>) {
        let Gathering { table, curve, max_queue_delay, .. } = *gathering;
        let bound = self.max_batch_size;
        let start = table.start(bound);
        let delay = table.position(max_queue_delay.as_secs_f64());
        let kinds = if table.law.items_per_request.max() > 1 { 2 } else { 1 };
        // A single item that was cut off starts the next batch as any other would.
        let needs_cuts = curve.cuts && kinds > 1;
        let width = (bound + 2) * LANES;
        self.tails.clear();
        self.tails.resize(kinds * width, 0.0);
        self.groups.resize(kinds * table.nodes.len(), Group::default());
        for kind in 0..kinds {
            let tails = &mut self.tails[kind * width..(kind + 1) * width];
            let (data, _) = start.data(kind == 1).as_chunks::<LANES>();
            let means = read_tails::<LANES>(data, curve, delay, tails);
            let cuts = if needs_cuts { cut_shares::<LANES>(data, curve, delay, bound) } else { [0.0; LANES] };
            for node in 0..table.nodes.len() {
                let full = f64::from(tails[bound * LANES + node]);
                // Of the arrivals that carry a batch to n or beyond, one in E[K] lands on n.
                let cut = (f64::from(cuts[node]) / table.law.items_per_request.mean()).min(1.0 - full);
                let mean = f64::from(means[node]);
                self.groups[node * kinds + kind] =
                    Group { node, is_by_rest: kind == 1, mean, full, cut, ..Group::default() };
            }
        }
        let full_at_once = weigh(&mut self.groups, table, start, kinds, max_queue_delay);
        self.at_once = full_at_once.requests;
        self.gathered = 1.0 / (1.0 + full_at_once.batches);
        for kind in 0..kinds {
            self.mix::<LANES>(kind, kinds, width);
        }
        self.pmf[bound] += 1.0 - self.gathered;
    }

    /// Adds the batches of one kind of start to the law.
    fn mix<const LANES: usize>(&mut self, kind: usize, kinds: usize, width: usize) {
        let mut shares = [0.0_f32; LANES];
        for group in self.groups.iter().skip(kind).step_by(kinds) {
            #[expect(clippy::cast_possible_truncation, reason = "a probability in single precision")]
            let share = (group.share * self.gathered) as f32;
            shares[group.node] = share;
        }
        let (rows, _) = self.tails[kind * width..(kind + 1) * width].as_chunks::<LANES>();
        let weighted =
            |row: &[f32; LANES]| row.iter().zip(&shares).map(|(tail, share)| tail * share).sum::<f32>();
        let mut above = weighted(&rows[1]);
        for (p, row) in self.pmf[1..].iter_mut().zip(&rows[2..]) {
            if above < NEGLIGIBLE * 1e-3 {
                break;
            }
            let next = weighted(row);
            *p += f64::from(above - next);
            above = next;
        }
    }
}

/// Fills in P(F ≥ n) for each node, n from 1 to the bound; the row beyond stays zero. Gives the mean fills.
fn read_tails<const LANES: usize>(
    data: &[[f32; LANES]],
    curve: &CloseCurve,
    delay: f32,
    tails: &mut [f32],
) -> [f32; LANES] {
    let (rows, _) = tails.as_chunks_mut::<LANES>();
    let bound = rows.len() - 2;
    rows[1] = [1.0; LANES];
    let (mut means, mut last) = ([1.0_f32; LANES], [1.0_f32; LANES]);
    let by = curve.reach[2..bound].iter().chain(&curve.fills[bound..=bound]);
    for ((n, &by), row) in (2..).zip(by).zip(&mut rows[2..]) {
        let here = StartTable::read(data, n, place(by.min(delay)));
        let mut highest = 0.0_f32;
        for lane in 0..LANES {
            // Interpolation must not make a tail rise.
            last[lane] = here[lane].min(last[lane]);
            means[lane] += last[lane];
            highest = highest.max(last[lane]);
        }
        *row = last;
        if highest < NEGLIGIBLE {
            break;
        }
    }
    means
}

/// Expected number of places n where a batch was left by its last arrival, because with it a deadline would be missed.
fn cut_shares<const LANES: usize>(
    data: &[[f32; LANES]],
    curve: &CloseCurve,
    delay: f32,
    bound: usize,
) -> [f32; LANES] {
    let mut shares = [0.0_f32; LANES];
    let places = curve.cut_from[2..bound].iter().zip(&curve.cut_until[2..bound]);
    for (n, (from, until)) in (2..).zip(places) {
        let (from, until) = (from.min(delay), until.min(delay));
        if until <= from {
            continue;
        }
        let by_until = StartTable::read(data, n, place(until));
        let by_from = StartTable::read(data, n, place(from));
        let mut highest = 0.0_f32;
        for lane in 0..LANES {
            shares[lane] += (by_until[lane] - by_from[lane]).max(0.0);
            highest = highest.max(by_until[lane]);
        }
        if highest < NEGLIGIBLE {
            break;
        }
    }
    shares
}
