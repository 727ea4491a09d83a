//! The file below redb: remembers a sum of every block, and can put one fsync off.
//!
//! redb checks the sums of its pages when it opens a file, not when it reads a page later. So we remember a sum of every
//! block that went through here, and a block that is read again must be the same: what was good at the opening or was
//! written since cannot change unnoticed.
//!
//! redb holds its one write transaction during the fsync of a commit, and so every writer would wait for the disk. Here the
//! fsync of a commit can be put off until the transaction has ended. Nothing else reaches the file before it is done:
//! the commit before the last one must stay whole until the last one is durable, and a write could take its pages.

use redb::{BackendError, StorageBackend};
use std::{
    io,
    ops::Bound,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// redb's pages are multiples of this.
const BLOCK_BYTES: u64 = 4096;
/// The sum of a block that did not go through here yet.
const UNKNOWN: u64 = 0;

/// How far the last fsync that was put off has come.
#[derive(Debug, Default)]
enum Fsync {
    #[default]
    Done,
    Due,
    /// It is never tried again: the kernel may have dropped what it could not write.
    Failed(io::ErrorKind, String),
}

/// A file that notices what others do to it. One redb database uses it.
#[derive(Debug)]
pub(super) struct CheckedFile {
    below: Box<dyn StorageBackend>,
    /// Of each block, in order. A little under 0.2 % of the file.
    sums: RwLock<Vec<u64>>,
    fsync: Mutex<Fsync>,
    puts_off: AtomicBool,
    damage: OnceLock<String>,
}

impl CheckedFile {
    pub(super) fn new(below: impl StorageBackend) -> Self {
        Self {
            below: Box::new(below),
            sums: RwLock::default(),
            fsync: Mutex::default(),
            puts_off: AtomicBool::new(false),
            damage: OnceLock::new(),
        }
    }

    /// What was found damaged, if anything was.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Runs a commit, but leaves its fsync to [`CheckedFile::settle`] or to the next write.
    pub(super) fn put_off_fsync<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.puts_off.store(true, Ordering::Release);
        let result = commit();
        self.puts_off.store(false, Ordering::Release);
        result
    }

    /// Does the fsync that was put off, if there is one. After one that failed this fails for good.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut fsync = self.fsync.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fsync {
            Fsync::Done => Ok(()),
            Fsync::Failed(kind, why) => Err(io::Error::new(*kind, why.clone())),
            Fsync::Due => {
                let done = self.below.sync_data();
                *fsync = match &done {
                    Ok(()) => Fsync::Done,
                    Err(error) => Fsync::Failed(error.kind(), error.to_string()),
                };
                done
            }
        }
    }

    /// The whole blocks of a part of the file; none if it begins or ends inside a block, as the header does.
    fn blocks(offset: u64, bytes: &[u8]) -> Option<impl Iterator<Item = (usize, u64)>> {
        let whole =
            offset.is_multiple_of(BLOCK_BYTES) && (bytes.len() as u64).is_multiple_of(BLOCK_BYTES);
        let first = (offset / BLOCK_BYTES) as usize;
        let blocks = bytes.chunks_exact(BLOCK_BYTES as usize).enumerate();
        whole.then(|| blocks.map(move |(n, block)| (first + n, sum(block))))
    }

    fn remember(&self, offset: u64, bytes: &[u8]) {
        let end = (offset + bytes.len() as u64).div_ceil(BLOCK_BYTES) as usize;
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        if sums.len() < end {
            sums.resize(end, UNKNOWN);
        }
        match Self::blocks(offset, bytes) {
            Some(blocks) => blocks.for_each(|(block, sum)| sums[block] = sum),
            None => sums[(offset / BLOCK_BYTES) as usize..end].fill(UNKNOWN),
        }
    }

    fn check(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(blocks) = Self::blocks(offset, bytes) else { return Ok(()) };
        let mut is_new = false;
        {
            let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
            for (block, sum) in blocks {
                match sums.get(block) {
                    None | Some(&UNKNOWN) => is_new = true,
                    Some(&known) if known == sum => {}
                    Some(_) => {
                        let at = block as u64 * BLOCK_BYTES;
                        let what = format!("the block at byte {at} is not what was written there");
                        let _ = self.damage.set(what.clone()); // the first one found stays
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                    }
                }
            }
        }
        if is_new {
            self.remember(offset, bytes);
        }
        Ok(())
    }
}

fn sum(block: &[u8]) -> u64 {
    let hash = blake3::hash(block);
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first).max(UNKNOWN + 1)
}

/// What redb gets: the file, shared with the engine.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<CheckedFile>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.below.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.below.read(offset, out)?;
        self.0.check(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.settle()?;
        let mut sums = self.0.sums.write().unwrap_or_else(PoisonError::into_inner);
        sums.truncate((length / BLOCK_BYTES) as usize);
        drop(sums);
        self.0.below.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.settle()?;
        *self.0.fsync.lock().unwrap_or_else(PoisonError::into_inner) = Fsync::Due;
        if self.0.puts_off.load(Ordering::Acquire) { Ok(()) } else { self.0.settle() }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.settle()?;
        self.0.below.write(offset, bytes)?;
        self.0.remember(offset, bytes);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let settled = self.0.settle();
        self.0.below.close()?;
        settled
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.below.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.query_lock_range(start, end)
    }
}
