//! The engine of the log on disk: batches appended to files, and an index in memory of where each value lies.
//!
//! ```text
//! write ─► frame in a buffer ─► index          readable at once
//! sync  ─► buffer to the file ─► fdatasync     durable; then segments that nothing refers to go, oldest first
//! ```
//! Log records are written once, read back seldom and deleted from the front. For that a sorted tree is dear: it keeps a
//! second copy in a buffer, sorts what comes in order anyway, and its files grow, so each fsync waits for the file
//! system's journal. Here an fsync writes the bytes and nothing else. Values of [`Space::Log`] lie in the files only;
//! the other spaces are small (marks of the groups), are kept in memory, and written whole at the head of each segment, so
//! that no segment must be kept for them.
//!
//! Segments go in the order in which they came: an older one may hold a record that a removal in a newer one deletes.
//! A few records that nobody deletes would keep everything behind them, so when the files hold far more than what is
//! alive, the records of the oldest segment are written again at the end.

mod frame;
#[cfg(test)]
mod fuzz_tests;
mod index;
mod recovery;
mod rows;
mod segment;
#[cfg(test)]
mod tests;

use super::{
    Engine, EngineError, EngineErrorKind, EngineRead, EngineSnapshot, Op, RowVisitor, Scan, Space,
    WriteBatch, sync_latch::SyncLatch, watermark::Watermark,
};
use bytes::Bytes;
use frame::{Header, Kind, Position};
use index::{Index, Located, Stored};
use rows::Kept;
use segment::Segment;
use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

/// A batch whose bytes would not fit the offsets of a segment is refused.
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// Bytes that wait for a sync at most; more are written to the file by the writer itself.
const BUFFER_BYTES_MAX: usize = 32 << 20;
/// Segments kept at least, however little of them is alive.
const SEGMENTS_MIN: u64 = 4;
/// Rows looked at, and bytes written again, at one sync.
const REWRITTEN_ROWS_MAX: usize = 4096;
const REWRITTEN_BYTES_MAX: u32 = 256 << 10;

/// Whether the values of a space stay in the files.
fn in_files(space: Space) -> bool {
    space == Space::Log
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentConfig {
    /// A segment that has reached this size is the last one no more, bytes.
    pub segment_bytes: u32,
}

impl Default for SegmentConfig {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20 }
    }
}

/// An engine for logs over one directory.
pub struct SegmentEngine {
    dir: PathBuf,
    config: SegmentConfig,
    /// Taken before `state`, by who writes to files.
    files: Mutex<Files>,
    state: Mutex<State>,
    durable: Watermark,
    syncs: SyncLatch,
    /// The first failed write to a file. What is in the buffers is then lost.
    failure: OnceLock<EngineError>,
}

struct State {
    index: Index,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Arc<Segment>>,
    /// Where the next frame goes.
    end: Position,
    /// The log is known to be durable up to here.
    durable: Position,
    /// Frames that are not in their files yet.
    buffers: Vec<Buffer>,
    buffered_bytes: usize,
    /// The segment whose rows are being written again, and the key from which to look on.
    rewriting: (u32, Vec<u8>),
}

struct Buffer {
    segment: Arc<Segment>,
    offset: u32,
    bytes: Vec<u8>,
}

/// What has been written and waits for an fsync.
#[derive(Default)]
struct Files {
    touched: Vec<Arc<Segment>>,
    /// Memory of a buffer that was written, for the next one.
    reusable: Vec<u8>,
}

impl SegmentEngine {
    /// Opens the log in `dir`, or makes an empty one.
    ///
    /// A torn tail of unsynced writes is dropped. A damaged frame below the last sync is [`EngineErrorKind::Corruption`]
    /// and leaves the files as they are.
    pub fn open(dir: &Path, config: SegmentConfig) -> Result<Self, EngineError> {
        fs::create_dir_all(dir)
            .map_err(|error| EngineError::from_file(format!("create {}", dir.display()), error))?;
        let noted = Position::from_number(Watermark::read(dir).unwrap_or(0));
        let recovered = recovery::recover(dir, noted)?;
        let durable = Watermark::open(dir)?;
        let mut state = State {
            index: recovered.index,
            segments: recovered.segments,
            end: recovered.end,
            durable: noted,
            buffers: Vec::new(),
            buffered_bytes: 0,
            rewriting: (0, Vec::new()),
        };
        // Never into a file that another life wrote: behind its end there may be frames of that life.
        state.begin_segment(dir, &config, recovered.last_number + 1)?;
        let engine = Self {
            dir: dir.to_owned(),
            config,
            files: Mutex::default(),
            state: Mutex::new(state),
            durable,
            syncs: SyncLatch::default(),
            failure: OnceLock::new(),
        };
        engine.sync()?;
        Ok(engine)
    }

    /// Bytes of its files, and bytes of them that are alive.
    pub fn size_bytes(&self) -> (u64, u64) {
        let state = self.state();
        let files = state.segments.iter().map(|segment| segment.room_bytes()).sum();
        (files, state.segments.iter().map(|segment| segment.live_bytes()).sum())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().expect("no code panics while it holds this lock")
    }

