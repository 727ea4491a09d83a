//! What is asked for: kinds of work, and endless streams of requests that follow them.

use bytes::Bytes;
use isobar_datasets::{
    Op, Trace,
    ycsb::{self, Distribution, Mix, OperationKind, Operations, key_name},
};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Random bytes that values are cut from, besides the length of one value.
const POOL_BYTES: usize = 64 << 10;
/// Keys that one run may insert: the numbers of runs never meet.
const INSERTS_PER_RUN: u64 = 1 << 32;
/// Longest scan of workload E, as YCSB's file says.
const SCAN_ROWS_MAX: u32 = 100;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Overwrites existing rows.
    Write,
    /// Reads existing rows.
    Read,
    /// A core workload of YCSB, `a` to `f`: its mix and its choice of keys, with values of our length.
    Ycsb(char),
    /// The accesses of a trace in their order.
    Trace,
}

impl Work {
    /// Whether ranges are read.
    pub fn scans(self) -> bool {
        self == Self::Ycsb('e')
    }

    /// Mix and choice of keys; `skew` counts where the work itself does not say. None for traces.
    fn law(self, skew: Distribution) -> Option<(Mix, Distribution)> {
        let none = Mix { read: 0.0, update: 0.0, insert: 0.0, scan: 0.0, read_modify_write: 0.0 };
        let zipfian = Distribution::Zipfian;
        Some(match self {
            Self::Write => (Mix { update: 1.0, ..none }, skew),
            Self::Read => (Mix { read: 1.0, ..none }, skew),
            Self::Ycsb('a') => (Mix { read: 0.5, update: 0.5, ..none }, zipfian),
            Self::Ycsb('b') => (Mix { read: 0.95, update: 0.05, ..none }, zipfian),
            Self::Ycsb('c') => (Mix { read: 1.0, ..none }, zipfian),
            Self::Ycsb('d') => (Mix { read: 0.95, insert: 0.05, ..none }, Distribution::Latest),
            Self::Ycsb('e') => (Mix { scan: 0.95, insert: 0.05, ..none }, zipfian),
            Self::Ycsb(_) => (Mix { read: 0.5, read_modify_write: 0.5, ..none }, zipfian),
            Self::Trace => return None,
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write => f.pad("write"),
            Self::Read => f.pad("read"),
            Self::Ycsb(letter) => f.pad(&format!("ycsb-{letter}")),
            Self::Trace => f.pad("trace"),
        }
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letter = text.strip_prefix("ycsb-").and_then(|rest| rest.parse::<char>().ok());
        match (text, letter) {
            ("write", _) => Ok(Self::Write),
            ("read", _) => Ok(Self::Read),
            ("trace", _) => Ok(Self::Trace),
            (_, Some(letter @ 'a'..='f')) => Ok(Self::Ycsb(letter)),
            _ => Err(format!("`{text}` is no work: write, read, ycsb-a to ycsb-f, or trace")),
        }
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The rows there are before a run, and how they are chosen.
#[derive(Clone, Debug)]
pub struct Rows {
    /// How many rows are loaded at first.
    pub count: u64,
    /// Length of a value.
    pub value_bytes: usize,
    /// Which rows writes and reads touch.
    pub skew: Distribution,
    /// Seed of keys and values.
    pub seed: u64,
    /// The trace that [`Work::Trace`] follows.
    pub trace: Arc<TraceRows>,
}

/// A trace with its keys as numbers of rows.
#[derive(Clone, Debug, Default)]
pub struct TraceRows {
    accesses: Vec<(Op, u64)>,
}

impl TraceRows {
    /// Numbers the keys densely, in their order.
    pub fn new(trace: &Trace) -> Self {
        let ops = trace.accesses.iter().map(|access| access.op);
        Self { accesses: ops.zip(trace.ranks()).collect() }
    }

    /// Rows that must be there.
    pub fn rows(&self) -> u64 {
        self.accesses.iter().map(|(_, row)| row + 1).max().unwrap_or(0)
    }
}

/// One request. `loaded` rows must be found; a row that this run inserts may still be on its way.
#[allow(missing_docs)] // the fields of the variants say it all
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Sets a row.
    Put { key: Bytes, value: Bytes },
    /// Reads a row.
    Get { key: Bytes, loaded: bool },
    /// Reads so many rows from a key on.
    Scan { key: Bytes, rows: u32, loaded: bool },
    /// Reads a row, then overwrites it.
    ReadModifyWrite { key: Bytes, value: Bytes, loaded: bool },
}

impl Request {
    /// Whether it only reads.
    pub fn reads(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::Scan { .. })
    }
}

impl Rows {
    /// The key of a row.
    pub fn key(row: u64) -> Bytes {
        Bytes::from(key_name(row))
    }

