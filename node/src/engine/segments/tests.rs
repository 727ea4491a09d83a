use super::*;
use crate::engine::{conformance, testing::files_now};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::{TempDir, tempdir};

const SMALL: SegmentConfig = SegmentConfig { segment_bytes: 4096 };

fn open(dir: &Path) -> Result<SegmentEngine, EngineError> {
    SegmentEngine::open(dir, SMALL)
}

/// A record of a group's log and its mark, as the log store writes them.
fn append(engine: &SegmentEngine, shard: u64, index: u64, size_bytes: usize) {
    let mut batch = WriteBatch::new();
    batch.put(Space::Log, key(shard, index), vec![index as u8; size_bytes]);
    batch.put(Space::LogMeta, shard.to_be_bytes(), index.to_be_bytes());
    engine.write(batch).expect("write");
}

fn purge(engine: &SegmentEngine, shard: u64, to: u64) {
    let mut batch = WriteBatch::new();
    batch.delete_range(Space::Log, key(shard, 0), key(shard, to));
    engine.write(batch).expect("write");
}

fn key(shard: u64, index: u64) -> Vec<u8> {
    [shard.to_be_bytes(), index.to_be_bytes()].concat()
}

fn records(engine: &SegmentEngine) -> usize {
    engine
        .snapshot()
        .expect("snapshot")
        .scan(Space::Log, &Scan::all().limit_rows(9999))
        .expect("scan")
        .rows
        .len()
}

fn newest(dir: &Path) -> PathBuf {
    let number = *segment::numbers(dir).expect("list").last().expect("one");
    dir.join(format!("{number:010}.seg"))
}

#[test]
fn conforms() {
    for segment_bytes in [SMALL.segment_bytes, SegmentConfig::default().segment_bytes] {
        conformance::run_all(|| {
            let dir = tempdir().expect("a directory");
            move || {
                let engine = SegmentEngine::open(dir.path(), SegmentConfig { segment_bytes });
                Arc::new(engine.expect("open")) as Arc<dyn Engine>
            }
        });
    }
}

#[test]
fn segments_go_when_nothing_refers_to_them_and_one_group_does_not_hold_up_the_others() {
    let dir = tempdir().expect("a directory");
    let engine = open(dir.path()).expect("open");
    for idle in 0..5 {
        append(&engine, 7, idle, 100); // never purged
    }
    for index in 0..3_000 {
        append(&engine, 1, index, 300);
        if index % 50 == 49 {
            purge(&engine, 1, index - 9);
            engine.sync().expect("sync");
        }
    }
    let numbers = segment::numbers(dir.path()).expect("list");
    let (_, live) = engine.size_bytes();
    assert_eq!(records(&engine), 15, "ten of the busy group and five of the idle one");
    assert_eq!(live, 10 * 300 + 5 * 100);
    // The idle group's records must have moved on.
    assert!(numbers.len() <= 10, "{numbers:?}");
    assert!(numbers[0] > 100, "the first ones are long gone: {numbers:?}");
    let copy = files_now(dir.path());
    drop(engine);
    for dir in [dir.path(), copy.path()] {
        let engine = open(dir).expect("open");
        assert_eq!(records(&engine), 15);
        assert_eq!(engine.get(Space::Log, &key(7, 3)).expect("get"), Some(vec![3; 100]));
        let mark = engine.get(Space::LogMeta, &1_u64.to_be_bytes()).expect("get");
        assert_eq!(mark, Some(2_999_u64.to_be_bytes().to_vec()), "a mark outlives its segment");
    }
}

#[test]
fn a_snapshot_keeps_what_it_reads() {
    let dir = tempdir().expect("a directory");
    let engine = open(dir.path()).expect("open");
    (0..100).for_each(|index| append(&engine, 1, index, 300));
    let view = engine.snapshot().expect("snapshot");
    purge(&engine, 1, 100);
    for index in 100..300 {
        append(&engine, 1, index, 300);
        engine.sync().expect("sync");
    }
    for index in 0..100 {
        let value = view.get(Space::Log, &key(1, index)).expect("get");
        assert_eq!(value, Some(vec![index as u8; 300]));
    }
    let before = segment::numbers(dir.path()).expect("list");
    drop(view);
    engine.sync().expect("sync");
    let after = segment::numbers(dir.path()).expect("list");
    assert!(after[0] > before[0], "{before:?} and then {after:?}");
}

