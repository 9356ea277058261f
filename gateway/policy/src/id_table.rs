//! Entries that are found by number and by position.
//!
//! Problem: every request is looked up once by its id (to refuse a second one, to cancel it) and several times by the engine itself.
//! Rule: a slab holds the entries; an open-addressed index with linear probing and backward-shift deletion maps ids to positions.
//! Why not the obvious alternative: an ordered map costs a pointer chase per level and an allocation per few entries, and the standard
//! hash map seeds itself at random, which a deterministic core must not. Here equal histories give equal layouts.
//! Bounds: memory follows the highest number of entries held at once; the index stays at most half full.
//! Reference: Knuth, The Art of Computer Programming, volume 3, section 6.4 (algorithm R; multiplicative hashing).

/// 2^64 divided by the golden ratio: spreads consecutive ids.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const VACANT: u32 = u32::MAX;
const FIRST_CAPACITY: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Cell {
    id: u64,
    slot: u32,
}

/// A slab with an index by id.
#[derive(Debug)]
pub(crate) struct IdTable<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    index: Vec<Cell>,
    len: usize,
}

impl<T> Default for IdTable<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: vec![Cell { id: 0, slot: VACANT }; FIRST_CAPACITY],
            len: 0,
        }
    }
}

impl<T> IdTable<T> {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Position of an id.
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        let cell = self.index[self.probe(id)];
        (cell.slot != VACANT).then_some(cell.slot)
    }

    /// Adds an entry under an id that is not in the table.
    pub(crate) fn insert(&mut self, id: u64, value: T) -> u32 {
        if (self.len + 1) * 2 > self.index.len() {
            self.grow();
        }
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(value);
            slot
        } else {
            self.slots.push(Some(value));
            u32::try_from(self.slots.len() - 1).unwrap_or(VACANT)
        };
        assert_ne!(slot, VACANT, "more than 2^32 entries");
        let at = self.probe(id);
        debug_assert_eq!(self.index[at].slot, VACANT, "id {id} is in the table already");
        self.index[at] = Cell { id, slot };
        self.len += 1;
        slot
    }

    /// The entry at a position.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The entry at a position.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Takes out the entry of an id.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let at = self.probe(id);
        let slot = self.index[at].slot;
        if slot == VACANT {
            return None;
        }
        self.close_gap(at);
        self.len -= 1;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// Where the id is, or where it would go.
    #[inline]
    fn probe(&self, id: u64) -> usize {
        let mask = self.index.len() - 1;
        let mut at = self.home(id);
        while self.index[at].slot != VACANT && self.index[at].id != id {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the shift leaves fewer bits than the index length has"
    )]
    fn home(&self, id: u64) -> usize {
        let bits = self.index.len().trailing_zeros();
        (id.wrapping_mul(MULTIPLIER) >> (64 - bits)) as usize
    }

    /// Moves later cells of the run back, so that no search breaks off at the gap.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.index.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let cell = self.index[at];
            if cell.slot == VACANT {
                break;
            }
            let from_home = at.wrapping_sub(self.home(cell.id)) & mask;
            if from_home >= (at.wrapping_sub(gap) & mask) {
                self.index[gap] = cell;
                gap = at;
            }
        }
        self.index[gap].slot = VACANT;
    }

    fn grow(&mut self) {
        let doubled = vec![Cell { id: 0, slot: VACANT }; self.index.len() * 2];
        let old = std::mem::replace(&mut self.index, doubled);
        for cell in old {
            if cell.slot != VACANT {
                let at = self.probe(cell.id);
                self.index[at] = cell;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_an_ordered_map(operations in prop::collection::vec((any::<bool>(), 0_u64..200), 1..2_000)) {
            let mut table = IdTable::default();
            let mut naive = BTreeMap::new();
            for (step, (insert, id)) in operations.into_iter().enumerate() {
                // Multiples of a large power of two collide in the low bits: the probing is exercised.
                let id = id << 32;
                if insert && !naive.contains_key(&id) {
                    table.insert(id, step);
                    naive.insert(id, step);
                } else {
                    prop_assert_eq!(table.remove(id), naive.remove(&id));
                }
                prop_assert_eq!(table.len(), naive.len());
            }
            for (id, step) in naive {
                prop_assert_eq!(table.find(id).and_then(|slot| table.get(slot)), Some(&step));
            }
        }
    }

    #[test]
    fn positions_are_used_again() {
        let mut table = IdTable::default();
        for id in 0..10_000 {
            table.insert(id, ());
            assert!(table.remove(id).is_some());
        }
        assert_eq!(table.slots.len(), 1);
    }
}
