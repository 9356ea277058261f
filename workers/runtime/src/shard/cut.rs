//! How items are cut over processes, and within a process into runs of the engine. Pure arithmetic over lengths.
//!
//! **Problem.** A run of the engine over `n` items pads all of them to the longest, so it computes `n × longest` units, and a
//! run costs something of its own. The batch is answered when the slowest process is done.
//!
//! **Rule.** Lengths are sorted, so only contiguous cuts matter: exchanging two items between groups never makes the longest
//! of either shorter. Within a process the runs minimise `Σ (RUN_UNITS + n × longest)`, by dynamic programming whose cuts lie
//! where the length changes. Over processes the cuts minimise the largest such sum: for a bound on it, filling each process as
//! far as it goes is optimal, because a sub-range never costs more than the range; the smallest bound that fits is found by
//! bisection. Exact for the stated cost, not a heuristic.
//!
//! **Why not** equal counts of items: with lengths 8 … 128 the process with the long ones takes several times the others.
//! Why not `n × longest` without the inner runs: it overrates wide ranges that a process will cut again.
//!
//! **Bounds.** Cutting over processes costs `O(items × distinct lengths × log units)`: 64 texts about 20 µs.

use std::ops::Range;

/// What starting a run costs, in units of a token. From MiniLM on one core at 8, 16 and 64 tokens: about 2 ms a run beside
/// about 0.21 ms a token, so 10; smaller models have relatively more, hence a little above.
pub(crate) const RUN_UNITS: u64 = 16;

/// How the work of a group of items follows from their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Padded to the longest of each run.
    Padded,
    /// The sum of the lengths: nothing is padded.
    Sum,
}

/// Cuts `items` equal items into at most `shards` ranges whose sizes differ by at most one.
pub(crate) fn even(items: usize, shards: usize) -> Vec<Range<usize>> {
    let shards = shards.min(items).max(1);
    (0..shards)
        .map(|index| items * index / shards..items * (index + 1) / shards)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Cuts ascending `lengths` into at most `shards` ranges so that the most expensive one is as cheap as possible.
pub(crate) fn balanced(lengths: &[u32], shards: usize, cost: Cost) -> Vec<Range<usize>> {
    debug_assert!(lengths.is_sorted(), "lengths ascend");
    let shards = shards.min(lengths.len()).max(1);
    let Some(&longest) = lengths.last() else {
        return Vec::new();
    };
    if shards == 1 {
        return std::iter::once(0..lengths.len()).collect();
    }
    let sum: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
    let mut fits = (RUN_UNITS + u64::from(longest)) * lengths.len() as u64; // certainly enough for one range
    let mut too_small = (sum / shards as u64).max(u64::from(longest)).saturating_sub(1);
    while fits - too_small > 1 {
        let middle = too_small + (fits - too_small) / 2;
        match fill(lengths, shards, cost, middle) {
            Some(_) => fits = middle,
            None => too_small = middle,
        }
    }
    fill(lengths, shards, cost, fits).unwrap_or_else(|| even(lengths.len(), shards))
}

/// Cuts ascending `lengths` into the runs of one process that together cost least.
pub(crate) fn runs(lengths: &[u32]) -> Vec<Range<usize>> {
    debug_assert!(lengths.is_sorted(), "lengths ascend");
    let mut growing = Growing::new(lengths, 0, Cost::Padded);
    let mut came_from = Vec::with_capacity(lengths.len() + 1);
    came_from.push(0);
    for _ in lengths {
        came_from.push(growing.push().1);
    }
    let (mut cuts, mut end) = (Vec::new(), lengths.len());
    while end > 0 {
        cuts.push(came_from[end]..end);
        end = came_from[end];
    }
    cuts.reverse();
    cuts
}

/// Work of ascending `lengths`, when run as [`runs`] says.
#[cfg(test)]
fn work(lengths: &[u32], cost: Cost) -> u64 {
    let mut growing = Growing::new(lengths, 0, cost);
    lengths.iter().map(|_| growing.push().0).last().unwrap_or(0)
}

/// Fills one range after the other up to `bound`; `None` if that takes more than `shards`.
fn fill(lengths: &[u32], shards: usize, cost: Cost, bound: u64) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::with_capacity(shards);
    let mut start = 0;
    while start < lengths.len() {
        let mut growing = Growing::new(lengths, start, cost);
        let mut end = start;
        while end < lengths.len() && growing.push().0 <= bound {
            end += 1;
        }
        if end == start || ranges.len() == shards {
            return None;
        }
        ranges.push(start..end);
        start = end;
    }
    Some(ranges)
}

/// The least cost of a range of items, as items are added at its end.
struct Growing<'a> {
    lengths: &'a [u32],
    cost: Cost,
    end: usize,
    total: u64,
    /// Places where a run may begin, with the least cost of what lies before.
    begins: Vec<(usize, u64)>,
}

