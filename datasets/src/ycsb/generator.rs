//! Operations that follow a workload.

use crate::ycsb::properties::{Distribution, Workload};
use crate::zipf::{Zipf, scatter};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// YCSB's constant.
const THETA: f64 = 0.99;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Reads a record.
    Read,
    /// Overwrites an existing record.
    Update,
    /// Adds the next record.
    Insert,
    /// Reads so many records from this key on.
    Scan(u32),
    /// Reads a record, then overwrites it.
    ReadModifyWrite,
}

/// One operation on a record, which is named by its number in the order of insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The record's number, from 0.
    pub record: u64,
}

/// The key of a record as YCSB names it: insert order is scattered over the key space.
pub fn key_name(record: u64) -> String {
    // Two's complement made positive, as the original does with its signed hash.
    format!("user{}", (scatter(record) as i64).unsigned_abs())
}

/// An endless stream of operations; the same workload and seed give the same stream.
#[derive(Debug)]
pub struct Operations {
    workload: Workload,
    rng: StdRng,
    zipf: Zipf,
    /// Records there are now.
    records: u64,
    /// Records there will be about; the scattered law is laid over all of them so that it never shifts.
    expected_records: u64,
}

impl Operations {
    /// Starts a stream.
    pub fn new(workload: &Workload, seed: u64) -> Self {
        let records = workload.record_count;
        let inserts = workload.operation_count as f64 * workload.mix.insert * 2.0;
        let expected_records = records.saturating_add(inserts as u64);
        let items = match workload.distribution {
            Distribution::Zipfian => expected_records,
            _ => records,
        };
        let zipf = Zipf::new(items, THETA);
        let rng = StdRng::seed_from_u64(seed);
        Self { workload: workload.clone(), rng, zipf, records, expected_records }
    }

    /// Records there are now: those loaded at first and those inserted since.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn kind(&mut self) -> OperationKind {
        let mix = self.workload.mix;
        let mut left: f64 = self.rng.random();
        let longest = self.workload.max_scan_length;
        for (share, kind) in [
            (mix.read, OperationKind::Read),
            (mix.update, OperationKind::Update),
            (mix.insert, OperationKind::Insert),
            (mix.read_modify_write, OperationKind::ReadModifyWrite),
        ] {
            if left < share {
                return kind;
            }
            left -= share;
        }
        match mix.scan > 0.0 {
            true => OperationKind::Scan(self.rng.random_range(1..=longest)),
            // Only rounding gets here.
            false => OperationKind::Read,
        }
    }

    fn existing(&mut self) -> u64 {
        match self.workload.distribution {
            Distribution::Uniform => self.rng.random_range(0..self.records),
            Distribution::Latest => self.records - 1 - self.zipf.draw(&mut self.rng),
            Distribution::Zipfian => {
                for _ in 0..64 {
                    let record = scatter(self.zipf.draw(&mut self.rng)) % self.expected_records;
                    if record < self.records {
                        return record;
                    }
                }
                self.rng.random_range(0..self.records)
            }
        }
    }

    fn insert(&mut self) -> u64 {
        let record = self.records;
        self.records += 1;
        if self.workload.distribution == Distribution::Latest {
            self.zipf.set_items(self.records);
        }
        record
    }
}

impl Iterator for Operations {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let kind = self.kind();
        let record = match kind {
            OperationKind::Insert => self.insert(),
            _ => self.existing(),
        };
        Some(Operation { kind, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ycsb::Mix;
    use std::collections::BTreeMap;

    fn workload(distribution: Distribution, read: f64, insert: f64, scan: f64) -> Workload {
        let read_modify_write = 0.0;
        let mix = Mix { read, update: 1.0 - read - insert - scan, insert, scan, read_modify_write };
        Workload {
            name: "t".into(),
            class: "CoreWorkload".into(),
            record_count: 1000,
            operation_count: 20_000,
            mix,
            distribution,
            field_count: 10,
            field_length_bytes: 100,
            max_scan_length: 100,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_operations() {
        let w = workload(Distribution::Zipfian, 0.5, 0.1, 0.1);
        let take = |seed| Operations::new(&w, seed).take(500).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn proportions_are_kept_and_inserts_are_new() {
        let w = workload(Distribution::Uniform, 0.7, 0.1, 0.1);
        let mut operations = Operations::new(&w, 3);
        let (mut reads, mut next_new) = (0, 1000);
        for operation in operations.by_ref().take(20_000) {
            match operation.kind {
                OperationKind::Read => reads += 1,
                OperationKind::Insert => {
                    assert_eq!(operation.record, next_new);
                    next_new += 1;
                }
                OperationKind::Scan(length) => assert!((1..=100).contains(&length)),
                _ => {}
            }
            assert!(operation.record < next_new);
        }
        assert!((13_600..14_400).contains(&reads), "{reads}");
        assert_eq!(operations.records(), next_new);
        assert!((1_800..2_200).contains(&(next_new - 1000)), "{next_new}");
    }

    #[test]
    fn zipfian_is_skewed_and_scattered_latest_is_new() {
        let counts = |distribution| {
            let w = workload(distribution, 1.0, 0.0, 0.0);
            let mut counts = BTreeMap::<u64, u32>::new();
            for operation in Operations::new(&w, 5).take(20_000) {
                *counts.entry(operation.record).or_default() += 1;
            }
            counts
        };
        let top = |c: &BTreeMap<u64, u32>| c.iter().max_by_key(|(_, n)| **n).map(|(k, n)| (*k, *n));
        let (hot, hits) = top(&counts(Distribution::Zipfian)).expect("some");
        assert_eq!(hot, scatter(0) % 1000);
        assert!(hits > 2000, "{hits}");
        let (newest, hits) = top(&counts(Distribution::Latest)).expect("some");
        assert_eq!(newest, 999);
        assert!(hits > 2000, "{hits}");
        let (_, hits) = top(&counts(Distribution::Uniform)).expect("some");
        assert!(hits < 60, "{hits}");
    }

    #[test]
    fn key_names_differ_and_do_not_follow_insertion() {
        let names: Vec<_> = (0..100).map(key_name).collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 100);
        assert_ne!(names, sorted);
    }
}
