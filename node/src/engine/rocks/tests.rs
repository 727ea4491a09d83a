use super::*;
use crate::engine::{
    conformance,
    testing::{files_now, flip, put},
};
use isobar_api::ErrorCode;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

fn open(dir: &Path) -> Result<RocksEngine, EngineError> {
    RocksEngine::open(dir, &RocksConfig::default(), &BlockCache::new(8 << 20))
}

fn count(engine: &RocksEngine) -> usize {
    engine.scan(Space::Data, &Scan::all()).unwrap().rows.len()
}

fn file_with(dir: &Path, extension: &str) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files.pop().expect("a file of this kind")
}

/// 50 synced batches; returns the directory as a crash leaves it and the length of the log at that moment.
fn crashed(unsynced: u32) -> (TempDir, usize) {
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    (0..50).for_each(|n| put(&engine, n, 200));
    engine.sync().unwrap();
    let synced_bytes = fs::read(file_with(dir.path(), "log")).unwrap().len();
    (50..50 + unsynced).for_each(|n| put(&engine, n, 200));
    engine.database.db.flush_wal(false).unwrap();
    (files_now(dir.path()), synced_bytes)
}

#[test]
fn conforms() {
    conformance::run_all(|| {
        let dir = tempdir().unwrap();
        move || Arc::new(open(dir.path()).unwrap()) as Arc<dyn Engine>
    });
}

#[test]
fn a_dead_process_keeps_what_was_synced() {
    let (dir, _) = crashed(0);
    assert_eq!(count(&open(dir.path()).unwrap()), 50);
}

#[test]
fn a_torn_tail_of_unsynced_writes_is_dropped_wherever_it_tears() {
    let (whole, synced_bytes) = crashed(10);
    let log = fs::read(file_with(whole.path(), "log")).unwrap();
    assert!(log.len() > synced_bytes + 2000, "the unsynced batches are in the file");
    for cut in [synced_bytes, synced_bytes + 3, synced_bytes + 9, synced_bytes + 120, log.len() - 1]
    {
        let dir = files_now(whole.path());
        fs::write(file_with(dir.path(), "log"), &log[..cut]).unwrap();
        let engine = open(dir.path()).unwrap();
        let found = count(&engine);
        assert!((50..60).contains(&found), "cut at {cut}: {found} rows");
        put(&engine, 99, 10);
        engine.sync().unwrap();
        drop(engine);
        assert_eq!(count(&open(dir.path()).unwrap()), found + 1, "cut at {cut}, second life");
    }
}

#[test]
fn a_garbled_tail_of_unsynced_writes_is_dropped_too() {
    // A power cut may write later pages and not earlier ones: a full-length file with a hole of zeros, or rubbish.
    let (whole, synced_bytes) = crashed(10);
    for (from, fill) in [(synced_bytes, 0_u8), (synced_bytes + 100, 0), (synced_bytes + 4, 0xa5)] {
        let dir = files_now(whole.path());
        let file = file_with(dir.path(), "log");
        let mut log = fs::read(&file).unwrap();
        log[from..].fill(fill);
        fs::write(&file, log).unwrap();
        let engine =
            open(dir.path()).unwrap_or_else(|error| panic!("{from} {fill}: {}", error.message()));
        assert_eq!(count(&engine), 50, "from {from} with {fill:#x}");
    }
}

#[test]
fn a_bit_flip_in_a_synced_record_is_corruption_every_time() {
    let (whole, synced_bytes) = crashed(3);
    let mut places: Vec<(usize, u8)> =
        (0..synced_bytes).step_by(97).map(|at| (at, (at % 8) as u8)).collect();
    // Every bit of the headers of some records: checksum, length, type.
    let log = fs::read(file_with(whole.path(), "log")).unwrap();
    let mut at = 0;
    for record in 0..5 {
        if record != 1 {
            places.extend((at..at + 7).flat_map(|byte| (0..8).map(move |bit| (byte, bit))));
        }
        at += 7 + usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
    }
    for (at, bit) in places {
        let dir = files_now(whole.path());
        flip(&file_with(dir.path(), "log"), at, bit);
        let opened = open(dir.path());
        let error = opened.err().unwrap_or_else(|| panic!("bit {bit} of byte {at} went unnoticed"));
        assert_eq!(error.code(), ErrorCode::Corruption, "byte {at}: {}", error.message());
        let again = open(dir.path()).err().expect("it does not go away by trying again");
        assert_eq!(again.kind(), EngineErrorKind::Corruption);
    }
}

