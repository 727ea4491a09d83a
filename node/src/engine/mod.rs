//! Where bytes are kept: one trait, two engines for disks, an engine for tests and simulation.
//!
//! An engine is one directory with a fixed set of [`Space`]s. A [`WriteBatch`] is atomic over all spaces and readable
//! as soon as [`Engine::write`] returns, but it is *durable* only after a later [`Engine::sync`]. A crash may take away
//! unsynced batches, always from the end: what survives is a prefix of what was written, in whole batches.
//! `docs/src/engines.md` tells why, and what each engine does about damaged files.

use std::{ops::ControlFlow, path::Path, time::Duration};

#[cfg(test)]
pub mod conformance;
#[cfg(test)]
mod crash_tests;
mod error;
pub mod memory;
mod offload;
pub mod redb;
pub mod rocks;
pub mod segments;
mod sync_latch;
#[cfg(test)]
mod testing;
mod watermark;

pub use error::{EngineError, EngineErrorKind};
pub use memory::{MemoryDisk, MemoryEngine};
pub use offload::offload;
pub use redb::{RedbConfig, RedbEngine};
pub use rocks::{BlockCache, RocksConfig, RocksEngine};
pub use segments::{SegmentConfig, SegmentEngine};

/// A named key space inside one engine (a column family where the engine has those).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Consensus log records of all groups: `shard | index`.
    Log,
    /// Votes and marks of all groups: `shard | kind`.
    LogMeta,
    /// Rows.
    Data,
    /// Client sessions, for writes that are repeated.
    Sessions,
    /// What is applied, descriptors, answers to directives.
    Meta,
    /// A snapshot on its way in.
    Staging,
}

impl Space {
    /// Every space, in order.
    pub const ALL: [Self; 6] =
        [Self::Log, Self::LogMeta, Self::Data, Self::Sessions, Self::Meta, Self::Staging];

    /// Its name on disk. Never change one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::LogMeta => "log_meta",
            Self::Data => "data",
            Self::Sessions => "sessions",
            Self::Meta => "meta",
            Self::Staging => "staging",
        }
    }

    fn slot(self) -> usize {
        self as usize
    }
}

/// One change inside a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Set a key.
    Put(Space, Vec<u8>, Vec<u8>),
    /// Remove a key; no error if it is not there.
    Delete(Space, Vec<u8>),
    /// Remove every key in `start..end`.
    DeleteRange(Space, Vec<u8>, Vec<u8>),
}

impl Op {
    /// Where it begins to change something.
    fn place(&self) -> (Space, &[u8]) {
        match self {
            Self::Put(space, key, _) | Self::Delete(space, key) => (*space, key),
            Self::DeleteRange(space, start, _) => (*space, start),
        }
    }

    /// Its keys and value.
    fn size_bytes(&self) -> usize {
        match self {
            Self::Put(_, first, second) | Self::DeleteRange(_, first, second) => {
                first.len() + second.len()
            }
            Self::Delete(_, key) => key.len(),
        }
    }
}

/// Changes that happen together or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    ops: Vec<Op>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(space, key.into(), value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete(space, key.into()));
    }

    /// Removes every key in `start..end`. A range that holds nothing adds nothing.
    pub fn delete_range(
        &mut self,
        space: Space,
        start: impl Into<Vec<u8>>,
        end: impl Into<Vec<u8>>,
    ) {
        let (start, end) = (start.into(), end.into());
        if start < end {
            self.ops.push(Op::DeleteRange(space, start, end));
        }
    }

    /// Adds all of another batch behind this one.
    pub fn append(&mut self, other: Self) {
        self.ops.extend(other.ops);
    }

    /// The changes in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Which rows to read, in which direction, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The first key that may be returned.
    pub start: Vec<u8>,
    /// The first key that is past the end; none: to the last key.
    pub end: Option<Vec<u8>>,
    /// From the end backwards.
    pub reverse: bool,
    /// The most rows in one page.
    pub limit_rows: usize,
    /// A page ends with the row that reaches this many bytes.
    pub limit_bytes: usize,
}

impl Scan {
    /// Rows in a page unless told otherwise.
    pub const DEFAULT_LIMIT_ROWS: usize = 1000;
    /// Bytes in a page unless told otherwise.
    pub const DEFAULT_LIMIT_BYTES: usize = 4 << 20;

    /// `start..end`; with no end, to the last key.
    pub fn range(start: impl Into<Vec<u8>>, end: Option<Vec<u8>>) -> Self {
        Self {
            start: start.into(),
            end,
            reverse: false,
            limit_rows: Self::DEFAULT_LIMIT_ROWS,
            limit_bytes: Self::DEFAULT_LIMIT_BYTES,
        }
    }

    /// Everything.
    pub fn all() -> Self {
        Self::range(Vec::new(), None)
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self::range(prefix, prefix_end(prefix))
    }

