//! Commands with any numbers in them, and everything a shard keeps on disk or takes from a peer, damaged.

use super::{
    snapshot::{StagedSnapshot, StagingError},
    tests::{CHILD, SHARD, TABLE, apply, memory, rows, seeded, split},
    *,
};
use crate::{
    consensus::raft::types::SnapshotMeta,
    engine::{Engine, EngineErrorKind, MemoryDisk, Scan, Space, WriteBatch},
};
use isobar_api::{KeyRange, NodeId, ReplicaId, ShardId, Version};
use isobar_fuzz::{Damage, config, damage, read_within};
use proptest::{prelude::*, sample::Index};
use std::sync::{Arc, LazyLock};

/// Small numbers, those next to the largest one, and any.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, u64::MAX - 300..=u64::MAX, any::<u64>()]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let version = (number(), number()).prop_map(|(hlc, n)| Version { hlc, origin: NodeId(n) });
    let (value, expected) = (prop::option::of(bytes()), prop::option::weighted(0.1, version));
    (bytes(), value, expected, any::<u32>()).prop_map(|(key, value, expected, schema_version)| {
        Mutation { key, value, expected, schema_version }
    })
}

/// A leader takes its clock reading from its own clock; everything else is as the client says.
fn write() -> impl Strategy<Value = WriteCommand> {
    let mutations = prop::collection::vec(mutation(), 0..3);
    (any::<bool>(), number(), number(), 0..u64::MAX / 2, mutations).prop_map(
        |(client, sequence, first_unacknowledged, hlc, mutations)| WriteCommand {
            client_id: [client.into(); 16],
            sequence,
            first_unacknowledged,
            hlc,
            origin: 1,
            mutations,
        },
    )
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let numbers = || (number(), number(), number(), number());
    prop_oneof![
        4 => prop::collection::vec(write(), 0..3).prop_map(|writes| Command::Write(writes.into())),
        1 => (bytes(), numbers()).prop_map(|(at_key, (child, expected_shape, directive_id, step))| {
            Command::Split(SplitCommand {
                at_key,
                child: ShardId(child),
                expected_shape,
                directive_id,
                step_index: step as u32,
            })
        }),
        1 => Just(Command::AllocateReplica),
        1 => (number(), any::<u32>(), "\\PC{0,20}").prop_map(|(directive_id, step_index, json)| {
            Command::NoteStep(StepNote { directive_id, step_index, result_json: json })
        }),
        1 => number().prop_map(|before_hlc| Command::ExpireSessions { before_hlc }),
        1 => numbers().prop_map(|(into, round, expected_shape, expected_membership)| {
            Command::Freeze(FreezeCommand {
                into: ShardId(into),
                round,
                expected_shape,
                expected_membership,
            })
        }),
        1 => number().prop_map(|index| Command::Thaw { index }),
        1 => (bytes(), bytes(), numbers(), numbers()).prop_map(|(from, to, a, b)| {
            Command::Subsume(SubsumeCommand {
                right: ShardId(a.0),
                right_start: from,
                right_end: to,
                right_shape: a.1,
                freeze_index: a.2,
                round: a.3,
                expected_shape: b.0,
                expected_membership: b.1,
                directive_id: b.2,
                step_index: b.3 as u32,
            })
        }),
        1 => (number(), number())
            .prop_map(|(right, round)| Command::CallOff { right: ShardId(right), round }),
    ]
}

type Stored = Vec<(Space, Vec<u8>, Vec<u8>)>;

fn stored(engine: &Arc<dyn Engine>) -> Stored {
    let all = Scan::all().limit_rows(100_000).limit_bytes(usize::MAX);
    let of = |space: Space| {
        let rows = engine.scan(space, &all).unwrap().rows;
        rows.into_iter().map(move |(key, value)| (space, key, value))
    };
    Space::ALL.into_iter().flat_map(of).collect()
}

fn engine_with(stored: &Stored) -> Arc<dyn Engine> {
    let engine = memory();
    let mut batch = WriteBatch::new();
    for (space, key, value) in stored {
        batch.put(*space, key.clone(), value.clone());
    }
    engine.write(batch).unwrap();
    engine
}