/// 50 synced records and some that are only written; the directory as a crash leaves it, and where the synced part ends.
fn crashed(unsynced: u64) -> (TempDir, u32) {
    let dir = tempdir().expect("a directory");
    let config = SegmentConfig { segment_bytes: 1 << 20 };
    let engine = SegmentEngine::open(dir.path(), config).expect("open");
    for index in 0..50 {
        append(&engine, 1, index, 200);
        if index % 10 == 9 {
            engine.sync().expect("sync");
        }
    }
    let synced = engine.state().durable.offset;
    (50..50 + unsynced).for_each(|index| append(&engine, 1, index, 200));
    engine.write_out().expect("write");
    (files_now(dir.path()), synced)
}

#[test]
fn a_torn_or_garbled_tail_of_unsynced_writes_is_dropped() {
    let (whole, synced) = crashed(10);
    let file = fs::read(newest(whole.path())).expect("read");
    for from in (synced as usize..synced as usize + 2600).step_by(97) {
        for fill in [0_u8, 0xa5] {
            let dir = files_now(whole.path());
            let mut torn = file.clone();
            torn[from..].fill(fill);
            fs::write(newest(dir.path()), &torn).expect("write");
            let engine = open(dir.path()).expect("a torn tail is no damage");
            let found = records(&engine);
            assert!((50..60).contains(&found), "from {from}: {found}");
            append(&engine, 1, 99, 10);
            engine.sync().expect("sync");
            drop(engine);
            assert_eq!(records(&open(dir.path()).expect("open")), found + 1, "second life");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_synced_frame_is_corruption_every_time() {
    let (whole, synced) = crashed(0);
    let file = fs::read(newest(whole.path())).expect("read");
    for at in (0..synced as usize).step_by(13).chain(0..64) {
        let dir = files_now(whole.path());
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(newest(dir.path()), &damaged).expect("write");
        let error = open(dir.path()).map(|_| at).expect_err("damage");
        assert_eq!(error.kind(), EngineErrorKind::Corruption);
        let left = fs::read(newest(dir.path())).expect("read");
        assert!(left == damaged, "the files stay as they are");
    }
}

#[test]
fn damage_is_noticed_without_the_note_too_if_anything_was_written_after() {
    let (whole, synced) = crashed(1);
    fs::remove_file(whole.path().join("DURABLE")).expect("it is there");
    let mut file = fs::read(newest(whole.path())).expect("read");
    file[synced as usize - 20] ^= 1;
    fs::write(newest(whole.path()), &file).expect("write");
    let error = open(whole.path()).map(|_| ()).expect_err("the last frame proves it");
    assert_eq!(error.kind(), EngineErrorKind::Corruption);
}

#[test]
fn a_lost_segment_is_corruption() {
    let dir = tempdir().expect("a directory");
    let engine = open(dir.path()).expect("open");
    for index in 0..60 {
        append(&engine, 1, index, 300);
        engine.sync().expect("sync");
    }
    let numbers = segment::numbers(dir.path()).expect("list");
    assert!(numbers.len() > 3, "{numbers:?}");
    for lost in &numbers[1..] {
        let copy = files_now(dir.path());
        fs::remove_file(copy.path().join(format!("{lost:010}.seg"))).expect("it is there");
        let error = open(copy.path()).map(|_| ()).expect_err("a hole");
        assert_eq!(error.kind(), EngineErrorKind::Corruption, "segment {lost}");
    }
}

#[test]
fn a_newer_version_is_refused() {
    let dir = tempdir().expect("a directory");
    let segment = Segment::create(dir.path(), 1, 4096).expect("create");
    let (space, key) = recovery::VERSION_KEY;
    let base = [Op::Put(space, key.to_vec(), vec![recovery::VERSION + 1])];
    let none = Position::default();
    let header = Header { kind: Kind::Base, durable: none, previous: none };
    let mut bytes = Vec::new();
    frame::encode(Position { segment: 1, offset: 0 }, header, base.iter(), &mut bytes, |_| {});
    segment.write(0, &bytes).expect("write");
    let error = open(dir.path()).map(|_| ()).expect_err("newer");
    assert_eq!(error.kind(), EngineErrorKind::NewerFormat);
}

#[test]
fn a_checkpoint_opens_with_the_same_rows() {
    let dir = tempdir().expect("a directory");
    let engine = open(&dir.path().join("log")).expect("open");
    (0..40).for_each(|index| append(&engine, 1, index, 300));
    let copy = dir.path().join("copy");
    engine.checkpoint(&copy).expect("checkpoint");
    append(&engine, 1, 40, 300);
    assert_eq!(records(&open(&copy).expect("open")), 40);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, usize),
    Truncate(u64, u64),
    Purge(u64, u64),
    Sync,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let shard = || 0..4_u64;
    prop_oneof![
        12 => (shard(), 0..900_usize).prop_map(|(shard, bytes)| Step::Append(shard, bytes)),
        1 => (shard(), 0..5_u64).prop_map(|(shard, back)| Step::Truncate(shard, back)),
        2 => (shard(), 0..9_u64).prop_map(|(shard, back)| Step::Purge(shard, back)),
        4 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(engine: &SegmentEngine) -> Model {
    let view = engine.snapshot().expect("snapshot");
    view.scan(Space::Log, &Scan::all().limit_rows(9999)).expect("scan").rows.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Against a plain map, through closes and crashes: after a crash it is what the map was at the last sync or at some
    /// moment since.
    #[test]
    fn is_a_map_that_forgets_only_what_was_not_synced(steps in prop::collection::vec(step(), 1..250)) {
        let mut dir = tempdir().expect("a directory");
        let mut engine = open(dir.path()).expect("open");
        let mut model = Model::new();
        let mut next = [0_u64; 4];
        let mut since_sync = vec![model.clone()];
        for step in steps {
            let mut batch = WriteBatch::new();
            // Looking hands the buffers to the kernel, so it is not done at each step: a crash is to take some away.
            let look = matches!(step, Step::Sync | Step::Reopen | Step::Crash);
            match step {
                Step::Append(shard, bytes) => {
                    let key = key(shard, next[shard as usize]);
                    next[shard as usize] += 1;
                    let value = vec![next[shard as usize] as u8; bytes];
                    model.insert(key.clone(), value.clone());
                    batch.put(Space::Log, key, value);
                }
                Step::Truncate(shard, back) => {
                    let end = next[shard as usize];
                    next[shard as usize] = end.saturating_sub(back);
                    let (from, to) = (key(shard, next[shard as usize]), key(shard, end));
                    model.retain(|key, _| *key < from || *key >= to);
                    batch.delete_range(Space::Log, from, to);
                }
                Step::Purge(shard, back) => {
                    let to = key(shard, next[shard as usize].saturating_sub(back));
                    let from = key(shard, 0);
                    model.retain(|key, _| *key < from || *key >= to);
                    batch.delete_range(Space::Log, from, to);
                }
                Step::Sync => {
                    engine.sync().expect("sync");
                    since_sync.clear();
                }
                Step::Reopen => {
                    drop(engine);
                    engine = open(dir.path()).expect("open");
                    since_sync.clear();
                }
                Step::Crash => {
                    let copy = files_now(dir.path());
                    drop(engine);
                    dir = copy;
                    engine = open(dir.path()).expect("open");
                    let found = rows(&engine);
                    prop_assert!(since_sync.contains(&found), "{found:?}");
                    model = found;
                    for (shard, next) in next.iter_mut().enumerate() {
                        let last = model.range(key(shard as u64, 0)..key(shard as u64 + 1, 0)).next_back();
                        let index = |key: &[u8]| u64::from_be_bytes(key[8..].try_into().expect("16 bytes"));
                        *next = last.map_or(*next, |(key, _)| index(key) + 1);
                    }
                    since_sync.clear();
                }
            }
            if !batch.is_empty() {
                engine.write(batch).expect("write");
            }
            since_sync.push(model.clone());
            if look {
                prop_assert_eq!(&rows(&engine), &model);
            }
        }
    }
}

/// A removal that is not durable yet may be gone after a crash: what it removes must still be there then.
#[test]
fn no_segment_goes_before_the_removal_of_its_records_is_durable() {
    let dir = tempdir().expect("a directory");
    let engine = open(dir.path()).expect("open");
    (1..=200).for_each(|index| append(&engine, 1, index, 100));
    engine.sync().expect("sync");
    purge(&engine, 1, 150);
    let broken = EngineError::new(EngineErrorKind::Io, "a test");
    assert!(engine.failure.set(broken).is_ok());
    engine.sync().expect_err("the disk takes nothing");
    let copy = files_now(dir.path());
    assert_eq!(records(&open(copy.path()).expect("whole")), 200);
}

/// Here a file that takes every write and no fsync: what is in the kernel alone must not be called durable.
#[test]
fn what_the_disk_did_not_confirm_is_not_durable() {
    let dir = tempdir().expect("a directory");
    let engine = open(dir.path()).expect("open");
    append(&engine, 1, 1, 100);
    engine.sync().expect("sync");
    let noted = Watermark::read(dir.path());
    // The next segment's file.
    let next = dir.path().join(format!("{:010}.seg", engine.state().end.segment + 1));
    std::os::unix::fs::symlink("/dev/null", next).expect("a link");
    while engine.state().segments.len() < 2 {
        append(&engine, 1, 2, 1_000);
    }
    engine.sync().expect_err("it cannot be made durable");
    engine.sync().expect_err("nor by trying again");
    assert_eq!(Watermark::read(dir.path()), noted);
}
