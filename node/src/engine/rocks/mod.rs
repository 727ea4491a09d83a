//! The default engine: RocksDB, with one column family for each space.

mod options;
#[cfg(test)]
mod tests;
mod wal;

use super::{
    Engine, EngineError, EngineErrorKind, EngineRead, EngineSnapshot, Op, RowVisitor, Scan, Space,
    WriteBatch, count_bytes, sync_latch::SyncLatch, watermark::Watermark,
};
pub use options::{BlockCache, RocksConfig};
use owned_view::OwnedView;
use rocksdb::{ColumnFamily, DB, DBRecoveryMode, Range, ReadOptions, checkpoint::Checkpoint};
use std::{fs, ops::ControlFlow, path::Path, sync::Arc};

/// Of a change in a batch, beside its keys and value.
const RECORD_BYTES: usize = 16;
/// Ranges of at most this many bytes are counted row by row; RocksDB's own estimate ignores its write buffers.
const COUNTED_BYTES: u64 = 4 << 20;

/// An open database and its note of what is durable.
struct Database {
    db: DB,
    durable: Watermark,
    syncs: SyncLatch,
}

/// An engine over one RocksDB directory.
pub struct RocksEngine {
    database: Arc<Database>,
}

impl RocksEngine {
    /// Opens the database in `dir`, or makes an empty one.
    ///
    /// A torn tail of unsynced writes is dropped. A damaged record below the last sync is [`EngineErrorKind::Corruption`]
    /// and leaves the files as they are.
    pub fn open(dir: &Path, config: &RocksConfig, cache: &BlockCache) -> Result<Self, EngineError> {
        fs::create_dir_all(dir)
            .map_err(|error| EngineError::from_file(format!("create {}", dir.display()), error))?;
        wal::check(dir)?;
        let noted = Watermark::read(dir);
        let db = match open_mode(dir, config, cache, DBRecoveryMode::TolerateCorruptedTailRecords) {
            Err(error) if error.kind() == EngineErrorKind::Corruption => {
                drop_damaged_tail(dir, config, cache, noted, error)?
            }
            other => other?,
        };
        check_reach(dir, &db, noted)?;
        let durable = Watermark::open(dir)?;
        Ok(Self { database: Arc::new(Database { db, durable, syncs: SyncLatch::default() }) })
    }
}

fn open_mode(
    dir: &Path,
    config: &RocksConfig,
    cache: &BlockCache,
    mode: DBRecoveryMode,
) -> Result<DB, EngineError> {
    DB::open_cf_descriptors(&options::database(config, mode), dir, options::families(config, cache))
        .map_err(|error| failed(format!("open {}", dir.display()), error))
}

/// The log has a record that does not check. If everything that was ever synced lies before it, this is what a power cut
/// leaves of unsynced writes, and the rest is dropped. The probe is read-only, so a real loss leaves the evidence alone.
fn drop_damaged_tail(
    dir: &Path,
    config: &RocksConfig,
    cache: &BlockCache,
    noted: Option<u64>,
    damage: EngineError,
) -> Result<DB, EngineError> {
    let settings = options::database(config, DBRecoveryMode::PointInTime);
    let probe =
        DB::open_cf_descriptors_read_only(&settings, dir, options::families(config, cache), false);
    let (Some(noted), Ok(probe)) = (noted, probe) else {
        return Err(damage);
    };
    if probe.latest_sequence_number() < noted {
        return Err(damage);
    }
    drop(probe);
    tracing::warn!(dir = %dir.display(), damage = %damage.message(), "dropping a damaged tail of unsynced writes");
    open_mode(dir, config, cache, DBRecoveryMode::PointInTime)
}

/// The same changes, those of one key in the order in which they were made. The sorted buffer looks for the place of a
/// key from that of the last one on, so neighbours cost less than keys in any order. Ranges cover keys: then nothing moves.
fn in_key_order(ops: &[Op]) -> Vec<&Op> {
    let mut ordered: Vec<&Op> = ops.iter().collect();
    if !ops.iter().any(|op| matches!(op, Op::DeleteRange(..))) {
        ordered.sort_by_key(|op| op.place());
    }
    ordered
}

