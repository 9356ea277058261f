//! A function replayed from measured invocations: the same memory, process count and fill, drawn from what was measured there.
//!
//! Between measured fills the same quantile of both neighbours is interpolated on logarithms, so that spread is kept; beyond the largest, the last two
//! give the slope. A process count that was not measured at a size is the largest below it.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;
use optimizer_tuner::formula::LogNormal;

use super::{BatchShape, FunctionModel};
use crate::random::Random;

/// One measured warm invocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Invocation {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
    /// Items.
    pub items: u32,
    /// Seconds of the handler.
    pub seconds: f64,
}

/// Measured invocations by place and fill.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Seconds, ascending.
    seconds: BTreeMap<(u32, u32), BTreeMap<u32, Vec<f64>>>,
    init_s: BTreeMap<u32, f64>,
    used_mib: BTreeMap<u32, u32>,
}

impl Replay {
    /// From what was measured: invocations, INIT in seconds by MiB, largest memory used in MiB by process count.
    #[must_use]
    pub fn new(
        invocations: impl IntoIterator<Item = Invocation>,
        init_s: BTreeMap<u32, f64>,
        used_mib: BTreeMap<u32, u32>,
    ) -> Self {
        let mut replay = Self { seconds: BTreeMap::new(), init_s, used_mib };
        for it in invocations {
            let fills = replay.seconds.entry((it.memory_mib, it.process_count)).or_default();
            fills.entry(it.items).or_default().push(it.seconds);
        }
        let all = replay.seconds.values_mut().flat_map(BTreeMap::values_mut);
        all.for_each(|seconds| seconds.sort_unstable_by(f64::total_cmp));
        replay
    }

    /// Measured sizes, ascending.
    #[must_use]
    pub fn memories(&self) -> Vec<Mebibytes> {
        let mut sizes: Vec<u32> = self.seconds.keys().map(|&(memory, _)| memory).collect();
        sizes.dedup();
        sizes.into_iter().map(Mebibytes).collect()
    }

    /// Measured places: memory in MiB and processes.
    pub fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        self.seconds.keys().copied()
    }

    /// Measured fills, ascending.
    #[must_use]
    pub fn fills(&self) -> Vec<u32> {
        let mut fills: Vec<u32> = self.seconds.values().flat_map(|fills| fills.keys().copied()).collect();
        fills.sort_unstable();
        fills.dedup();
        fills
    }

    /// The `share` quantile of a batch's seconds.
    ///
    /// # Panics
    /// When nothing was measured at this size.
    #[must_use]
    pub fn quantile(&self, memory_mib: u32, process_count: u32, items: u32, share: f64) -> f64 {
        let below = self.seconds.range((memory_mib, 0)..=(memory_mib, process_count)).next_back();
        let fills = below.map(|(_, fills)| fills).filter(|fills| !fills.is_empty());
        #[expect(clippy::expect_used, reason = "documented")]
        let fills = fills.expect("a size that was measured");
        let low = fills.range(..=items).next_back();
        let high = fills.range(items..).next();
        let at = |seconds: &[f64]| {
            let place = share * (seconds.len() - 1) as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let index = place as usize;
            let next = seconds[(index + 1).min(seconds.len() - 1)];
            seconds[index] + (next - seconds[index]) * (place - index as f64)
        };
        let line = |(from, slow): (u32, &[f64]), (to, fast): (u32, &[f64])| {
            let way = (f64::from(items) / f64::from(from)).ln() / (f64::from(to) / f64::from(from)).ln();
            (at(slow).ln() + (at(fast) / at(slow)).ln() * way).exp()
        };
        match (low, high) {
            (Some((&from, slow)), Some((&to, fast))) if from < to => line((from, slow), (to, fast)),
            (Some((_, seconds)), Some(_)) | (None, Some((_, seconds))) => at(seconds),
            (Some((&last, seconds)), None) => match fills.range(..last).next_back() {
                Some((&before, earlier)) => line((before, earlier), (last, seconds)),
                None => at(seconds) * f64::from(items) / f64::from(last),
            },
            (None, None) => f64::NAN,
        }
    }
}

impl FunctionModel for Replay {
    /// By the median and the middle two thirds of what was measured.
    fn law(&self, memory: Mebibytes, batch: &BatchShape) -> LogNormal {
        let ln = |share| self.quantile(memory.0, batch.process_count, batch.items, share).ln();
        LogNormal { ln_mean: ln(0.5), ln_std: (ln(0.841_344_7) - ln(0.158_655_3)) / 2.0 }
    }

    /// From what was measured itself.
    fn seconds(&self, memory: Mebibytes, batch: &BatchShape, random: &mut Random) -> f64 {
        self.quantile(memory.0, batch.process_count, batch.items, random.unit())
    }

    fn init_seconds(&self, memory: Mebibytes) -> f64 {
        self.init_s.get(&memory.0).copied().unwrap_or(0.4)
    }

    fn memory_used(&self, process_count: u32) -> Mebibytes {
        let below = self.used_mib.range(..=process_count).next_back();
        Mebibytes(below.map_or(64, |(_, &used)| used))
    }

    /// Items were measured as they came.
    fn units(&self, _class: u16) -> u64 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_fills_are_replayed_and_others_lie_between() {
        let measured = [(1, 0.010), (1, 0.012), (4, 0.030), (4, 0.036)];
        let each =
            measured.map(|(items, seconds)| Invocation { memory_mib: 512, process_count: 1, items, seconds });
        let replay = Replay::new(each, BTreeMap::new(), BTreeMap::new());
        assert!((replay.quantile(512, 1, 1, 0.0) - 0.010).abs() < 1e-12);
        assert!((replay.quantile(512, 1, 4, 1.0) - 0.036).abs() < 1e-12);
        let two = replay.quantile(512, 1, 2, 0.0);
        assert!(two > 0.010 && two < 0.030);
        assert!(replay.quantile(512, 2, 8, 0.5) > 0.036, "an unmeasured process count and fill");
    }
}
