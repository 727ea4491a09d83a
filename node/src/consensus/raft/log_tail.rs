//! The newest entries of a group in memory, so that replication does not read the disk.
//!
//! The tails of all groups of a node share one [`TailBudget`]. When it is spent, the group that used its tail least
//! recently gives all of it back: its entries are still in the log, and are read from there when somebody asks.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// Limits of the entries kept in memory for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailLimits {
    /// Entries at most.
    pub entries: usize,
    /// Encoded bytes at most.
    pub size_bytes: usize,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self { entries: 1024, size_bytes: 1 << 20 }
    }
}

/// An entry in memory takes so much besides twice its encoded size: an estimate.
const ENTRY_BYTES: usize = 256;

fn in_memory_bytes(size_bytes: usize) -> usize {
    2 * size_bytes + ENTRY_BYTES
}

/// A group that can give its tail back.
pub(super) trait HasTail: Send + Sync {
    /// When the tail was used last, by the budget's clock; none: it is empty.
    fn last_used(&self) -> Option<u64>;

    /// Empties the tail.
    fn give_back(&self);
}

/// Memory for the tails of all groups of a node.
pub(super) struct TailBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    /// Counts uses of tails.
    clock: AtomicU64,
    holders: Mutex<Vec<Weak<dyn HasTail>>>,
}

impl TailBudget {
    pub(super) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            holders: Mutex::default(),
        })
    }

    /// Estimated bytes of all entries in memory.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Relaxed)
    }

    pub(super) fn register(&self, holder: Weak<dyn HasTail>) {
        let mut holders = self.holders();
        // Now and then, so that opening a thousand groups does not look at all of them each time.
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(holder);
    }

    /// Takes tails back until a quarter of the budget is free, if it is spent. The caller holds no lock of a group, and
    /// has just used `own`, which keeps its tail.
    pub(super) fn relieve(&self, own: &dyn HasTail) {
        if self.used_bytes() <= self.limit_bytes {
            return;
        }
        // Kept until the lock is gone: the end of a group may need it.
        let holders: Vec<Arc<dyn HasTail>> =
            self.holders().iter().filter_map(Weak::upgrade).collect();
        let is_other = |holder: &&Arc<dyn HasTail>| {
            !std::ptr::addr_eq(Arc::as_ptr(holder), std::ptr::from_ref(own))
        };
        let mut others: Vec<_> = holders
            .iter()
            .filter(is_other)
            .filter_map(|holder| Some((holder.last_used()?, holder)))
            .collect();
        others.sort_unstable_by_key(|(used, _)| *used);
        for (_, holder) in others {
            if self.used_bytes() <= self.limit_bytes / 4 * 3 {
                return;
            }
            holder.give_back();
        }
    }

    fn holders(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn HasTail>>> {
        self.holders.lock().expect("no code panics while it holds this lock")
    }
}

/// Consecutive entries, the newest of the log.
pub(super) struct Tail<E> {
    limits: TailLimits,
    budget: Arc<TailBudget>,
    first_index: u64,
    entries: VecDeque<(E, usize)>,
    size_bytes: usize,
    last_used: AtomicU64,
}

impl<E> Drop for Tail<E> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<E> Tail<E> {
    /// Forgets everything, and the room for it.
    pub(super) fn clear(&mut self) {
        let bytes = self.entries.iter().map(|(_, size)| in_memory_bytes(*size)).sum();
        self.budget.used_bytes.fetch_sub(bytes, Relaxed);
        self.entries = VecDeque::new();
        self.size_bytes = 0;
    }

    /// When it was used last; none: it is empty.
    pub(super) fn last_used(&self) -> Option<u64> {
        (!self.entries.is_empty()).then(|| self.last_used.load(Relaxed))
    }

    fn use_now(&self) {
        self.last_used.store(self.budget.clock.fetch_add(1, Relaxed), Relaxed);
    }

    fn forgotten(&mut self, size_bytes: usize) {
        self.size_bytes -= size_bytes;
        self.budget.used_bytes.fetch_sub(in_memory_bytes(size_bytes), Relaxed);
    }
}

impl<E: Clone> Tail<E> {
    pub(super) fn new(limits: TailLimits, budget: Arc<TailBudget>) -> Self {
        let last_used = AtomicU64::new(0);
        Self { limits, budget, first_index: 0, entries: VecDeque::new(), size_bytes: 0, last_used }
    }

