//! The rows of one group: keys that begin with the same eight bytes.
//!
//! The log has hundreds of thousands of records, with keys that count up and values in files. Of these only the places
//! are kept, one after the other: 12 bytes a record instead of a hundred and more in a tree. Keys of any other form make
//! the group a tree.

use bytes::Bytes;
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    ops::{Bound, Range},
};

/// Bytes with which all keys of a group begin; a shorter key is a group of its own.
pub(super) const PREFIX_BYTES: usize = 8;
/// A number behind the prefix: the whole key of a record.
const KEY_BYTES: usize = PREFIX_BYTES + 8;
/// Numbers without a record that a run may have, besides as many as it has records.
const HOLES_MAX: usize = 1024;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) size_bytes: u32,
}

/// Of a number without a record. No segment has this number.
const HOLE: Place = Place { segment: u32::MAX, offset: 0, size_bytes: 0 };

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kept {
    Here(Bytes),
    At(Place),
}

impl Kept {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Here(value) => value.len() as u64,
            Self::At(place) => place.size_bytes.into(),
        }
    }
}

/// Rows whose keys are a prefix and consecutive numbers, but for some holes. Neither its first nor its last is a hole.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    first: u64,
    places: VecDeque<Place>,
    holes: usize,
}

/// The rows of a group.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    Run(Run),
    Tree(BTreeMap<Vec<u8>, Kept>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Run(Run::default())
    }
}

/// The prefix of a key.
pub(super) fn prefix(key: &[u8]) -> &[u8] {
    &key[..key.len().min(PREFIX_BYTES)]
}

fn number(key: &[u8]) -> Option<u64> {
    if key.len() != KEY_BYTES {
        return None;
    }
    key[PREFIX_BYTES..].try_into().ok().map(u64::from_be_bytes)
}

fn key_of(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

impl Run {
    fn len(&self) -> usize {
        self.places.len() - self.holes
    }

    fn get(&self, number: u64) -> Option<Place> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get(at).copied().filter(|place| *place != HOLE)
    }

    /// How many of its numbers have keys below this one.
    fn below(&self, group: &[u8], key: &[u8]) -> usize {
        let all = self.places.len();
        let rest = match prefix(key).cmp(group) {
            std::cmp::Ordering::Less => return 0,
            std::cmp::Ordering::Greater => return all,
            std::cmp::Ordering::Equal => &key[group.len()..],
        };
        let mut bytes = [0; 8];
        let taken = rest.len().min(8);
        bytes[..taken].copy_from_slice(&rest[..taken]);
        // A longer key comes behind the one that it begins with.
        let from = u64::from_be_bytes(bytes).checked_add(u64::from(rest.len() > 8));
        from.map_or(all, |from| {
            usize::try_from(from.saturating_sub(self.first)).unwrap_or(all).min(all)
        })
    }

    /// Puts a row, unless that would make too many holes; the row that it replaces.
    fn put(&mut self, number: u64, place: Place) -> Result<Option<Place>, ()> {
        if number == u64::MAX {
            return Err(()); // there is none behind it
        }
        if self.places.is_empty() {
            self.first = number;
        }
        let (begin, end) = (self.first.min(number), self.end().max(number + 1));
        if end - begin > 2 * self.len() as u64 + HOLES_MAX as u64 {
            return Err(());
        }
        for _ in begin..self.first {
            self.places.push_front(HOLE);
            self.holes += 1;
        }
        self.first = begin;
        while self.end() < end {
            self.places.push_back(HOLE);
            self.holes += 1;
        }
        let slot = &mut self.places[(number - begin) as usize];
        let old = std::mem::replace(slot, place);
        self.holes -= usize::from(old == HOLE);
        Ok((old != HOLE).then_some(old))
    }

    fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    fn remove(&mut self, range: Range<usize>, mut gone: impl FnMut(Place)) {
        for place in self.places.range_mut(range) {
            if *place != HOLE {
                gone(std::mem::replace(place, HOLE));
                self.holes += 1;
            }
        }
        while self.places.front() == Some(&HOLE) {
            self.places.pop_front();
            self.first += 1;
            self.holes -= 1;
        }
        while self.places.back() == Some(&HOLE) {
            self.places.pop_back();
            self.holes -= 1;
        }
        // A group that was busy once must not keep the room of its longest log.
        if self.places.capacity() > 4 * self.places.len() + HOLES_MAX {
            self.places.shrink_to(2 * self.places.len());
        }
    }
}