#[test]
fn a_damaged_log_is_left_as_evidence() {
    let (dir, synced_bytes) = crashed(3);
    let file = file_with(dir.path(), "log");
    flip(&file, synced_bytes / 2, 0);
    let damaged = fs::read(&file).unwrap();
    assert_eq!(open(dir.path()).err().unwrap().kind(), EngineErrorKind::Corruption);
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

#[test]
fn a_log_that_lost_synced_records_is_corruption() {
    let (whole, synced_bytes) = crashed(0);
    for keep in [0, 7, synced_bytes / 2, synced_bytes - 1] {
        let dir = files_now(whole.path());
        let file = file_with(dir.path(), "log");
        let log = fs::read(&file).unwrap();
        fs::write(&file, &log[..keep]).unwrap();
        let error =
            open(dir.path()).err().unwrap_or_else(|| panic!("cut to {keep} went unnoticed"));
        assert_eq!(error.code(), ErrorCode::Corruption, "{}", error.message());
    }
}

#[test]
fn a_bit_flip_in_a_table_file_is_corruption_on_read() {
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    (0..200).for_each(|n| put(&engine, n, 100));
    engine.database.db.flush_cf(engine.database.family(Space::Data)).unwrap();
    drop(engine);
    flip(&file_with(dir.path(), "sst"), 40, 3);
    let engine = open(dir.path()).unwrap();
    let error = engine.scan(Space::Data, &Scan::all()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corruption, "{}", error.message());
    let error = engine.get(Space::Data, &0_u32.to_be_bytes()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corruption, "{}", error.message());
    let view = engine.snapshot().unwrap();
    assert_eq!(
        view.get(Space::Data, &0_u32.to_be_bytes()).unwrap_err().code(),
        ErrorCode::Corruption
    );
}

#[test]
fn after_a_failed_sync_nothing_more_is_called_durable() {
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 0, 10);
    engine.sync().unwrap();
    let noted = Watermark::read(dir.path());
    put(&engine, 1, 10);
    let failure = EngineError::new(EngineErrorKind::Io, "a test");
    engine.database.syncs.run(|| Err(failure)).unwrap_err();
    assert_eq!(engine.sync().unwrap_err().message(), "a test");
    drop(engine);
    assert_eq!(Watermark::read(dir.path()), noted, "nor by closing");
}

#[test]
fn a_second_opener_is_told_that_the_directory_is_taken() {
    let dir = tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    assert_eq!(open(dir.path()).err().unwrap().code(), ErrorCode::DirectoryLocked);
}

#[test]
fn a_family_we_do_not_know_means_a_newer_version() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let config = RocksConfig::default();
    let mut families = options::families(&config, &BlockCache::new(1 << 20));
    families.push(rocksdb::ColumnFamilyDescriptor::new("later", rocksdb::Options::default()));
    let settings = options::database(&config, DBRecoveryMode::PointInTime);
    drop(DB::open_cf_descriptors(&settings, dir.path(), families).unwrap());
    assert_eq!(open(dir.path()).err().unwrap().code(), ErrorCode::NewerFormat);
}

#[test]
fn a_checkpoint_opens_with_the_same_rows() {
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    (0..10).for_each(|n| put(&engine, n, 100));
    let copy = dir.path().join("copy");
    engine.checkpoint(&copy).unwrap();
    put(&engine, 10, 100);
    assert_eq!(count(&open(&copy).unwrap()), 10);
    assert!(engine.checkpoint(&copy).is_err(), "it never overwrites");
}

#[test]
fn words_of_rocksdb_become_kinds() {
    // The binding has no constructor for its error, so take one and look at the mapping of what it can say.
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = open(&dir.path().join("file")).err().unwrap();
    assert_eq!(error.code(), ErrorCode::StorageFailed, "{}", error.message());
    for (text, kind) in [
        (
            "IO error: No space left on device: While appending to file: /d/1.log",
            EngineErrorKind::DiskFull,
        ),
        (
            "IO error: While lock file: /d/LOCK: Resource temporarily unavailable",
            EngineErrorKind::Locked,
        ),
        ("Corruption: block checksum mismatch", EngineErrorKind::Corruption),
        ("IO error: While fsync: /d/1.log: Input/output error", EngineErrorKind::Io),
    ] {
        assert_eq!(kind_of(text), kind, "{text}");
    }
}
