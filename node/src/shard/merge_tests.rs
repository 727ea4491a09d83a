use super::{
    keys::{self, node},
    tests::{CHILD, SHARD, apply, memory, open, recorded, rows, seeded, snapshot, split},
    *,
};
use crate::engine::{Engine, EngineError, EngineErrorKind, MemoryDisk, Scan, Space};
use isobar_api::{KeyRange, ShardId};
use openraft::storage::RaftStateMachine;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const CLIENTS: u8 = 3;

fn write_of(client: u8, sequence: u64, low: u64, key: &str, value: &str) -> Command {
    let mutation =
        Mutation { key: key.into(), value: Some(value.into()), expected: None, schema_version: 0 };
    let write = WriteCommand {
        client_id: [client; 16],
        sequence,
        first_unacknowledged: low,
        hlc: 1,
        origin: 1,
        mutations: vec![mutation],
    };
    Command::Write(vec![write].into())
}

fn outcome(result: Result<CommandResult, EngineError>) -> WriteOutcome {
    match result.unwrap() {
        CommandResult::Write(mut outcomes) => outcomes.remove(0),
        other => panic!("{other}"),
    }
}

fn freeze(round: u64) -> Command {
    let freeze = FreezeCommand { into: SHARD, round, expected_shape: 2, expected_membership: 0 };
    Command::Freeze(freeze)
}

fn subsume(round: u64, freeze_index: u64) -> SubsumeCommand {
    SubsumeCommand {
        right: CHILD,
        right_start: b"m".to_vec(),
        right_end: Vec::new(),
        right_shape: 2,
        freeze_index,
        round,
        expected_shape: 2,
        expected_membership: 0,
        directive_id: 9,
        step_index: 0,
    }
}

/// Two halves of a shard that was cut at `m`, each with its own log.
struct Halves {
    engine: Arc<dyn Engine>,
    left: ShardStateMachine,
    right: ShardStateMachine,
    next: [u64; 2],
}

impl Halves {
    fn cut(engine: Arc<dyn Engine>, mut whole: ShardStateMachine, index: u64) -> Self {
        apply(&mut whole, index, split("m")).unwrap();
        let right = open(&engine, CHILD);
        Self { engine, left: whole, right, next: [index + 1, 1] }
    }

    fn new() -> Self {
        let engine = memory();
        let whole = seeded(&engine);
        Self::cut(engine, whole, 1)
    }

    fn left(&mut self, command: Command) -> Result<CommandResult, EngineError> {
        self.next[0] += 1;
        apply(&mut self.left, self.next[0] - 1, command)
    }

    fn right(&mut self, command: Command) -> Result<CommandResult, EngineError> {
        self.next[1] += 1;
        apply(&mut self.right, self.next[1] - 1, command)
    }

    fn at(&mut self, key: &str, command: Command) -> Result<CommandResult, EngineError> {
        if key < "m" { self.left(command) } else { self.right(command) }
    }

    fn merge(&mut self) {
        let frozen = self.right(freeze(0)).unwrap();
        let CommandResult::Frozen { index } = frozen else { panic!("{frozen}") };
        let merged = self.left(Command::Subsume(subsume(0, index))).unwrap();
        assert_eq!(merged, CommandResult::Subsumed);
    }
}

/// Nothing of the shard's own is left on the node but the memory that it was here.
fn is_forgotten(engine: &Arc<dyn Engine>, shard: ShardId) -> bool {
    let (start, end) = keys::sessions(shard);
    let empty = |space| {
        let scan = Scan::range(start.clone(), Some(end.clone()));
        engine.scan(space, &scan).unwrap().rows.is_empty()
    };
    let tombstone = engine.get(Space::Meta, &node::tombstone(shard)).unwrap();
    empty(Space::Meta)
        && empty(Space::Sessions)
        && engine.get(Space::Meta, &node::replica(shard)).unwrap().is_none()
        && tombstone == Some(u64::MAX.to_be_bytes().to_vec())
}