/// Rows in ascending order of their keys.
pub(super) type RowIter<'a> = Box<dyn DoubleEndedIterator<Item = (Cow<'a, [u8]>, Kept)> + 'a>;

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Run(run) => run.places.is_empty(),
            Self::Tree(rows) => rows.is_empty(),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Kept> {
        match self {
            Self::Run(run) => run.get(number(key)?).map(Kept::At),
            Self::Tree(rows) => rows.get(key).cloned(),
        }
    }

    /// The value that was there before.
    pub(super) fn insert(&mut self, key: Vec<u8>, kept: Kept) -> Option<Kept> {
        if let Self::Run(run) = self {
            if let (Some(number), Kept::At(place)) = (number(&key), &kept)
                && let Ok(old) = run.put(number, *place)
            {
                return old.map(Kept::At);
            }
            let rows = self.range(prefix(&key), &[], None);
            *self = Self::Tree(rows.map(|(key, kept)| (key.into_owned(), kept)).collect());
        }
        let Self::Tree(rows) = self else { unreachable!("it was made a tree just now") };
        rows.insert(key, kept)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Kept> {
        match self {
            Self::Run(run) => {
                let place = run.get(number(key)?)?;
                let at = run.below(prefix(key), key);
                run.remove(at..at + 1, |_| {});
                Some(Kept::At(place))
            }
            Self::Tree(rows) => rows.remove(key),
        }
    }

    /// Whether a row of the group has a key from `from` on and below `to`.
    pub(super) fn any_in(&self, group: &[u8], from: &[u8], to: &[u8]) -> bool {
        self.range(group, from, Some(to)).next().is_some()
    }

    pub(super) fn remove_range(
        &mut self,
        group: &[u8],
        (from, to): (&[u8], &[u8]),
        mut gone: impl FnMut(Kept),
    ) {
        match self {
            Self::Run(run) => {
                let range = run.below(group, from)..run.below(group, to);
                run.remove(range, |place| gone(Kept::At(place)));
            }
            Self::Tree(rows) => {
                let inside = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
                let keys: Vec<Vec<u8>> = inside.map(|(key, _)| key.clone()).collect();
                keys.iter().filter_map(|key| rows.remove(key)).for_each(gone);
            }
        }
    }

    /// The rows from `from` on, and below `to` if there is one. It must be above `from`.
    pub(super) fn range<'a>(
        &'a self,
        group: &'a [u8],
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> RowIter<'a> {
        match self {
            Self::Run(run) => {
                let end = to.map_or(run.places.len(), |to| run.below(group, to));
                let begin = run.below(group, from);
                let numbered = (begin..end).zip(run.places.range(begin..end));
                let there = numbered.filter(|(_, place)| **place != HOLE);
                Box::new(there.map(move |(at, place)| {
                    (Cow::Owned(key_of(group, run.first + at as u64)), Kept::At(*place))
                }))
            }
            Self::Tree(rows) => {
                let to = to.map_or(Bound::Unbounded, Bound::Excluded);
                let inside = rows.range::<[u8], _>((Bound::Included(from), to));
                Box::new(inside.map(|(key, kept)| (Cow::Borrowed(key.as_slice()), kept.clone())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GROUP: [u8; PREFIX_BYTES] = *b"group--7";

    #[derive(Clone, Debug)]
    enum Step {
        Put(u64),
        PutOther(Vec<u8>),
        Remove(u64),
        RemoveRange(Vec<u8>, Vec<u8>),
    }

    /// Numbers that lie close together, mostly.
    fn a_number() -> impl Strategy<Value = u64> {
        prop_oneof![20 => 100..140_u64, 1 => 0..3_000_u64, 1 => (u64::MAX - 3)..=u64::MAX]
    }

    /// Bounds of all forms: a record's key, shorter, longer, of another group.
    fn a_bound() -> impl Strategy<Value = Vec<u8>> {
        (a_number(), 0..20_usize, prop::sample::select(vec![GROUP, *b"group--6", *b"group--8"]))
            .prop_map(|(number, length, group)| {
                let mut key = key_of(&group, number);
                key.extend([7; 4]);
                key.truncate(length);
                key
            })
    }

    fn step(others: bool) -> impl Strategy<Value = Step> {
        let other = prop::collection::vec(any::<u8>(), 0..10)
            .prop_map(|rest| Step::PutOther([&GROUP[..], &rest].concat()));
        prop_oneof![
            12 => a_number().prop_map(Step::Put),
            u32::from(others) => other,
            2 => a_number().prop_map(Step::Remove),
            2 => (a_bound(), a_bound()).prop_map(|(a, b)| Step::RemoveRange(a, b)),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        any::<bool>().prop_flat_map(|others| prop::collection::vec(step(others), 0..60))
    }

    fn all_of(rows: &Rows) -> Vec<(Vec<u8>, Kept)> {
        rows.range(&GROUP, &[], None).map(|(key, kept)| (key.into_owned(), kept)).collect()
    }

    proptest! {
        /// Whatever form it has, it holds what a map holds.
        #[test]
        fn is_a_sorted_map(steps in steps(), from in a_bound(), to in a_bound()) {
            let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
            for (at, step) in steps.into_iter().enumerate() {
                let kept = Kept::At(Place { segment: 1, offset: at as u32, size_bytes: 3 });
                match step {
                    Step::Put(number) => {
                        let key = key_of(&GROUP, number);
                        prop_assert_eq!(rows.insert(key.clone(), kept.clone()), map.insert(key, kept));
                    }
                    Step::PutOther(key) => {
                        prop_assert_eq!(rows.insert(key.clone(), kept.clone()), map.insert(key, kept));
                    }
                    Step::Remove(number) => {
                        let key = key_of(&GROUP, number);
                        prop_assert_eq!(rows.remove(&key), map.remove(&key));
                    }
                    Step::RemoveRange(a, b) => {
                        let (from, to) = (a.clone().min(b.clone()), a.max(b));
                        let mut gone = 0;
                        rows.remove_range(&GROUP, (&from, &to), |_| gone += 1);
                        let before = map.len();
                        map.retain(|key, _| *key < from || *key >= to);
                        prop_assert_eq!(gone, before - map.len());
                    }
                }
                prop_assert_eq!(rows.is_empty(), map.is_empty());
                if let Rows::Run(run) = &rows {
                    prop_assert_eq!(run.holes, run.places.iter().filter(|p| **p == HOLE).count());
                }
            }
            let expected: Vec<_> = map.clone().into_iter().collect();
            prop_assert_eq!(all_of(&rows), expected);
            let (from, to) = (from.clone().min(to.clone()), from.max(to));
            let inside: Vec<_> = map.iter().filter(|(key, _)| **key >= from && **key < to).collect();
            let found: Vec<_> = rows.range(&GROUP, &from, Some(&to)).collect();
            prop_assert_eq!(rows.any_in(&GROUP, &from, &to), !inside.is_empty());
            prop_assert_eq!(found.len(), inside.len());
            let backwards: Vec<_> = rows.range(&GROUP, &from, Some(&to)).rev().collect();
            prop_assert!(backwards.iter().rev().eq(found.iter()));
            for ((key, kept), (wanted_key, wanted)) in found.iter().zip(inside) {
                prop_assert_eq!((key.as_ref(), kept), (wanted_key.as_slice(), wanted));
                prop_assert_eq!(rows.get(key), Some(wanted.clone()));
            }
        }
    }

    #[test]
    fn a_record_takes_twelve_bytes_also_after_its_log_was_written_again_and_cut() {
        assert_eq!(size_of::<Place>(), 12);
        let mut rows = Rows::default();
        let place = |segment| Kept::At(Place { segment, offset: 8, size_bytes: 100 });
        // What a start finds when the oldest records were written again behind newer ones.
        for number in (500..10_000).chain(0..500) {
            rows.insert(key_of(&GROUP, number), place(1));
        }
        rows.remove_range(&GROUP, (&key_of(&GROUP, 0), &key_of(&GROUP, 9_990)), |_| {});
        let Rows::Run(run) = rows else { panic!("it became a tree") };
        assert_eq!((run.first, run.len(), run.holes), (9_990, 10, 0));
        assert!(run.places.capacity() < 3_000, "room for {}", run.places.capacity());
    }
}
