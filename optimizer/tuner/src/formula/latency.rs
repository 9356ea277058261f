//! The law of a request's latency under a plan: wait for the batch to close, wait for a place in the window, service, network.
//!
//! Rule. Given how a batch ended, the waits of its requests are known: the one that opened it waited the whole time T; one whose arrival
//! closed it waited nothing; the others arrived independently and uniformly over (0, T), as Poisson arrivals do given their
//! number, at whatever rate. A batch ended with n items in one of four ways: nobody else came by C(n); an arrival carried it past C(n);
//! an arrival that no longer fitted the deadline cut it off; or it filled, at a T whose law is the table's own column
//! P(N(t) ≥ B). So the latency is a mixture of *uniform wait plus log-normal service*, and its tail is in closed form:
//! P(U + S > x) = (L(x − high) − L(x − low)) / (high − low), L the expected excess of S.
//!
//! Why not a normal sum: the p99 of a deadline plan is a corner of this mixture, not a tail of a bell.
//! Cost: about two excess terms per part, parts a few per n: tens of microseconds a law. A search asks for it only where the cost is
//! already better than the best that keeps the objective.
//! Reference: Ross, "Stochastic Processes", 1996, theorem 2.3.1 (arrival times given their number).

use std::time::Duration;

use super::closing::CloseCurve;
use super::counts::ArrivalTable;
use super::fill::{FillLaw, Gathering};
use super::served::Served;
use super::service::ServiceLaw;
use super::starts::Group;
use super::window::WindowWait;

/// Cells of the time to fill.
const FILL_CELLS: usize = 16;
/// Parts lighter than this share of a batch are left out.
const NEGLIGIBLE: f64 = 1e-6;

/// Requests that wait uniformly between two times and are then served in a batch of some size.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Requests per gathered batch.
    weight: f64,
    low: f64,
    high: f64,
    items: u32,
    /// Batches in parallel that must all be done.
    copies: u32,
}

/// The law of latency of one plan. Reused from candidate to candidate.
#[derive(Clone, Debug, Default)]
pub struct LatencyLaw {
    parts: Vec<Part>,
    weight: f64,
    wait: WindowWait,
    /// Items of a request, and of a batch, rounded.
    mean_items: f64,
    mean_fill: u32,
    /// By items: service and overhead.
    service: Vec<Served>,
}

impl LatencyLaw {
    /// Sets this to the law that belongs to `fill`, which must come from the same gathering.
    pub fn set(
        &mut self,
        gathering: &Gathering<'_>,
        fill: &FillLaw,
        wait: WindowWait,
        service: &impl ServiceLaw,
        rung_of: impl Fn(u32) -> usize,
    ) {
        let Gathering { table, curve, max_queue_delay, .. } = *gathering;
        self.parts.clear();
        self.wait = wait;
        self.mean_items = table.law.items_per_request.mean();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the bound")]
        let mean_fill = fill.mean.round() as u32;
        self.mean_fill = mean_fill;
        self.service.clear();
        self.service.extend((0..=u32::try_from(fill.max_batch_size).unwrap_or(u32::MAX)).map(|items| {
            let (items, rung) = (items.max(1), rung_of(items.max(1)));
            Served::new(service.billed_seconds(items, rung), service.overhead_seconds(items, rung))
        }));
        self.push_at_once(table, fill, curve.waits);
        if !fill.groups.is_empty() {
            self.push_gathered(table, curve, max_queue_delay, fill);
        }
        self.weight = self.parts.iter().map(|part| part.weight).sum();
    }

    /// P(latency > `seconds`), of requests.
    #[must_use]
    pub fn upper_tail(&self, seconds: f64) -> f64 {
        let at_once = self.tail_after(seconds, 0.0);
        if self.wait.chance < 1e-5 {
            return at_once;
        }
        let mean: f64 =
            self.wait.points().map(|(weight, wait)| weight * self.tail_after(seconds, wait)).sum();
        (1.0 - self.wait.chance) * at_once + self.wait.chance * mean
    }