    /// Keys that cut the rows into so many parts of the same size.
    pub fn cuts(&self, parts: u64) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = (0..self.count).map(Self::key).collect();
        keys.sort_unstable();
        let at = |part| keys[(part * self.count / parts) as usize].clone();
        let mut cuts: Vec<Bytes> = (1..parts.min(self.count)).map(at).collect();
        cuts.dedup();
        cuts
    }

    /// Values as they are loaded and written.
    pub fn values(&self, seed: u64) -> Values {
        Values::new(self.value_bytes, seed)
    }

    /// One stream for each client. Runs of the same number ask every system for the same.
    pub fn streams(&self, work: Work, clients: usize, run: u64) -> Vec<Stream> {
        let cursor = Arc::new(AtomicUsize::new(0));
        let values = self.values(self.seed);
        let stream = |client: u64| {
            let seed = self.seed.wrapping_add(client).wrapping_add(run << 20);
            let source = match work.law(self.skew) {
                Some((mix, distribution)) => {
                    Source::Made(Operations::new(&self.workload(mix, distribution), seed))
                }
                None => Source::Trace(self.trace.clone(), cursor.clone()),
            };
            Stream {
                source,
                values: values.clone_with(seed),
                loaded: self.count,
                inserts: Inserts { first: self.count + run * INSERTS_PER_RUN, client, clients },
            }
        };
        (0..clients as u64).map(stream).collect()
    }

    fn workload(&self, mix: Mix, distribution: Distribution) -> ycsb::Workload {
        ycsb::Workload {
            name: "bench".into(),
            class: "CoreWorkload".into(),
            record_count: self.count.max(1),
            operation_count: 0,
            mix,
            distribution,
            field_count: 1,
            field_length_bytes: u32::try_from(self.value_bytes).unwrap_or(u32::MAX),
            max_scan_length: SCAN_ROWS_MAX,
        }
    }
}

/// Values of random bytes, so that no system gains by packing them.
#[derive(Clone, Debug)]
pub struct Values {
    pool: Bytes,
    value_bytes: usize,
    rng: SmallRng,
}

impl Values {
    fn new(value_bytes: usize, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut pool = vec![0; value_bytes + POOL_BYTES];
        rng.fill_bytes(&mut pool);
        Self { pool: pool.into(), value_bytes, rng }
    }

    fn clone_with(&self, seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), ..self.clone() }
    }

    /// The next value.
    pub fn draw(&mut self) -> Bytes {
        let start = self.rng.random_range(0..POOL_BYTES);
        self.pool.slice(start..start + self.value_bytes)
    }
}

/// The requests of one client, without an end.
#[derive(Debug)]
pub struct Stream {
    source: Source,
    values: Values,
    loaded: u64,
    inserts: Inserts,
}

#[derive(Debug)]
enum Source {
    Made(Operations),
    /// All clients take turns at one trace; at its end it begins again.
    Trace(Arc<TraceRows>, Arc<AtomicUsize>),
}

/// Each client inserts rows of its own: every `clients`-th one behind those that were loaded.
#[derive(Debug)]
struct Inserts {
    first: u64,
    client: u64,
    clients: usize,
}

impl Inserts {
    fn row(&self, nth: u64) -> u64 {
        self.first + nth * self.clients as u64 + self.client
    }
}

