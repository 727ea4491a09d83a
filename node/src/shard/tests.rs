use super::{keys::node, row::Row, *};
use crate::{
    consensus::raft::types::{Entry, LogId, Snapshot, decode},
    engine::{
        Engine, EngineError, EngineErrorKind, MemoryDisk, MemoryEngine, Scan, Space, WriteBatch,
    },
};
use isobar_api::{
    KeyRange, Merging, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, TableId,
    table::{AckLevel, TableRule},
};
use openraft::{RaftSnapshotBuilder, entry::RaftEntry, storage::RaftStateMachine};
use std::sync::Arc;

pub(crate) const SHARD: ShardId = ShardId(7);
pub(crate) const CHILD: ShardId = ShardId(8);
pub(crate) const TABLE: TableId = TableId(1);

pub(crate) fn memory() -> Arc<dyn Engine> {
    Arc::new(MemoryEngine::new())
}

fn descriptor() -> ShardDescriptor {
    let rule =
        TableRule { regions: Vec::new(), replicas: 1, replicas_max: 3, ack: AckLevel::Majority };
    ShardDescriptor {
        shard_id: SHARD,
        table_id: TABLE,
        range: KeyRange::all(),
        shape: 1,
        merging: Merging::default(),
        next_replica_id: 2,
        rule,
    }
}

pub(crate) fn open(engine: &Arc<dyn Engine>, shard: ShardId) -> ShardStateMachine {
    #[expect(clippy::disallowed_methods, reason = "the registry's queue is such a one")]
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    ShardStateMachine::open(engine.clone(), shard, ReplicaId(1), Host::new(events)).unwrap()
}

/// A shard that knows its keys and has applied nothing.
pub(crate) fn unapplied(engine: &Arc<dyn Engine>) -> ShardStateMachine {
    let mut batch = WriteBatch::new();
    let stored = serde_json::to_vec(&descriptor()).unwrap();
    batch.put(Space::Meta, keys::descriptor(SHARD), stored);
    engine.write(batch).unwrap();
    open(engine, SHARD)
}

/// A shard as it begins.
pub(crate) fn seeded(engine: &Arc<dyn Engine>) -> ShardStateMachine {
    let replica =
        Replica { replica_id: ReplicaId(1), node_id: NodeId(1), role: ReplicaRole::Voter };
    let mut batch = WriteBatch::new();
    Seed { descriptor: descriptor(), replicas: vec![replica] }
        .write(ReplicaId(1), &mut batch)
        .unwrap();
    engine.write(batch).unwrap();
    engine.sync().unwrap();
    open(engine, SHARD)
}

/// A replica that waits for its first snapshot.
fn empty(engine: &Arc<dyn Engine>, shard: ShardId) -> ShardStateMachine {
    let mut batch = WriteBatch::new();
    LocalReplica::of(ReplicaId(1), &descriptor()).put(shard, &mut batch);
    engine.write(batch).unwrap();
    open(engine, shard)
}

pub(crate) fn apply(
    machine: &mut ShardStateMachine,
    index: u64,
    command: Command,
) -> Result<CommandResult, EngineError> {
    machine.apply_entry(Entry::new_normal(LogId::new_term_index(1, index), command))
}

fn write(sequence: u64, hlc: u64, key: &str, value: &[u8]) -> Command {
    let write = WriteCommand {
        client_id: [5; 16],
        sequence,
        first_unacknowledged: 1,
        hlc,
        origin: 1,
        mutations: vec![Mutation {
            key: key.into(),
            value: Some(value.to_vec()),
            expected: None,
            schema_version: 0,
        }],
    };
    Command::Write(vec![write].into())
}

pub(crate) fn split(at_key: &str) -> Command {
    Command::Split(SplitCommand {
        at_key: at_key.into(),
        child: CHILD,
        expected_shape: 1,
        directive_id: 1,
        step_index: 0,
    })
}

