//! How a batch's items are cut over the processes of a worker: the shape that its service time depends on.
//!
//! Problem: the worker sorts items by length, gives each process a contiguous range so that the most expensive range is as cheap as possible, and
//! lets each process cut its range into runs that are padded to their longest. The batch is done when the slowest is.
//! Rule: the same cut. A range costs the least Σ (a run's own cost + its items × its longest) over all ways to cut it into runs; the bound of all
//! ranges is found by bisection, each filled as far as it goes. Work is by distinct length, of which a world has a few, so a batch of
//! hundreds of items costs little. Items of one length need none of it: they are cut evenly.
//! Deliberately absent: that a worker knows lengths only by their bytes before it has tokenized; it is exact here.

use super::BatchShape;

/// What starting a run costs, in units: as the worker takes it.
const RUN_UNITS: u64 = 16;

/// Collects the items of a batch; its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Sharder {
    /// Length and number, ascending in length once shaped.
    groups: Vec<(u64, u32)>,
    /// Scratch: the places of a range where a run may begin: cost and padded units before it, and the items before it.
    begins: Vec<(u64, u64, u32)>,
}

impl Sharder {
    /// Forgets all items.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// Adds items of so many units each.
    #[inline]
    pub fn add(&mut self, units: u64, items: u32) {
        match self.groups.iter_mut().find(|(known, _)| *known == units) {
            Some((_, count)) => *count += items,
            None => self.groups.push((units, items)),
        }
    }

    /// The shape of what was added, on so many processes.
    pub fn shape(&mut self, process_count: u32) -> BatchShape {
        let items: u32 = self.groups.iter().map(|(_, count)| count).sum();
        if let [(units, _)] = self.groups[..] {
            return BatchShape::uniform(items, process_count, units);
        }
        self.groups.sort_unstable();
        let units = self.groups.iter().map(|(units, count)| units * u64::from(*count)).sum();
        let processes = process_count.min(items).max(1);
        let longest = self.groups.last().map_or(0, |(units, _)| *units);
        let (mut low, mut high) = (longest.saturating_sub(1), (RUN_UNITS + longest) * u64::from(items));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.fill(processes, middle).is_some() {
                high = middle;
            } else {
                low = middle;
            }
        }
        let shard_padded_units = self.fill(processes, high).unwrap_or(units);
        BatchShape { items, process_count, units, shard_padded_units }
    }

    /// Fills one process after the other up to `bound`; the most padded units that one has. `None`: that takes more than `processes`.
    fn fill(&mut self, processes: u32, bound: u64) -> Option<u64> {
        let (mut group, mut used, mut most) = (0, 0_u32, 0);
        for _ in 0..processes {
            let padded = self.fill_one(&mut group, &mut used, bound)?;
            most = most.max(padded);
            if group == self.groups.len() {
                return Some(most);
            }
        }
        None
    }

    /// Fills one process from item `used` of `group` on, as far as `bound` goes; its padded units. `None` if not even one item fits.
    fn fill_one(&mut self, group: &mut usize, used: &mut u32, bound: u64) -> Option<u64> {
        self.begins.clear();
        let (mut cost, mut padded, mut taken) = (0, 0, 0_u32);
        while let Some(&(length, count)) = self.groups.get(*group) {
            self.begins.push((cost, padded, taken));
            let available = count - *used;
            // The cheapest run for k more items begins at one of the places; with each the cost grows by `length` an item.
            let fits = self
                .begins
                .iter()
                .map(|&(before, _, at)| {
                    let fixed = before + RUN_UNITS + u64::from(taken - at) * length;
                    u32::try_from(bound.saturating_sub(fixed) / length.max(1)).unwrap_or(u32::MAX)
                })
                .max()
                .unwrap_or(0)
                .min(available);
            if fits == 0 {
                break;
            }
            taken += fits;
            let best = self.begins.iter().map(|&(before, padded, at)| {
                let run = u64::from(taken - at) * length;
                (before + RUN_UNITS + run, padded + run)
            });
            (cost, padded) = best.min().unwrap_or((cost, padded));
            *used += fits;
            if *used < count {
                break;
            }
            (*group, *used) = (*group + 1, 0);
        }
        (taken > 0).then_some(padded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Cost and padded units of ascending lengths in one process, by trying every cut into runs.
    fn work(lengths: &[u64]) -> (u64, u64) {
        let cuts = (1..=lengths.len()).map(|first| {
            let run = first as u64 * lengths[first - 1];
            let (cost, padded) = work(&lengths[first..]);
            (RUN_UNITS + run + cost, run + padded)
        });
        cuts.min().unwrap_or((0, 0))
    }

    /// The smallest cost of the most expensive process, by trying every cut over processes.
    fn bottleneck(lengths: &[u64], processes: usize) -> u64 {
        if processes == 1 || lengths.is_empty() {
            return work(lengths).0;
        }
        let cuts = (1..=lengths.len())
            .map(|first| work(&lengths[..first]).0.max(bottleneck(&lengths[first..], processes - 1)));
        cuts.min().unwrap_or(0)
    }

    #[test]
    fn the_cut_is_the_best_of_all() {
        let mut random = Random::new(4);
        for _ in 0..300 {
            let count = 1 + (random.next_u64() % 8) as usize;
            let mut lengths: Vec<u64> =
                (0..count).map(|_| [8, 16, 40, 128][(random.next_u64() % 4) as usize]).collect();
            let processes = 1 + (random.next_u64() % 3) as u32;
            let mut sharder = Sharder::default();
            lengths.iter().for_each(|&units| sharder.add(units, 1));
            let shape = sharder.shape(processes);
            lengths.sort_unstable();
            let best = bottleneck(&lengths, processes as usize);
            assert_eq!(shape.units, lengths.iter().sum::<u64>());
            // The largest shard's padded units: its cost less at least one run's own cost.
            assert!(shape.shard_padded_units < best, "{lengths:?} {processes}: {shape:?} {best}");
            assert!(shape.shard_padded_units + RUN_UNITS * lengths.len() as u64 >= best);
            let least = (shape.units / u64::from(processes)).max(lengths[lengths.len() - 1]);
            assert!(shape.shard_padded_units >= least.min(shape.units), "{lengths:?} {processes}: {shape:?}");
        }
    }

    #[test]
    fn one_process_pads_by_runs() {
        let mut sharder = Sharder::default();
        sharder.add(8, 4);
        sharder.add(128, 1);
        // Two runs, 4 × 8 and 1 × 128: padding the short ones would cost 5 × 128.
        assert_eq!(sharder.shape(1).shard_padded_units, 160);
        assert_eq!(sharder.shape(2).shard_padded_units, 128);
    }

    #[test]
    fn equal_items_are_cut_evenly() {
        let mut sharder = Sharder::default();
        sharder.add(16, 3);
        sharder.add(16, 2);
        assert_eq!(sharder.shape(2), BatchShape::uniform(5, 2, 16));
    }
}
