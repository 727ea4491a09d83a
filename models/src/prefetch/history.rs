//! What was requested, bounded: a ring of the last references and a table of the keys in it.

use super::index::{NONE, SlotIndex};

/// References kept for each tracked id.
const REFERENCES_PER_ID: usize = 4;
/// How many ids are looked at to find an old one to forget.
const PROBES: usize = 16;

#[derive(Clone, Copy)]
struct Reference {
    slot: u32,
    /// The place of the key's reference before this one, or [`NONE`].
    previous: u32,
}

/// See the module. Places are request numbers; after 2^32 of them it starts anew.
pub(super) struct History {
    index: SlotIndex,
    keys: Vec<u64>,
    /// The place of the last reference.
    last: Vec<u32>,
    /// The place at which the slot was given to its key: older references to it mean another key.
    born: Vec<u32>,
    proven: Vec<bool>,
    ring: Vec<Reference>,
    now: u32,
    hand: usize,
    capacity: usize,
}

/// A request as it enters the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    pub(super) slot: u32,
    pub(super) place: u32,
    /// Where the key was requested before, if that is known.
    pub(super) before: Option<u32>,
}

impl History {
    /// Tracks at most `ids` keys, rounded up to a power of two.
    pub(super) fn new(ids: usize) -> Self {
        let capacity = ids.next_power_of_two();
        let ring = vec![Reference { slot: NONE, previous: NONE }; capacity * REFERENCES_PER_ID];
        Self {
            index: SlotIndex::new(capacity),
            keys: Vec::with_capacity(capacity),
            last: Vec::with_capacity(capacity),
            born: Vec::with_capacity(capacity),
            proven: Vec::with_capacity(capacity),
            ring,
            now: 0,
            hand: 0,
            capacity,
        }
    }

    /// Memory held when full, and the keys it is for.
    pub(super) fn size_bytes(&self) -> (usize, usize) {
        let id = size_of::<u64>() + 2 * size_of::<u32>() + size_of::<bool>();
        let ring = self.ring.len() * size_of::<Reference>();
        (self.index.size_bytes() + self.capacity * id + ring, self.capacity)
    }

    pub(super) fn slot(&self, key: u64) -> Option<u32> {
        self.index.get(key, |slot| self.keys[slot as usize])
    }

    pub(super) fn key(&self, slot: u32) -> u64 {
        self.keys[slot as usize]
    }

    pub(super) fn last(&self, slot: u32) -> u32 {
        self.last[slot as usize]
    }

    /// Whether the key was once prefetched and used.
    pub(super) fn proven(&self, slot: u32) -> bool {
        self.proven[slot as usize]
    }

    pub(super) fn prove(&mut self, slot: u32) {
        self.proven[slot as usize] = true;
    }

    /// Whether the key was requested in the last `requests` requests.
    pub(super) fn is_recent(&self, key: u64, requests: u32) -> bool {
        self.slot(key).is_some_and(|slot| self.now - self.last(slot) <= requests)
    }

    /// Whether the key was requested after this place.
    pub(super) fn since(&self, key: u64, place: u32) -> bool {
        self.slot(key).is_some_and(|slot| self.last(slot) > place)
    }

    fn reference(&self, place: u32) -> Option<Reference> {
        let age = self.now.wrapping_sub(place) as usize;
        let reference = self.ring[place as usize & (self.ring.len() - 1)];
        let is_there = age > 0 && age <= self.ring.len() && reference.slot != NONE;
        (is_there && self.born[reference.slot as usize] <= place).then_some(reference)
    }

    /// The slot of the key requested at this place, or [`NONE`] where that is forgotten.
    pub(super) fn at(&self, place: u32) -> u32 {
        self.reference(place).map_or(NONE, |reference| reference.slot)
    }

    /// Where the key of this place was requested before.
    pub(super) fn before(&self, place: u32) -> Option<u32> {
        let previous = self.reference(place)?.previous;
        (previous != NONE && self.reference(previous).is_some()).then_some(previous)
    }

    /// Enters a request.
    pub(super) fn enter(&mut self, key: u64) -> Entered {
        if self.now == NONE {
            *self = Self::new(self.capacity);
        }
        let place = self.now;
        let (slot, before) = match self.slot(key) {
            Some(slot) => (slot, Some(self.last(slot))),
            None => (self.new_slot(key, place), None),
        };
        let before = before.filter(|&before| self.reference(before).is_some());
        self.last[slot as usize] = place;
        let at = place as usize & (self.ring.len() - 1);
        self.ring[at] = Reference { slot, previous: before.unwrap_or(NONE) };
        self.now += 1;
        Entered { slot, place, before }
    }

    fn new_slot(&mut self, key: u64, place: u32) -> u32 {
        let slot = if self.keys.len() < self.capacity {
            self.keys.push(key);
            self.last.push(place);
            self.born.push(place);
            self.proven.push(false);
            self.keys.len() - 1
        } else {
            let slot = self.old_slot();
            let keys = &self.keys;
            self.index.remove(keys[slot], |slot| keys[slot as usize]);
            self.keys[slot] = key;
            self.born[slot] = place;
            self.proven[slot] = false;
            slot
        };
        let keys = &self.keys;
        self.index.insert(key, slot as u32, |slot| keys[slot as usize]);
        slot as u32
    }

    /// The least recently used of the next few.
    fn old_slot(&mut self) -> usize {
        let probes = (0..PROBES).map(|i| (self.hand + i) % self.capacity);
        let oldest = probes.min_by_key(|&slot| self.last[slot]).expect("there are probes");
        self.hand = (self.hand + PROBES) % self.capacity;
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_where_a_key_was_and_what_followed() {
        let mut history = History::new(64);
        for key in [7, 8, 9, 7, 5] {
            history.enter(key);
        }
        let entered = history.enter(7);
        assert_eq!((entered.place, entered.before), (5, Some(3)));
        assert_eq!(history.before(3), Some(0));
        assert_eq!(history.before(0), None);
        assert_eq!(history.key(history.at(4)), 5);
        assert_eq!(history.at(6), NONE, "not yet requested");
        assert!(history.since(5, 3) && !history.since(5, 4) && !history.since(99, 0));
        assert!(history.is_recent(5, 2) && !history.is_recent(5, 1));
    }

    #[test]
    fn memory_is_bounded_and_a_reused_slot_never_answers_for_its_former_key() {
        let mut history = History::new(64);
        let before = history.size_bytes();
        for key in 0..10_000_u64 {
            let entered = history.enter(key % 997 * 0x1_0000_0000);
            for back in 1..300_u32.min(entered.place + 1) {
                let slot = history.at(entered.place - back);
                if slot != NONE {
                    let expected = (key - u64::from(back)) % 997 * 0x1_0000_0000;
                    assert_eq!(history.key(slot), expected);
                }
            }
        }
        assert_eq!(history.keys.len(), 64);
        assert_eq!(history.keys.capacity(), 64);
        assert_eq!(history.size_bytes(), before);
        assert!(before.0 <= 64 * before.1, "{before:?}");
    }
}
