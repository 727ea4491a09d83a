//! What is known for certain of each key, and whether reads agree. Memory grows with the keys, not with the writes.

use isobar_api::Version;
use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Examples of what went wrong that are kept.
const EXAMPLES_MAX: usize = 10;
/// Length of every value.
const VALUE_BYTES: usize = 200;

/// A write: its number, and the version it got. Numbers of a key rise, and so must versions.
pub(super) type Write = (u64, Version);

/// A key. Its writes come one after the other from one writer.
pub(super) struct Key {
    pub(super) name: String,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    tried: u64,
    acknowledged: u64,
    /// The newest write that was acknowledged or read.
    newest: Write,
}

/// All keys.
#[derive(Default)]
pub(super) struct Ledger {
    keys: RwLock<Vec<Arc<Key>>>,
    acknowledged: AtomicU64,
    wrong: Mutex<Vec<String>>,
    wrong_count: AtomicU64,
}

impl Ledger {
    /// A key that nobody wrote before.
    pub(super) fn add(&self, name: String) -> Arc<Key> {
        let key = Arc::new(Key { name, state: Mutex::default() });
        self.keys.write().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        key
    }

    /// Every key, in the order in which they were added.
    pub(super) fn keys(&self) -> Vec<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them, `at` modulo their number; of the newest `among` if that is not zero.
    pub(super) fn pick(&self, at: usize, among: usize) -> Option<Arc<Key>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let among = if among == 0 { keys.len() } else { among.min(keys.len()) };
        (among > 0).then(|| keys[keys.len() - 1 - at % among].clone())
    }

    /// Acknowledged writes.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// Reads that no order of the writes explains: how many, and some of them.
    pub(super) fn wrong(&self) -> (u64, Vec<String>) {
        let examples = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.wrong_count.load(Relaxed), examples)
    }

    /// Notes that a write of the key begins; its number.
    pub(super) fn begin(&self, key: &Key) -> u64 {
        let mut state = key.lock();
        state.tried += 1;
        state.tried
    }

    /// The write was acknowledged.
    pub(super) fn acknowledge(&self, key: &Key, write: Write) {
        self.acknowledged.fetch_add(1, Relaxed);
        let before = {
            let mut state = key.lock();
            state.acknowledged = write.0;
            let before = state.newest;
            state.newest = before.max(write);
            before
        };
        // A reader may have seen it first.
        if before != write && before.1 >= write.1 {
            self.note(format!("{}: acknowledged {write:?} after {before:?}", key.name));
        }
    }

    /// Holds a linearizable read against what was known when it began. False: it cannot be.
    pub(super) fn check(&self, key: &Key, before: Write, found: Write) -> bool {
        let tried = {
            let mut state = key.lock();
            state.newest = state.newest.max(found);
            state.tried
        };
        let fits = found.0 <= tried && agree(before, found);
        if !fits {
            self.note(format!("{}: read {found:?} after {before:?}, {tried} tried", key.name));
        }
        fits
    }

    fn note(&self, what: String) {
        self.wrong_count.fetch_add(1, Relaxed);
        let mut examples = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES_MAX {
            examples.push(what);
        }
    }
}

/// Whether `later` may be seen after `before`: the same write, or a newer one by its number and by its version.
fn agree(before: Write, later: Write) -> bool {
    later == before || (later.0 > before.0 && later.1 > before.1)
}

impl Key {
    /// The newest write known for certain. Ask before a read begins.
    pub(super) fn newest(&self) -> Write {
        self.lock().newest
    }

    /// Whether any write of it was acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.lock().acknowledged > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a write: its number, and bytes to make it a row.
pub(super) fn value_of(number: u64) -> Vec<u8> {
    let mut value = format!("{number:016x} ").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    value
}

/// The write that a value is from; the largest number, which nobody tried, if it is from none.
pub(super) fn number_of(value: &[u8]) -> u64 {
    let digits = value.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::NodeId;

    fn at(hlc: u64) -> Version {
        Version { hlc, origin: NodeId(1) }
    }

    #[test]
    fn a_read_shows_what_was_known_before_or_something_newer() {
        let ledger = Ledger::default();
        let key = ledger.add("k".into());
        assert_eq!((ledger.begin(&key), key.is_acknowledged()), (1, false));
        ledger.acknowledge(&key, (1, at(10)));
        let before = key.newest();
        assert!(ledger.check(&key, before, (1, at(10))));
        assert_eq!(ledger.begin(&key), 2);
        assert!(ledger.check(&key, before, (2, at(20))), "under way, and seen already");
        assert!(!ledger.check(&key, key.newest(), (1, at(10))), "seen by a reader before");
        assert!(!ledger.check(&key, before, (0, Version::ABSENT)), "gone");
        assert!(!ledger.check(&key, before, (1, at(11))), "the same write with another version");
        assert!(!ledger.check(&key, before, (2, at(9))), "a later write with an earlier version");
        assert!(!ledger.check(&key, before, (3, at(30))), "nobody sent that");
        assert_eq!((ledger.wrong().0, ledger.wrong().1.len(), ledger.acknowledged()), (5, 5, 1));
    }

    #[test]
    fn a_version_that_goes_back_is_noted() {
        let ledger = Ledger::default();
        let key = ledger.add("k".into());
        for (number, hlc) in [(1, 10), (2, 20), (3, 15)] {
            assert_eq!(ledger.begin(&key), number);
            ledger.acknowledge(&key, (number, at(hlc)));
        }
        assert_eq!(ledger.wrong().0, 1);
    }

    #[test]
    fn keys_are_picked_among_all_or_the_newest() {
        let ledger = Ledger::default();
        assert!(ledger.pick(3, 0).is_none());
        for name in ["a", "b", "c"] {
            ledger.add(name.into());
        }
        let picked = |at, among| ledger.pick(at, among).map(|key| key.name.clone());
        assert_eq!((picked(2, 0), picked(3, 0)), (Some("a".into()), Some("c".into())));
        assert_eq!((picked(1, 2), picked(2, 2)), (Some("b".into()), Some("c".into())));
    }

    #[test]
    fn values_tell_which_write_they_are_from() {
        assert_eq!((value_of(77).len(), number_of(&value_of(77))), (VALUE_BYTES, 77));
        assert_eq!(number_of(b"short"), u64::MAX);
    }
}