    /// The same, backwards.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// The same with at most this many rows in a page.
    #[must_use]
    pub fn limit_rows(mut self, rows: usize) -> Self {
        self.limit_rows = rows;
        self
    }

    /// The same with about this many bytes in a page.
    #[must_use]
    pub fn limit_bytes(mut self, bytes: usize) -> Self {
        self.limit_bytes = bytes;
        self
    }

    /// The scan that goes on behind `page`; none when that was all.
    pub fn after(&self, page: &Page) -> Option<Self> {
        let (last, _) = page.rows.last().filter(|_| page.more)?;
        let mut next = self.clone();
        if self.reverse {
            next.end = Some(last.clone());
        } else {
            next.start = successor(last);
        }
        Some(next)
    }

    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Some rows of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, in the direction of the scan.
    pub rows: Vec<Row>,
    /// Whether rows are left; [`Scan::after`] continues.
    pub more: bool,
}

/// The least key above every key with this prefix; none if there is no such key (empty, or all 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// The least key above `key`.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// What [`EngineRead::visit`] calls for each row.
pub type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reading, from the newest state or from a snapshot. Calls block, for as long as a disk read may take.
pub trait EngineRead: Send + Sync {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// The values of many keys, in the order of the keys. They need not be of one instant; a snapshot's are.
    fn multi_get(
        &self,
        space: Space,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        keys.iter().map(|key| self.get(space, key)).collect()
    }

    /// Calls `row` for each row of the scan's range, in its direction, until it breaks. The scan's limits do not count
    /// here. The rows are of one instant, the one of the call.
    fn visit(&self, space: Space, scan: &Scan, row: &mut RowVisitor<'_>)
    -> Result<(), EngineError>;

    /// One page of a scan. The rows are of one instant; the next page's are of a later one, unless this is a snapshot.
    fn scan(&self, space: Space, scan: &Scan) -> Result<Page, EngineError> {
        let mut page = Page::default();
        let mut size_bytes = 0;
        self.visit(space, scan, &mut |key, value| {
            if page.rows.len() >= scan.limit_rows || size_bytes >= scan.limit_bytes {
                page.more = true;
                return ControlFlow::Break(());
            }
            size_bytes += key.len() + value.len();
            page.rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }
}

/// Bytes of the keys and values in the range of `scan`; counting ends with the row that goes above `limit_bytes`.
fn count_bytes(
    from: &impl EngineRead,
    space: Space,
    scan: &Scan,
    limit_bytes: u64,
) -> Result<u64, EngineError> {
    let mut counted = 0;
    from.visit(space, scan, &mut |key, value| {
        counted += (key.len() + value.len()) as u64;
        if counted > limit_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(counted)
}

/// A view of one instant that later writes do not change. Owned: it keeps the engine open while it lives, so drop it
/// soon; old versions of rows cannot be dropped from disk before.
pub trait EngineSnapshot: EngineRead + 'static {}

/// One directory of spaces. Calls block: they are short, except `sync` and `checkpoint`, which wait for the disk.
pub trait Engine: EngineRead + 'static {
    /// The engine's name, for people.
    fn name(&self) -> &'static str;

    /// Writes a batch: atomic, readable when this returns, *not* durable before the next [`Engine::sync`].
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Makes durable every batch whose `write` returned before this call. After an error nothing more may be
    /// acknowledged: the kernel may have dropped the pages it could not write. So every later call fails too.
    fn sync(&self) -> Result<(), EngineError>;

    /// A view of this instant.
    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError>;

    /// A whole copy in a new directory `dir`, which must not exist. The same engine can open it.
    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError>;

    /// About how many bytes `start..end` takes; exact for small ranges. No end: to the last key.
    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError>;

    /// How long the next wait for the disk takes, if the disk is a simulated one. Then nobody starts a thread to wait:
    /// the wait is one of virtual time, and the call itself returns at once.
    fn simulated_wait(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefix_end_at_the_edges() {
        assert_eq!(prefix_end(b""), None);
        assert_eq!(prefix_end(&[0xff, 0xff]), None);
        assert_eq!(prefix_end(&[1, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0]), Some(vec![1]));
    }

    #[test]
    fn an_empty_range_is_no_operation() {
        let mut batch = WriteBatch::new();
        batch.delete_range(Space::Data, "b", "a");
        batch.delete_range(Space::Data, "a", "a");
        assert!(batch.is_empty());
    }

    #[test]
    fn names_and_slots_of_spaces_differ() {
        for (slot, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(space.slot(), slot);
            assert_eq!(Space::ALL.iter().filter(|other| other.name() == space.name()).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn prefix_end_splits_keys_exactly(prefix: Vec<u8>, key: Vec<u8>) {
            let inside = key >= prefix && prefix_end(&prefix).is_none_or(|end| key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }

        #[test]
        fn nothing_fits_between_a_key_and_its_successor(key: Vec<u8>, other: Vec<u8>) {
            prop_assert!(!(other > key && other < successor(&key)));
        }
    }
}
