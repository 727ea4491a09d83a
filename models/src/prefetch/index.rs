//! From a 64-bit key to the slot that holds it: open addressing with a fixed hash, so runs are repeatable, and a fixed
//! size, so memory is bounded.

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// A hash table of slots. The keys lie with the caller, who passes a function from slot to key: that keeps an entry at
/// 4 bytes, 8 to 16 per slot at the load of at most one half.
pub(super) struct SlotIndex {
    cells: Vec<u32>,
    mask: usize,
}

impl SlotIndex {
    /// A table for at most `capacity` slots.
    pub(super) fn new(capacity: usize) -> Self {
        let cells = (capacity * 2).next_power_of_two().max(8);
        Self { cells: vec![NONE; cells], mask: cells - 1 }
    }

    /// Where the key is, or the empty cell where it would be.
    fn cell(&self, key: u64, key_of: impl Fn(u32) -> u64) -> usize {
        let mut at = mixed(key) as usize & self.mask;
        while self.cells[at] != NONE && key_of(self.cells[at]) != key {
            at = (at + 1) & self.mask;
        }
        at
    }

    /// The slot of a key.
    pub(super) fn get(&self, key: u64, key_of: impl Fn(u32) -> u64) -> Option<u32> {
        let slot = self.cells[self.cell(key, key_of)];
        (slot != NONE).then_some(slot)
    }

    /// Enters or replaces the slot of a key.
    pub(super) fn insert(&mut self, key: u64, slot: u32, key_of: impl Fn(u32) -> u64) {
        let at = self.cell(key, key_of);
        self.cells[at] = slot;
    }

    /// Removes a key and closes the gap, so that no tombstones gather.
    pub(super) fn remove(&mut self, key: u64, key_of: impl Fn(u32) -> u64) {
        let mut gap = self.cell(key, &key_of);
        if self.cells[gap] == NONE {
            return;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask;
            if self.cells[at] == NONE {
                break;
            }
            let home = mixed(key_of(self.cells[at])) as usize & self.mask;
            // It may move back only if the gap lies between its home and where it is.
            if at.wrapping_sub(home) & self.mask >= at.wrapping_sub(gap) & self.mask {
                self.cells[gap] = self.cells[at];
                gap = at;
            }
        }
        self.cells[gap] = NONE;
    }

    /// Memory held.
    pub(super) fn size_bytes(&self) -> usize {
        self.cells.len() * size_of::<u32>()
    }
}

/// A fixed bijective mixer (the finaliser of rrmxmx's family): every input bit reaches the low bits.
pub(super) fn mixed(key: u64) -> u64 {
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    let key = (key ^ (key >> 32)).wrapping_mul(FACTOR);
    let key = (key ^ (key >> 32)).wrapping_mul(FACTOR);
    key ^ (key >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u64..24, any::<bool>()), 0..200)) {
            // Keys that collide: a table of 64 cells for 24 keys.
            let keys: Vec<u64> = (0..24).map(|i| i * 0x1_0000_0001).collect();
            let key_of = |slot: u32| keys[slot as usize];
            let mut index = SlotIndex::new(24);
            let mut truth = BTreeMap::new();
            for (slot, insert) in steps {
                let key = key_of(slot as u32);
                if insert {
                    index.insert(key, slot as u32, key_of);
                    truth.insert(key, slot as u32);
                } else {
                    index.remove(key, key_of);
                    truth.remove(&key);
                }
                for &key in &keys {
                    prop_assert_eq!(index.get(key, key_of), truth.get(&key).copied());
                }
            }
        }
    }
}
