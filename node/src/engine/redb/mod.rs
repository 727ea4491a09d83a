//! The second engine for disks: redb, a B-tree in one file, written in Rust. One table for each space.
//!
//! A write is a commit that redb keeps in memory, a sync is one that it writes and fsyncs together with all before it.

mod file;
mod sizes;
#[cfg(test)]
mod tests;

use super::{
    Engine, EngineError, EngineErrorKind, EngineRead, EngineSnapshot, Op, RowVisitor, Scan, Space,
    WriteBatch, sync_latch::SyncLatch, watermark::Watermark,
};
use file::{CheckedFile, Shared};
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, StorageBackend, Table,
    TableDefinition, TableError, TableHandle, WriteTransaction, backends::FileBackend,
};
use sizes::{Amount, Sizes};
use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::{Bound, ControlFlow},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const FILE: &str = "rows.redb";
/// A file that is being made. It gets its name when it is whole.
const NEW_FILE: &str = "rows.redb.new";

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
type OpenRows<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// How many syncs the file has seen; every sync adds one.
const NOTES: TableDefinition<'static, &'static str, u64> = TableDefinition::new("notes");
const SYNCS: &str = "syncs";

fn rows_of(space: Space) -> Rows {
    TableDefinition::new(space.name())
}

/// What can be set of one redb database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedbConfig {
    /// Memory for pages, bytes. At most half of it holds what is not written to the file yet.
    pub cache_bytes: usize,
}

impl RedbConfig {
    /// Takes as much memory as RocksDB with the same limits, which has a block cache and two write buffers. Sizes in bytes.
    pub fn within(block_cache_bytes: usize, write_buffer_bytes: usize) -> Self {
        let buffers_bytes = write_buffer_bytes.saturating_mul(2);
        Self { cache_bytes: block_cache_bytes.saturating_add(buffers_bytes) }
    }
}

impl Default for RedbConfig {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// An open database and its note of what is durable.
struct Store {
    database: Database,
    file: Arc<CheckedFile>,
    durable: Watermark,
    syncs: SyncLatch,
    /// Syncs that the file has seen.
    synced: AtomicU64,
    sizes: Sizes,
}

/// An engine over one redb file in a directory of its own.
pub struct RedbEngine {
    store: Arc<Store>,
}

impl RedbEngine {
    /// Opens the database in `dir`, or makes an empty one. Reads the whole file, to check it.
    ///
    /// Writes that were not synced when the process or the machine died are gone. Damage in anything older is
    /// [`EngineErrorKind::Corruption`].
    pub fn open(dir: &Path, config: &RedbConfig) -> Result<Self, EngineError> {
        let on_file = |error| EngineError::from_file(format!("open {}", dir.display()), error);
        fs::create_dir_all(dir).map_err(on_file)?;
        let path = dir.join(FILE);
        let noted = Watermark::read(dir);
        if !path.exists() {
            if noted.is_some() {
                let what =
                    format!("{} is gone, and the note of its syncs is there", path.display());
                return Err(EngineError::corruption(what));
            }
            make(dir)?;
        }
        let options = OpenOptions::new().read(true).write(true).open(&path);
        let below = FileBackend::new(options.map_err(on_file)?)
            .map_err(|error| failed(format!("open {}", path.display()), error, None))?;
        Self::open_over(dir, below, noted, config)
    }

    fn open_over(
        dir: &Path,
        below: impl StorageBackend,
        noted: Option<u64>,
        config: &RedbConfig,
    ) -> Result<Self, EngineError> {
        let file = Arc::new(CheckedFile::new(below));
        let context = || format!("open {}", dir.join(FILE).display());
        let database = builder(config)
            .create_with_backend(Shared(file.clone()))
            .map_err(|error| failed(context(), error, file.damage()))?;
        let synced = seen_syncs(&database, context)?;
        if let Some(noted) = noted.filter(|noted| synced < *noted) {
            return Err(EngineError::corruption(format!(
                "{}: sync {noted} was done, but only what sync {synced} wrote can be read back",
                dir.join(FILE).display()
            )));
        }
        let store = Store {
            database,
            file,
            durable: Watermark::open(dir)?,
            syncs: SyncLatch::default(),
            synced: AtomicU64::new(synced),
            sizes: Sizes::default(),
        };
        Ok(Self { store: Arc::new(store) })
    }
}

fn builder(config: &RedbConfig) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(config.cache_bytes);
    // Without it redb trusts a file that was closed in order, and may panic over a damaged one.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Makes an empty database with all tables. It is there whole or not at all, whenever the process dies.
fn make(dir: &Path) -> Result<(), EngineError> {
    let path = dir.join(NEW_FILE);
    let context = || format!("make {}", path.display());
    let on_file = |error| EngineError::from_file(context(), error);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(on_file(error)),
        _ => {}
    }
    let filled = || -> Result<(), redb::Error> {
        let database = builder(&RedbConfig::default()).create(&path)?;
        let changes = database.begin_write()?;
        for space in Space::ALL {
            changes.open_table(rows_of(space))?;
        }
        changes.open_table(NOTES)?.insert(SYNCS, 0)?;
        changes.commit()?;
        Ok(database.close()?)
    };
    filled().map_err(|error| failed(context(), error, None))?;
    fs::rename(&path, dir.join(FILE)).and_then(|()| File::open(dir)?.sync_all()).map_err(on_file)
}