/// Clock reading of the version, and whether it was a repetition.
fn applied(result: Result<CommandResult, EngineError>) -> (u64, bool) {
    match result.unwrap() {
        CommandResult::Write(outcomes) => match outcomes[..] {
            [WriteOutcome::Applied { version, repeated }] => (version.hlc, repeated),
            _ => panic!("{outcomes:?}"),
        },
        other => panic!("{other}"),
    }
}

pub(crate) fn rows(engine: &Arc<dyn Engine>) -> Vec<(String, Vec<u8>)> {
    let (start, end) = keys::rows(TABLE, &KeyRange::all());
    let scan = Scan::range(start, Some(end)).limit_bytes(usize::MAX);
    let rows = engine.scan(Space::Data, &scan).unwrap().rows;
    rows.into_iter()
        .map(|(key, stored)| {
            let key = String::from_utf8(keys::user_key(&key).to_vec()).unwrap();
            (key, Row::decode(&stored).unwrap().value)
        })
        .collect()
}

fn is_empty(engine: &Arc<dyn Engine>, space: Space) -> bool {
    engine.scan(space, &Scan::all()).unwrap().rows.is_empty()
}

pub(crate) fn recorded(engine: &Arc<dyn Engine>, shard: ShardId) -> KeyRange {
    let stored = engine.get(Space::Meta, &node::replica(shard)).unwrap().unwrap();
    decode::<LocalReplica>(&stored).unwrap().range()
}