impl Stream {
    /// The next request.
    pub fn draw(&mut self) -> Request {
        let (kind, row) = match &mut self.source {
            Source::Made(operations) => {
                let operation = operations.next().expect("it has no end");
                (operation.kind, operation.record)
            }
            Source::Trace(trace, cursor) => {
                let at = cursor.fetch_add(1, Ordering::Relaxed) % trace.accesses.len().max(1);
                match trace.accesses.get(at) {
                    Some((Op::Write, row)) => (OperationKind::Update, *row),
                    Some((Op::Read, row)) => (OperationKind::Read, *row),
                    None => (OperationKind::Read, 0),
                }
            }
        };
        let loaded = row < self.loaded;
        let key = Rows::key(match row.checked_sub(self.loaded) {
            Some(nth) => self.inserts.row(nth),
            None => row,
        });
        match kind {
            OperationKind::Read => Request::Get { key, loaded },
            OperationKind::Scan(rows) => Request::Scan { key, rows, loaded },
            OperationKind::Update | OperationKind::Insert => {
                Request::Put { key, value: self.values.draw() }
            }
            OperationKind::ReadModifyWrite => {
                Request::ReadModifyWrite { key, value: self.values.draw(), loaded }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_datasets::Access;
    use std::collections::BTreeSet;

    fn rows(count: u64) -> Rows {
        let access = |op, key| Access { at_ms: None, op, key, size_bytes: None };
        let accesses = vec![access(Op::Read, 70), access(Op::Write, 5), access(Op::Read, 900)];
        let trace = Arc::new(TraceRows::new(&Trace { name: "t".into(), accesses }));
        Rows { count, value_bytes: 100, skew: Distribution::Uniform, seed: 7, trace }
    }

    #[test]
    fn names_read_back() {
        let all = ('a'..='f').map(Work::Ycsb).chain([Work::Write, Work::Read, Work::Trace]);
        for work in all {
            assert_eq!(work.to_string().parse(), Ok(work));
        }
        for bad in ["", "ycsb-g", "ycsb-", "ycsb-ab", "Write"] {
            assert!(bad.parse::<Work>().is_err(), "{bad}");
        }
    }

    #[test]
    fn clients_and_runs_never_insert_the_same_row() {
        let rows = rows(50);
        let mut inserted = BTreeSet::new();
        for run in 0..3 {
            for stream in &mut rows.streams(Work::Ycsb('e'), 4, run) {
                for _ in 0..400 {
                    if let Request::Put { key, value } = stream.draw() {
                        assert_eq!(value.len(), 100);
                        assert!(inserted.insert(key), "inserted twice");
                    }
                }
            }
        }
        assert!(inserted.len() > 100, "{}", inserted.len());
        assert!((0..50).all(|row| !inserted.contains(&Rows::key(row))));
    }

    #[test]
    fn equal_runs_ask_for_the_same_and_others_do_not() {
        let rows = rows(1_000);
        let take = |run| {
            let mut streams = rows.streams(Work::Ycsb('a'), 2, run);
            streams.iter_mut().flat_map(|s| [s.draw(), s.draw(), s.draw()]).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn a_trace_is_followed_once_by_all_clients_together() {
        let rows = rows(3);
        let mut streams = rows.streams(Work::Trace, 2, 0);
        let requests: Vec<Request> = (0..4).map(|n| streams[n % 2].draw()).collect();
        let get = |row| Request::Get { key: Rows::key(row), loaded: true };
        assert_eq!((&requests[0], &requests[2], &requests[3]), (&get(1), &get(2), &get(1)));
        assert!(matches!(&requests[1], Request::Put { key, .. } if *key == Rows::key(0)));
        assert_eq!(rows.trace.rows(), 3);
    }

    #[test]
    fn cuts_share_the_rows_out_evenly() {
        let rows = rows(1_000);
        let cuts = rows.cuts(4);
        assert_eq!(cuts.len(), 3);
        let below = (0..1_000).filter(|row| Rows::key(*row) < cuts[0]).count();
        assert_eq!(below, 250);
        assert!(rows.cuts(1).is_empty());
    }
}