/// How many syncs the file has seen. Refuses one with other tables than ours.
fn seen_syncs(database: &Database, context: impl Fn() -> String) -> Result<u64, EngineError> {
    let read = || -> Result<(Vec<String>, Option<u64>), redb::Error> {
        let view = database.begin_read()?;
        let mut names: Vec<String> =
            view.list_tables()?.map(|table| table.name().to_owned()).collect();
        names.sort();
        let syncs = match view.open_table(NOTES) {
            Err(TableError::TableDoesNotExist(_)) => None,
            notes => notes?.get(SYNCS)?.map(|syncs| syncs.value()),
        };
        Ok((names, syncs))
    };
    let (names, syncs) = read().map_err(|error| failed(context(), error, None))?;
    let known =
        |name: &str| name == NOTES.name() || Space::ALL.iter().any(|space| space.name() == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let what = format!("{}: table {name} is not known here", context());
        return Err(EngineError::new(EngineErrorKind::NewerFormat, what));
    }
    match syncs {
        Some(syncs) if names.len() == Space::ALL.len() + 1 => Ok(syncs),
        _ => Err(EngineError::corruption(format!("{}: tables are missing: {names:?}", context()))),
    }
}

fn failed(
    context: impl Into<String>,
    error: impl Into<redb::Error>,
    damage: Option<&str>,
) -> EngineError {
    let error = error.into();
    let kind = match damage {
        Some(_) => EngineErrorKind::Corruption,
        None => kind_of(&error),
    };
    let context = match damage {
        Some(damage) => format!("{}: {damage}", context.into()),
        None => context.into(),
    };
    EngineError::new(kind, context).caused_by(error)
}

fn kind_of(error: &redb::Error) -> EngineErrorKind {
    match error {
        redb::Error::Corrupted(_) => EngineErrorKind::Corruption,
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineErrorKind::DiskFull,
            // No database at all, or one that ends too early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                EngineErrorKind::Corruption
            }
            _ => EngineErrorKind::Io,
        },
        redb::Error::PreviousIo => EngineErrorKind::Io,
        redb::Error::DatabaseAlreadyOpen => EngineErrorKind::Locked,
        redb::Error::DatabaseClosed => EngineErrorKind::Closed,
        // An older format than any that was written here.
        redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_) => EngineErrorKind::Corruption,
        _ => EngineErrorKind::Internal,
    }
}

/// The table of a space in a transaction, opened when it is first asked for.
fn opened<'a, 't>(
    tables: &'a mut [Option<OpenRows<'t>>; Space::ALL.len()],
    changes: &'t WriteTransaction,
    space: Space,
) -> Result<&'a mut OpenRows<'t>, TableError> {
    let table = &mut tables[space.slot()];
    if table.is_none() {
        *table = Some(changes.open_table(rows_of(space))?);
    }
    Ok(table.as_mut().expect("it was just opened"))
}

fn read(
    view: &ReadTransaction,
    space: Space,
    keys: &[impl AsRef<[u8]>],
) -> Result<Vec<Option<Vec<u8>>>, redb::Error> {
    let table = view.open_table(rows_of(space))?;
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        values.push(table.get(key.as_ref())?.map(|value| value.value().to_vec()));
    }
    Ok(values)
}