pub(crate) async fn snapshot(machine: &mut ShardStateMachine) -> Snapshot {
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

fn chunks(snapshot: &ShardSnapshot) -> Vec<Vec<u8>> {
    let ShardSnapshot::Local(view) = snapshot else { panic!("not our own") };
    let mut cursor = Cursor::default();
    std::iter::from_fn(|| view.next_chunk(&mut cursor).unwrap()).collect()
}

fn stage(engine: &Arc<dyn Engine>, shard: ShardId, chunks: &[Vec<u8>]) -> Staging {
    let mut staging = Staging::begin(engine.clone(), shard);
    for (index, chunk) in chunks.iter().enumerate() {
        staging.add(index as u32, chunk, blake3::hash(chunk).as_bytes()).unwrap();
    }
    staging
}

fn manifest(chunks: &[Vec<u8>]) -> (u32, u64, blake3::Hash) {
    let mut root = blake3::Hasher::new();
    chunks.iter().for_each(|chunk| _ = root.update(blake3::hash(chunk).as_bytes()));
    let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    (chunks.len() as u32, bytes, root.finalize())
}

#[tokio::test]
async fn a_repeated_write_is_known_after_a_split_and_after_a_snapshot() {
    let engine = memory();
    let mut parent = seeded(&engine);
    assert_eq!(applied(apply(&mut parent, 1, write(1, 10, "x", b"one"))), (10, false));
    assert_eq!(applied(apply(&mut parent, 2, write(2, 20, "x", b"two"))), (20, false));
    assert_eq!(applied(apply(&mut parent, 3, write(1, 30, "x", b"one"))), (10, true));
    assert_eq!(apply(&mut parent, 4, split("m")).unwrap(), CommandResult::Split { shape: 2 });
    let outside = CommandResult::Write(vec![WriteOutcome::OutsideRange]);
    assert_eq!(apply(&mut parent, 5, write(3, 40, "x", b"no")).unwrap(), outside);

    let mut child = open(&engine, CHILD);
    assert_eq!(applied(apply(&mut child, 1, write(1, 50, "x", b"one"))), (10, true));
    let sent = snapshot(&mut child).await;
    let elsewhere = memory();
    let mut copy = empty(&elsewhere, CHILD);
    copy.install_snapshot(&sent.meta, sent.snapshot).await.unwrap();
    assert_eq!(applied(apply(&mut copy, 2, write(2, 60, "x", b"two"))), (20, true));
    assert_eq!(rows(&elsewhere), [("x".into(), b"two".to_vec())]);
    assert_eq!(rows(&elsewhere), rows(&engine));
}

#[test]
fn versions_grow_although_the_clock_of_a_new_leader_is_behind() {
    let engine = memory();
    let mut machine = seeded(&engine);
    assert_eq!(applied(apply(&mut machine, 1, write(1, 100, "x", b"one"))), (100, false));
    assert_eq!(applied(apply(&mut machine, 2, write(2, 5, "x", b"two"))), (101, false));
    let mut machine = open(&engine, SHARD);
    assert_eq!(applied(apply(&mut machine, 3, write(3, 5, "x", b"three"))), (102, false));
}

/// What this node holds is deleted by the record when the group is down: it must never claim a neighbour's keys.
#[tokio::test]
async fn the_record_of_a_replica_follows_its_range() {
    let engine = memory();
    let mut parent = seeded(&engine);
    apply(&mut parent, 1, split("m")).unwrap();
    let left = KeyRange { start: Vec::new(), end: b"m".to_vec() };
    assert_eq!(recorded(&engine, SHARD), left);
    assert_eq!(recorded(&engine, CHILD), KeyRange { start: b"m".to_vec(), end: Vec::new() });
    // A replica that slept through the split learns of it from a snapshot.
    let elsewhere = memory();
    let mut late = seeded(&elsewhere);
    assert_eq!(recorded(&elsewhere, SHARD), KeyRange::all());
    let sent = snapshot(&mut parent).await;
    late.install_snapshot(&sent.meta, sent.snapshot).await.unwrap();
    assert_eq!(recorded(&elsewhere, SHARD), left);
}

/// Fails every write of an installation in turn, crashes, and opens again.
#[tokio::test]
async fn a_crash_during_an_installation_leaves_the_old_state_or_the_new() {
    let source = memory();
    let mut sender = seeded(&source);
    let big = vec![7; 270 << 10];
    for index in 1..=5 {
        let key = format!("new {index}");
        apply(&mut sender, index, write(index, index, &key, &big)).unwrap();
    }
    let new_rows = rows(&source);
    let old_rows = vec![("old".to_owned(), b"value".to_vec())];
    let (mut kept, mut finished) = (0, 0);
    for (writes, seed) in (0..).flat_map(|writes| (0..2).map(move |seed| (writes, seed))) {
        let disk = MemoryDisk::new();
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let mut machine = seeded(&engine);
        apply(&mut machine, 1, write(1, 1, "old", b"value")).unwrap();
        engine.sync().unwrap();
        let sent = snapshot(&mut sender).await;
        let chunks = chunks(&sent.snapshot);
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.len() < 1 << 20));
        disk.fail_write_after(writes, EngineErrorKind::Io);
        let installed = machine.install_snapshot(&sent.meta, sent.snapshot).await;
        assert_eq!(
            machine.state().hold_rows().is_some(),
            installed.is_ok() || writes < chunks.len()
        );
        drop(machine);
        disk.crash(seed);

        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let machine = open(&engine, SHARD);
        let index = machine.last_applied().unwrap().index();
        let is_new = index == 5;
        assert!(is_new || index == 1, "applied up to {index}");
        assert_eq!(rows(&engine), if is_new { new_rows.clone() } else { old_rows.clone() });
        assert!(is_empty(&engine, Space::Staging), "{writes}");
        if installed.is_ok() {
            assert!(is_new);
            break;
        }
        kept += usize::from(!is_new);
        finished += usize::from(is_new);
    }
    assert!(kept > 3 && finished > 3, "{kept} before the mark, {finished} behind it");
}