    /// The latency that a share `probability` (0 to 1, both excluded) of the requests does not exceed, in seconds; within 2e-4 of itself.
    #[must_use]
    pub fn quantile(&self, probability: f64) -> f64 {
        let wanted = 1.0 - probability;
        // In the logarithm the tail is nearly straight: the Illinois rule needs a handful of steps.
        let miss = |at: f64| (self.upper_tail(at).max(1e-12) / wanted).ln();
        let (mut low, mut high) = (0.0, self.longest());
        let (mut low_miss, mut high_miss) = (-wanted.ln(), miss(high));
        while high_miss > 0.0 && high < 1e5 {
            (low, low_miss) = (high, high_miss);
            high *= 2.0;
            high_miss = miss(high);
        }
        let mut was_low = None;
        for step in 0..100 {
            if high - low <= 1e-4 * high {
                break;
            }
            let secant = (low * high_miss - high * low_miss) / (high_miss - low_miss);
            // Corners of the mixture stall a secant: every third step halves.
            let at = if step % 3 == 2 { 0.5 * (low + high) } else { secant.clamp(low, high) };
            let here = miss(at);
            let is_low = here > 0.0;
            if here.abs() < 1e-3 {
                return at;
            }
            if is_low {
                (low, low_miss) = (at, here);
                high_miss *= if was_low == Some(true) { 0.5 } else { 1.0 };
            } else {
                (high, high_miss) = (at, here);
                low_miss *= if was_low == Some(false) { 0.5 } else { 1.0 };
            }
            was_low = Some(is_low);
        }
        0.5 * (low + high)
    }

    /// Seconds that hardly any request exceeds, waits for a place aside.
    fn longest(&self) -> f64 {
        let served =
            |part: &Part| part.high + self.service.get(part.items as usize).map_or(0.0, Served::longest);
        self.parts.iter().map(served).fold(1e-3, f64::max)
    }