#[test]
fn a_frozen_shard_changes_nothing_until_it_is_thawed() {
    let mut halves = Halves::new();
    let put = |sequence| write_of(1, sequence, 1, "x", "1");
    assert!(matches!(outcome(halves.right(put(1))), WriteOutcome::Applied { .. }));
    let stale = FreezeCommand { into: SHARD, round: 0, expected_shape: 1, expected_membership: 0 };
    for wrong in
        [stale.clone(), FreezeCommand { expected_shape: 2, expected_membership: 7, ..stale }]
    {
        let refused = halves.right(Command::Freeze(wrong)).unwrap();
        assert!(matches!(refused, CommandResult::Refused(_)), "{refused}");
    }
    let frozen = halves.right(freeze(0)).unwrap();
    let CommandResult::Frozen { index } = frozen else { panic!("{frozen}") };
    assert_eq!(halves.right(freeze(0)).unwrap(), CommandResult::Frozen { index }, "a repetition");
    assert!(matches!(halves.right(freeze(1)).unwrap(), CommandResult::Refused(_)));

    let before = halves.engine.scan(Space::Sessions, &Scan::all()).unwrap();
    assert_eq!(outcome(halves.right(put(2))), WriteOutcome::Frozen);
    let known = outcome(halves.right(put(1)));
    assert!(matches!(known, WriteOutcome::Applied { repeated: true, .. }), "{known:?}");
    halves.right(Command::ExpireSessions { before_hlc: u64::MAX }).unwrap();
    let mut cut = SplitCommand {
        at_key: b"t".to_vec(),
        child: ShardId(9),
        expected_shape: 2,
        directive_id: 3,
        step_index: 0,
    };
    for refused in [Command::Split(cut.clone()), Command::AllocateReplica] {
        let refused = halves.right(refused).unwrap();
        assert!(matches!(refused, CommandResult::Refused(_)), "{refused}");
    }
    assert_eq!(halves.engine.scan(Space::Sessions, &Scan::all()).unwrap(), before);

    halves.right(Command::Thaw { index: index + 1 }).unwrap();
    assert_eq!(outcome(halves.right(put(2))), WriteOutcome::Frozen, "another freeze was thawed");
    halves.right(Command::Thaw { index }).unwrap();
    assert!(matches!(outcome(halves.right(put(2))), WriteOutcome::Applied { .. }));
    cut.expected_shape = 2;
    assert_eq!(halves.right(Command::Split(cut)).unwrap(), CommandResult::Split { shape: 3 });
}

#[test]
fn what_comes_first_in_the_survivors_log_is_what_happens() {
    let mut halves = Halves::new();
    let call_off = |round| Command::CallOff { right: CHILD, round };
    let CommandResult::Frozen { index } = halves.right(freeze(0)).unwrap() else { panic!() };
    assert_eq!(halves.left(call_off(0)).unwrap(), CommandResult::CalledOff);
    let late = halves.left(Command::Subsume(subsume(0, index))).unwrap();
    assert!(matches!(late, CommandResult::Refused(_)), "a merge that was called off: {late}");
    assert_eq!(halves.left(call_off(0)).unwrap(), CommandResult::CalledOff, "again");
    halves.right(Command::Thaw { index }).unwrap();

    let CommandResult::Frozen { index } = halves.right(freeze(1)).unwrap() else { panic!() };
    for wrong in [
        SubsumeCommand { expected_shape: 1, ..subsume(1, index) },
        SubsumeCommand { expected_membership: 5, ..subsume(1, index) },
        SubsumeCommand { right_start: b"n".to_vec(), ..subsume(1, index) },
        SubsumeCommand { right_end: b"a".to_vec(), right_start: Vec::new(), ..subsume(1, index) },
    ] {
        let refused = halves.left(Command::Subsume(wrong)).unwrap();
        assert!(matches!(refused, CommandResult::Refused(_)), "{refused}");
    }
    let merged = halves.left(Command::Subsume(subsume(1, index))).unwrap();
    assert_eq!(merged, CommandResult::Subsumed);
    assert_eq!(halves.left(call_off(1)).unwrap(), CommandResult::Subsumed, "too late");
    let again = halves.left(Command::Subsume(subsume(1, index))).unwrap();
    assert!(matches!(again, CommandResult::Refused(_)), "{again}");
    assert!(is_forgotten(&halves.engine, CHILD));
    assert_eq!(recorded(&halves.engine, SHARD), KeyRange::all());
    let state = halves.left.state();
    assert_eq!(state.epoch().shape, 3);
    assert!(state.subsumed().contains(&CHILD));
    let again = open(&halves.engine, SHARD);
    assert!(again.state().subsumed().contains(&CHILD), "also after a restart");
}

#[test]
fn a_shard_that_is_frozen_itself_subsumes_nothing() {
    let mut halves = Halves::new();
    let CommandResult::Frozen { index } = halves.right(freeze(0)).unwrap() else { panic!() };
    let other =
        FreezeCommand { into: ShardId(3), round: 0, expected_shape: 2, expected_membership: 0 };
    assert!(matches!(halves.left(Command::Freeze(other)).unwrap(), CommandResult::Frozen { .. }));
    let refused = halves.left(Command::Subsume(subsume(0, index))).unwrap();
    assert!(matches!(refused, CommandResult::Refused(_)), "{refused}");
    assert!(!is_forgotten(&halves.engine, CHILD));
}