    fn check(&self) -> Result<(), EngineError> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Hands everything in the buffers to the kernel.
    fn write_out(&self) -> Result<(), EngineError> {
        let mut files = self.files();
        self.check()?;
        let buffers = {
            let mut state = self.state();
            state.buffered_bytes = 0;
            std::mem::take(&mut state.buffers)
        };
        for buffer in buffers.into_iter().filter(|buffer| !buffer.bytes.is_empty()) {
            buffer.segment.write(buffer.offset, &buffer.bytes).inspect_err(|error| {
                // The first one counts; there is none yet, or this would not have been reached.
                let _ = self.failure.set(error.clone());
            })?;
            if !files.touched.iter().any(|touched| touched.number == buffer.segment.number) {
                files.touched.push(buffer.segment);
            }
            files.reusable = buffer.bytes;
        }
        let mut memory = std::mem::take(&mut files.reusable);
        memory.clear();
        self.state().spare_buffer(memory);
        Ok(())
    }

    fn sync_once(&self) -> Result<(), EngineError> {
        let (end, unreferenced) = {
            let state = self.state();
            (state.end, state.unreferenced())
        };
        self.write_out()?;
        let touched = std::mem::take(&mut self.files().touched);
        for segment in &touched {
            segment.sync()?;
        }
        if touched.iter().any(|segment| segment.number > self.state().durable.segment) {
            segment::sync_dir(&self.dir)?;
        }
        self.durable.advance(end.number())?;
        self.state().durable = end;
        drop(touched);
        // Their removals are durable only now: some were made just before this sync.
        self.retire(unreferenced)?;
        self.rewrite_oldest()
    }

    /// Removes as many of the oldest segments.
    fn retire(&self, count: usize) -> Result<(), EngineError> {
        if count == 0 {
            return Ok(());
        }
        // A checkpoint may be copying them.
        let _files = self.files();
        for _ in 0..count {
            let oldest = self.state().segments.pop_front();
            if let Some(oldest) = oldest {
                oldest.retire(&self.dir)?;
            }
        }
        // Before the spare file gets another name: else a crash could show the old name with new content.
        segment::sync_dir(&self.dir)
    }

    /// If the files hold far more than is alive, writes what is alive in the oldest segment again, at the end: a part of
    /// it at each sync, since nobody can write meanwhile.
    fn rewrite_oldest(&self) -> Result<(), EngineError> {
        let mut state = self.state();
        let total: u64 = state.segments.iter().map(|segment| segment.room_bytes()).sum();
        let live: u64 = state.segments.iter().map(|segment| segment.live_bytes()).sum();
        let room = SEGMENTS_MIN * u64::from(self.config.segment_bytes);
        if total <= 2 * live + room || state.segments.len() < 2 {
            return Ok(());
        }
        let batch = state.part_of_oldest()?;
        if batch.is_empty() {
            return Ok(());
        }
        // Still under the lock: nothing may change a row between its reading and its writing.
        state.append(&self.dir, &self.config, batch)
    }
}

impl State {
    /// Makes a segment the last one. It begins with everything that is kept in memory.
    fn begin_segment(
        &mut self,
        dir: &Path,
        config: &SegmentConfig,
        number: u32,
    ) -> Result<(), EngineError> {
        let segment = Arc::new(Segment::create(dir, number, config.segment_bytes)?);
        let header = Header { kind: Kind::Base, durable: self.durable, previous: self.end };
        let (space, key) = recovery::VERSION_KEY;
        let mut base = vec![Op::Put(space, key.to_vec(), vec![recovery::VERSION])];
        for space in Space::ALL.into_iter().filter(|space| !in_files(*space)) {
            for (key, stored) in self.index.all(space) {
                base.push(Op::Put(space, key.into_owned(), self.index.read(&stored)?));
            }
        }
        self.segments.push_back(segment);
        self.end = Position { segment: number, offset: 0 };
        self.frame(header, &base, |_| {});
        Ok(())
    }

    fn append(
        &mut self,
        dir: &Path,
        config: &SegmentConfig,
        batch: WriteBatch,
    ) -> Result<(), EngineError> {
        if self.end.offset >= config.segment_bytes {
            self.begin_segment(dir, config, self.end.segment + 1)?;
        }
        let header =
            Header { kind: Kind::Batch, durable: self.durable, previous: Position::default() };
        let mut offsets = VecDeque::new();
        let segment = self.frame(header, batch.ops(), |offset| offsets.push_back(offset));
        for op in batch.ops {
            match op {
                Op::Put(space, key, value) => {
                    let offset = offsets.pop_front().expect("each put was given a place");
                    let stored = if in_files(space) {
                        let size_bytes = value.len() as u32;
                        Stored::InFile(Located { segment: segment.clone(), offset, size_bytes })
                    } else {
                        Stored::Here(Bytes::from(value))
                    };
                    self.index.insert(space, key, stored);
                }
                Op::Delete(space, key) => self.index.remove(space, &key),
                Op::DeleteRange(space, from, to) => self.index.remove_range(space, &from, &to),
            }
        }
        Ok(())
    }

