//! One file of the log. Its room is filled with zeros ahead of what is written, a part at a time: then an fsync has
//! only data to write and no change of the file's size, which is what an fsync of a growing file mostly waits for.

use super::super::EngineError;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Room that is made at once at most: the fsync after it writes it too, and whoever waits for that waits longer.
const ROOM_BYTES_MAX: u32 = 256 << 10;
/// Files that are not needed any more, kept for the next segments: their room is made already. A checkpoint of a busy
/// group sets many free at once.
const SPARES: [&str; 8] =
    ["spare-0", "spare-1", "spare-2", "spare-3", "spare-4", "spare-5", "spare-6", "spare-7"];
const EXTENSION: &str = "seg";

/// A file of frames. Its number is never given out again.
pub(super) struct Segment {
    pub(super) number: u32,
    path: PathBuf,
    file: File,
    /// Bytes from the beginning that are in the file, and not only in memory.
    written_bytes: AtomicU32,
    /// Bytes that have room.
    room_bytes: AtomicU64,
    /// Bytes for which room is made at once.
    step_bytes: u32,
    /// Bytes of values that the index refers to.
    live_bytes: AtomicU64,
    /// How many values that are.
    live_rows: AtomicU64,
}

impl Segment {
    /// A new, empty one. It is durable once the directory is.
    pub(super) fn create(dir: &Path, number: u32, segment_bytes: u32) -> Result<Self, EngineError> {
        let path = path(dir, number);
        for spare in SPARES {
            match fs::rename(dir.join(spare), &path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("reuse", &path)(error)),
            }
        }
        let mut options = OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(failed("create", &path))?;
        let room_bytes = file.metadata().map_err(failed("look at", &path))?.len();
        Ok(Self {
            number,
            path,
            file,
            written_bytes: AtomicU32::new(0),
            room_bytes: AtomicU64::new(room_bytes),
            step_bytes: segment_bytes.clamp(1, ROOM_BYTES_MAX),
            live_bytes: AtomicU64::new(0),
            live_rows: AtomicU64::new(0),
        })
    }

    /// One that is there, with its bytes. Nothing is written to it any more.
    pub(super) fn open(dir: &Path, number: u32) -> Result<(Self, Vec<u8>), EngineError> {
        let path = path(dir, number);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let file = File::open(&path).map_err(failed("open", &path))?;
        let segment = Self {
            number,
            path,
            file,
            written_bytes: AtomicU32::new(bytes.len() as u32),
            room_bytes: AtomicU64::new(bytes.len() as u64),
            step_bytes: ROOM_BYTES_MAX,
            live_bytes: AtomicU64::new(0),
            live_rows: AtomicU64::new(0),
        };
        Ok((segment, bytes))
    }

    pub(super) fn write(&self, offset: u32, bytes: &[u8]) -> Result<(), EngineError> {
        let end = u64::from(offset) + bytes.len() as u64;
        let room = self.room_bytes.load(Ordering::Acquire);
        if end > room {
            let new_room = end.next_multiple_of(self.step_bytes.into());
            let zeros = vec![0; (new_room - room) as usize];
            self.file.write_all_at(&zeros, room).map_err(failed("make room in", &self.path))?;
            self.room_bytes.store(new_room, Ordering::Release);
        }
        self.file.write_all_at(bytes, offset.into()).map_err(failed("write", &self.path))?;
        self.written_bytes.store(end as u32, Ordering::Release);
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.file.sync_data().map_err(failed("make durable", &self.path))
    }

    pub(super) fn read(&self, offset: u32, size_bytes: u32) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0; size_bytes as usize];
        self.file.read_exact_at(&mut bytes, offset.into()).map_err(failed("read", &self.path))?;
        Ok(bytes)
    }

    /// Whether these bytes are in the file.
    pub(super) fn has(&self, end: u32) -> bool {
        end <= self.written_bytes.load(Ordering::Acquire)
    }

    pub(super) fn room_bytes(&self) -> u64 {
        self.room_bytes.load(Ordering::Acquire)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Acquire)
    }

    pub(super) fn add_live(&self, bytes: u32) {
        self.live_bytes.fetch_add(bytes.into(), Ordering::AcqRel);
        self.live_rows.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether that was the last one.
    pub(super) fn remove_live(&self, bytes: u32) -> bool {
        self.live_bytes.fetch_sub(bytes.into(), Ordering::AcqRel);
        self.live_rows.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Takes it out of the log: it becomes a spare file if there are few, or goes. Nobody may refer to it.
    pub(super) fn retire(&self, dir: &Path) -> Result<(), EngineError> {
        let free = SPARES.into_iter().map(|name| dir.join(name)).find(|spare| !spare.exists());
        let gone = match free {
            Some(spare) => fs::rename(&self.path, spare),
            None => fs::remove_file(&self.path),
        };
        gone.map_err(failed("retire", &self.path))
    }

    /// Copies its file into another directory, durably.
    pub(super) fn copy_to(&self, dir: &Path) -> Result<(), EngineError> {
        let to = path(dir, self.number);
        let copied = fs::copy(&self.path, &to).and_then(|_| File::open(&to)?.sync_all());
        copied.map_err(failed("copy", &self.path))
    }
}

/// The numbers of the segments in a directory, ascending.
pub(super) fn numbers(dir: &Path) -> Result<Vec<u32>, EngineError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let strange = || EngineError::corruption(format!("{} is no segment", path.display()));
            numbers.push(number.ok_or_else(strange)?);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes names that came or went durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("make durable", dir))
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.{EXTENSION}"))
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl Fn(io::Error) -> EngineError + 'a {
    move |error| EngineError::from_file(format!("{what} {}", path.display()), error)
}
