//! A look at the write-ahead logs before RocksDB opens them.
//!
//! One damaged bit in the type byte of a record's header can turn it into the type that only recycled logs use. RocksDB
//! (11.8) then reads the same header again and again and never finishes opening; as the first record of a file it reads
//! as an old end of file. We never recycle logs, so such a header is always damage.

use super::super::EngineError;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const RECYCLED_TYPES: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Refuses logs with a header that would make RocksDB hang. All other damage is left to RocksDB, which reports it.
pub(super) fn check(dir: &Path) -> Result<(), EngineError> {
    let failed =
        |path: &Path, error| EngineError::from_file(format!("read {}", path.display()), error);
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        if let Some(at) = recycled_header(&path).map_err(|error| failed(&path, error))? {
            return Err(EngineError::corruption(format!(
                "{}: the record at byte {at} has a type that is never written here",
                path.display()
            )));
        }
    }
    Ok(())
}

fn recycled_header(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut block_at = 0;
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let mut at = 0;
        while let Some(header) = block.get(at..at + HEADER_BYTES) {
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let kind = header[6];
            if RECYCLED_TYPES.contains(&kind) {
                return Ok(Some(block_at + at as u64));
            }
            if kind == 0 && length == 0 {
                break; // never written: the rest of the block is empty
            }
            at += HEADER_BYTES + length;
        }
        if block.len() < BLOCK_BYTES {
            return Ok(None);
        }
        block_at += BLOCK_BYTES as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut bytes = vec![9, 9, 9, 9, 0, 0, kind];
        bytes[4..6].copy_from_slice(&length.to_le_bytes());
        bytes.resize(HEADER_BYTES + usize::from(length), 5);
        bytes
    }

    #[test]
    fn walks_headers_over_blocks_and_ignores_payloads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000007.log");
        let first_block = record(2, (BLOCK_BYTES - HEADER_BYTES - 3) as u16);
        let mut log = [first_block, vec![0; 3], record(4, 500), record(1, 20)].concat();
        fs::write(&path, &log).unwrap();
        fs::write(dir.path().join("LOG"), [5; 40]).unwrap();
        check(dir.path()).unwrap();
        log.truncate(log.len() - 10);
        fs::write(&path, &log).unwrap();
        check(dir.path()).unwrap();
        log[BLOCK_BYTES + HEADER_BYTES + 500 + 6] ^= 4;
        fs::write(&path, &log).unwrap();
        let error = check(dir.path()).unwrap_err();
        assert!(
            error.message().contains(&format!("byte {}", BLOCK_BYTES + 507)),
            "{}",
            error.message()
        );
    }
}