fn put(client: u8, sequence: u64, key: String) -> Command {
    let mutation =
        Mutation { key: key.into(), value: Some(vec![1; 40]), expected: None, schema_version: 0 };
    let write = WriteCommand {
        client_id: [client; 16],
        sequence,
        first_unacknowledged: 1,
        hlc: sequence,
        origin: 1,
        mutations: vec![mutation],
    };
    Command::Write(vec![write].into())
}

/// Everything of a shard that has rows, sessions with outcomes inside and in pages, step results and a merge behind it.
fn shard() -> &'static (Arc<dyn Engine>, Stored) {
    static SHARD_STORED: LazyLock<(Arc<dyn Engine>, Stored)> = LazyLock::new(|| {
        let engine = memory();
        let mut left = seeded(&engine);
        apply(&mut left, 1, split("m")).unwrap();
        let mut right = tests::open(&engine, CHILD);
        for n in 1..200 {
            apply(&mut left, n + 1, put(1, n, format!("a{n}"))).unwrap();
        }
        apply(&mut left, 201, put(2, 1, "b".into())).unwrap();
        apply(&mut right, 1, put(2, 7, "n".into())).unwrap();
        let freeze =
            FreezeCommand { into: SHARD, round: 0, expected_shape: 2, expected_membership: 0 };
        apply(&mut right, 2, Command::Freeze(freeze)).unwrap();
        let subsume = SubsumeCommand {
            right: CHILD,
            right_start: b"m".to_vec(),
            right_end: Vec::new(),
            right_shape: 2,
            freeze_index: 2,
            round: 0,
            expected_shape: 2,
            expected_membership: 0,
            directive_id: 9,
            step_index: 0,
        };
        let merged = apply(&mut left, 202, Command::Subsume(subsume)).unwrap();
        assert_eq!(merged, CommandResult::Subsumed);
        let stored = stored(&engine);
        (engine, stored)
    });
    &SHARD_STORED
}

/// Opens a shard and uses everything that it has.
fn use_all(engine: &Arc<dyn Engine>) -> Result<(), crate::engine::EngineError> {
    #[expect(clippy::disallowed_methods, reason = "the registry's queue is such a one")]
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let mut machine =
        ShardStateMachine::open(engine.clone(), SHARD, ReplicaId(1), Host::new(events))?;
    for client in 1..3 {
        apply(&mut machine, 300, put(client, 201, "c".into()))?;
    }
    let descriptor = machine.state().descriptor();
    let view = LocalSnapshot::take(engine, SHARD, descriptor.as_deref())?;
    let mut cursor = Cursor::default();
    while view.next_chunk(&mut cursor)?.is_some() {}
    any_silent(&**engine, SHARD, 5)?;
    apply(&mut machine, 301, Command::ExpireSessions { before_hlc: u64::MAX })?;
    Ok(())
}

fn chunks() -> &'static [Vec<u8>] {
    static CHUNKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let engine = &shard().0;
        let machine = tests::open(engine, SHARD);
        let descriptor = machine.state().descriptor();
        let view = LocalSnapshot::take(engine, SHARD, descriptor.as_deref()).unwrap();
        let mut cursor = Cursor::default();
        std::iter::from_fn(|| view.next_chunk(&mut cursor).unwrap()).collect()
    });
    &CHUNKS
}

/// Takes chunks as if they were what their sender made.
fn stage(engine: &Arc<dyn Engine>, chunks: &[Vec<u8>]) -> Result<StagedSnapshot, StagingError> {
    let mut staging = Staging::begin(engine.clone(), SHARD);
    let mut root = blake3::Hasher::new();
    for (index, chunk) in (0..).zip(chunks) {
        let hash = blake3::hash(chunk);
        staging.add(index, chunk, hash.as_bytes())?;
        root.update(hash.as_bytes());
    }
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    staging.finish(chunks.len() as u32, bytes as u64, root.finalize().as_bytes())
}

fn install(engine: &Arc<dyn Engine>, chunks: &[Vec<u8>]) -> bool {
    let bytes = chunks.iter().map(Vec::len).sum();
    match read_within(bytes, || stage(engine, chunks)) {
        Ok(staged) => staged.install(&SnapshotMeta::default(), None).is_ok(),
        Err(_) => false,
    }
}

