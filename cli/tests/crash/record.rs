//! What was tried and what was acknowledged, in a file that outlives every process.
//!
//! One line per event, written with one system call, so a process that is killed leaves at most its last line torn. Keys
//! are `table/key`:
//! `T ms key n` tried · `A ms key n version` acknowledged · `F ms key n error` failed · `R ms key n` read, linearizable ·
//! `B ms key n` read, bounded · `L ms key n lag` read, local, so many ms behind ·
//! `S ms key n …` a read that no order of the writes explains: never allowed.

// Two test binaries are compiled with it and use different parts.
#![allow(dead_code)]

use isobar_api::{ApiError, Version};
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

    /// It was acknowledged.
    pub fn acknowledged(&self, key: &str, number: u64, version: Version) {
        self.line(&format!("A {} {key} {number} {version}\n", now_unix_ms()));
    }

    /// A write or a read failed.
    pub fn failed(&self, key: &str, number: u64, error: &ApiError) {
        self.line(&format!("F {} {key} {number} {error}\n", now_unix_ms()));
    }

    /// A linearizable read was answered.
    pub fn read(&self, key: &str, number: u64) {
        self.line(&format!("R {} {key} {number}\n", now_unix_ms()));
    }

    /// A bounded read was answered, within its bound.
    pub fn read_bounded(&self, key: &str, number: u64) {
        self.line(&format!("B {} {key} {number}\n", now_unix_ms()));
    }

    /// A local read was answered; something newer had been acknowledged so long before it began.
    pub fn read_local(&self, key: &str, number: u64, lag_ms: u64) {
        self.line(&format!("L {} {key} {number} {lag_ms}\n", now_unix_ms()));
    }

    /// A read showed what it must not.
    pub fn wrong(&self, key: &str, number: u64, why: &str) {
        self.line(&format!("S {} {key} {number} {why}\n", now_unix_ms()));
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
    /// Its version.
    pub version: Option<Version>,
    tried_at_unix_ms: u64,
}

/// An acknowledgement.
#[derive(Debug)]
pub struct Ack {
    /// When the write was begun, Unix milliseconds.
    pub tried_at: u64,
    /// When it was acknowledged, Unix milliseconds.
    pub at: u64,
    /// `table/key`.
    pub key: String,
}

impl Ack {
    /// Whether it is of a table.
    pub fn is_of(&self, table: &str) -> bool {
        self.key.split_once('/').is_some_and(|(name, _)| name == table)
    }
}

/// The reading end.
#[derive(Debug, Default)]
pub struct Record {
    /// Every key that was ever written.
    pub keys: BTreeMap<String, KeyRecord>,
    /// Every acknowledgement, in their order.
    pub acks: Vec<Ack>,
    /// The longest time between trying a write and its acknowledgement: how long a writer was held up.
    pub slowest_write_ms: u64,
    /// Linearizable reads that were answered.
    pub reads: usize,
    /// Bounded reads that were answered.
    pub bounded_reads: usize,
    /// Local reads that were answered.
    pub local_reads: usize,
    /// The furthest that a local read was behind.
    pub local_lag_ms_max: u64,
    /// Operations that failed: when, and the line.
    pub failures: Vec<(u64, String)>,
    /// Reads that showed what they must not.
    pub wrong: Vec<String>,
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
        let torn = || -> ! { panic!("torn: {line}") };
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_else(|| torn());
        let (kind, at, key) = (word(), word(), word());
        let at: u64 = at.parse().unwrap_or_else(|_| torn());
        let number: u64 = word().parse().unwrap_or_else(|_| torn());
        match kind {
            "T" => {
                let key = self.keys.entry(key.into()).or_default();
                (key.tried, key.tried_at_unix_ms) = (number, at);
            }
            "A" => {
                let version: Version = word().parse().unwrap_or_else(|_| torn());
                let known = self.keys.entry(key.into()).or_default();
                if known.version.is_some_and(|before| before >= version) {
                    self.wrong.push(format!("{line}: not after {:?}", known.version));
                }
                (known.acknowledged, known.version) = (number, Some(version));
                let took_ms = at.saturating_sub(known.tried_at_unix_ms);
                self.slowest_write_ms = self.slowest_write_ms.max(took_ms);
                let tried_at = known.tried_at_unix_ms;
                self.acks.push(Ack { tried_at, at, key: key.into() });
            }
            "R" => self.reads += 1,
            "B" => self.bounded_reads += 1,
            "L" => {
                self.local_reads += 1;
                let lag_ms = word().parse().unwrap_or_else(|_| torn());
                self.local_lag_ms_max = self.local_lag_ms_max.max(lag_ms);
            }
            "F" => self.failures.push((at, line.into())),
            "S" => self.wrong.push(line.into()),
            _ => torn(),
        }
    }

    /// Failures that ended in a time span.
    pub fn failures_between(&self, from: u64, to: u64) -> Vec<&str> {
        let inside = self.failures.iter().filter(|(at, _)| (from..to).contains(at));
        inside.map(|(_, line)| line.as_str()).collect()
    }

    /// Acknowledgements in a time span.
    pub fn acks_between(&self, from: u64, to: u64) -> usize {
        self.acks.iter().filter(|ack| (from..to).contains(&ack.at)).count()
    }

    /// How long after a moment the first write to a table was acknowledged that was begun after it, milliseconds.
    pub fn first_ack_after_ms(&self, table: &str, from: u64) -> Option<u64> {
        let mut acks = self.acks.iter().filter(|ack| ack.tried_at >= from && ack.is_of(table));
        acks.next().map(|ack| ack.at - from)
    }

    /// Acknowledged writes to a table.
    pub fn acks_of(&self, table: &str) -> usize {
        self.acks.iter().filter(|ack| ack.is_of(table)).count()
    }
}
