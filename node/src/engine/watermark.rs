//! The last number of a write or a sync known to be durable, beside the database it belongs to.
//!
//! RocksDB cannot tell a torn tail (fine: nobody was told it is durable) from an acknowledged record whose *length* was
//! damaged (not fine): both look like the end of the log. redb cannot tell a commit that a crash cut off from one that was
//! damaged later: for both it goes back to the commit before. So after each fsync we note how far it reached. The note is
//! not synced itself, except when it is made: it costs a few microseconds, survives the death of the process, and after a
//! power cut it can only be older than the truth, never newer, so it gives no false alarm.

use super::EngineError;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Mutex,
};

const FILE: &str = "DURABLE";
const SIZE_BYTES: usize = 12;

/// The open note. Its number only grows.
pub(in crate::engine) struct Watermark {
    file: File,
    noted: Mutex<u64>,
}

impl Watermark {
    /// The number noted in `dir`; none if there is no note or it is damaged.
    pub(in crate::engine) fn read(dir: &Path) -> Option<u64> {
        let mut bytes = Vec::new();
        // However long a damaged one is, no more is read than shows that it is too long.
        let file = File::open(dir.join(FILE)).ok()?.take(SIZE_BYTES as u64 + 1);
        { file }.read_to_end(&mut bytes).ok()?;
        let bytes: [u8; SIZE_BYTES] = bytes.try_into().ok()?;
        let (number, sum) = bytes.split_at(8);
        let number = u64::from_be_bytes(number.try_into().expect("8 of 12 bytes"));
        (sum == &encode(number)[8..]).then_some(number)
    }

    /// Opens or makes the note of `dir`, keeping what it says.
    pub(in crate::engine) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join(FILE);
        let failed =
            |error| EngineError::from_file(format!("open the note {}", path.display()), error);
        let noted = Self::read(dir);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        if noted.is_none() {
            make(&file, dir).map_err(failed)?;
        }
        Ok(Self { file, noted: Mutex::new(noted.unwrap_or(0)) })
    }

    /// Notes that everything up to `number` is durable. Call it only after the fsync that made it so.
    pub(in crate::engine) fn advance(&self, number: u64) -> Result<(), EngineError> {
        let mut noted = self.noted.lock().expect("no code panics while it holds this lock");
        if number > *noted {
            self.file
                .write_all_at(&encode(number), 0)
                .map_err(|error| EngineError::from_file(format!("write the note {FILE}"), error))?;
            *noted = number;
        }
        Ok(())
    }

    /// Makes the note itself durable; for a clean close.
    pub(in crate::engine) fn persist(&self) {
        // A lost note only weakens a check, and a closing engine has nobody to tell.
        let _ = self.file.sync_all();
    }
}

/// Durable at once: if a power cut took the whole note away, a garbled tail of unsynced writes could not be told from
/// damage.
fn make(file: &File, dir: &Path) -> io::Result<()> {
    file.set_len(SIZE_BYTES as u64)?;
    file.write_all_at(&encode(0), 0)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

fn encode(number: u64) -> [u8; SIZE_BYTES] {
    let mut bytes = [0; SIZE_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let sum = blake3::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&sum.as_bytes()[..4]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_fuzz::{config, damage, read_within};
    use proptest::prelude::*;

    #[test]
    fn only_grows_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Watermark::read(dir.path()), None);
        let mark = Watermark::open(dir.path()).unwrap();
        assert_eq!(Watermark::read(dir.path()), Some(0), "it is there before the first sync");
        mark.advance(7).unwrap();
        mark.advance(3).unwrap();
        drop(mark);
        assert_eq!(Watermark::read(dir.path()), Some(7));
        Watermark::open(dir.path()).unwrap().advance(8).unwrap();
        assert_eq!(Watermark::read(dir.path()), Some(8));
    }

    #[test]
    fn damage_reads_as_no_note() {
        let dir = tempfile::tempdir().unwrap();
        Watermark::open(dir.path()).unwrap().advance(7).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Watermark::read(dir.path()), None);
        for damaged in [&bytes[..5], &[bytes.as_slice(), b"more"].concat()] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Watermark::read(dir.path()), None);
            Watermark::open(dir.path()).unwrap().advance(9).unwrap();
            assert_eq!(Watermark::read(dir.path()), Some(9));
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn fuzz_notes(number: u64, damage in damage(), any: Vec<u8>) {
            let dir = tempfile::tempdir().unwrap();
            let whole = encode(number);
            let damaged = damage.of(&whole);
            for bytes in [&whole[..], &damaged, &any] {
                std::fs::write(dir.path().join(FILE), bytes).unwrap();
                let expected = (bytes == whole).then_some(number);
                prop_assert_eq!(read_within(bytes.len(), || Watermark::read(dir.path())), expected);
            }
        }
    }
}
