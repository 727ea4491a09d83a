//! The log of one group, as openraft wants it, inside the [`SharedLog`] of the node.
//!
//! Bounds, vote and the newest entries are in memory; RocksDB is asked only for old entries. One task of openraft calls
//! the writing methods, one after the other; readers are clones and run beside it.

use super::{
    log_record::{Mark, decode, encode, entries_end, entry_key, index_of, mark_key},
    log_tail::{HasTail, Tail, TailLimits},
    shared_log::SharedLog,
};
use crate::{
    engine::{EngineError, EngineErrorKind, Scan, Space, WriteBatch},
    planted::{FORGET_VOTE, is_planted},
};
use openraft::{
    LogState, OptionalSend, RaftLogReader, RaftTypeConfig,
    alias::{LogIdOf, VoteOf},
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::watch;

/// Bytes of entries that one read for replication returns at most, beyond the first entry.
const READ_LIMIT_BYTES: usize = 2 << 20;

/// The log of one group. Clones are handles of the same log.
pub struct RaftLogStore<C: RaftTypeConfig> {
    group: Arc<Group<C>>,
}

impl<C: RaftTypeConfig> Clone for RaftLogStore<C> {
    fn clone(&self) -> Self {
        Self { group: self.group.clone() }
    }
}

pub(super) struct Group<C: RaftTypeConfig> {
    pub(super) shard_id: u64,
    pub(super) log: SharedLog,
    state: Mutex<State<C>>,
    /// The last index there is.
    appended: watch::Sender<u64>,
}

/// What is true of the log now; on disk it is so after the next sync.
pub(super) struct State<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
    /// The first entry there is; none: no entries.
    pub(super) first_index: Option<u64>,
    /// The last entry there is, or else what was purged last.
    pub(super) last: Option<LogIdOf<C>>,
    pub(super) tail: Tail<C::Entry>,
}

pub(super) fn index_after<C: RaftTypeConfig>(id: Option<&LogIdOf<C>>) -> u64 {
    id.map_or(0, |id| id.index() + 1)
}

impl<C: RaftTypeConfig> RaftLogStore<C>
where
    C::Entry: Clone,
{
    /// Opens the log of a group. One at a time: an earlier one of the same group must be gone.
    ///
    /// `applied_floor` is what the state machine has applied. If that is beyond the log (a child born of a split, or a
    /// snapshot installed just before a crash), the log is made to begin behind it, durably.
    pub async fn open(
        log: &SharedLog,
        shard_id: u64,
        applied_floor: Option<LogIdOf<C>>,
    ) -> Result<Self, EngineError> {
        Self::open_with(log, shard_id, applied_floor, TailLimits::default()).await
    }

    /// The same with other limits of what is kept in memory.
    pub(super) async fn open_with(
        log: &SharedLog,
        shard_id: u64,
        applied_floor: Option<LogIdOf<C>>,
        limits: TailLimits,
    ) -> Result<Self, EngineError> {
        log.settle().await?;
        let state =
            load(log, shard_id, limits).inspect_err(|error| log.note_fault(shard_id, error))?;
        let short =
            applied_floor.filter(|floor| index_after::<C>(state.last.as_ref()) <= floor.index());
        let appended = watch::Sender::new(state.last.as_ref().map_or(0, |last| last.index()));
        let group = Group { shard_id, log: log.clone(), state: Mutex::new(state), appended };
        if let Some(floor) = short {
            group.purge(floor).await?;
        }
        let group = Arc::new(group);
        let weak = Arc::downgrade(&group);
        log.tails().register(weak);
        Ok(Self { group })
    }

    /// The last index of the log, as it grows. It is told when entries are readable, not when they are durable.
    pub(crate) fn appended(&self) -> watch::Receiver<u64> {
        self.group.appended.subscribe()
    }

    /// How many entries there are behind one, or in all behind none.
    pub fn entries_after(&self, applied: Option<&LogIdOf<C>>) -> u64 {
        let end = index_after::<C>(self.group.state().last.as_ref());
        end.saturating_sub(index_after::<C>(applied))
    }
}