fn walk(
    view: &ReadTransaction,
    space: Space,
    scan: &Scan,
    row: &mut RowVisitor<'_>,
) -> Result<(), redb::Error> {
    if scan.is_empty() {
        return Ok(());
    }
    let end = scan.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_slice()));
    let bounds = (Bound::Included(scan.start.as_slice()), end);
    let mut rows = view.open_table(rows_of(space))?.range::<&[u8]>(bounds)?;
    while let Some(found) = if scan.reverse { rows.next_back() } else { rows.next() } {
        let (key, value) = found?;
        if row(key.value(), value.value()) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

impl Store {
    fn failed(&self, context: impl Into<String>, error: impl Into<redb::Error>) -> EngineError {
        failed(context, error, self.file.damage())
    }

    fn view(&self) -> Result<ReadTransaction, EngineError> {
        self.database.begin_read().map_err(|error| self.failed("begin to read", error))
    }

    fn get(
        &self,
        view: &ReadTransaction,
        space: Space,
        keys: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        read(view, space, keys)
            .map_err(|error| self.failed(format!("read {}", space.name()), error))
    }

    fn visit(
        &self,
        view: &ReadTransaction,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        walk(view, space, scan, row)
            .map_err(|error| self.failed(format!("scan {}", space.name()), error))
    }

    fn apply(&self, batch: &WriteBatch) -> Result<(), redb::Error> {
        let mut changes = self.database.begin_write()?;
        changes.set_durability(Durability::None)?;
        let mut tables = [const { None }; Space::ALL.len()];
        for op in batch.ops() {
            match op {
                Op::Put(space, key, value) => {
                    let table = opened(&mut tables, &changes, *space)?;
                    table.insert(key.as_slice(), value.as_slice())?;
                }
                Op::Delete(space, key) => {
                    opened(&mut tables, &changes, *space)?.remove(key.as_slice())?;
                }
                Op::DeleteRange(space, start, end) => {
                    let table = opened(&mut tables, &changes, *space)?;
                    table.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
                }
            }
        }
        drop(tables);
        Ok(changes.commit()?)
    }

    /// Writes everything to the file, with the fsync still to come. Returns the number of this sync.
    fn publish(&self) -> Result<u64, redb::Error> {
        let number = self.synced.load(Ordering::Acquire) + 1;
        let changes = self.database.begin_write()?;
        changes.open_table(NOTES)?.insert(SYNCS, number)?;
        // Writers need not wait for the disk; the file makes those wait that would get in its way.
        self.file.put_off_fsync(|| changes.commit())?;
        self.synced.store(number, Ordering::Release);
        Ok(number)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.syncs.run(|| {
            let number = self.publish().map_err(|error| self.failed("sync", error))?;
            self.file.settle().map_err(|error| self.failed("sync", redb::Error::Io(error)))?;
            self.durable.advance(number)
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A clean close keeps what was written. After a failed sync nobody knows what the kernel kept: leave it, as the
        // file does by itself, which fails all writes then.
        if !self.syncs.has_failed() && self.sync().is_ok() {
            self.durable.persist();
        }
    }
}

impl EngineRead for RedbEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.store.get(&self.store.view()?, space, &[key])?.pop().flatten())
    }

    fn multi_get(
        &self,
        space: Space,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.store.get(&self.store.view()?, space, keys)
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.store.visit(&self.store.view()?, space, scan, row)
    }
}

impl Engine for RedbEngine {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.store.apply(&batch).map_err(|error| self.store.failed("write a batch", error))?;
        self.store.sizes.written(&batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.store.sync()
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        Ok(Box::new(RedbSnapshot { view: self.store.view()?, store: self.store.clone() }))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let view = self.store.view()?;
        fs::create_dir(dir).map_err(|error| {
            EngineError::from_file(format!("checkpoint to {}", dir.display()), error)
        })?;
        let copy = Self::open(dir, &RedbConfig::default())?;
        let filled = || -> Result<(), redb::Error> {
            let mut changes = copy.store.database.begin_write()?;
            changes.set_durability(Durability::None)?;
            for space in Space::ALL {
                let mut table = changes.open_table(rows_of(space))?;
                for row in view.open_table(rows_of(space))?.range::<&[u8]>(..)? {
                    let (key, value) = row?;
                    table.insert(key.value(), value.value())?;
                }
            }
            Ok(changes.commit()?)
        };
        filled().map_err(|error| {
            self.store.failed(format!("checkpoint to {}", dir.display()), error)
        })?;
        copy.sync()
    }

    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError> {
        self.store.sizes.of(space, start, end, || {
            let mut amount = Amount::default();
            let scan = Scan::range(start, end.map(<[u8]>::to_vec));
            self.visit(space, &scan, &mut |key, value| {
                amount.rows += 1;
                amount.bytes += (key.len() + value.len()) as u64;
                ControlFlow::Continue(())
            })?;
            Ok(amount)
        })
    }
}

/// A read transaction and the database that it reads, which must not close before.
struct RedbSnapshot {
    view: ReadTransaction,
    store: Arc<Store>,
}

impl EngineRead for RedbSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.store.get(&self.view, space, &[key])?.pop().flatten())
    }

    fn multi_get(
        &self,
        space: Space,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.store.get(&self.view, space, keys)
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.store.visit(&self.view, space, scan, row)
    }
}

impl EngineSnapshot for RedbSnapshot {}
