//! The newest entries of a group in memory, so that replication does not read the disk.

use std::collections::VecDeque;

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

/// Consecutive entries, the newest of the log.
#[derive(Debug)]
pub(super) struct Tail<E> {
    limits: TailLimits,
    first_index: u64,
    entries: VecDeque<(E, usize)>,
    size_bytes: usize,
}

impl<E: Clone> Tail<E> {
    pub(super) fn new(limits: TailLimits) -> Self {
        Self { limits, first_index: 0, entries: VecDeque::new(), size_bytes: 0 }
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
            self.size_bytes -= size_bytes;
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
        let skip = start.saturating_sub(self.first_index);
        let stop = end.saturating_sub(self.first_index).min(self.entries.len() as u64);
        self.entries.range(skip.min(stop) as usize..stop as usize)
    }

    fn pop_first(&mut self) {
        if let Some((_, size_bytes)) = self.entries.pop_front() {
            self.size_bytes -= size_bytes;
            self.first_index += 1;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.size_bytes = 0;
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
            let mut tail = Tail::new(limits);
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
}
