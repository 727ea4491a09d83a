//! Idempotent writes: the client's id, its sequence numbers, and which of them are still open.
//!
//! Nodes remember answers per shard, so what may be forgotten is told per shard too: the lowest open
//! write whose key lies in the shard's range. One shard that is stuck therefore never stops the
//! others, and a split cannot make a node forget a write that is still being retried on one half.

use bytes::Bytes;
use isobar_api::{KeyRange, TableId, limits};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{Notify, futures::OwnedNotified};

pub(crate) struct Session {
    client_id: Bytes,
    open: Mutex<Open>,
    freed: Arc<Notify>,
}

struct Open {
    next: u64,
    writes: BTreeMap<u64, (TableId, Bytes)>,
}

/// An open write. Dropping it says that nobody will repeat the write any more.
pub(crate) struct Ticket {
    session: Arc<Session>,
    pub(crate) sequence: u64,
}

impl Session {
    pub(crate) fn new(client_id: [u8; 16]) -> Arc<Self> {
        Arc::new(Self {
            client_id: Bytes::copy_from_slice(&client_id),
            open: Mutex::new(Open { next: 1, writes: BTreeMap::new() }),
            freed: Arc::new(Notify::new()),
        })
    }

    pub(crate) fn client_id(&self) -> Bytes {
        self.client_id.clone()
    }

    /// Takes the next sequence number, or `None` while the window of the key's shard is full.
    pub(crate) fn begin(
        self: &Arc<Self>,
        table: TableId,
        key: &Bytes,
        range: &KeyRange,
    ) -> Option<Ticket> {
        let mut open = self.lock();
        let sequence = open.next;
        if sequence - open.first(table, range) >= limits::CLIENT_WINDOW_MAX {
            return None;
        }
        open.next += 1;
        open.writes.insert(sequence, (table, key.clone()));
        Some(Ticket { session: self.clone(), sequence })
    }

    /// Completes when a write that is open now is done. Ask for it before looking at the window.
    pub(crate) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no code panics while it holds this lock")
    }
}

impl Open {
    fn first(&self, table: TableId, range: &KeyRange) -> u64 {
        let inside = |(t, key): &(TableId, Bytes)| *t == table && range.contains(key);
        let first = self.writes.iter().find(|(_, write)| inside(write));
        first.map_or(self.next, |(sequence, _)| *sequence)
    }
}

impl Ticket {
    /// Every sequence of this client below it needs no answer from the shard any more.
    pub(crate) fn first_unacknowledged(&self, table: TableId, range: &KeyRange) -> u64 {
        self.session.lock().first(table, range).min(self.sequence)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.lock().writes.remove(&self.sequence);
        self.session.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange { start: start.into(), end: end.into() }
    }

    #[test]
    fn sequences_start_at_one_and_never_repeat() {
        let session = Session::new([7; 16]);
        let a = session.begin(T, &"a".into(), &KeyRange::all()).expect("room");
        assert_eq!(a.sequence, 1);
        drop(a);
        let b = session.begin(T, &"a".into(), &KeyRange::all()).expect("room");
        assert_eq!((b.sequence, b.first_unacknowledged(T, &KeyRange::all())), (2, 2));
    }

    #[test]
    fn what_may_be_forgotten_is_the_oldest_open_write_of_the_shard() {
        let session = Session::new([7; 16]);
        let stuck = session.begin(T, &"z".into(), &range("m", "")).expect("room");
        let other = session.begin(T, &"a".into(), &range("", "m")).expect("room");
        assert_eq!(other.first_unacknowledged(T, &range("", "m")), 2);
        assert_eq!(other.first_unacknowledged(T, &range("m", "")), 1);
        // Before the split both keys lay in one shard: the stuck write still counts there.
        assert_eq!(other.first_unacknowledged(T, &KeyRange::all()), 1);
        assert_eq!(other.first_unacknowledged(TableId(2), &KeyRange::all()), 2);
        drop(stuck);
        assert_eq!(other.first_unacknowledged(T, &KeyRange::all()), 2);
    }

    #[test]
    fn a_stuck_shard_fills_only_its_own_window() {
        let session = Session::new([7; 16]);
        let (left, right) = (range("", "m"), range("m", ""));
        let stuck = session.begin(T, &"z".into(), &right).expect("room");
        for _ in 1..limits::CLIENT_WINDOW_MAX {
            drop(session.begin(T, &"a".into(), &left).expect("room on the left"));
        }
        assert!(session.begin(T, &"x".into(), &right).is_none());
        assert!(session.begin(T, &"b".into(), &left).is_some());
        drop(stuck);
        assert!(session.begin(T, &"x".into(), &right).is_some());
    }
}
