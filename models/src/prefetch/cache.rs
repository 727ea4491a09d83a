//! The cache: adaptive replacement (ARC; Megiddo and Modha, FAST 2003) for what was asked for, and a probation pool for
//! what was prefetched and not yet used. A prefetched key joins the recency list only with its first use, so useless
//! ones drive out each other. The pool's share follows the ghosts of both sides: a request for a key that lately fell
//! out of the pool enlarges it, one for a key that lately fell out of the rest shrinks it.

use super::class::Class;
use super::lists::Lists;

/// Used once of late.
const RECENT: u8 = 0;
/// Used again.
const FREQUENT: u8 = 1;
/// Ghosts of the two.
const RECENT_GHOST: u8 = 2;
const FREQUENT_GHOST: u8 = 3;
/// Prefetched, not yet used.
const POOL: u8 = 4;
const POOL_GHOST: u8 = 5;

/// The pool's share of the capacity at the start, at least, and at most.
const POOL_SHARE: [f64; 3] = [0.1, 0.03, 0.6];
/// Ghosts count for the pool's share while so many more, as a share of the capacity, have followed them out.
const GHOST_SHARE: usize = 10;
/// Weight of the newest time that a key stayed unused in the pool.
const STAY_WEIGHT: f64 = 0.02;

/// What a request found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Held, and used before.
    Held,
    /// Held because it was prefetched for this reason; this is the first use.
    Prefetched {
        /// Why it was.
        class: Class,
        /// Requests since.
        waited: u32,
    },
    /// Not held; it is now.
    Missed,
}

