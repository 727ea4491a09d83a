//! A least-recently-used cache of keys alone: the baseline, and the guard's yardstick.

use super::lists::Lists;

/// Keys in the order of their last use.
pub struct Lru {
    capacity: usize,
    lists: Lists,
}

impl Lru {
    /// An empty cache for so many keys.
    pub fn new(capacity_keys: usize) -> Self {
        Self { capacity: capacity_keys, lists: Lists::new(capacity_keys + 1) }
    }

    /// Whether the key is held.
    pub fn holds(&self, key: u64) -> bool {
        self.lists.find(key).is_some()
    }

    /// Uses a key: it is the newest afterwards. Returns whether it was held.
    pub fn request(&mut self, key: u64) -> bool {
        if let Some(at) = self.lists.find(key) {
            self.lists.front(at, 0);
            return true;
        }
        self.lists.add(key, 0);
        if self.lists.len(0) > self.capacity
            && let Some(oldest) = self.lists.back(0)
        {
            self.lists.remove(oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(2);
        let held: Vec<bool> = [1, 2, 1, 3, 1, 2].map(|key| lru.request(key)).to_vec();
        assert_eq!(held, [false, false, true, false, true, false]);
        let mut none = Lru::new(0);
        assert!(!none.request(1) && !none.request(1));
    }
}
