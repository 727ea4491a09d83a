use super::{
    log_record::entry_key,
    log_store::RaftLogStore,
    log_tail::TailLimits,
    shared_log::{FlusherConfig, SharedLog},
};
use crate::engine::{
    Engine, EngineError, EngineErrorKind, MemoryDisk, RedbConfig, RedbEngine, SegmentConfig,
    SegmentEngine, Space, WriteBatch,
};
use openraft::{
    RaftLogReader,
    alias::{EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt},
};
use proptest::prelude::*;
use std::{io, path::Path, sync::Arc};

openraft::declare_raft_types!(
    pub Config:
        D = String,
        R = String,
        NodeId = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

type Store = RaftLogStore<Config>;
type Id = LogIdOf<Config>;

/// Little in memory, so that tests read both ways.
pub(super) const SMALL: TailLimits = TailLimits { entries: 3, size_bytes: 1 << 20 };

/// The engine of a node's log.
pub(super) fn on_disk(dir: &Path) -> Arc<dyn Engine> {
    Arc::new(SegmentEngine::open(dir, SegmentConfig { segment_bytes: 4096 }).unwrap())
}

pub(super) fn redb(dir: &Path) -> Arc<dyn Engine> {
    Arc::new(RedbEngine::open(dir, &RedbConfig::default()).unwrap())
}

fn shared(engine: Arc<dyn Engine>) -> SharedLog {
    SharedLog::open(engine, None, FlusherConfig::default()).unwrap()
}

fn id(term: u64, index: u64) -> Id {
    Id::new_term_index(term, index)
}

fn entry(term: u64, index: u64) -> EntryOf<Config> {
    EntryOf::<Config>::new_normal(id(term, index), format!("{term}/{index}"))
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<EntryOf<Config>> {
    range.map(|index| entry(term, index)).collect()
}

async fn open(log: &SharedLog, floor: Option<Id>) -> Store {
    RaftLogStore::open_with(log, 7, floor, SMALL).await.unwrap()
}

async fn ids(store: &mut Store) -> Vec<(u64, u64)> {
    let found = store.try_get_log_entries(..).await.unwrap();
    found.iter().map(|entry| (entry.log_id.committed_leader_id().term, entry.index())).collect()
}

async fn state(store: &mut Store) -> (Option<Id>, Option<Id>) {
    let state = store.get_log_state().await.unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_reopen() {
    for open_engine in [on_disk, redb] {
        acknowledge_and_reopen(open_engine).await;
    }
}

async fn acknowledge_and_reopen(open_engine: fn(&Path) -> Arc<dyn Engine>) {
    let dir = tempfile::tempdir().unwrap();
    let log = shared(open_engine(dir.path()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..20)).await.unwrap();
    store.truncate_after(Some(id(1, 14))).await.unwrap();
    store.blocking_append(entries(2, 15..18)).await.unwrap();
    store.purge(id(1, 4)).await.unwrap();
    store.save_committed(Some(id(2, 16))).await.unwrap();
    let vote = VoteOf::<Config>::new_committed(3, 9);
    store.save_vote(&vote).await.unwrap();
    drop((store, log));
    let log = shared(open_engine(dir.path()));
    let mut store = open(&log, Some(id(1, 4))).await;
    let expected: Vec<_> = (5..15).map(|n| (1, n)).chain((15..18).map(|n| (2, n))).collect();
    assert_eq!(ids(&mut store).await, expected);
    assert_eq!(state(&mut store).await, (Some(id(1, 4)), Some(id(2, 17))));
    assert_eq!(store.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.read_committed().await.unwrap(), Some(id(2, 16)));
}

#[tokio::test]
async fn a_vote_is_durable_when_it_is_told() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let log = shared(Arc::new(disk.open()));
        let vote = VoteOf::<Config>::new(seed, 1);
        open(&log, None).await.save_vote(&vote).await.unwrap();
        disk.crash(seed);
        drop(log);
        let log = shared(Arc::new(disk.open()));
        assert_eq!(open(&log, None).await.read_vote().await.unwrap(), Some(vote), "seed {seed}");
    }
}

#[tokio::test]
async fn a_group_whose_state_is_ahead_begins_behind_it() {
    let disk = MemoryDisk::new();
    // A child of a split: no log at all. Then a replica with an older log that was sent a snapshot.
    for before in [0, 3] {
        let log = shared(Arc::new(disk.open()));
        let mut store = open(&log, None).await;
        store.blocking_append(entries(1, 0..before)).await.unwrap();
        drop(store);
        let mut store = open(&log, Some(id(4, 10))).await;
        assert_eq!(state(&mut store).await, (Some(id(4, 10)), Some(id(4, 10))));
        assert!(ids(&mut store).await.is_empty());
        drop((store, log));
        disk.crash(1);
        let log = shared(Arc::new(disk.open()));
        let mut store = open(&log, None).await;
        assert_eq!(state(&mut store).await, (Some(id(4, 10)), Some(id(4, 10))), "it was durable");
        store.blocking_append(entries(4, 11..13)).await.unwrap();
        assert_eq!(ids(&mut store).await, [(4, 11), (4, 12)]);
        drop(store);
        log.destroy(7).await.unwrap();
        let mut store = open(&log, None).await;
        assert_eq!(state(&mut store).await, (None, None), "destroyed");
        drop((store, log));
    }
}

#[tokio::test]
async fn a_floor_inside_the_log_changes_nothing() {
    let log = shared(Arc::new(MemoryDisk::new().open()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..5)).await.unwrap();
    drop(store);
    let mut store = open(&log, Some(id(1, 4))).await;
    assert_eq!(state(&mut store).await, (None, Some(id(1, 4))));
    assert_eq!(ids(&mut store).await.len(), 5);
}

#[tokio::test]
async fn an_append_that_leaves_a_gap_or_overlaps_is_refused() {
    let log = shared(Arc::new(MemoryDisk::new().open()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..5)).await.unwrap();
    for wrong in [4, 6] {
        assert!(store.append(vec![entry(1, wrong)], IOFlushed::noop()).await.is_err());
    }
    assert_eq!(ids(&mut store).await.len(), 5);
}

#[tokio::test]
async fn the_newest_entries_are_read_from_memory() {
    let disk = MemoryDisk::new();
    let log = shared(Arc::new(disk.open()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..10)).await.unwrap();
    disk.crash(0); // from now on every read of the engine fails
    assert_eq!(store.try_get_log_entries(7..10).await.unwrap(), entries(1, 7..10));
    assert_eq!(store.limited_get_log_entries(8, 9).await.unwrap(), entries(1, 8..9));
    assert!(store.try_get_log_entries(6..10).await.is_err());
}

#[tokio::test]
async fn a_limited_read_ends_early_but_is_never_empty() {
    let log = shared(Arc::new(MemoryDisk::new().open()));
    for limits in [SMALL, TailLimits { entries: 100, size_bytes: 1 << 30 }] {
        log.destroy(7).await.unwrap();
        let mut store: Store = RaftLogStore::open_with(&log, 7, None, limits).await.unwrap();
        let big = |index| EntryOf::<Config>::new_normal(id(1, index), "x".repeat(900 << 10));
        store.blocking_append((0..8).map(big)).await.unwrap();
        let read = store.limited_get_log_entries(1, 8).await.unwrap();
        assert_eq!(read.iter().map(RaftEntry::index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(store.try_get_log_entries(1..8).await.unwrap().len(), 7);
    }
}

fn fault(error: &io::Error) -> EngineErrorKind {
    EngineError::inside(error).expect("an engine error is inside").kind()
}

#[tokio::test]
async fn a_flipped_bit_in_a_record_is_corruption_with_its_code() {
    let disk = MemoryDisk::new();
    let log = shared(Arc::new(disk.open()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..10)).await.unwrap();
    let key = entry_key(7, 2);
    let mut value = log.engine().get(Space::Log, &key).unwrap().unwrap();
    *value.last_mut().unwrap() ^= 1;
    let mut batch = WriteBatch::new();
    batch.put(Space::Log, key, value);
    log.write(batch).unwrap();
    assert_eq!(store.try_get_log_entries(3..10).await.unwrap().len(), 7, "the others are well");
    let error = store.try_get_log_entries(0..10).await.unwrap_err();
    assert_eq!(fault(&error), EngineErrorKind::Corruption);
    assert_eq!(log.fault_of(7).unwrap().kind(), EngineErrorKind::Corruption);
    assert!(
        log.fault_of(8).is_none() && log.failure().is_none(),
        "one group's damage is not the others'"
    );
}

#[tokio::test]
async fn a_missing_record_is_corruption() {
    let disk = MemoryDisk::new();
    let log = shared(Arc::new(disk.open()));
    let mut store = open(&log, None).await;
    store.blocking_append(entries(1, 0..10)).await.unwrap();
    store.purge(id(1, 0)).await.unwrap();
    for gone in [4, 1] {
        let mut batch = WriteBatch::new();
        batch.delete(Space::Log, entry_key(7, gone));
        log.write(batch).unwrap();
        assert_eq!(
            fault(&store.try_get_log_entries(..).await.unwrap_err()),
            EngineErrorKind::Corruption
        );
    }
    drop(store);
    let error = Store::open(&log, 7, None).await.err().unwrap();
    assert_eq!(
        error.kind(),
        EngineErrorKind::Corruption,
        "the log no longer begins behind what was purged"
    );
}

#[tokio::test]
async fn a_crash_after_a_jump_shows_the_jump_or_the_old_log() {
    for seed in 0..50 {
        let disk = MemoryDisk::new();
        let log = shared(Arc::new(disk.open()));
        let mut store = open(&log, None).await;
        store.blocking_append(entries(1, 0..5)).await.unwrap();
        store.purge(id(2, 20)).await.unwrap();
        store.append(entries(2, 21..25), IOFlushed::noop()).await.unwrap();
        disk.crash(seed);
        drop((store, log));
        let log = shared(Arc::new(disk.open()));
        let mut store = open(&log, None).await;
        let (purged, last) = state(&mut store).await;
        assert_eq!(purged, Some(id(2, 20)), "seed {seed}");
        assert!(
            last >= purged && ids(&mut store).await.len() as u64 == last.unwrap().index() - 20,
            "seed {seed}"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    Jump(u64),
    Reopen,
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..6_u64).prop_map(Step::Append),
        1 => (0..5_u64).prop_map(Step::Truncate),
        2 => (0..8_u64).prop_map(Step::Purge),
        1 => (1..5_u64).prop_map(Step::Jump),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// What the log must hold: entries as (term, index) and what was purged.
#[derive(Default)]
struct Model {
    term: u64,
    entries: Vec<(u64, u64)>,
    purged: Option<(u64, u64)>,
}

impl Model {
    fn last(&self) -> Option<(u64, u64)> {
        self.entries.last().copied().or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |(_, index)| index + 1)
    }

    async fn step(&mut self, store: &mut Store, step: &Step) {
        match *step {
            Step::Append(count) => {
                let range = self.next()..self.next() + count;
                store.blocking_append(entries(self.term, range.clone())).await.unwrap();
                self.entries.extend(range.map(|index| (self.term, index)));
            }
            Step::Truncate(back) => {
                self.entries.truncate(self.entries.len().saturating_sub(back as usize));
                self.term += 1;
                store
                    .truncate_after(self.last().map(|(term, index)| id(term, index)))
                    .await
                    .unwrap();
            }
            Step::Purge(back) => {
                let Some(&(term, index)) = self.entries.iter().rev().nth(back as usize) else {
                    return;
                };
                store.purge(id(term, index)).await.unwrap();
                self.entries.retain(|(_, kept)| *kept > index);
                self.purged = Some((term, index));
            }
            Step::Jump(ahead) => {
                self.purged = Some((self.term, self.next() + ahead));
                self.entries.clear();
                store.purge(id(self.term, self.next() - 1)).await.unwrap();
            }
            Step::Reopen | Step::Crash(_) => {}
        }
    }
}

/// However many groups write, their entries in memory stay in one bound; what was given back is read from the log.
#[tokio::test]
async fn the_tails_of_all_groups_share_one_bound() {
    const TAILS: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let config = FlusherConfig { tails_bytes: TAILS, ..FlusherConfig::default() };
    let log = SharedLog::open(on_disk(dir.path()), None, config).unwrap();
    let mut stores = Vec::new();
    for shard in 0..30 {
        stores.push(Store::open(&log, shard, None).await.unwrap());
    }
    for round in 0..20 {
        for store in &mut stores {
            store.blocking_append(entries(1, round * 5..round * 5 + 5)).await.unwrap();
            let used = log.stats().tails_bytes;
            assert!(used > 0 && used <= TAILS, "{used} bytes in memory");
        }
    }
    let wanted: Vec<_> = (0..100).map(|index| (1, index)).collect();
    for store in &mut stores {
        assert_eq!(ids(store).await, wanted);
    }
    drop(stores);
    assert_eq!(log.stats().tails_bytes, 0, "with its group a tail goes too");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens, the log is what the model says; after a crash too, since every step above was told durable,
    /// except that a purge may come back.
    #[test]
    fn behaves_as_a_plain_list(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = MemoryDisk::new();
            let mut log = shared(Arc::new(disk.open()));
            let mut store = open(&log, None).await;
            let mut model = Model::default();
            for step in &steps {
                model.step(&mut store, step).await;
                if matches!(step, Step::Reopen | Step::Crash(_)) {
                    if let Step::Crash(seed) = step {
                        disk.crash(*seed);
                    }
                    drop((store, log));
                    log = shared(Arc::new(disk.open()));
                    store = open(&log, model.purged.map(|(term, index)| id(term, index))).await;
                    // The state machine knows what it applied; openraft purges up to there again.
                    if let Some((term, index)) = model.purged {
                        store.purge(id(term, index)).await.unwrap();
                    }
                }
                prop_assert_eq!(ids(&mut store).await, model.entries.clone());
                let expected = (model.purged.map(|(t, i)| id(t, i)), model.last().map(|(t, i)| id(t, i)));
                prop_assert_eq!(state(&mut store).await, expected);
                let middle = model.entries.len() / 2;
                if let Some(&(_, from)) = model.entries.get(middle) {
                    let part = store.try_get_log_entries(from..).await.unwrap();
                    prop_assert_eq!(part.len(), model.entries.len() - middle);
                }
            }
            Ok(())
        })?;
    }
}