/// Such a replica stops; the others go on.
#[test]
fn a_replica_whose_neighbour_is_not_frozen_here_takes_nothing_over() {
    let mut halves = Halves::new();
    assert!(matches!(
        outcome(halves.right(write_of(1, 1, 1, "x", "1"))),
        WriteOutcome::Applied { .. }
    ));
    let before = halves.engine.scan(Space::Meta, &Scan::all()).unwrap();
    let damaged = halves.left(Command::Subsume(subsume(0, 2))).unwrap_err();
    assert_eq!(damaged.kind(), EngineErrorKind::Corruption);
    assert_eq!(halves.engine.scan(Space::Meta, &Scan::all()).unwrap(), before);
}

/// One request: who, which key, and whether its client has heard all its earlier answers of that half.
fn requests() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    proptest::collection::vec((0..CLIENTS, 0..26_u8, any::<bool>()), 1..60)
}

proptest! {
    /// Whatever was written before the cut, between, and after the merge: the rows are those of a shard that was never
    /// cut, and each request that its client may still repeat gets its first answer.
    #[test]
    fn a_cut_and_a_merge_leave_no_trace(
        before in requests(), between in requests(), after in requests(),
    ) {
        let engine = memory();
        let mut whole = seeded(&engine);
        let mut model = BTreeMap::new();
        let mut answered: Vec<(u8, u64, String, WriteOutcome)> = Vec::new();
        let mut sequences = BTreeMap::new();
        // The lowest request that its client may repeat, of each client and half.
        let mut lows: BTreeMap<(u8, bool), u64> = BTreeMap::new();
        let mut next = |(client, key, heard): (u8, u8, bool), merged: bool| {
            let key = char::from(b'a' + key).to_string();
            let sequence = sequences.entry(client).and_modify(|s| *s += 1).or_insert(1_u64);
            let mut low = 1;
            for half in [key.as_str() < "m", key.as_str() >= "m"] {
                if merged || half == (key.as_str() < "m") {
                    let known = lows.entry((client, half)).or_insert(1);
                    *known = if heard { *sequence } else { *known };
                    low = if merged { low.max(*known) } else { *known };
                }
            }
            let value = format!("{client}/{sequence}");
            model.insert(key.clone(), value.clone().into_bytes());
            let low = if merged && !heard { 1 } else { low };
            (client, *sequence, key.clone(), write_of(client, *sequence, low, &key, &value))
        };
        let mut index = 0;
        for request in before {
            let (client, sequence, key, command) = next(request, true);
            index += 1;
            let outcome = outcome(apply(&mut whole, index, command));
            answered.push((client, sequence, key, outcome));
        }
        let mut halves = Halves::cut(engine, whole, index + 1);
        for request in between {
            let (client, sequence, key, command) = next(request, false);
            let outcome = outcome(halves.at(&key, command));
            answered.push((client, sequence, key, outcome));
        }
        halves.merge();
        for request in after {
            let (client, sequence, key, command) = next(request, true);
            answered.push((client, sequence, key, outcome(halves.left(command))));
        }
        let _ = next;
        let rows_now: BTreeMap<String, Vec<u8>> = rows(&halves.engine).into_iter().collect();
        prop_assert_eq!(&rows_now, &model);
        for (client, sequence, key, first) in answered {
            let again = outcome(halves.left(write_of(client, sequence, 1, &key, "again")));
            let WriteOutcome::Applied { version, .. } = first else { panic!("{first:?}") };
            let may_repeat = sequence >= lows.get(&(client, key.as_str() < "m")).copied().unwrap_or(1);
            let known = again == WriteOutcome::Applied { version, repeated: true };
            prop_assert!(known || !may_repeat, "{} of {}: {:?}", sequence, client, again);
            prop_assert!(known || again == WriteOutcome::SequenceExpired, "{:?}", again);
        }
        let rows_now: BTreeMap<String, Vec<u8>> = rows(&halves.engine).into_iter().collect();
        prop_assert_eq!(rows_now, model, "nothing was applied twice");
    }
}

