//! The table that is built once per arrival law: P(start + items within t ≥ n), by rate node, n and t.
//!
//! Problem: a plan search asks for the law of the fill of thousands of plans under one arrival law.
//!
//! Rule: for each rate of the mixture ([`super::mixing`]) the items that arrive within t after a batch was started at that rate. While
//! the rate lasts they are (compound) Poisson; once it may have been drawn anew, (compound) negative binomial with the exact conditional
//! mean and variance of ∫Λ ([`super::panjer`]). Times are spaced
//! evenly in √t, since a count's deviation grows with √t: [`STEPS`] cells then are a small, constant fraction of a deviation, and linear
//! interpolation between them is good to about 1e-3 of a probability.
//!
//! A batch is started by a request of K items that meets an empty queue, or by what a full batch left over of the request that filled it. Both
//! starts are in tables of their own; for single items they are the same. A bound that many requests reach by themselves has tables of its
//! own, since such requests leave full batches at once; they are built when first asked for.
//!
//! Rates lie side by side, so that one look-up reads all of them.
//!
//! Bounds: memory is lanes × items × [`STEPS`] × 4 bytes (twice for requests of several items): 0.4 MB at 8 rates and 128 items.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use super::arrival::{ArrivalLaw, FormulaError, RateMemory};
use super::mixing::{MAX_NODES, RateNode, rate_nodes};
use super::panjer::{Moments, NEGLIGIBLE, fading_moments, panjer, window_moments};

/// Cells of the time axis.
pub(crate) const STEPS: usize = 96;
/// A bound that fewer requests reach than this share is served by the shared table.
const RARE: f64 = 2e-3;
/// Most rates side by side in a table.
pub(crate) const LANES_MAX: usize = MAX_NODES;

/// Tables of one arrival law.
#[derive(Clone, Debug)]
pub struct ArrivalTable {
    pub(crate) law: ArrivalLaw,
    pub(crate) nodes: Vec<RateNode>,
    /// Places for nodes side by side in the tables: 1, 4 or [`LANES_MAX`].
    pub(crate) lanes: usize,
    pub(crate) max_items: usize,
    pub(crate) horizon: f64,
    /// `∫Λ` by node and time: mean.
    means: Vec<f64>,
    moments: Vec<Vec<Moments>>,
    /// Items per request, thinned out.
    pub(crate) sizes: Vec<(usize, f64)>,
    /// For bounds that hardly any request reaches.
    shared: StartTable,
    /// For bounds from 1 on that requests do reach: each is built when it is first asked for.
    small: Vec<OnceLock<StartTable>>,
}

/// How batches of one bound begin.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartTable {
    lanes: usize,
    /// P(items ≥ n) of a batch that a request started, by n, then time, then node.
    by_request: Vec<f32>,
    /// The same for one that was started by a rest; empty if equal.
    by_rest: Vec<f32>,
    /// Mean items at the start, either way.
    pub(crate) first_by_request: f64,
    pub(crate) first_by_rest: f64,
    /// A request at an empty queue: chance that it starts a batch, and full batches that it is at once.
    pub(crate) request_starts: f64,
    pub(crate) request_is_full: f64,
    /// A full batch: chance that a rest starts the next, and further full batches at once.
    pub(crate) rest_starts: f64,
    pub(crate) rest_is_full: f64,
}

impl ArrivalTable {
    /// Builds the tables for bounds of up to `max_items` items and close times of up to `horizon`.
    ///
    /// # Errors
    /// When the law is out of range, or `max_items` is not 1 to 10,000.
    pub fn new(law: &ArrivalLaw, max_items: u32, horizon: Duration) -> Result<Self, FormulaError> {
        law.validate()?;
        if !(1..=10_000).contains(&max_items) {
            return Err(FormulaError::OutOfRange("max_items"));
        }
        let nodes = rate_nodes(law.requests_per_second, law.rate_std());
        let mut table = Self {
            law: law.clone(),
            lanes: match nodes.len() {
                1 => 1,
                2..=4 => 4,
                _ => LANES_MAX,
            },
            nodes,
            max_items: max_items as usize,
            horizon: horizon.as_secs_f64().max(1e-6),
            means: Vec::new(),
            moments: Vec::new(),
            sizes: law.items_per_request.thinned(),
            shared: StartTable::default(),
            small: vec![OnceLock::new(); law.items_per_request.reached(RARE)],
        };
        table.moments = table.nodes.iter().map(|node| table.moments(node.rate)).collect();
        table.means = table.moments.iter().flatten().map(|moment| moment.mean).collect();
        if table.max_items > table.small.len() {
            let larger = law.items_per_request.max() + 1;
            table.shared = table.build_start(table.max_items, larger.max(table.max_items));
        }
        Ok(table)
    }

    /// The law that it was built for.
    #[must_use]
    pub fn law(&self) -> &ArrivalLaw {
        &self.law
    }