/// See the module.
pub(super) struct Cache {
    capacity: usize,
    lists: Lists,
    /// ARC's `p`: how many keys used once to keep.
    recent_target: f64,
    pool_target: f64,
    /// Requests so far; wraps.
    now: u32,
    /// Evictions from the two used lists so far; wraps.
    evictions: u32,
    /// How long keys stayed in the pool that fell out unused, in requests.
    stay: f64,
    /// Evict the least recently used instead, and keep no pool.
    pub(super) plain_lru: bool,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        // Twice the capacity for ARC with its ghosts, a tenth for the pool's ghosts, a few in transit.
        let lists = Lists::new(2 * capacity + capacity / GHOST_SHARE + 8);
        let pool_target = capacity as f64 * POOL_SHARE[0];
        Self {
            capacity,
            lists,
            recent_target: 0.0,
            pool_target,
            now: 0,
            evictions: 0,
            stay: capacity as f64,
            plain_lru: false,
        }
    }

    pub(super) fn holds(&self, key: u64) -> bool {
        let list = self.lists.find(key).map(|at| self.lists.node(at).list);
        matches!(list, Some(RECENT | FREQUENT | POOL))
    }

    /// How long an unused prefetched key stays, in requests: a forecast that comes true later was in vain.
    pub(super) fn stay(&self) -> f64 {
        self.stay
    }

    /// Asks for a key, which is held afterwards.
    pub(super) fn request(&mut self, key: u64) -> Found {
        self.now = self.now.wrapping_add(1);
        if self.capacity == 0 {
            return Found::Missed;
        }
        let Some(at) = self.lists.find(key) else {
            self.make_place(false, false);
            self.enter(key, RECENT);
            return Found::Missed;
        };
        let (list, class, known, stamp) = {
            let node = self.lists.node(at);
            (node.list, Class::from_tag(node.tag), node.flag, node.stamp)
        };
        let used = if known { FREQUENT } else { RECENT };
        match list {
            RECENT | FREQUENT => {
                self.renew(at, FREQUENT);
                Found::Held
            }
            POOL => {
                self.renew(at, used);
                self.trim();
                Found::Prefetched { class, waited: self.now.wrapping_sub(stamp) }
            }
            POOL_GHOST => {
                self.pool_target =
                    (self.pool_target + 1.0).min(self.capacity as f64 * POOL_SHARE[2]);
                self.lists.remove(at);
                self.make_place(false, false);
                self.enter(key, used);
                Found::Missed
            }
            ghost => {
                self.learn_from_ghost(at, ghost);
                self.make_place(ghost == FREQUENT_GHOST, false);
                self.renew(at, FREQUENT);
                self.trim();
                Found::Missed
            }
        }
    }

    /// Puts a key into the pool. Returns false, and does nothing, where it is held already.
    pub(super) fn prefetch(&mut self, key: u64, class: Class) -> bool {
        if self.capacity == 0 {
            return false;
        }
        let mut known = false;
        if let Some(at) = self.lists.find(key) {
            let node = self.lists.node(at);
            known = match node.list {
                RECENT | FREQUENT | POOL => return false,
                POOL_GHOST => node.flag,
                _ => true,
            };
            self.lists.remove(at);
        }
        self.make_place(false, true);
        let at = self.lists.add(key, POOL);
        let now = self.now;
        let node = self.lists.node_mut(at);
        (node.tag, node.flag, node.stamp) = (class.tag(), known, now);
        self.trim();
        true
    }

    fn enter(&mut self, key: u64, list: u8) {
        let at = self.lists.add(key, list);
        self.lists.node_mut(at).stamp = self.now;
        self.trim();
    }

    fn renew(&mut self, at: u32, list: u8) {
        self.lists.front(at, list);
        self.lists.node_mut(at).stamp = self.now;
    }

    fn learn_from_ghost(&mut self, at: u32, ghost: u8) {
        let age = self.evictions.wrapping_sub(self.lists.node(at).stamp) as usize;
        if age <= self.capacity / GHOST_SHARE + 2 {
            self.pool_target = (self.pool_target - 1.0).max(self.capacity as f64 * POOL_SHARE[1]);
        }
        let recent = self.lists.len(RECENT_GHOST) as f64;
        let frequent = self.lists.len(FREQUENT_GHOST) as f64;
        let step = match ghost {
            RECENT_GHOST => (frequent / recent).max(1.0),
            _ => -(recent / frequent).max(1.0),
        };
        self.recent_target = (self.recent_target + step).clamp(0.0, self.capacity as f64);
    }

    /// Evicts one where the cache is full.
    fn make_place(&mut self, frequent_ghost: bool, for_pool: bool) {
        let used = self.lists.len(RECENT) + self.lists.len(FREQUENT);
        let pooled = self.lists.len(POOL);
        if used + pooled < self.capacity {
            return;
        }
        let share = if self.plain_lru { 0 } else { self.pool_target as usize };
        let full = pooled > share || (for_pool && pooled >= share.max(1));
        if let Some(at) = self.lists.back(POOL)
            && (used == 0 || full)
        {
            let stayed = f64::from(self.now.wrapping_sub(self.lists.node(at).stamp));
            self.stay += STAY_WEIGHT * (stayed - self.stay);
            self.lists.front(at, POOL_GHOST);
            if self.lists.len(POOL_GHOST) > self.capacity / GHOST_SHARE + 2
                && let Some(oldest) = self.lists.back(POOL_GHOST)
            {
                self.lists.remove(oldest);
            }
            return;
        }
        self.evict_used(frequent_ghost);
    }

    fn evict_used(&mut self, frequent_ghost: bool) {
        let held = self.lists.len(RECENT) as f64;
        let (recent, frequent) = (self.lists.back(RECENT), self.lists.back(FREQUENT));
        let age = |at: u32| self.now.wrapping_sub(self.lists.node(at).stamp);
        let from_recent = match (recent, frequent) {
            (_, None) => true,
            (None, _) => false,
            (Some(a), Some(b)) if self.plain_lru => age(a) >= age(b),
            _ => held > self.recent_target || (frequent_ghost && held >= self.recent_target),
        };
        let (victim, ghost) = match from_recent {
            true => (recent, RECENT_GHOST),
            false => (frequent, FREQUENT_GHOST),
        };
        if let Some(at) = victim {
            self.evictions = self.evictions.wrapping_add(1);
            self.lists.front(at, ghost);
            self.lists.node_mut(at).stamp = self.evictions;
        }
    }

    /// Forgets the oldest ghosts beyond ARC's bounds.
    fn trim(&mut self) {
        while self.lists.len(RECENT) + self.lists.len(RECENT_GHOST) > self.capacity
            && let Some(at) = self.lists.back(RECENT_GHOST)
        {
            self.lists.remove(at);
        }
        while (RECENT..=POOL).map(|list| self.lists.len(list)).sum::<usize>() > 2 * self.capacity {
            let oldest = self.lists.back(FREQUENT_GHOST).or(self.lists.back(RECENT_GHOST));
            self.lists.remove(oldest.expect("held keys alone never exceed the capacity"));
        }
    }
}
