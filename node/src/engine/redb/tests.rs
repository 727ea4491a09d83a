use super::*;
use crate::engine::{
    conformance,
    testing::{files_now, flip, put, value},
};
use isobar_api::ErrorCode;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::{Condvar, Mutex};
use tempfile::{TempDir, tempdir};

/// So little memory that pages go to the file early and are read again.
const TINY: RedbConfig = RedbConfig { cache_bytes: 64 << 10 };

fn open(dir: &Path) -> Result<RedbEngine, EngineError> {
    RedbEngine::open(dir, &RedbConfig::default())
}

/// The rows are those of the first batches, whole. Returns how many batches.
fn check(engine: &RedbEngine, size_bytes: usize) -> u32 {
    let rows = engine.scan(Space::Data, &Scan::all()).unwrap().rows;
    for (n, row) in (0..).zip(&rows) {
        assert_eq!(*row, (u32::to_be_bytes(n).to_vec(), value(n, size_bytes)));
    }
    let last = engine.get(Space::Meta, b"last").unwrap();
    let last = last.map(|last| u32::from_be_bytes(last.try_into().unwrap()));
    assert_eq!(last, (rows.len() as u32).checked_sub(1), "half a batch");
    rows.len() as u32
}

#[derive(Debug)]
enum Change {
    Length(u64),
    Write(u64, Vec<u8>),
}

#[derive(Debug, Default)]
struct DiskState {
    /// What every reader sees.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last fsync.
    changes: Vec<Change>,
    fails: bool,
    held: bool,
    /// Somebody waits in an fsync.
    waits: bool,
}

/// A disk that can lose its power, and that forgets in no order what was not synced.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

impl Disk {
    /// A new database, its directory and the disk that it lies on.
    fn with_database() -> (TempDir, Self) {
        let dir = tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let disk = Self::default();
        let bytes = fs::read(dir.path().join(FILE)).unwrap();
        disk.set(|state| {
            state.durable = bytes.clone();
            state.bytes = bytes;
        });
        (dir, disk)
    }