    /// Largest bound that it serves, in items.
    #[must_use]
    pub fn max_items(&self) -> u32 {
        u32::try_from(self.max_items).unwrap_or(u32::MAX)
    }

    /// Place of a time on the axis, in cells; beyond the horizon: its end.
    #[must_use]
    pub(crate) fn position(&self, seconds: f64) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "a place of at most STEPS in single precision")]
        let cells = ((seconds.max(0.0) / self.horizon).sqrt().min(1.0) * STEPS as f64) as f32;
        cells
    }

    /// The time at a place, in seconds.
    #[must_use]
    pub(crate) fn seconds(&self, position: f32) -> f64 {
        let share = f64::from(position) / STEPS as f64;
        self.horizon * share * share
    }

    /// How batches of this bound begin.
    pub(crate) fn start(&self, max_batch_size: usize) -> &StartTable {
        match self.small.get(max_batch_size - 1) {
            Some(small) => small.get_or_init(|| self.build_start(max_batch_size, max_batch_size)),
            None => &self.shared,
        }
    }

    /// Mean requests within `seconds` after a start at a node.
    pub(crate) fn mean_requests(&self, node: usize, seconds: f64) -> f64 {
        let Place { cell, share } = place(self.position(seconds));
        let at = node * (STEPS + 1) + cell;
        let (low, high) = (self.means[at], self.means[at + 1]);
        let inside = low + (high - low) * f64::from(share);
        if seconds > self.horizon {
            inside + (seconds - self.horizon) * self.law.requests_per_second
        } else {
            inside
        }
    }

    /// Tables with columns for up to `columns` items, for batches bounded by `bound`.
    fn build_start(&self, columns: usize, bound: usize) -> StartTable {
        let items = &self.law.items_per_request;
        let request = Folded::new(self.sizes.iter().copied(), bound);
        let rest = Folded::new(excess(&self.sizes, items.mean()).into_iter(), bound);
        let has_rests = items.max() > 1;
        let width = columns + 1;
        let mut by_request = vec![0.0_f32; self.lanes * width * (STEPS + 1)];
        let mut by_rest = vec![0.0_f32; if has_rests { by_request.len() } else { 0 }];
        match self.lanes {
            1 => self.fill_tails::<1>(width, (&request.first, &mut by_request), (&rest.first, &mut by_rest)),
            4 => self.fill_tails::<4>(width, (&request.first, &mut by_request), (&rest.first, &mut by_rest)),
            _ => self.fill_tails::<LANES_MAX>(
                width,
                (&request.first, &mut by_request),
                (&rest.first, &mut by_rest),
            ),
        }
        StartTable {
            lanes: self.lanes,
            by_request,
            by_rest,
            first_by_request: request.mean(),
            first_by_rest: if has_rests { rest.mean() } else { 1.0 },
            request_starts: request.starts,
            request_is_full: request.full,
            rest_starts: rest.starts,
            rest_is_full: rest.full,
        }
    }

    /// Fills the tables of both starts; that of rests may be empty.
    fn fill_tails<const LANES: usize>(
        &self,
        width: usize,
        request: (&[(usize, f64)], &mut [f32]),
        rest: (&[(usize, f64)], &mut [f32]),
    ) {
        let (by_request, _) = request.1.as_chunks_mut::<LANES>();
        let (by_rest, _) = rest.1.as_chunks_mut::<LANES>();
        let mut pmf = vec![[0.0; LANES]; width];
        for step in 0..=STEPS {
            let of_lane =
                |lane: usize| self.moments.get(lane).map_or_else(Moments::default, |node| node[step]);
            let counted = panjer::<LANES>(std::array::from_fn(of_lane), &self.sizes, &mut pmf);
            let at = |n: usize| n * (STEPS + 1) + step;
            write_tails(&pmf[..counted], request.0, width, |n, tails| by_request[at(n)] = tails);
            if !by_rest.is_empty() {
                write_tails(&pmf[..counted], rest.0, width, |n, tails| by_rest[at(n)] = tails);
            }
        }
    }

    /// Mean and extra variance of the requests by time, given a start at `rate`.
    fn moments(&self, rate: f64) -> Vec<Moments> {
        let (mean, variance) = (self.law.requests_per_second, self.law.rate_std().powi(2));
        let gap = rate - mean;
        let times = (0..=STEPS).map(|step| self.seconds(step as f32));
        if variance < 1e-6 * mean * mean {
            return times.map(|t| Moments { mean: mean * t, extra: 0.0 }).collect();
        }
        match self.law.rate_memory {
            RateMemory::Window => {
                let window = self.law.dispersion_window.as_secs_f64();
                times.map(|t| window_moments(t, window, mean, gap, variance)).collect()
            }
            RateMemory::Fading(memory) => fading_moments(times, memory.as_secs_f64(), mean, gap, variance),
        }
    }
}

impl StartTable {
    /// The table of batches that a request (or a rest) started.
    #[inline]
    pub(crate) fn data(&self, is_by_rest: bool) -> &[f32] {
        if is_by_rest && !self.by_rest.is_empty() { &self.by_rest } else { &self.by_request }
    }