fn load<C: RaftTypeConfig>(
    log: &SharedLog,
    shard_id: u64,
    limits: TailLimits,
) -> Result<State<C>, EngineError>
where
    C::Entry: Clone,
{
    let purged: Option<LogIdOf<C>> = load_mark(log, shard_id, Mark::Purged)?;
    let entries = Scan::range(entry_key(shard_id, 0), Some(entries_end(shard_id))).limit_rows(1);
    let first = log.engine().scan(Space::Log, &entries)?.rows.pop();
    let last = log.engine().scan(Space::Log, &entries.reversed())?.rows.pop();
    let first_index = first.map(|(key, _)| index_of(&key)).transpose()?;
    let begin = index_after::<C>(purged.as_ref());
    if purged.is_some() && first_index.is_some_and(|first| first != begin) {
        return Err(EngineError::corruption(format!(
            "the log of shard {shard_id} begins at {}, not at {begin}",
            first_index.unwrap_or_default()
        )));
    }
    let last = match last {
        Some((key, value)) => Some(decode::<C::Entry>(&key, &value)?.log_id()),
        None => purged.clone(),
    };
    let vote = load_mark(log, shard_id, Mark::Vote)?;
    let committed = load_mark(log, shard_id, Mark::Committed)?;
    Ok(State {
        vote,
        committed,
        purged,
        first_index,
        last,
        tail: Tail::new(limits, log.tails().clone()),
    })
}

fn load_mark<T: DeserializeOwned>(
    log: &SharedLog,
    shard_id: u64,
    mark: Mark,
) -> Result<Option<T>, EngineError> {
    let key = mark_key(shard_id, mark);
    log.engine().get(Space::LogMeta, &key)?.map(|value| decode(&key, &value)).transpose()
}

impl<C: RaftTypeConfig> HasTail for Group<C>
where
    C::Entry: Clone,
{
    fn last_used(&self) -> Option<u64> {
        self.state().tail.last_used()
    }

    fn give_back(&self) {
        self.state().tail.clear();
    }
}

