//! What was tried and what was acknowledged, in a file that outlives every process.
//!
//! One line per event, written with one system call, so a process that is killed leaves at most its last line torn:
//! `T ms key n` tried · `A ms key n` acknowledged · `F ms key n error` failed · `R ms key n` read ·
//! `S ms key n …` a linearizable read that was older than an acknowledged write: never allowed.

use isobar_api::ApiError;
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Now, Unix milliseconds.
pub fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as u64
}

/// The value that write number `number` gives a key: the number, and enough bytes to be a row.
pub fn value(number: u64) -> String {
    format!("{number}:{}", "x".repeat(100))
}

/// The write that a value came from.
pub fn number_of(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("values are text");
    let (number, _) = text.split_once(':').expect("a number and a colon");
    number.parse().expect("a number")
}

/// The writing end.
pub struct Recorder(File);

impl Recorder {
    /// Appends to a file.
    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.expect("the record can be written"))
    }

    /// A write begins.
    pub fn tried(&self, key: &str, number: u64) {
        self.line(&format!("T {} {key} {number}\n", now_unix_ms()));
    }

    /// It ended.
    pub fn ended(&self, key: &str, number: u64, result: Result<(), &ApiError>) {
        let at = now_unix_ms();
        match result {
            Ok(()) => self.line(&format!("A {at} {key} {number}\n")),
            Err(error) => self.line(&format!("F {at} {key} {number} {error}\n")),
        }
    }

    /// A read was answered.
    pub fn read(&self, key: &str, number: u64) {
        self.line(&format!("R {} {key} {number}\n", now_unix_ms()));
    }

    /// A read showed less than was acknowledged before it began.
    pub fn stale(&self, key: &str, number: u64, acknowledged: u64) {
        self.line(&format!("S {} {key} {number} after {acknowledged}\n", now_unix_ms()));
    }

    fn line(&self, line: &str) {
        (&self.0).write_all(line.as_bytes()).expect("the record can be written");
    }
}

/// What the record says of one key. Its writes come one after the other, with rising numbers.
#[derive(Debug, Default)]
pub struct KeyRecord {
    /// The last write that was begun.
    pub tried: u64,
    /// The last write that was acknowledged; zero: none.
    pub acknowledged: u64,
    tried_at_unix_ms: u64,
}

/// The reading end.
#[derive(Debug, Default)]
pub struct Record {
    /// Every key that was ever written.
    pub keys: BTreeMap<String, KeyRecord>,
    /// When each acknowledgement came.
    pub acks_unix_ms: Vec<u64>,
    /// The longest time between trying a write and its acknowledgement: how long a writer was held up.
    pub slowest_write_ms: u64,
    /// When each read was answered.
    pub reads_unix_ms: Vec<u64>,
    /// Operations that failed: when, and the line.
    pub failures: Vec<(u64, String)>,
    /// Reads that were older than they may be.
    pub stale: Vec<String>,
}

impl Record {
    /// Reads a record; only the last line may be torn.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the record can be read");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut record = Self::default();
        for line in whole.lines() {
            record.take(line);
        }
        record
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("torn: {line}"));
        let (kind, at, key) = (word(), word(), word());
        let at: u64 = at.parse().unwrap_or_else(|_| panic!("torn: {line}"));
        let number: u64 = word().parse().unwrap_or_else(|_| panic!("torn: {line}"));
        match kind {
            "T" => {
                let key = self.keys.entry(key.into()).or_default();
                (key.tried, key.tried_at_unix_ms) = (number, at);
            }
            "A" => {
                let key = self.keys.entry(key.into()).or_default();
                key.acknowledged = number;
                let took_ms = at.saturating_sub(key.tried_at_unix_ms);
                self.slowest_write_ms = self.slowest_write_ms.max(took_ms);
                self.acks_unix_ms.push(at);
            }
            "R" => self.reads_unix_ms.push(at),
            "F" => self.failures.push((at, line.into())),
            "S" => self.stale.push(line.into()),
            _ => panic!("torn: {line}"),
        }
    }

    /// Failures that ended in a time span.
    pub fn failures_between(&self, from: u64, to: u64) -> Vec<&str> {
        let inside = self.failures.iter().filter(|(at, _)| (from..to).contains(at));
        inside.map(|(_, line)| line.as_str()).collect()
    }

    /// Acknowledgements in a time span.
    pub fn acks_between(&self, from: u64, to: u64) -> usize {
        self.acks_unix_ms.iter().filter(|at| (from..to).contains(at)).count()
    }
}