    /// Adds a frame to the last segment's buffer.
    fn frame(&mut self, header: Header, ops: &[Op], placed: impl FnMut(u32)) -> Arc<Segment> {
        let segment = self.segments.back().expect("there is always a last one").clone();
        let open = self.buffers.last().is_some_and(|last| last.segment.number == segment.number);
        if !open {
            let bytes = Vec::new();
            let offset = self.end.offset;
            self.buffers.push(Buffer { segment: segment.clone(), offset, bytes });
        }
        let buffer = self.buffers.last_mut().expect("one was just added if there was none");
        let before = buffer.bytes.len();
        frame::encode(self.end, header, ops.iter(), &mut buffer.bytes, placed);
        let added = buffer.bytes.len() - before;
        self.buffered_bytes += added;
        self.end.offset += added as u32;
        segment
    }

    /// The next rows whose values lie in the oldest segment.
    fn part_of_oldest(&mut self) -> Result<WriteBatch, EngineError> {
        let oldest = self.segments.front().expect("there is always a last one").number;
        if self.rewriting.0 != oldest {
            self.rewriting = (oldest, Vec::new());
        }
        let mut batch = WriteBatch::new();
        let (mut looked_at, mut bytes) = (0, 0);
        let mut next = Vec::new();
        let rest = Scan::range(self.rewriting.1.clone(), None);
        for (key, stored) in self.index.range(Space::Log, &rest) {
            if looked_at == REWRITTEN_ROWS_MAX || bytes >= REWRITTEN_BYTES_MAX {
                next = key.into_owned();
                break;
            }
            looked_at += 1;
            if let Kept::At(at) = &stored
                && at.segment == oldest
            {
                bytes += at.size_bytes;
                batch.put(Space::Log, key, self.index.read(&stored)?);
            }
        }
        // At the end it begins again: what was not there a moment ago may be now.
        self.rewriting.1 = next;
        Ok(batch)
    }

    /// Takes memory back for the next buffer, if none is open.
    fn spare_buffer(&mut self, memory: Vec<u8>) {
        if self.buffers.is_empty() && memory.capacity() > 0 && memory.capacity() <= 4 << 20 {
            let segment = self.segments.back().expect("there is always a last one").clone();
            self.buffers.push(Buffer { segment, offset: self.end.offset, bytes: memory });
        }
    }

    /// How many of the oldest segments nothing refers to, neither a row nor a snapshot.
    fn unreferenced(&self) -> usize {
        let old = self.segments.len().saturating_sub(1);
        self.segments.iter().take(old).take_while(|segment| Arc::strong_count(segment) == 1).count()
    }
}

impl EngineRead for SegmentEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(stored) = self.state().index.get(space, key) else { return Ok(None) };
        if !stored.is_readable() {
            self.write_out()?;
        }
        stored.read().map(Some)
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        // As for a snapshot, but of as much as the scan looks at.
        let index = self.state().index.part(space, scan);
        self.write_out()?;
        index.visit(space, scan, row)
    }
}

impl Engine for SegmentEngine {
    fn name(&self) -> &'static str {
        "segments"
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.check()?;
        let bytes = batch.ops().iter().map(|op| op.size_bytes() as u64).sum::<u64>();
        if bytes > BATCH_BYTES_MAX {
            let what = format!("a batch of {bytes} bytes");
            return Err(EngineError::new(EngineErrorKind::Internal, what));
        }
        let buffered_bytes = {
            let mut state = self.state();
            state.append(&self.dir, &self.config, batch).inspect_err(|error| {
                let _ = self.failure.set(error.clone());
            })?;
            state.buffered_bytes
        };
        if buffered_bytes > BUFFER_BYTES_MAX { self.write_out() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.syncs.run(|| self.sync_once())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        // In this order: what the index refers to was in a buffer before, and all buffers are written out after.
        let index = self.state().index.clone();
        self.write_out()?;
        Ok(Box::new(index))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.sync()?;
        fs::create_dir(dir)
            .map_err(|error| EngineError::from_file(format!("create {}", dir.display()), error))?;
        // While they are copied nothing is written to them, and none goes.
        let _files = self.files();
        let segments = self.state().segments.clone();
        for segment in &segments {
            segment.copy_to(dir)?;
        }
        segment::sync_dir(dir)
    }

    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError> {
        let scan = Scan::range(start, end.map(<[u8]>::to_vec));
        Ok(self.state().index.size_bytes(space, &scan))
    }
}

impl Drop for SegmentEngine {
    fn drop(&mut self) {
        // As after a clean close: what was written is in the files, though not durable.
        if self.failure.get().is_none() && !self.syncs.has_failed() {
            let _ = self.write_out();
        }
        self.durable.persist();
    }
}