#[tokio::test]
async fn two_attempts_to_send_a_snapshot_do_not_disturb_each_other() {
    let source = memory();
    let mut sender = seeded(&source);
    apply(&mut sender, 1, write(1, 1, "x", b"one")).unwrap();
    let sent = snapshot(&mut sender).await;
    let chunks = chunks(&sent.snapshot);
    let (count, bytes, root) = manifest(&chunks);

    let engine = memory();
    let mut machine = empty(&engine, SHARD);
    let first = stage(&engine, SHARD, &chunks);
    let broken_off = stage(&engine, SHARD, &chunks);
    let staged = first.finish(count, bytes, root.as_bytes()).unwrap();
    drop(broken_off);
    let second = stage(&engine, SHARD, &chunks);
    let staged = ShardSnapshot::Staged(staged);
    machine.install_snapshot(&sent.meta, staged).await.unwrap();
    assert_eq!(rows(&engine), rows(&source));
    second.finish(count, bytes, root.as_bytes()).unwrap();
    assert!(is_empty(&engine, Space::Staging), "chunks outlive their attempt");
}

#[tokio::test]
async fn what_is_not_a_snapshot_of_the_shard_is_refused_before_anything_changes() {
    let source = memory();
    let mut sender = seeded(&source);
    apply(&mut sender, 1, write(1, 1, "x", b"one")).unwrap();
    let good = chunks(&snapshot(&mut sender).await.snapshot);
    let (count, bytes, root) = manifest(&good);
    let engine = memory();
    let mut staging = Staging::begin(engine.clone(), SHARD);
    assert!(staging.add(1, &good[0], blake3::hash(&good[0]).as_bytes()).is_err(), "order");
    assert!(staging.add(0, &good[0], blake3::hash(b"other").as_bytes()).is_err(), "hash");
    for (count, bytes, root) in
        [(count + 1, bytes, root), (count, bytes + 1, root), (count, bytes, blake3::hash(b"other"))]
    {
        assert!(stage(&engine, SHARD, &good).finish(count, bytes, root.as_bytes()).is_err());
    }
    let finish = |shard, chunks: &[Vec<u8>]| {
        let (count, bytes, root) = manifest(chunks);
        stage(&engine, shard, chunks).finish(count, bytes, root.as_bytes()).map(drop)
    };
    assert!(finish(CHILD, &good).is_err(), "another shard's");
    assert!(finish(SHARD, &[]).is_err(), "nothing");
    assert!(finish(SHARD, &[b"rubbish".to_vec()]).is_err(), "rubbish");
    finish(SHARD, &good).unwrap();
    assert!(is_empty(&engine, Space::Staging) && is_empty(&engine, Space::Meta));
}

#[tokio::test]
async fn a_removed_replica_changes_nothing_more() {
    let engine = memory();
    let mut machine = seeded(&engine);
    let sent = snapshot(&mut machine).await;
    let state = machine.state();
    drop(state.hold_rows().expect("the rows are whole"));
    state.withdraw_rows();
    assert!(state.hold_rows().is_none());
    let late = apply(&mut machine, 1, write(1, 1, "x", b"late"));
    assert_eq!(late.unwrap_err().kind(), EngineErrorKind::Closed);
    machine.install_snapshot(&sent.meta, sent.snapshot).await.unwrap_err();
    assert!(rows(&engine).is_empty() && is_empty(&engine, Space::Staging));
}

