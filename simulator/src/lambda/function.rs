//! What a model costs on Lambda: the truth that a world draws from, behind one trait.
//!
//! All times are the handler's, of a warm environment; what the runtime and the network add is the account's.
//! Deliberately absent: prices and faults.

use gateway_contract::Mebibytes;
use optimizer_tuner::formula::LogNormal;

use crate::random::Random;

/// All that a batch's service time depends on, beside the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchShape {
    /// Items, at least 1.
    pub items: u32,
    /// Processes asked for, at least 1; no more than `items` are busy.
    pub process_count: u32,
    /// Work units of all items, without padding; the unit is the model's (for text: tokens).
    pub units: u64,
    /// Work units of the largest shard, padded to its longest item; 0: not known, items count as those of class 0.
    pub shard_padded_units: u64,
}

impl BatchShape {
    /// So many items of one size.
    #[must_use]
    pub fn uniform(items: u32, process_count: u32, units_per_item: u64) -> Self {
        let shape = Self { items, process_count, units: 0, shard_padded_units: 0 };
        Self {
            units: u64::from(items) * units_per_item,
            shard_padded_units: u64::from(shape.shard_items()) * units_per_item,
            ..shape
        }
    }

    /// Processes that have something to do, at least 1.
    #[must_use]
    #[inline]
    pub fn busy(&self) -> u32 {
        self.process_count.min(self.items).max(1)
    }

    /// Items of the largest shard, at least 1.
    #[must_use]
    #[inline]
    pub fn shard_items(&self) -> u32 {
        self.items.max(1).div_ceil(self.busy())
    }
}

/// The truth about a model's function.
pub trait FunctionModel: Send + Sync {
    /// Law of the handler's seconds, warm.
    fn law(&self, memory: Mebibytes, batch: &BatchShape) -> LogNormal;

    /// Seconds of one run, drawn from the law.
    #[inline]
    fn seconds(&self, memory: Mebibytes, batch: &BatchShape, random: &mut Random) -> f64 {
        let law = self.law(memory, batch);
        (law.ln_mean + law.ln_std * random.normal()).exp()
    }

    /// Seconds of INIT.
    fn init_seconds(&self, memory: Mebibytes) -> f64;

    /// Largest memory that so many processes use. A function with less runs out of memory.
    fn memory_used(&self, process_count: u32) -> Mebibytes;

    /// Work units of an item of a size class, at least 1.
    fn units(&self, class: u16) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_knows_its_largest_shard() {
        let shape = BatchShape::uniform(5, 2, 16);
        assert_eq!((shape.busy(), shape.shard_items()), (2, 3));
        assert_eq!((shape.units, shape.shard_padded_units), (80, 48));
        assert_eq!(BatchShape::uniform(2, 6, 1).busy(), 2);
    }
}