/// A client tells each half separately what it has heard of. After the merge, what it told one half must not make the
/// survivor forget what is open in the other, nor apply again what the one has forgotten.
#[test]
fn what_one_half_was_told_says_nothing_of_the_other() {
    let mut halves = Halves::new();
    for (sequence, low) in [(1, 1), (3, 3), (5, 5)] {
        halves.left(write_of(1, sequence, low, "a", "left")).unwrap();
    }
    let right = outcome(halves.right(write_of(1, 2, 2, "x", "right")));
    halves.merge();
    for mut machine in [open(&halves.engine, SHARD), halves.left] {
        let expired = outcome(apply(&mut machine, 100, write_of(1, 3, 1, "a", "again")));
        assert_eq!(expired, WriteOutcome::SequenceExpired, "the left half had forgotten it");
        let repeated = outcome(apply(&mut machine, 101, write_of(1, 2, 2, "x", "again")));
        let WriteOutcome::Applied { version, .. } = right else { panic!("{right:?}") };
        assert_eq!(repeated, WriteOutcome::Applied { version, repeated: true });
        // Open in the right half all the while, and never seen there.
        let open = outcome(apply(&mut machine, 102, write_of(1, 4, 2, "y", "late")));
        assert!(matches!(open, WriteOutcome::Applied { .. }), "{open:?}");
    }
    // Once the client has heard everything, nothing is kept apart any more.
    let mut machine = open(&halves.engine, SHARD);
    apply(&mut machine, 103, write_of(1, 6, 6, "b", "all heard")).unwrap();
    let parts = keys::session_parts(SHARD, &[1; 16]);
    assert_eq!(halves.engine.get(Space::Sessions, &parts).unwrap(), None);
    let expired = outcome(apply(&mut machine, 104, write_of(1, 4, 2, "y", "again")));
    assert_eq!(expired, WriteOutcome::SequenceExpired);
}

/// A crash takes the end of what was written: the merge as a whole, or nothing of it; then it is applied again.
#[test]
fn a_crash_leaves_both_shards_or_the_merged_one() {
    let mut seen = [0; 2];
    for seed in 0..16 {
        let disk = MemoryDisk::new();
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let whole = seeded(&engine);
        let mut halves = Halves::cut(engine.clone(), whole, 1);
        halves.left(write_of(1, 1, 1, "a", "left")).unwrap();
        halves.right(write_of(1, 2, 1, "x", "right")).unwrap();
        let CommandResult::Frozen { index } = halves.right(freeze(0)).unwrap() else { panic!() };
        // What a node does before it says that the freeze is applied.
        engine.sync().unwrap();
        let at = halves.next[0];
        assert_eq!(
            halves.left(Command::Subsume(subsume(0, index))).unwrap(),
            CommandResult::Subsumed
        );
        drop((halves, engine));
        disk.crash(seed);
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let mut left = open(&engine, SHARD);
        let merged = left.last_applied().unwrap().index() == at;
        seen[usize::from(merged)] += 1;
        assert_eq!(is_forgotten(&engine, CHILD), merged);
        if !merged {
            assert!(open(&engine, CHILD).state().frozen().is_some());
            let again = apply(&mut left, at, Command::Subsume(subsume(0, index))).unwrap();
            assert_eq!(again, CommandResult::Subsumed);
        }
        assert!(is_forgotten(&engine, CHILD));
        let known = outcome(apply(&mut left, at + 1, write_of(1, 2, 1, "x", "again")));
        assert!(matches!(known, WriteOutcome::Applied { repeated: true, .. }), "{known:?}");
        assert_eq!(rows(&engine).len(), 2);
    }
    assert!(seen.iter().all(|n| *n > 0), "both were met: {seen:?}");
}