    /// P(items ≥ n) at a place of the time axis, for all nodes at once; `rows` are those of a table with so many lanes.
    #[inline]
    pub(crate) fn read<const LANES: usize>(rows: &[[f32; LANES]], n: usize, place: Place) -> [f32; LANES] {
        let at = n * (STEPS + 1) + place.cell;
        let Some([low, high]) = rows.get(at..at + 2) else {
            return [0.0; LANES];
        };
        std::array::from_fn(|lane| low[lane] + (high[lane] - low[lane]) * place.share)
    }

    /// P(items ≥ n) at a place of the time axis, for one node.
    #[inline]
    pub(crate) fn reaches(&self, node: usize, is_by_rest: bool, n: usize, position: f32) -> f32 {
        let place = place(position);
        let at = (n * (STEPS + 1) + place.cell) * self.lanes + node;
        let data = self.data(is_by_rest);
        match (data.get(at), data.get(at + self.lanes)) {
            (Some(low), Some(high)) => low + (high - low) * place.share,
            (None, _) | (_, None) => 0.0,
        }
    }
}

/// A cell of the time axis, and how far in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    cell: usize,
    share: f32,
}

#[inline]
pub(crate) fn place(position: f32) -> Place {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place between 0 and STEPS"
    )]
    let cell = (position as usize).min(STEPS - 1);
    Place { cell, share: position - cell as f32 }
}

/// A number of items that meets an empty batch of a bound: full batches at once, and what begins to gather.
struct Folded {
    /// P(first = j | something is left), ascending.
    first: Vec<(usize, f64)>,
    starts: f64,
    full: f64,
}

impl Folded {
    /// Takes full batches off.
    fn new(sizes: impl Iterator<Item = (usize, f64)>, bound: usize) -> Self {
        let mut left = BTreeMap::new();
        let (mut starts, mut full) = (0.0, 0.0);
        for (items, p) in sizes {
            full += p * (items / bound) as f64;
            if !items.is_multiple_of(bound) {
                starts += p;
                *left.entry(items % bound).or_insert(0.0) += p;
            }
        }
        Self { first: left.into_iter().map(|(j, p)| (j, p / starts)).collect(), starts, full }
    }

    fn mean(&self) -> f64 {
        self.first.iter().map(|&(j, p)| j as f64 * p).sum()
    }
}

/// What a request has beyond a bound that falls somewhere within it, from 0 on: P(K > k)/E\[K\], thinned out like the sizes themselves.
fn excess(sizes: &[(usize, f64)], mean: f64) -> Vec<(usize, f64)> {
    let mut law = Vec::with_capacity(2 * sizes.len());
    let (mut from, mut left) = (0, 1.0_f64);
    for &(size, p) in sizes {
        // P(K > k) is constant for k from the last size to this one: few of them singly, many by their middle.
        let width = size - from;
        if width <= 4 {
            law.extend((from..size).map(|k| (k, left / mean)));
        } else {
            let (first, middle) = (from + width / 4, from + (3 * width) / 4);
            law.extend([
                (first, left / mean * width as f64 / 2.0),
                (middle, left / mean * width as f64 / 2.0),
            ]);
        }
        from = size;
        left = (left - p).max(0.0);
    }
    law
}

/// P(first + count ≥ n) for n below `width`, from 0 on, until nothing is left.
fn write_tails<const LANES: usize>(
    counts: &[[f64; LANES]],
    first: &[(usize, f64)],
    width: usize,
    mut write: impl FnMut(usize, [f32; LANES]),
) {
    let mut tails = [1.0_f64; LANES];
    for n in 0..width {
        #[expect(clippy::cast_possible_truncation, reason = "a probability in single precision")]
        write(n, tails.map(|tail| tail as f32));
        for &(j, p) in first.iter().take_while(|&&(j, _)| j <= n) {
            let Some(row) = counts.get(n - j) else { continue };
            for lane in 0..LANES {
                tails[lane] -= p * row[lane];
            }
        }
        let mut highest = 0.0_f64;
        for tail in &mut tails {
            *tail = tail.max(0.0);
            highest = highest.max(*tail);
        }
        if highest < NEGLIGIBLE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_tails_have_their_closed_form() {
        let table = ArrivalTable::new(&ArrivalLaw::poisson(10.0), 16, Duration::from_secs(1)).unwrap();
        let start = table.start(16);
        for seconds in [0.01_f64, 0.1, 0.33, 1.0] {
            let mean = 10.0 * seconds;
            let (mut term, mut below) = ((-mean).exp(), 0.0);
            for n in 2..=16_usize {
                below += term;
                term *= mean / (n as f64 - 1.0);
                let tail = f64::from(start.reaches(0, false, n, table.position(seconds)));
                assert!((tail - (1.0 - below)).abs() < 1e-3, "{n} {seconds}: {tail} {}", 1.0 - below);
            }
        }
    }
}