    /// P(latency > `seconds`) of a batch that waits so long for a place, and grows meanwhile.
    fn tail_after(&self, seconds: f64, wait: f64) -> f64 {
        let joined = self.wait.joining * wait;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of items, saturating"
        )]
        let grown = (joined * self.mean_items).round() as u32;
        let tail = |part: &Part| part.weight * self.part_tail(part, seconds - wait, grown);
        let late: f64 = self.parts.iter().map(tail).sum();
        if joined < 1e-3 {
            return late / self.weight;
        }
        let joiners = Part { weight: joined, low: 0.0, high: wait, items: self.mean_fill, copies: 1 };
        (late + joined * self.part_tail(&joiners, seconds, grown)) / (self.weight + joined)
    }

    fn part_tail(&self, part: &Part, seconds: f64, grown: u32) -> f64 {
        let items = (part.items.saturating_add(grown) as usize).min(self.service.len().saturating_sub(1));
        let Some(served) = self.service.get(items) else {
            return 1.0;
        };
        let tail = served.tail_after(part.low, part.high, seconds);
        match part.copies {
            1 => tail,
            copies => 1.0 - (1.0 - tail).powf(f64::from(copies)),
        }
    }

    fn push(&mut self, weight: f64, low: f64, high: f64, items: usize) {
        if weight > NEGLIGIBLE {
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            self.parts.push(Part { weight, low, high: high.max(low), items, copies: 1 });
        }
    }

    /// Requests that leave whole as they come.
    fn push_at_once(&mut self, table: &ArrivalTable, fill: &FillLaw, waits: bool) {
        let bound = fill.max_batch_size;
        for (at, p) in table.law.items_per_request.pmf().iter().enumerate() {
            let items = at + 1;
            let is_whole = items.is_multiple_of(bound);
            if (waits && bound > 1 && !is_whole) || p * fill.at_once < NEGLIGIBLE {
                continue;
            }
            let copies = u32::try_from((items / bound).max(1)).unwrap_or(u32::MAX);
            let items = u32::try_from(items.min(bound)).unwrap_or(u32::MAX);
            self.parts.push(Part { weight: p * fill.at_once, low: 0.0, high: 0.0, items, copies });
        }
        let pushed: f64 = self.parts.iter().map(|part| part.weight).sum();
        self.parts.iter_mut().for_each(|part| part.weight *= fill.at_once / pushed.max(1e-300));
    }

    fn push_gathered(&mut self, table: &ArrivalTable, curve: &CloseCurve, delay: Duration, fill: &FillLaw) {
        let bound = fill.max_batch_size;
        let start = table.start(bound);
        let delay = table.position(delay.as_secs_f64());
        let mean_items = table.law.items_per_request.mean();
        let first = fill
            .groups
            .iter()
            .map(|group| {
                let first = if group.is_by_rest { start.first_by_rest } else { start.first_by_request };
                group.share * first
            })
            .sum::<f64>();
        let reaches = |n: usize, at: f32| -> f64 {
            let of =
                |group: &Group| group.share * f64::from(start.reaches(group.node, group.is_by_rest, n, at));
            fill.groups.iter().map(of).sum()
        };
        // Requests that came after the first, together with n items in time t: E[M; S = n] = E[M]·Σₖ q(k)·P(S = n − k).
        let items = &table.law.items_per_request;
        let later = |n: usize, at: f32, quiet: f64| -> f64 {
            if items.max() == 1 {
                return quiet * (n as f64 - 1.0);
            }
            let of = |group: &Group| {
                let lands = |k: usize| {
                    let at_least = |m: usize| start.reaches(group.node, group.is_by_rest, m, at);
                    f64::from(at_least(n - k) - at_least(n - k + 1))
                };
                let reach = table.sizes.iter().take_while(|size| size.0 < n);
                let sum: f64 = reach.map(|&(k, q)| q * lands(k)).sum();
                group.share * table.mean_requests(group.node, table.seconds(at)) * sum
            };
            fill.groups.iter().map(of).sum()
        };
        let mut reached_in_time = 1.0;
        for n in 1..bound {
            let close = curve.close[n].min(delay);
            let crossed = if n == 1 { close } else { curve.reach[n].min(delay).max(close) };
            let next_by = if n + 1 < bound { curve.reach[n + 1] } else { curve.fills[n + 1] }.min(delay);
            let (alive, next_in_time) = (reaches(n, close), reaches(n + 1, next_by.min(close)));
            let next_at_all = reaches(n + 1, next_by);
            let next_before_close = reaches(n + 1, close);
            let others = ((n as f64 - first) / mean_items).max(0.0);
            let at = table.seconds(close);
            // Nobody else came.
            let quiet = (alive - next_before_close).max(0.0);
            self.push(quiet, at, at, n);
            self.push(later(n, close, quiet), 0.0, at, n);
            // The n-th carried it past its close time.
            let carried = (reached_in_time - alive).max(0.0);
            if n > 1 && carried > NEGLIGIBLE {
                let until = table.seconds(crossed);
                self.push(carried, at, until, n);
                self.push(carried, 0.0, 0.0, n);
                self.push(carried * (others - 1.0), 0.0, 0.5 * (at + until), n);
            }
            // The next came too late for the deadline, and was left.
            let cut = (next_before_close - next_in_time).max(0.0);
            if cut > NEGLIGIBLE {
                let from = table.seconds(next_by.min(close));
                self.push(cut, from, at, n);
                self.push(cut * others, 0.0, 0.5 * (from + at), n);
            }
            reached_in_time = next_at_all;
            if next_at_all < NEGLIGIBLE {
                return;
            }
        }
        let last = start.rest_starts;
        let end = curve.fills[bound].min(delay);
        // Requests are conserved: those that are not in other batches came while a full one gathered.
        let counted: f64 = self.parts.iter().map(|part| part.weight).sum();
        let full = reaches(bound, end).max(1e-12);
        let total = fill.requests_per_second / (fill.batches_per_second * fill.gathered.max(1e-12));
        let others = ((total - counted) / full - 2.0 + last).max(0.0);
        let mut before = 0.0;
        for step in 0..FILL_CELLS {
            let place = |step: usize| end * step as f32 / FILL_CELLS as f32;
            let by = reaches(bound, place(step + 1));
            let weight = by - before;
            before = by;
            let (from, until) = (table.seconds(place(step)), table.seconds(place(step + 1)));
            self.push(weight, from, until, bound);
            self.push(weight * (1.0 - last), 0.0, 0.0, bound);
            self.push(weight * others, 0.0, 0.5 * (from + until), bound);
        }
    }
}
