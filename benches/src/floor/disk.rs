//! The disk: a plain file, and a log that many writers share. Both calls block.

use super::{IN_FLIGHT, own_cpu, round};
use crate::{load::Samples, report::Round, work::Rows};
use bytes::Bytes;
use isobar_api::{ApiError, ErrorCode};
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

const PAGE_BYTES: usize = 4 << 10;

/// Appends a page to a new file and makes it durable, again and again.
pub fn append(file: &Path, length: Duration) -> Result<Round, ApiError> {
    let failed = |why: io::Error| {
        ApiError::new(ErrorCode::StorageFailed, format!("{}: {why}", file.display()))
    };
    let page = vec![0xa5; PAGE_BYTES];
    let mut opened = File::create(file).map_err(failed)?;
    let (cpu, mut samples) = (own_cpu(), Samples::new(length));
    let began = Instant::now();
    while began.elapsed() < length {
        let at = Instant::now();
        opened.write_all(&page).and_then(|()| opened.sync_data()).map_err(failed)?;
        samples.record(Ok(()), at.elapsed(), false, true);
    }
    Ok(round(samples, cpu))
}

/// Writes [`IN_FLIGHT`] values one by one into a log, then makes them durable with one `sync`, again and again: what a
/// single copy could do at best with so many writers.
pub fn group_commit(
    rows: &Rows,
    length: Duration,
    mut write: impl FnMut(u64, Bytes) -> Result<(), ApiError>,
    mut sync: impl FnMut() -> Result<(), ApiError>,
) -> Result<Round, ApiError> {
    let mut values = rows.values(rows.seed);
    let (cpu, mut samples) = (own_cpu(), Samples::new(length));
    let (began, mut index) = (Instant::now(), 0);
    while began.elapsed() < length {
        let at = Instant::now();
        for _ in 0..IN_FLIGHT {
            write(index, values.draw())?;
            index += 1;
        }
        sync()?;
        let took = at.elapsed();
        (0..IN_FLIGHT).for_each(|_| samples.record(Ok(()), took, false, true));
    }
    Ok(round(samples, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::TraceRows;
    use isobar_datasets::ycsb::Distribution;
    use std::cell::Cell;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn pages_are_written_as_they_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("pages");
        let round = append(&file, SHORT).expect("room");
        let length = file.metadata().expect("it is there").len();
        assert!(length > 0 && length == round.samples.answered() * PAGE_BYTES as u64);
    }

    #[test]
    fn a_group_counts_once_it_is_durable() {
        let trace = TraceRows::default().into();
        let rows = Rows { count: 1, value_bytes: 256, skew: Distribution::Uniform, seed: 1, trace };
        let (written, durable) = (Cell::new(0), Cell::new(0));
        let write = |index, value: Bytes| {
            assert_eq!((index, value.len()), (written.get(), 256));
            written.set(index + 1);
            Ok(())
        };
        let sync = || {
            durable.set(written.get());
            Ok(())
        };
        let round = group_commit(&rows, SHORT, write, sync).expect("no failure");
        assert!(durable.get() > 0 && durable.get() == round.samples.answered());
        assert_eq!(durable.get() % IN_FLIGHT as u64, 0);
        let full = || Err(ApiError::new(ErrorCode::DiskFull, "no room"));
        assert!(group_commit(&rows, SHORT, |_, _| Ok(()), full).is_err());
    }
}