/// Writes of one entry see each other as if each had an entry of its own.
#[test]
fn conditions_hold_against_earlier_writes_of_the_same_entry() {
    let set = |client: u8, sequence, value: Option<&str>, expected| WriteCommand {
        client_id: [client; 16],
        sequence,
        first_unacknowledged: 1,
        hlc: 10,
        origin: 1,
        mutations: vec![Mutation {
            key: b"x".to_vec(),
            value: value.map(Into::into),
            expected,
            schema_version: 0,
        }],
    };
    let version = |hlc| isobar_api::Version { hlc, origin: NodeId(1) };
    let absent = isobar_api::Version::ABSENT;
    let writes = vec![
        set(1, 1, Some("one"), Some(absent)),
        set(2, 1, Some("no"), Some(absent)),
        set(2, 2, Some("two"), Some(version(10))),
        set(1, 1, Some("again"), Some(absent)),
        set(1, 2, None, None),
        set(2, 3, Some("three"), Some(absent)),
    ];
    let together = memory();
    let CommandResult::Write(outcomes) =
        apply(&mut seeded(&together), 1, Command::Write(writes.clone().into())).unwrap()
    else {
        panic!("not a write")
    };
    let applied = |hlc, repeated| WriteOutcome::Applied { version: version(hlc), repeated };
    let conflict = WriteOutcome::Conflict { current: vec![version(10)], repeated: false };
    let expected =
        [applied(10, false), conflict, applied(11, false), applied(10, true), applied(12, false)];
    assert_eq!(outcomes[..5], expected);
    assert_eq!(outcomes[5], applied(13, false), "the row was deleted before");
    assert_eq!(rows(&together), [("x".into(), b"three".to_vec())]);

    let apart = memory();
    let mut machine = seeded(&apart);
    for (index, (write, outcome)) in (1..).zip(writes.into_iter().zip(outcomes)) {
        let alone = apply(&mut machine, index, Command::Write(vec![write].into())).unwrap();
        assert_eq!(alone, CommandResult::Write(vec![outcome]));
    }
    assert_eq!(rows(&apart), rows(&together));
}

/// Rows may lie where a replica is to be that knows nothing of them.
#[tokio::test]
async fn rows_that_lay_there_before_are_gone_after_an_installation() {
    let source = memory();
    let mut sender = seeded(&source);
    apply(&mut sender, 1, write(1, 1, "x", b"one")).unwrap();
    let engine = memory();
    let mut machine = empty(&engine, SHARD);
    let mut batch = WriteBatch::new();
    let left_over = Row::encode(isobar_api::Version { hlc: 1, origin: NodeId(9) }, 0, b"old");
    batch.put(Space::Data, keys::row(TABLE, b"left over"), left_over);
    engine.write(batch).unwrap();
    let sent = snapshot(&mut sender).await;
    machine.install_snapshot(&sent.meta, sent.snapshot).await.unwrap();
    assert_eq!(rows(&engine), rows(&source));
}

/// They may be another shard's.
#[tokio::test]
async fn a_snapshot_with_rows_outside_its_shard_is_refused() {
    let source = memory();
    let mut sender = seeded(&source);
    apply(&mut sender, 1, write(1, 1, "x", b"outside")).unwrap();
    let whole = chunks(&snapshot(&mut sender).await.snapshot);
    apply(&mut sender, 2, split("m")).unwrap();
    let mut mixed = chunks(&snapshot(&mut sender).await.snapshot);
    mixed.extend(whole);
    let engine = memory();
    let (count, bytes, root) = manifest(&mixed);
    let refused = stage(&engine, SHARD, &mixed).finish(count, bytes, root.as_bytes()).err();
    let refused = refused.expect("`x` is not in this shard").to_string();
    assert!(refused.contains("outside its shard"), "{refused}");
}

/// A parent that is behind applies a split whose child was here, and was removed again, long ago.
#[test]
fn the_child_of_a_split_that_was_removed_already_is_not_made_again() {
    for (removed, is_made) in [(1, false), (0, true)] {
        let engine = memory();
        let mut parent = seeded(&engine);
        apply(&mut parent, 1, write(1, 1, "x", b"of the child")).unwrap();
        apply(&mut parent, 2, write(2, 2, "a", b"of the parent")).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(Space::Meta, node::tombstone(CHILD), u64::to_be_bytes(removed));
        engine.write(batch).unwrap();
        apply(&mut parent, 3, split("m")).unwrap();
        let record = engine.get(Space::Meta, &node::replica(CHILD)).unwrap();
        assert_eq!(record.is_some(), is_made);
        assert_eq!(rows(&engine).len(), if is_made { 2 } else { 1 }, "its rows go");
    }
}