fn check_reach(dir: &Path, db: &DB, noted: Option<u64>) -> Result<(), EngineError> {
    let reached = db.latest_sequence_number();
    match noted {
        Some(noted) if reached < noted => Err(EngineError::corruption(format!(
            "{}: writes up to number {noted} were made durable, but only {reached} can be read back",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

fn failed(context: impl Into<String>, error: rocksdb::Error) -> EngineError {
    EngineError::new(kind_of(error.as_ref()), context).caused_by(error)
}

/// Puts RocksDB's words into our kinds. Its Rust binding tells failures apart by text only.
fn kind_of(text: &str) -> EngineErrorKind {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["No space left", "Space limit reached", "quota exceeded"]) {
        EngineErrorKind::DiskFull
    } else if has(&["lock hold by current process", "While lock file"]) {
        EngineErrorKind::Locked
    } else if has(&["Column families not opened", "Column family not found"]) {
        EngineErrorKind::NewerFormat
    } else if text.starts_with("Corruption") {
        EngineErrorKind::Corruption
    } else if text.starts_with("Shutdown in progress") {
        EngineErrorKind::Closed
    } else if text.starts_with("Invalid argument") || text.starts_with("Not implemented") {
        EngineErrorKind::Internal
    } else {
        EngineErrorKind::Io
    }
}

impl Database {
    fn family(&self, space: Space) -> &ColumnFamily {
        self.db.cf_handle(space.name()).expect("every space was opened with the database")
    }

    fn get(
        &self,
        space: Space,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        self.db
            .get_cf_opt(self.family(space), key, options)
            .map_err(|error| failed(format!("read {}", space.name()), error))
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        mut options: ReadOptions,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        if scan.is_empty() {
            return Ok(());
        }
        options.set_iterate_lower_bound(scan.start.clone());
        if let Some(end) = &scan.end {
            options.set_iterate_upper_bound(end.clone());
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.family(space), options);
        if scan.reverse {
            rows.seek_to_last()
        } else {
            rows.seek_to_first()
        }
        while let Some((key, value)) = rows.item() {
            if row(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            if scan.reverse { rows.prev() } else { rows.next() }
        }
        rows.status().map_err(|error| failed(format!("scan {}", space.name()), error))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A clean close keeps what was written. After a failed sync nobody knows what the kernel kept: leave it.
        if !self.syncs.has_failed() {
            let reached = self.db.latest_sequence_number();
            if self.db.flush_wal(true).is_ok() && self.durable.advance(reached).is_ok() {
                self.durable.persist();
            }
        }
    }
}

impl EngineRead for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.database.get(space, key, &options::reading())
    }

    fn multi_get(
        &self,
        space: Space,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        let database = &*self.database;
        database
            .db
            .batched_multi_get_cf_opt(database.family(space), keys, false, &options::reading())
            .into_iter()
            .map(|value| {
                Ok(value
                    .map_err(|error| failed(format!("read {}", space.name()), error))?
                    .map(|v| v.to_vec()))
            })
            .collect()
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.database.visit(space, scan, options::reading(), row)
    }
}

impl Engine for RocksEngine {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let database = &*self.database;
        let families = Space::ALL.map(|space| database.family(space));
        let bytes: usize = batch.ops().iter().map(|op| op.size_bytes() + RECORD_BYTES).sum();
        let mut changes = rocksdb::WriteBatch::with_capacity_bytes(bytes);
        for op in in_key_order(batch.ops()) {
            match op {
                Op::Put(space, key, value) => changes.put_cf(families[space.slot()], key, value),
                Op::Delete(space, key) => changes.delete_cf(families[space.slot()], key),
                Op::DeleteRange(space, start, end) => {
                    changes.delete_range_cf(families[space.slot()], start, end);
                }
            }
        }
        database.db.write(changes).map_err(|error| failed("write a batch", error))
    }

    fn sync(&self) -> Result<(), EngineError> {
        let database = &*self.database;
        database.syncs.run(|| {
            let reached = database.db.latest_sequence_number();
            let flushed = database.db.flush_wal(true);
            flushed.map_err(|error| failed("sync the write-ahead log", error))?;
            database.durable.advance(reached)
        })
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        Ok(Box::new(RocksSnapshot(OwnedView::new(self.database.clone(), |database| {
            database.db.snapshot()
        }))))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let context = || format!("checkpoint to {}", dir.display());
        Checkpoint::new(&self.database.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir))
            .map_err(|error| failed(context(), error))
    }

    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError> {
        let past_all = [u8::MAX; 64];
        let range = Range::new(start, end.unwrap_or(&past_all));
        let database = &*self.database;
        let in_files =
            database.db.get_approximate_sizes_cf(database.family(space), &[range]).first().copied();
        let in_files = in_files.unwrap_or(0);
        if in_files > COUNTED_BYTES {
            return Ok(in_files);
        }
        let scan = Scan::range(start, end.map(<[u8]>::to_vec));
        let counted = count_bytes(self, space, &scan, COUNTED_BYTES)?;
        Ok(if counted > COUNTED_BYTES { counted.max(in_files) } else { counted })
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the macro's own code forgets a guard it has disarmed"
)]
mod owned_view {
    use super::Database;
    use rocksdb::Snapshot;
    use std::sync::Arc;

    self_cell::self_cell!(
        /// A snapshot together with the database it borrows. The crate keeps the borrow sound; we write no `unsafe`.
        pub(super) struct OwnedView {
            owner: Arc<Database>,
            #[covariant]
            dependent: Snapshot,
        }
    );
}

struct RocksSnapshot(OwnedView);

impl RocksSnapshot {
    fn reading(&self) -> ReadOptions {
        let mut options = options::reading();
        options.set_snapshot(self.0.borrow_dependent());
        options
    }
}

impl EngineRead for RocksSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.0.borrow_owner().get(space, key, &self.reading())
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.0.borrow_owner().visit(space, scan, self.reading(), row)
    }
}

impl EngineSnapshot for RocksSnapshot {}