    /// The first index that is here; everything from it to the end of the log is. None: nothing is.
    pub(super) fn first_index(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first_index)
    }

    /// Adds the next entry and forgets the oldest over the limits.
    pub(super) fn push(&mut self, index: u64, entry: E, size_bytes: usize) {
        if self.first_index + self.entries.len() as u64 != index {
            self.clear();
        }
        if self.entries.is_empty() {
            self.first_index = index;
        }
        self.size_bytes += size_bytes;
        self.budget.used_bytes.fetch_add(in_memory_bytes(size_bytes), Relaxed);
        self.use_now();
        self.entries.push_back((entry, size_bytes));
        while self.entries.len() > self.limits.entries || self.size_bytes > self.limits.size_bytes {
            self.pop_first();
        }
    }

    /// Forgets every entry from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        let keep = index.saturating_sub(self.first_index);
        while self.entries.len() as u64 > keep {
            let (_, size_bytes) = self.entries.pop_back().expect("longer than what is kept");
            self.forgotten(size_bytes);
        }
    }

    /// Forgets every entry up to and with `index`.
    pub(super) fn purge_to(&mut self, index: u64) {
        while !self.entries.is_empty() && self.first_index <= index {
            self.pop_first();
        }
    }

    /// The entries of `start..end` that are here.
    pub(super) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &(E, usize)> {
        self.use_now();
        let skip = start.saturating_sub(self.first_index);
        let stop = end.saturating_sub(self.first_index).min(self.entries.len() as u64);
        self.entries.range(skip.min(stop) as usize..stop as usize)
    }

    fn pop_first(&mut self) {
        if let Some((_, size_bytes)) = self.entries.pop_front() {
            self.forgotten(size_bytes);
            self.first_index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Truncate(u64),
        Purge(u64),
        Jump(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..40_usize).prop_map(Step::Push),
            1 => (0..8_u64).prop_map(Step::Truncate),
            1 => (0..8_u64).prop_map(Step::Purge),
            1 => (1..4_u64).prop_map(Step::Jump),
        ]
    }

    proptest! {
        /// Against a plain list of the whole log: what the tail has is right, consecutive to the end, and in its limits.
        #[test]
        fn is_a_suffix_of_the_log(steps in prop::collection::vec(step(), 0..60)) {
            let limits = TailLimits { entries: 10, size_bytes: 200 };
            let budget = TailBudget::new(usize::MAX);
            let mut tail = Tail::new(limits, budget.clone());
            let mut log: Vec<(u64, u64)> = Vec::new(); // (index, value)
            let (mut next, mut value) = (5, 0);
            for step in steps {
                match step {
                    Step::Push(size_bytes) => {
                        value += 1;
                        tail.push(next, value, size_bytes);
                        log.push((next, value));
                        next += 1;
                    }
                    Step::Truncate(back) => {
                        next = next.saturating_sub(back).max(log.first().map_or(next, |(index, _)| *index));
                        tail.truncate_from(next);
                        log.retain(|(index, _)| *index < next);
                    }
                    Step::Purge(back) => {
                        let upto = next.saturating_sub(back + 1);
                        tail.purge_to(upto);
                        log.retain(|(index, _)| *index > upto);
                    }
                    Step::Jump(ahead) => {
                        next += ahead;
                        tail.purge_to(next - 1);
                        log.clear();
                    }
                }
                prop_assert!(tail.entries.len() <= limits.entries && tail.size_bytes <= limits.size_bytes);
                prop_assert_eq!(tail.size_bytes, tail.entries.iter().map(|(_, size)| size).sum::<usize>());
                let in_memory = tail.entries.iter().map(|(_, size)| in_memory_bytes(*size)).sum::<usize>();
                prop_assert_eq!(budget.used_bytes(), in_memory);
                let first = tail.first_index().unwrap_or(u64::MAX);
                let expected: Vec<u64> = log.iter().filter(|(index, _)| *index >= first).map(|(_, v)| *v).collect();
                let here: Vec<u64> = tail.range(0, u64::MAX).map(|(v, _)| *v).collect();
                prop_assert_eq!(&here, &expected);
                if expected.len() > 2 {
                    let part: Vec<u64> = tail.range(first + 1, next - 1).map(|(v, _)| *v).collect();
                    prop_assert_eq!(&part[..], &expected[1..expected.len() - 1]);
                }
            }
        }
    }

    /// A group with a tail that counts in the budget.
    struct Holder {
        budget: Arc<TailBudget>,
        last_used: u64,
        bytes: AtomicUsize,
    }

    impl HasTail for Holder {
        fn last_used(&self) -> Option<u64> {
            (self.bytes.load(Relaxed) > 0).then_some(self.last_used)
        }

        fn give_back(&self) {
            self.budget.used_bytes.fetch_sub(self.bytes.swap(0, Relaxed), Relaxed);
        }
    }

    #[test]
    fn those_used_least_recently_give_back_until_a_quarter_is_free() {
        let budget = TailBudget::new(1_000);
        let holders: Vec<Arc<Holder>> = [5, 2, 9, 1, 7, 3]
            .into_iter()
            .map(|last_used| {
                let bytes = AtomicUsize::new(200);
                budget.used_bytes.fetch_add(200, Relaxed);
                Arc::new(Holder { budget: budget.clone(), last_used, bytes })
            })
            .collect();
        for holder in &holders {
            let holder: Arc<dyn HasTail> = holder.clone();
            budget.register(Arc::downgrade(&holder));
        }
        // Its own stays, although it is the oldest but one.
        budget.relieve(&*holders[1]);
        let left: Vec<u64> = holders.iter().filter_map(|holder| holder.last_used()).collect();
        assert_eq!((left, budget.used_bytes()), (vec![2, 9, 7], 600));
        budget.relieve(&*holders[1]);
        assert_eq!(budget.used_bytes(), 600, "there is room");
    }
}
