//! Never much worse than plain LRU: keeps account of what an LRU cache of the same size would have held, and gives the
//! word to fall back to it for a while when too much was lost against it.

use super::shadow::Lru;

/// What may be lost before falling back, and what gains can be saved up against later losses, in hits.
const LOSS_HITS: i64 = 24;
const SAVED_HITS: i64 = 72;
/// The first fall-back lasts so many times the cache's capacity, and each further one twice as long.
const FIRST_STAY: u64 = 8;
const MAX_DOUBLINGS: u32 = 16;

/// See the module.
pub(super) struct Guard {
    lru: Lru,
    capacity: u64,
    /// Hits of LRU less ours.
    loss: i64,
    falls: u32,
    /// Requests until we try again; 0 while we are not fallen back.
    left: u64,
}

impl Guard {
    pub(super) fn new(capacity: usize) -> Self {
        Self { lru: Lru::new(capacity), capacity: capacity as u64, loss: 0, falls: 0, left: 0 }
    }

    /// Accounts for a request; says whether to be a plain LRU cache for the next one.
    pub(super) fn account(&mut self, key: u64, hit: bool) -> bool {
        let lru_hit = self.lru.request(key);
        if self.left > 0 {
            self.left -= 1;
            return self.left > 0;
        }
        self.loss = (self.loss + i64::from(lru_hit) - i64::from(hit)).max(-SAVED_HITS);
        if self.loss > LOSS_HITS {
            self.left = (self.capacity.max(8) * FIRST_STAY) << self.falls.min(MAX_DOUBLINGS);
            self.falls += 1;
            self.loss = 0;
        }
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_back_after_losses_for_ever_longer_times() {
        let mut guard = Guard::new(10);
        let mut fallen = Vec::new();
        let mut begun = None;
        // One key for ever: LRU hits each time, we never do.
        for now in 0..20_000_u64 {
            let falls = guard.account(1, false);
            match (falls, begun) {
                (true, None) => begun = Some(now),
                (false, Some(then)) => {
                    fallen.push(now - then);
                    begun = None;
                }
                _ => {}
            }
        }
        assert_eq!(fallen[..4], [80, 160, 320, 640]);
    }

    #[test]
    fn gains_are_saved_up_but_not_without_bound() {
        let mut guard = Guard::new(10);
        for key in 0..1000 {
            assert!(!guard.account(key, true), "LRU misses, we hit");
        }
        let lost = (0..).take_while(|_| !guard.account(5, false)).count() as i64;
        // The first request of key 5 is a miss for LRU too.
        assert_eq!(lost, SAVED_HITS + LOSS_HITS + 1);
    }
}
