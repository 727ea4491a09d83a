//! Every write that was tried, what was answered, and whether it is still there at the end.

use isobar_api::Version;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Size of every value.
pub(super) const VALUE_BYTES: usize = 256;

/// A key of one of the tables, by its rank.
pub(super) type KeyAt = (Table, u64);

/// The two tables: equal keys, equal load, only one of them may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Frozen: stays where hashing put it.
    Control,
    /// The controller may move it.
    Orders,
}

impl Table {
    pub(super) const BOTH: [Self; 2] = [Self::Control, Self::Orders];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Orders => "orders",
        }
    }
}

/// The count at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Writes that were acknowledged, the preloaded rows included.
    pub(super) acknowledged: u64,
    /// Of these: found, or replaced by a later write.
    pub(super) verified: u64,
    /// Of these: gone.
    pub(super) lost: u64,
    /// Writes without an answer: they may or may not be there.
    pub(super) unknown: u64,
}

#[derive(Debug, Default)]
struct Writes {
    acknowledged: Vec<(Version, u64)>,
    /// Begun and not (yet) acknowledged.
    open: Vec<u64>,
}

/// The record. Writers note a write before they send it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    keys: BTreeMap<KeyAt, Writes>,
}

impl Ledger {
    /// Notes a write and gives it its id, which no other write has.
    pub(super) fn begin(&self, key: KeyAt) -> u64 {
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = inner.last_id;
        inner.keys.entry(key).or_default().open.push(id);
        id
    }

    /// The write was acknowledged with this version.
    pub(super) fn acknowledge(&self, key: KeyAt, id: u64, version: Version) {
        let mut inner = self.lock();
        let writes = inner.keys.entry(key).or_default();
        writes.open.retain(|open| *open != id);
        writes.acknowledged.push((version, id));
    }

    /// Keys with acknowledged writes, of one table.
    pub(super) fn ranks(&self, table: Table) -> Vec<u64> {
        let inner = self.lock();
        let acknowledged =
            inner.keys.iter().filter(|((t, _), w)| *t == table && !w.acknowledged.is_empty());
        acknowledged.map(|((_, rank), _)| *rank).collect()
    }

    /// Counts everything against the rows that were read back. A key whose row could not be read is in neither
    /// count: its writes are acknowledged, but not verified.
    pub(super) fn judge(&self, rows: &BTreeMap<KeyAt, Option<(Version, u64)>>) -> Tally {
        let inner = self.lock();
        let mut tally = Tally::default();
        for (key, writes) in &inner.keys {
            let acknowledged = writes.acknowledged.len() as u64;
            tally.acknowledged += acknowledged;
            tally.unknown += writes.open.len() as u64;
            if let Some(row) = rows.get(key) {
                let lost = lost(writes, *row);
                tally.lost += lost;
                tally.verified += acknowledged - lost;
            }
        }
        tally
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many acknowledged writes of a key are gone. The row's version orders writes: what is there must be the
/// newest acknowledged write, or one that came later and whose outcome nobody told us.
fn lost(writes: &Writes, row: Option<(Version, u64)>) -> u64 {
    let all = writes.acknowledged.len() as u64;
    let Some((version, id)) = row else { return all };
    let is_ours =
        match writes.acknowledged.iter().find(|(acknowledged, _)| *acknowledged == version) {
            Some((_, acknowledged)) => *acknowledged == id,
            None => writes.open.contains(&id),
        };
    if !is_ours {
        return all;
    }
    writes.acknowledged.iter().filter(|(acknowledged, _)| *acknowledged > version).count() as u64
}

/// The value of a write: its id, so that a value tells which write it is from.
pub(super) fn value_of(id: u64) -> Vec<u8> {
    let mut value = format!("{id:016x} ").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    value
}

/// The write that a value is from; 0 (no write has it) if it is from none.
pub(super) fn id_of(value: &[u8]) -> u64 {
    let digits = value.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::NodeId;

    const KEY: KeyAt = (Table::Orders, 7);

    fn at(hlc: u64) -> Version {
        Version { hlc, origin: NodeId(1) }
    }

    fn two_writes() -> (Ledger, u64, u64) {
        let ledger = Ledger::default();
        let (a, b) = (ledger.begin(KEY), ledger.begin(KEY));
        ledger.acknowledge(KEY, a, at(10));
        ledger.acknowledge(KEY, b, at(20));
        (ledger, a, b)
    }

    fn verdict(ledger: &Ledger, row: Option<(Version, u64)>) -> (u64, u64, u64) {
        let tally = ledger.judge(&BTreeMap::from([(KEY, row)]));
        (tally.acknowledged, tally.verified, tally.lost)
    }

    #[test]
    fn the_newest_acknowledged_write_is_there() {
        let (ledger, _, b) = two_writes();
        assert_eq!(verdict(&ledger, Some((at(20), b))), (2, 2, 0));
    }

    #[test]
    fn an_older_value_or_none_is_a_loss() {
        let (ledger, a, b) = two_writes();
        assert_eq!(verdict(&ledger, Some((at(10), a))), (2, 1, 1));
        assert_eq!(verdict(&ledger, None), (2, 0, 2));
        assert_eq!(
            verdict(&ledger, Some((at(20), a))),
            (2, 0, 2),
            "another value under its version"
        );
        assert_eq!(verdict(&ledger, Some((at(30), b + 9))), (2, 0, 2), "nobody wrote that");
    }

    #[test]
    fn a_later_write_without_an_answer_may_have_replaced_it() {
        let (ledger, _, b) = two_writes();
        let c = ledger.begin(KEY);
        assert_eq!(verdict(&ledger, Some((at(30), c))), (2, 2, 0));
        assert_eq!(verdict(&ledger, Some((at(20), b))), (2, 2, 0), "or not");
        // One that was ordered before an acknowledged one must not have replaced it.
        assert_eq!(verdict(&ledger, Some((at(15), c))), (2, 1, 1));
    }

    #[test]
    fn a_row_that_was_not_read_is_not_verified() {
        let (ledger, ..) = two_writes();
        let tally = ledger.judge(&BTreeMap::new());
        assert_eq!((tally.acknowledged, tally.verified, tally.lost), (2, 0, 0));
        assert_eq!(ledger.ranks(Table::Orders), [7]);
        assert_eq!(ledger.ranks(Table::Control), [0; 0]);
    }

    #[test]
    fn values_tell_which_write_they_are_from() {
        assert_eq!(value_of(77).len(), VALUE_BYTES);
        assert_eq!(id_of(&value_of(77)), 77);
        assert_eq!(id_of(b"short"), 0);
    }
}