    fn set<T>(&self, change: impl FnOnce(&mut DiskState) -> T) -> T {
        let result = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    fn open(&self, dir: &Path, config: &RedbConfig) -> RedbEngine {
        RedbEngine::open_over(dir, self.clone(), Watermark::read(dir), config).unwrap()
    }

    /// What is on the disk after a power cut: of what was not synced any part, sector by sector.
    fn cut(&self, rng: &mut StdRng) -> Vec<u8> {
        self.set(|state| {
            let mut bytes = state.durable.clone();
            for change in &state.changes {
                match change {
                    Change::Length(length) if rng.random_bool(0.5) => {
                        bytes.resize(*length as usize, 0);
                    }
                    Change::Length(_) => {}
                    Change::Write(offset, written) => {
                        for (n, sector) in written.chunks(512).enumerate() {
                            let at = *offset as usize + n * 512;
                            if rng.random_bool(0.5) && at + sector.len() <= bytes.len() {
                                bytes[at..at + sector.len()].copy_from_slice(sector);
                            }
                        }
                    }
                }
            }
            bytes
        })
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.set(|state| state.bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        self.set(|state| match state.bytes.get(at..at + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.set(|state| {
            state.bytes.resize(length as usize, 0);
            state.changes.push(Change::Length(length));
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.waits = true;
        self.0.1.notify_all();
        while state.held {
            state = self.0.1.wait(state).unwrap();
        }
        state.waits = false;
        if state.fails {
            return Err(io::Error::other("a test"));
        }
        state.durable = state.bytes.clone();
        state.changes.clear();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.set(|state| {
            let at = offset as usize;
            state.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            state.changes.push(Change::Write(offset, bytes.to_vec()));
        });
        Ok(())
    }
}

#[test]
fn conforms() {
    conformance::run_all(|| {
        let dir = tempdir().unwrap();
        move || Arc::new(open(dir.path()).unwrap()) as Arc<dyn Engine>
    });
}

#[test]
fn conforms_with_hardly_any_memory() {
    conformance::run_all(|| {
        let dir = tempdir().unwrap();
        move || Arc::new(RedbEngine::open(dir.path(), &TINY).unwrap()) as Arc<dyn Engine>
    });
}

#[test]
fn a_power_cut_at_any_moment_takes_only_what_was_not_synced() {
    const SIZE_BYTES: usize = 1_500;
    let mut more = 0;
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (dir, disk) = Disk::with_database();
        let engine = disk.open(dir.path(), &TINY);
        let (mut written, mut synced) = (0, 0);
        for _ in 0..rng.random_range(2..12) {
            for _ in 0..rng.random_range(0..40) {
                put(&engine, written, SIZE_BYTES);
                written += 1;
            }
            match rng.random_range(0..3) {
                0 => {}
                1 => {
                    engine.sync().unwrap();
                    synced = written;
                }
                // The power goes while the fsync is still to come, and writers go on.
                _ => {
                    engine.store.publish().unwrap();
                }
            }
        }
        let after = tempdir().unwrap();
        fs::write(after.path().join(FILE), disk.cut(&mut rng)).unwrap();
        fs::copy(dir.path().join("DURABLE"), after.path().join("DURABLE")).unwrap();
        let found = open(after.path())
            .map(|engine| check(&engine, SIZE_BYTES))
            .unwrap_or_else(|error| panic!("seed {seed}: {}", error.message()));
        assert!((synced..=written).contains(&found), "seed {seed}: {found} of {synced}/{written}");
        more += found - synced;
    }
    assert!(more > 0, "no cut left anything that was not synced: the test tries too little");
}

#[test]
fn writers_do_not_wait_for_the_fsync_of_a_sync() {
    let (dir, disk) = Disk::with_database();
    let engine = Arc::new(disk.open(dir.path(), &RedbConfig::default()));
    put(&*engine, 0, 10);
    disk.set(|state| state.held = true);
    let syncing = std::thread::spawn({
        let engine = engine.clone();
        move || engine.sync()
    });
    drop(disk.0.1.wait_while(disk.0.0.lock().unwrap(), |state| !state.waits).unwrap());
    // This would wait for ever.
    put(&*engine, 1, 10);
    assert_eq!(check(&engine, 10), 2);
    disk.set(|state| state.held = false);
    syncing.join().unwrap().unwrap();
}

/// Otherwise what is written later could take pages of the commit before, while the last one is not durable.
#[test]
fn nothing_reaches_the_file_before_an_fsync_that_was_put_off() {
    type Reach = fn(&Shared) -> io::Result<()>;
    let ways: [Reach; 4] = [
        |file| file.write(0, &[2; 4_096]),
        |file| file.set_len(4_096),
        |file| file.sync_data(),
        |file| file.close(),
    ];
    for (n, reach) in ways.into_iter().enumerate() {
        let disk = Disk::default();
        let file = Arc::new(CheckedFile::new(disk.clone()));
        let below = Shared(file.clone());
        below.set_len(8_192).unwrap();
        below.write(0, &[1; 8_192]).unwrap();
        let durable = || disk.set(|state| state.durable.clone());
        file.put_off_fsync(|| below.sync_data()).unwrap();
        assert!(durable().is_empty(), "it is put off");
        // The next one fails as well if this does, whatever it is.
        disk.set(|state| state.fails = true);
        assert!(reach(&below).is_err(), "way {n} does not wait for the disk");
        assert!(disk.set(|state| state.bytes == [1; 8_192]), "way {n} changed the file");
        disk.set(|state| state.fails = false);
        assert!(file.settle().is_err(), "an fsync that failed is never tried again");
        assert!(durable().is_empty());
    }
    let disk = Disk::default();
    let file = Shared(Arc::new(CheckedFile::new(disk.clone())));
    file.set_len(4_096).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.set(|state| state.durable.len()), 4_096, "one that is not put off is done");
}

#[test]
fn after_a_failed_sync_nothing_more_is_called_durable() {
    let (dir, disk) = Disk::with_database();
    let engine = disk.open(dir.path(), &RedbConfig::default());
    put(&engine, 0, 10);
    engine.sync().unwrap();
    let noted = Watermark::read(dir.path());
    put(&engine, 1, 10);
    let durable = disk.set(|state| {
        state.fails = true;
        state.durable.clone()
    });
    assert_eq!(engine.sync().unwrap_err().code(), ErrorCode::StorageFailed);
    disk.set(|state| state.fails = false);
    assert_eq!(engine.sync().unwrap_err().code(), ErrorCode::StorageFailed);
    drop(engine);
    assert_eq!(Watermark::read(dir.path()), noted, "nor by closing");
    assert!(disk.set(|state| state.durable == durable), "nor is anything written then");
}

#[test]
fn a_flipped_bit_is_corruption_or_does_not_matter() {
    const SIZE_BYTES: usize = 300;
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    for round in 0..4 {
        (round * 40..(round + 1) * 40).for_each(|n| put(&engine, n, SIZE_BYTES));
        engine.sync().unwrap();
    }
    let killed = files_now(dir.path());
    drop(engine);
    let length = fs::read(dir.path().join(FILE)).unwrap().len().min(400 << 10);
    let mut rng = StdRng::seed_from_u64(3);
    // Every byte of the header and of the two commits behind it, then anywhere.
    let mut places: Vec<(usize, u8)> = (0..320).map(|at| (at, (at % 8) as u8)).collect();
    places.extend((0..8).map(|bit| (9, bit)));
    places.extend((0..150).map(|_| (rng.random_range(0..length), rng.random_range(0..8))));
    let (mut refused, mut harmless) = (0, 0);
    for whole in [killed.path(), dir.path()] {
        for (at, bit) in &places {
            let dir = files_now(whole);
            flip(&dir.path().join(FILE), *at, *bit);
            match open(dir.path()) {
                Ok(engine) => {
                    assert_eq!(check(&engine, SIZE_BYTES), 160, "bit {bit} of byte {at}");
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::Corruption, "{at}: {}", error.message());
                    let again = open(dir.path()).err().map(|error| error.code());
                    assert_eq!(again, Some(ErrorCode::Corruption), "by trying again: {at} {bit}");
                    refused += 1;
                }
            }
        }
    }
    println!("redb, flipped bits: {refused} refused, {harmless} harmless");
    assert!(refused > 100 && harmless > 10, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_block_that_changes_while_the_engine_runs_is_corruption_when_it_is_read() {
    let dir = tempdir().unwrap();
    let engine = RedbEngine::open(dir.path(), &RedbConfig { cache_bytes: 0 }).unwrap();
    (0..200).for_each(|n| put(&engine, n, 400));
    engine.sync().unwrap();
    let file = dir.path().join(FILE);
    let bytes = fs::read(&file).unwrap();
    let wanted = value(77, 400);
    let at = bytes.windows(400).rposition(|window| window == wanted).expect("it is in the file");
    let open = OpenOptions::new().write(true).open(&file).unwrap();
    let changed = [bytes[at] ^ 4];
    std::os::unix::fs::FileExt::write_all_at(&open, &changed, at as u64).unwrap();
    let error = engine.get(Space::Data, &77_u32.to_be_bytes()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corruption, "{}", error.message());
    let error = engine.scan(Space::Data, &Scan::all()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corruption, "{}", error.message());
    assert_eq!(engine.sync().unwrap_err().code(), ErrorCode::Corruption);
}

#[test]
fn a_file_that_is_cut_short_empty_or_gone_is_corruption() {
    let dir = tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    (0..100).for_each(|n| put(&engine, n, 400));
    engine.sync().unwrap();
    let length = fs::metadata(dir.path().join(FILE)).unwrap().len();
    for keep in [0, 5, 300, 4_096, length / 2, length - 4_096, length - 1] {
        let copy = files_now(dir.path());
        let file = OpenOptions::new().write(true).open(copy.path().join(FILE)).unwrap();
        file.set_len(keep).unwrap();
        match open(copy.path()) {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corruption, "{keep}: {}", error.message())
            }
            Ok(engine) => assert_eq!(check(&engine, 400), 100, "cut to {keep}: nothing was there"),
        }
    }
    let copy = files_now(dir.path());
    fs::remove_file(copy.path().join(FILE)).unwrap();
    assert_eq!(open(copy.path()).err().unwrap().code(), ErrorCode::Corruption);
    assert!(!copy.path().join(FILE).exists(), "no empty one takes its place");
}

#[test]
fn a_death_while_the_file_is_made_leaves_a_usable_directory() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(NEW_FILE), "half a file").unwrap();
    put(&open(dir.path()).unwrap(), 0, 10);
    assert_eq!(check(&open(dir.path()).unwrap(), 10), 1);
    assert!(!dir.path().join(NEW_FILE).exists());
}

#[test]
fn a_second_opener_is_told_that_the_directory_is_taken() {
    let dir = tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    assert_eq!(open(dir.path()).err().unwrap().code(), ErrorCode::DirectoryLocked);
}

#[test]
fn a_table_we_do_not_know_means_a_newer_version() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let database = Database::open(dir.path().join(FILE)).unwrap();
    let changes = database.begin_write().unwrap();
    let later: TableDefinition<'_, u64, u64> = TableDefinition::new("later");
    drop(changes.open_table(later).unwrap());
    changes.commit().unwrap();
    drop(database);
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
    assert_eq!(check(&open(&copy).unwrap(), 100), 10);
    assert!(engine.checkpoint(&copy).is_err(), "it never overwrites");
}

#[test]
fn the_file_does_not_grow_with_what_was_overwritten() {
    let dir = tempdir().unwrap();
    let engine = RedbEngine::open(dir.path(), &TINY).unwrap();
    let size = || fs::metadata(dir.path().join(FILE)).unwrap().len();
    let round = || {
        (0..200).for_each(|n| put(&engine, n, 400));
        engine.sync().unwrap();
    };
    (0..5).for_each(|_| round());
    let settled = size();
    (0..30).for_each(|_| round());
    assert!(size() <= 2 * settled, "{} bytes after {settled}", size());
}
