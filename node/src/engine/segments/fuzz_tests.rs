//! Files of the log, damaged or made of anything.

use super::*;
use isobar_fuzz::{config, damage, read_within};
use proptest::{prelude::*, sample::Index};
use std::sync::LazyLock;
use tempfile::{TempDir, tempdir};

const SMALL: SegmentConfig = SegmentConfig { segment_bytes: 2048 };
const RECORDS: u64 = 60;

fn key(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

/// The files of a log that was synced and closed, by name.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
        let dir = tempdir().unwrap();
        let engine = SegmentEngine::open(dir.path(), SMALL).unwrap();
        for index in 0..RECORDS {
            let mut batch = WriteBatch::new();
            batch.put(Space::Log, key(index), vec![index as u8; 80]);
            batch.put(Space::LogMeta, key(1), key(index));
            engine.write(batch).unwrap();
            engine.sync().unwrap();
        }
        drop(engine);
        let mut files: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect();
        files.sort();
        assert!(files.iter().filter(|(name, _)| name.ends_with(".seg")).count() > 2);
        files
    });
    &FILES
}

fn directory(files: &[(String, Vec<u8>)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Opens a log and reads all that was ever acknowledged, or says that something is wrong.
fn read_all(dir: &Path) -> Result<(), EngineError> {
    let engine = SegmentEngine::open(dir, SMALL)?;
    for index in 0..RECORDS {
        let value = engine.get(Space::Log, &key(index))?;
        assert_eq!(value, Some(vec![index as u8; 80]), "record {index} was acknowledged");
    }
    assert_eq!(engine.get(Space::LogMeta, &key(1))?, Some(key(RECORDS - 1)));
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_one_damaged_file_is_an_error_or_does_no_harm(at: Index, damage in damage()) {
        let mut files = files().to_vec();
        let at = at.index(files.len());
        files[at].1 = damage.of(&files[at].1);
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let dir = directory(&files);
        // Making room for a new segment takes some besides.
        let read = read_within(bytes, || read_all(dir.path()));
        if let Err(error) = read {
            prop_assert_eq!(error.kind(), EngineErrorKind::Corruption);
        }
    }

    #[test]
    fn fuzz_any_bytes_are_a_log_or_an_error(
        segments in prop::collection::vec(any::<Vec<u8>>(), 0..3), note in prop::option::of(any::<Vec<u8>>()),
        frame: bool,
    ) {
        let mut files: Vec<(String, Vec<u8>)> = (1..)
            .zip(segments)
            .map(|(number, bytes)| (format!("{number:010}.seg"), bytes))
            .collect();
        if frame && let Some((_, bytes)) = files.first_mut() {
            // With a right beginning, more of it is looked at.
            bytes.splice(0..0, *b"ISLF");
        }
        files.extend(note.map(|bytes| ("DURABLE".to_owned(), bytes)));
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let dir = directory(&files);
        let _ = read_within(bytes, || SegmentEngine::open(dir.path(), SMALL).map(drop));
    }

    #[test]
    fn fuzz_a_frame_whose_sum_is_right_holds_anything(payload: Vec<u8>, any_header: [u8; 20]) {
        let place = Position { segment: 1, offset: 0 };
        let mut file = frame::with_right_sum(place, any_header, &payload);
        file.extend_from_slice(&payload);
        if let Some(frame) = frame::read(place, &file) {
            let _ = read_within(file.len(), || frame.ops().map(|ops| ops.len()));
        }
        let _ = read_within(file.len(), || frame::durable_behind(place, &file));
        let dir = directory(&[("0000000001.seg".to_owned(), file.clone())]);
        let _ = read_within(file.len(), || SegmentEngine::open(dir.path(), SMALL).map(drop));
    }
}