/// An installation that a dead disk has stopped after its mark was written: chunks and mark are there.
fn interrupted() -> &'static Stored {
    static INTERRUPTED: LazyLock<Stored> = LazyLock::new(|| {
        let disk = MemoryDisk::new();
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let staged = stage(&engine, chunks()).unwrap();
        disk.fail_write_after(2, EngineErrorKind::Io);
        let old_range = Some((TABLE, KeyRange::all()));
        assert!(staged.install(&SnapshotMeta::default(), old_range).is_err());
        let stored = stored(&engine);
        assert!(stored.iter().any(|(_, key, _)| *key == keys::installing(SHARD)));
        stored
    });
    &INTERRUPTED
}

fn damaged(whole: &Stored, at: Index, damage: &Damage) -> Stored {
    let mut stored = whole.clone();
    let inside: Vec<usize> = (0..stored.len()).filter(|n| !stored[*n].2.is_empty()).collect();
    let at = inside[at.index(inside.len())];
    stored[at].2 = damage.of(&stored[at].2);
    stored
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_commands_with_any_numbers(
        commands in prop::collection::vec(command(), 0..30), many in number(), count in 0..200_u64,
    ) {
        let engine = memory();
        let mut machine = seeded(&engine);
        // So many requests of one client that its outcomes fill pages.
        let first = many.saturating_sub(count);
        let puts = (first..=many.min(first.saturating_add(200))).map(|n| put(0, n, "k".into()));
        for (index, command) in (1..).zip(commands.into_iter().chain(puts)) {
            let _ = apply(&mut machine, index, command);
        }
        drop(machine);
        prop_assert!(use_all(&engine).is_ok(), "what it wrote itself, it can read");
    }

    #[test]
    fn fuzz_what_a_shard_has_stored(at: Index, damage in damage()) {
        let stored = damaged(&shard().1, at, &damage);
        let engine = engine_with(&stored);
        let bytes: usize = stored.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        let _ = read_within(bytes, || use_all(&engine));
    }

    #[test]
    fn fuzz_snapshots(at: Index, damage in damage(), any: Vec<u8>) {
        let engine = memory();
        prop_assert!(install(&engine, chunks()));
        prop_assert_eq!(rows(&engine), rows(&shard().0));
        let mut bad = chunks().to_vec();
        let at = at.index(bad.len());
        bad[at] = damage.of(&bad[at]);
        install(&memory(), &bad);
        bad[at] = any;
        install(&memory(), &bad);
        let mut staging = Staging::begin(memory(), SHARD);
        let (hash, other) = (blake3::hash(&chunks()[0]), blake3::hash(&bad[at]));
        prop_assert!(hash == other || staging.add(0, &bad[at], hash.as_bytes()).is_err());
    }

    #[test]
    fn fuzz_interrupted_installations(at: Index, damage in damage()) {
        let whole = engine_with(interrupted());
        prop_assert!(finish_interrupted(&*whole, SHARD).is_ok());
        prop_assert_eq!(rows(&whole), rows(&shard().0));
        let stored = damaged(interrupted(), at, &damage);
        let bytes: usize = stored.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        let engine = engine_with(&stored);
        let _ = read_within(bytes, || finish_interrupted(&*engine, SHARD));
    }

    #[test]
    fn fuzz_outcomes(outcomes in prop::collection::vec(any::<[u64; 3]>(), 0..4), damage in damage()) {
        let outcome = |n: &[u64; 3]| {
            let version = Version { hlc: n[1], origin: NodeId(n[2]) };
            match n[0] % 3 {
                0 => WriteOutcome::Applied { version, repeated: n[0] % 2 == 0 },
                1 => WriteOutcome::Conflict { current: vec![version; 2], repeated: false },
                _ => WriteOutcome::OutsideRange,
            }
        };
        let result = CommandResult::Write(outcomes.iter().map(outcome).collect());
        let whole = crate::consensus::raft::types::encode(&result);
        let back = crate::consensus::raft::types::decode::<CommandResult>(&whole);
        prop_assert_eq!(back.as_ref(), Ok(&result));
        let bytes = damage.of(&whole);
        let _ = read_within(bytes.len(), || {
            crate::consensus::raft::types::decode::<CommandResult>(&bytes)
        });
    }
}