impl<C: RaftTypeConfig> Group<C>
where
    C::Entry: Clone,
{
    pub(super) fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Writes entries, readable when this returns.
    fn write_entries(&self, entries: impl Iterator<Item = C::Entry>) -> Result<(), EngineError> {
        let mut next = self.state().last.as_ref().map(|last| last.index() + 1);
        let mut batch = WriteBatch::new();
        let mut written = Vec::with_capacity(entries.size_hint().0);
        for entry in entries {
            let index = entry.index();
            if next.is_some_and(|next| next != index) {
                return Err(EngineError::new(
                    EngineErrorKind::Internal,
                    format!(
                        "shard {}: entry {index} appended where {next:?} belongs",
                        self.shard_id
                    ),
                ));
            }
            next = Some(index + 1);
            let key = entry_key(self.shard_id, index);
            let value = encode(&key, &entry)?;
            written.push((index, entry, value.len()));
            batch.put(Space::Log, key, value);
        }
        self.log.write(batch)?;
        let mut state = self.state();
        if let Some((index, ..)) = written.first() {
            state.first_index.get_or_insert(*index);
        }
        if let Some((_, entry, _)) = written.last() {
            state.last = Some(entry.log_id());
        }
        for (index, entry, size_bytes) in written {
            state.tail.push(index, entry, size_bytes);
        }
        drop(state);
        if let Some(last) = next {
            self.appended.send_replace(last - 1);
        }
        self.log.tails().relieve(self);
        Ok(())
    }

    async fn truncate_after(&self, keep: Option<LogIdOf<C>>) -> Result<(), EngineError> {
        let place = self.log.place().await?;
        let from = {
            let mut state = self.state();
            let from = index_after::<C>(keep.as_ref()).max(index_after::<C>(state.purged.as_ref()));
            if index_after::<C>(state.last.as_ref()) <= from {
                return Ok(());
            }
            state.tail.truncate_from(from);
            if state.first_index.is_none_or(|first| from <= first) {
                state.first_index = None;
                state.last = state.purged.clone();
            } else {
                state.last = keep;
            }
            from
        };
        let mut batch = WriteBatch::new();
        batch.delete_range(Space::Log, entry_key(self.shard_id, from), entries_end(self.shard_id));
        self.log.write(batch)?;
        place.written_durably().await
    }

    /// Drops entries up to `upto`. The caller need not wait until they are gone from disk, with one exception: when
    /// `upto` is beyond the last entry. Then the next append leaves a gap, and a crash must not show the log with the
    /// gap and without the mark that explains it.
    async fn purge(&self, upto: LogIdOf<C>) -> Result<(), EngineError> {
        let place = self.log.place().await?;
        let (from, beyond) = {
            let mut state = self.state();
            if upto.index() < index_after::<C>(state.purged.as_ref()) {
                return Ok(());
            }
            let from = state.first_index.unwrap_or(0);
            let end = index_after::<C>(state.last.as_ref());
            state.tail.purge_to(upto.index());
            state.purged = Some(upto.clone());
            if end <= upto.index() + 1 {
                state.first_index = None;
                state.last = Some(upto.clone());
            } else {
                state.first_index = state.first_index.map(|first| first.max(upto.index() + 1));
            }
            (from, end <= upto.index())
        };
        let mut batch = WriteBatch::new();
        let mark = mark_key(self.shard_id, Mark::Purged);
        let value = encode(&mark, &upto)?;
        batch.put(Space::LogMeta, mark, value);
        let (from, end) =
            (entry_key(self.shard_id, from), entry_key(self.shard_id, upto.index() + 1));
        batch.delete_range(Space::Log, from, end);
        if beyond {
            return place.purge_durably(batch).await;
        }
        // If it fails, the shared log says so to whoever comes next.
        place.purge(batch, Box::new(drop));
        Ok(())
    }

    fn write_mark<T: serde::Serialize>(&self, mark: Mark, value: &T) -> Result<(), EngineError> {
        let key = mark_key(self.shard_id, mark);
        let value = encode(&key, value)?;
        let mut batch = WriteBatch::new();
        batch.put(Space::LogMeta, key, value);
        self.log.write(batch)
    }

    /// For openraft, which ends the group on any error; the code stays with the shared log.
    fn told<T>(&self, result: Result<T, EngineError>) -> Result<T, io::Error> {
        result.map_err(|error| {
            self.log.note_fault(self.shard_id, &error);
            error.into()
        })
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl<C: RaftTypeConfig> RaftLogReader<C> for RaftLogStore<C>
where
    C::Entry: Clone,
{
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.group.told(self.group.read(start, end, usize::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.group.state().vote.clone())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<C::Entry>, io::Error> {
        self.group.told(self.group.read(start, end, READ_LIMIT_BYTES))
    }
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for RaftLogStore<C>
where
    C::Entry: Clone,
{
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let state = self.group.state();
        Ok(LogState { last_purged_log_id: state.purged.clone(), last_log_id: state.last.clone() })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let group = &self.group;
        let place = group.told(group.log.place().await)?;
        if !is_planted(FORGET_VOTE) {
            group.told(group.write_mark(Mark::Vote, vote))?;
        }
        group.state().vote = Some(vote.clone());
        group.told(place.written_durably().await)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        // Not synced: it is written behind the entries it covers, so after a crash it is at worst too low.
        let Some(committed) = committed else {
            return Ok(());
        };
        self.group.told(self.group.write_mark(Mark::Committed, &committed))?;
        self.group.state().committed = Some(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.group.state().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let group = &self.group;
        let place = group.told(group.log.place().await)?;
        group.told(group.write_entries(entries.into_iter()))?;
        place.written(Box::new(move |result| {
            callback.io_completed(result.map_err(io::Error::from))
        }));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        self.group.told(self.group.truncate_after(last_log_id).await)
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        self.group.told(self.group.purge(log_id).await)
    }
}