impl<'a> Growing<'a> {
    fn new(lengths: &'a [u32], start: usize, cost: Cost) -> Self {
        Self { lengths, cost, end: start, total: 0, begins: vec![(start, 0)] }
    }

    /// Adds the next item; gives the cost with it, and where the run that holds it begins.
    fn push(&mut self) -> (u64, usize) {
        let length = u64::from(self.lengths[self.end]);
        if self.cost == Cost::Sum {
            self.total += length;
            self.end += 1;
            return (self.total, 0);
        }
        let changes = self.end > 0 && self.lengths[self.end] != self.lengths[self.end - 1];
        if changes && self.end > self.begins[0].0 {
            self.begins.push((self.end, self.total));
        }
        self.end += 1;
        let (total, begin) = self
            .begins
            .iter()
            .map(|&(begin, before)| (before + RUN_UNITS + (self.end - begin) as u64 * length, begin))
            .min()
            .unwrap_or((0, 0));
        self.total = total;
        (total, begin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bottleneck(lengths: &[u32], cuts: &[Range<usize>], cost: Cost) -> u64 {
        cuts.iter().map(|cut| work(&lengths[cut.clone()], cost)).max().unwrap_or(0)
    }

    /// The best bottleneck by trying every cut.
    fn best_by_trial(lengths: &[u32], shards: usize, cost: Cost) -> u64 {
        if lengths.is_empty() || shards == 1 {
            return work(lengths, cost);
        }
        (1..=lengths.len())
            .map(|cut| work(&lengths[..cut], cost).max(best_by_trial(&lengths[cut..], shards - 1, cost)))
            .min()
            .unwrap()
    }

    /// The least padded work by trying every set of cuts.
    fn least_by_trial(lengths: &[u32]) -> u64 {
        let Some(&longest) = lengths.last() else { return 0 };
        let whole = RUN_UNITS + lengths.len() as u64 * u64::from(longest);
        (1..lengths.len())
            .map(|cut| {
                let (head, tail) = lengths.split_at(cut);
                least_by_trial(head) + RUN_UNITS + tail.len() as u64 * u64::from(*tail.last().unwrap())
            })
            .min()
            .map_or(whole, |cut| cut.min(whole))
    }

    fn covers(cuts: &[Range<usize>], items: usize) -> bool {
        cuts.iter().all(|cut| !cut.is_empty())
            && cuts.first().map_or(0, |cut| cut.start) == 0
            && cuts.last().map_or(0, |cut| cut.end) == items
            && cuts.windows(2).all(|pair| pair[0].end == pair[1].start)
    }

    #[test]
    fn equal_items_are_spread_evenly() {
        assert_eq!(even(10, 4), [0..2, 2..5, 5..7, 7..10]);
        assert_eq!(even(2, 4).len(), 2, "no more shards than items");
        assert!(even(0, 3).is_empty());
    }

    #[test]
    fn long_texts_get_a_process_with_fewer_rows() {
        let mut lengths = vec![8; 24];
        lengths.extend([128; 8]);
        let cuts = balanced(&lengths, 2, Cost::Padded);
        assert_eq!(cuts.len(), 2);
        assert!(cuts[1].len() < 8, "half of the long ones go with the short ones: {cuts:?}");
        assert!(bottleneck(&lengths, &cuts, Cost::Padded) < 750, "of 1,216 in all");
    }

    #[test]
    fn one_long_text_is_run_apart() {
        assert_eq!(runs(&[8, 8, 8, 8, 128]), [0..4, 4..5]);
    }

    #[test]
    fn nearly_equal_lengths_stay_in_one_run() {
        assert_eq!(runs(&[30, 31, 31, 32]).len(), 1);
    }

    #[test]
    fn no_items_make_no_cuts() {
        assert!(runs(&[]).is_empty());
        assert!(balanced(&[], 3, Cost::Padded).is_empty());
    }

    proptest! {
        #[test]
        fn balanced_cuts_are_optimal(mut lengths in prop::collection::vec(0_u32..140, 1..9), shards in 1_usize..4, padded: bool) {
            lengths.sort_unstable();
            let cost = if padded { Cost::Padded } else { Cost::Sum };
            let cuts = balanced(&lengths, shards, cost);
            prop_assert!(covers(&cuts, lengths.len()) && cuts.len() <= shards, "{:?}", cuts);
            prop_assert_eq!(bottleneck(&lengths, &cuts, cost), best_by_trial(&lengths, shards, cost));
        }

        #[test]
        fn runs_are_optimal(mut lengths in prop::collection::vec(0_u32..60, 0..9)) {
            lengths.sort_unstable();
            let cuts = runs(&lengths);
            prop_assert!(covers(&cuts, lengths.len()));
            let cost: u64 = cuts.iter().map(|cut| RUN_UNITS + cut.len() as u64 * u64::from(lengths[cut.end - 1])).sum();
            prop_assert_eq!(cost, least_by_trial(&lengths));
        }
    }
}