/// A node that slept through the merge gets it by snapshot. Every write of the installation fails in turn.
#[tokio::test]
async fn a_snapshot_brings_the_merge_to_a_node_that_still_has_both() {
    let mut ahead = Halves::new();
    ahead.left(write_of(1, 1, 1, "a", "left")).unwrap();
    ahead.right(write_of(1, 2, 1, "x", "right")).unwrap();
    ahead.merge();
    ahead.left(write_of(1, 3, 1, "y", "merged")).unwrap();
    let expected = rows(&ahead.engine);
    let (mut old, mut new) = (0, 0);
    for (writes, seed) in (0..8).flat_map(|writes| (0..3).map(move |seed| (writes, seed))) {
        let disk = MemoryDisk::new();
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        let whole = seeded(&engine);
        let mut behind = Halves::cut(engine.clone(), whole, 1);
        behind.right(write_of(1, 2, 1, "x", "right")).unwrap();
        behind.right(freeze(0)).unwrap();
        engine.sync().unwrap();
        let sent = snapshot(&mut ahead.left).await;
        disk.fail_write_after(writes, EngineErrorKind::Io);
        let installed = behind.left.install_snapshot(&sent.meta, sent.snapshot).await;
        drop((behind, engine));
        disk.crash(seed);
        let engine: Arc<dyn Engine> = Arc::new(disk.open());
        finish_interrupted(&*engine, SHARD).unwrap();
        let machine = open(&engine, SHARD);
        let merged = machine.state().descriptor().unwrap().range == KeyRange::all();
        assert!(merged || installed.is_err());
        assert_eq!(is_forgotten(&engine, CHILD), merged);
        assert_eq!(machine.state().subsumed().contains(&CHILD), merged);
        if merged {
            new += 1;
            assert_eq!(rows(&engine), expected);
        } else {
            old += 1;
            assert!(open(&engine, CHILD).state().frozen().is_some());
        }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}

/// The memory of what was subsumed goes with the keys: to a child, and to whoever subsumes the survivor.
#[test]
fn a_child_remembers_what_its_parent_has_subsumed() {
    let mut halves = Halves::new();
    halves.merge();
    let cut = SplitCommand {
        at_key: b"t".to_vec(),
        child: ShardId(11),
        expected_shape: 3,
        directive_id: 4,
        step_index: 0,
    };
    assert_eq!(halves.left(Command::Split(cut)).unwrap(), CommandResult::Split { shape: 4 });
    assert!(open(&halves.engine, ShardId(11)).state().subsumed().contains(&CHILD));
}

/// Otherwise a row could be overwritten by a version that is older than its own.
#[test]
fn versions_grow_over_a_merge_though_the_other_half_had_the_faster_clock() {
    let mut halves = Halves::new();
    let hlc_of = |outcome| match outcome {
        WriteOutcome::Applied { version, .. } => version.hlc,
        other => panic!("{other:?}"),
    };
    let (before, later) = ((1..=20), 30);
    let right = before.map(|n| hlc_of(outcome(halves.right(write_of(1, n, 1, "x", "right")))));
    let right = right.last().expect("some");
    let left = hlc_of(outcome(halves.left(write_of(2, 1, 1, "a", "left"))));
    assert!(right > left + 1, "the right half is ahead: {right}, {left}");
    halves.merge();
    let merged = hlc_of(outcome(halves.left(write_of(1, later, 1, "x", "merged"))));
    assert!(merged > right, "{merged} is no later than {right}");
}

#[test]
fn whoever_subsumes_a_survivor_remembers_what_that_had_subsumed() {
    let mut halves = Halves::new();
    let mut batch = crate::engine::WriteBatch::new();
    batch.put(Space::Meta, keys::subsumed(CHILD, ShardId(99)), Vec::new());
    halves.engine.write(batch).unwrap();
    halves.right = open(&halves.engine, CHILD);
    halves.merge();
    for state in [halves.left.state(), open(&halves.engine, SHARD).state()] {
        assert_eq!(*state.subsumed(), [CHILD, ShardId(99)].into());
    }
}

/// Its group goes on for a moment: it must not apply to rows that are the survivor's by then.
#[tokio::test]
async fn from_the_merge_on_the_other_group_touches_nothing() {
    let engine = memory();
    let mut left = seeded(&engine);
    apply(&mut left, 1, split("m")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the registry's queue is such a one")]
    let (events, _told) = tokio::sync::mpsc::unbounded_channel();
    let host = Host::new(events);
    let open = |shard| {
        ShardStateMachine::open(engine.clone(), shard, isobar_api::ReplicaId(1), host.clone())
    };
    let (mut left, mut right) = (open(SHARD).unwrap(), open(CHILD).unwrap());
    let frozen = apply(&mut right, 1, freeze(0)).unwrap();
    let CommandResult::Frozen { index } = frozen else { panic!("{frozen}") };
    let entry = |index, command| {
        let id = crate::consensus::raft::types::LogId::new_term_index(1, index);
        let entry = openraft::entry::RaftEntry::new_normal(id, command);
        futures::stream::iter([Ok((entry, None))])
    };
    // One that is refused leaves it alone.
    left.apply(entry(2, Command::Subsume(subsume(7, index)))).await.unwrap();
    assert!(right.state().hold_rows().is_some());
    left.apply(entry(3, Command::Subsume(subsume(0, index)))).await.unwrap();
    assert!(left.state().subsumed().contains(&CHILD));
    assert!(right.state().hold_rows().is_none(), "nobody reads the rows by way of it");
    let late = apply(&mut right, 2, write_of(1, 1, 1, "x", "late"));
    assert_eq!(late.unwrap_err().kind(), EngineErrorKind::Closed);
    assert!(rows(&engine).is_empty());
}
