//! How long a number of chunks takes on a number of workers, each of which takes the next chunk when it is done.
//!
//! Problem: rounds in step end together, spread ones do not; the last round waits for its slowest. No closed form covers few long rounds and many
//! short ones. Rule: the list is run through, with chunk times that are the quantiles of their law in a shuffled order (so the mean of
//! the law is met exactly), the last rounds of it; earlier ones count with their mean and leave the workers out of step by
//! what their spread adds up to. The mean of [`ORDERS`] orders counts.
//! Ramp: as many environments start at once as Lambda starts in 10 s, the others at a tenth of that per second.
//! Reference: Graham, "Bounds on multiprocessing timing anomalies", 1969, for how far a list schedule can be from the best.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::formula::LogNormal;

/// Most rounds that are run through, and fewest where workers are many.
const ROUNDS_RUN: u64 = 12;
const ROUNDS_RUN_OF_MANY: u64 = 3;
/// Chunks that are run through, where that leaves rounds enough.
const CHUNKS_RUN: u64 = 4096;
/// Shuffled orders that are averaged.
const ORDERS: u64 = 3;
/// A uniform phase of full width has a deviation of 1/√12 of a round.
const SQRT_12: f64 = 3.464_101_615;

/// Chunks on workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Makespan {
    /// Full chunks.
    pub(super) chunks: u64,
    /// The last one's part of a full chunk, 0 to 1; 0: there is none.
    pub(super) last_share: f64,
    /// Workers, at least 1.
    pub(super) workers: u64,
    /// Seconds of a full chunk.
    pub(super) chunk: LogNormal,
    /// Seconds that a worker needs beside each chunk.
    pub(super) overhead_s: f64,
    /// Seconds before a worker's first.
    pub(super) init_s: f64,
    /// New environments in 10 s; 0: as many as wanted.
    pub(super) environments_per_10_s: u32,
}

impl Makespan {
    /// Seconds of all work on one worker, INIT left out.
    fn work_s(&self) -> f64 {
        (count(self.chunks) + self.last_share) * self.chunk.mean() + self.count_all() * self.overhead_s
    }

    fn count_all(&self) -> f64 {
        count(self.chunks) + if self.last_share > 0.0 { 1.0 } else { 0.0 }
    }

    /// No schedule takes less on average.
    pub(super) fn least_s(&self) -> f64 {
        let longest = if self.chunks > 0 { 1.0 } else { self.last_share };
        let one = longest * self.chunk.mean() + self.overhead_s;
        self.init_s + (self.work_s() / count(self.workers)).max(one)
    }

    /// Expected seconds.
    pub(super) fn seconds(&self) -> f64 {
        let orders = if self.chunk.ln_std > 0.0 { ORDERS } else { 1 };
        (1..=orders).map(|seed| self.run(seed)).sum::<f64>() / count(orders)
    }

    /// Seconds until worker `number` (from 0) has its environment asked for.
    fn start_s(&self, number: u64) -> f64 {
        let at_once = u64::from(self.environments_per_10_s);
        if at_once == 0 || number < at_once {
            return 0.0;
        }
        count(number - at_once + 1) * 10.0 / count(at_once)
    }

    fn run(&self, seed: u64) -> f64 {
        let rounds = (CHUNKS_RUN / self.workers).clamp(ROUNDS_RUN_OF_MANY, ROUNDS_RUN);
        let to_run = self.chunks.min(rounds * self.workers);
        let skipped = self.chunks - to_run;
        let mut random = Shuffler(seed);
        let mut free = self.workers_free(skipped, &mut random);
        let times = self.shuffled_times(to_run, &mut random);
        let mut end = 0.0_f64;
        let last = (self.last_share > 0.0).then(|| self.last_share * self.chunk.mean() + self.overhead_s);
        for seconds in times.into_iter().chain(last) {
            let Some(Reverse(Moment(at))) = free.pop() else { break };
            end = end.max(at + seconds);
            free.push(Reverse(Moment(at + seconds)));
        }
        end
    }

    /// When each worker takes its first chunk of those that are run through.
    fn workers_free(&self, skipped: u64, random: &mut Shuffler) -> BinaryHeap<Reverse<Moment>> {
        let ready = |number| self.start_s(number) + self.init_s;
        let numbers = 0..self.workers;
        if skipped == 0 {
            return numbers.map(|number| Reverse(Moment(ready(number)))).collect();
        }
        let one = self.chunk.mean() + self.overhead_s;
        let rounds = count(skipped) / count(self.workers);
        let late = numbers.clone().map(ready).sum::<f64>() / count(self.workers);
        let relative = (self.chunk.ln_std * self.chunk.ln_std).exp_m1().sqrt();
        let width = (SQRT_12 * relative * rounds.sqrt()).min(1.0);
        numbers.map(|_| Reverse(Moment(late + (rounds + width * (random.unit() - 0.5)) * one))).collect()
    }

    fn shuffled_times(&self, chunks: u64, random: &mut Shuffler) -> Vec<f64> {
        if self.chunk.ln_std <= 0.0 {
            let one = self.chunk.mean() + self.overhead_s;
            return (0..chunks).map(|_| one).collect();
        }
        let mut times: Vec<f64> =
            (0..chunks).map(|at| self.chunk.quantile((count(at) + 0.5) / count(chunks))).collect();
        let scale = self.chunk.mean() * count(chunks) / times.iter().sum::<f64>().max(1e-12);
        for at in (1..times.len()).rev() {
            times.swap(at, random.below(at + 1));
        }
        times.iter_mut().for_each(|seconds| *seconds = *seconds * scale + self.overhead_s);
        times
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(value: u64) -> f64 {
    value as f64
}

/// A moment that can be ordered.
#[derive(PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// SplitMix64: an order that looks like chance and is always the same.
struct Shuffler(u64);

impl Shuffler {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        count(self.next() >> 11) / count(1 << 53)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }
}
