//! What the tests of the engines for disks share.

use super::{Engine, Space, WriteBatch};
use std::{fs, path::Path};
use tempfile::{TempDir, tempdir};

/// The value of a row, told from that of every other row.
pub(super) fn value(n: u32, size_bytes: usize) -> Vec<u8> {
    (0..size_bytes).map(|i| (i as u32 ^ n) as u8).collect()
}

/// Writes a row, and in the same batch which row was the last.
pub(super) fn put(engine: &dyn Engine, n: u32, size_bytes: usize) {
    let mut batch = WriteBatch::new();
    batch.put(Space::Data, n.to_be_bytes(), value(n, size_bytes));
    batch.put(Space::Meta, "last", n.to_be_bytes());
    engine.write(batch).unwrap();
}

/// What a dead process leaves: the files as they are while the engine is still open.
pub(super) fn files_now(dir: &Path) -> TempDir {
    let copy = tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        // RocksDB's; it goes with the process.
        if entry.file_name() != "LOCK" {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// Damages one bit of a file.
pub(super) fn flip(file: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}
