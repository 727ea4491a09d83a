//! Least-recently-used caches of keys alone: the baselines, and the guard's yardstick.

use super::edge::Outcome;
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

/// The common read-ahead: LRU, and with each request the next few keys are put in as if they had been used.
pub struct ReadAhead {
    capacity: usize,
    ahead: u64,
    lists: Lists,
    now: u32,
    issued: u64,
}

impl ReadAhead {
    /// An empty cache for so many keys that reads so many ahead.
    pub fn new(capacity_keys: usize, ahead_keys: u64) -> Self {
        let lists = Lists::new(capacity_keys + 1);
        Self { capacity: capacity_keys, ahead: ahead_keys, lists, now: 0, issued: 0 }
    }

    /// Keys read ahead so far that were not held.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Uses a key, and reads ahead.
    pub fn request(&mut self, key: u64) -> Outcome {
        self.now = self.now.wrapping_add(1);
        let now = self.now;
        let outcome = match self.lists.find(key) {
            Some(at) => {
                self.lists.front(at, 0);
                let node = self.lists.node_mut(at);
                let waited = now.wrapping_sub(node.stamp);
                match std::mem::take(&mut node.flag) {
                    true => Outcome::PrefetchHit { waited },
                    false => Outcome::Hit,
                }
            }
            None => {
                self.put(key, false);
                Outcome::Miss
            }
        };
        for step in 1..=self.ahead {
            let next = key.wrapping_add(step);
            if self.capacity > 0 && self.lists.find(next).is_none() {
                self.issued += 1;
                self.put(next, true);
            }
        }
        outcome
    }

    fn put(&mut self, key: u64, prefetched: bool) {
        let at = self.lists.add(key, 0);
        let node = self.lists.node_mut(at);
        (node.flag, node.stamp) = (prefetched, self.now);
        if self.lists.len(0) > self.capacity
            && let Some(oldest) = self.lists.back(0)
        {
            self.lists.remove(oldest);
        }
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

    #[test]
    fn read_ahead_hits_what_follows_and_counts_what_it_reads() {
        let mut cache = ReadAhead::new(8, 4);
        assert_eq!(cache.request(10), Outcome::Miss);
        assert_eq!(cache.request(11), Outcome::PrefetchHit { waited: 1 });
        assert_eq!(cache.request(11), Outcome::Hit);
        assert_eq!(cache.issued(), 5);
        assert_eq!(ReadAhead::new(0, 4).request(1), Outcome::Miss);
    }
}
