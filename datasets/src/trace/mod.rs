//! Access traces: who asked for which key, in order.

mod format;
mod lru;
mod reader;
mod requests;

pub use lru::lru_hit_ratio;
pub use reader::TraceReader;
pub use requests::{KeyRequest, Requests, read_requests};

use crate::error::Result;
use crate::source::Lines;
use std::path::Path;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// The key is read.
    Read,
    /// The key is written.
    Write,
}

/// One access of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Milliseconds since the first access, where the trace says.
    pub at_ms: Option<u64>,
    /// Read or write; traces that do not say are read-only.
    pub op: Op,
    /// The key. If a source has negative ones, [`read_trace`] shifts all so that the smallest loaded is 0.
    pub key: u64,
    /// Bytes asked for, where the trace says.
    pub size_bytes: Option<u32>,
}

/// A trace in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The file's name without folder and endings.
    pub name: String,
    /// In order.
    pub accesses: Vec<Access>,
}

impl Trace {
    /// The keys that occur, in order, each once. The place of a key in it is its rank.
    pub fn distinct_keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.accesses.iter().map(|a| a.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// For each access the rank of its key among [`Trace::distinct_keys`]: dense, and in the order of the addresses.
    pub fn ranks(&self) -> Vec<u64> {
        let keys = self.distinct_keys();
        let rank = |a: &Access| keys.binary_search(&a.key).expect("made of these accesses") as u64;
        self.accesses.iter().map(rank).collect()
    }
}

/// Reads a trace, at most `max_accesses` of it. Format and compression are recognised from the content.
pub fn read_trace(path: &Path, max_accesses: usize) -> Result<Trace> {
    collect(TraceReader::open(path)?, max_accesses)
}

/// Our own small trace, embedded: pages of PostgreSQL under pgbench. See `datasets/recorded/README.md`.
pub fn recorded_trace() -> Trace {
    const BYTES: &[u8] = include_bytes!("../../recorded/pgbench-pages.trace.zst");
    let lines = Lines::of_bytes("pgbench-pages.trace.zst", BYTES);
    let reader = lines.and_then(TraceReader::new);
    reader
        .and_then(|reader| collect(reader, usize::MAX))
        .expect("embedded bytes, read by a test of this crate")
}

fn collect(mut reader: TraceReader, max_accesses: usize) -> Result<Trace> {
    let mut accesses = reader.by_ref().take(max_accesses).collect::<Result<Vec<Access>>>()?;
    if reader.has_negative_keys() {
        // They arrive as two's complement; a shift restores order and distance.
        let smallest = accesses.iter().map(|a| a.key as i64).min().unwrap_or(0);
        for access in &mut accesses {
            access.key = access.key.wrapping_sub(smallest as u64);
        }
    }
    Ok(Trace { name: reader.name(), accesses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_trace_is_what_its_card_says() {
        let trace = recorded_trace();
        assert_eq!(trace.name, "pgbench-pages");
        assert_eq!(trace.accesses.len(), 120_000);
        let writes = trace.accesses.iter().filter(|a| a.op == Op::Write).count();
        assert_eq!(writes, 15_016);
        let keys = trace.distinct_keys().len();
        assert_eq!(keys, 23_235);
        for (share, percent) in [(0.02, 26.14), (0.10, 46.55)] {
            let ratio = lru_hit_ratio(&trace, (keys as f64 * share) as usize);
            assert!((ratio * 100.0 - percent).abs() < 0.006, "{ratio} at {share}");
        }
        assert!(trace.accesses.iter().all(|a| a.size_bytes == Some(8192)));
        let last_ms = trace.accesses.last().and_then(|a| a.at_ms).expect("timed");
        assert!((12_000..14_000).contains(&last_ms), "{last_ms}");
    }

    #[test]
    fn ranks_are_dense_and_ordered() {
        let access = |key| Access { at_ms: None, op: Op::Read, key, size_bytes: None };
        let accesses = [900, 5, 900, 70].map(access).to_vec();
        assert_eq!(Trace { name: "t".into(), accesses }.ranks(), [2, 0, 2, 1]);
    }
}
