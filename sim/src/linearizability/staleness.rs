//! Bounded reads against what was known when the time that they may be behind began.

use super::Violation;
use crate::history::{History, Operation, Outcome, Recorded};
use bytes::Bytes;
use isobar_api::Version;
use std::collections::BTreeMap;

/// What a write did, or may have done, to one row.
struct Written<'a> {
    /// When it was first sent, ns.
    invoked_ns: u64,
    value: Option<&'a Bytes>,
    /// `None`: its outcome is unknown.
    version: Option<Version>,
}

/// What is known of one row.
#[derive(Default)]
struct Known<'a> {
    written: Vec<Written<'a>>,
    /// At these times, ns, it was certain that the row had reached these versions.
    reached: Vec<(u64, Version)>,
}

impl Known<'_> {
    /// The version that it was certain, before `at_ns`, that the row had reached.
    fn floor(&self, at_ns: u64) -> Version {
        let before = self.reached.iter().take_while(|(known_ns, _)| *known_ns < at_ns);
        before.map(|(_, version)| *version).max().unwrap_or_default()
    }
}

pub(super) fn check(history: &History) -> Vec<Violation> {
    let rows = known(history);
    let reads = history.operations().iter().filter_map(|read| {
        let Operation::Get { key, bound_ns: Some(bound_ns) } = &read.operation else { return None };
        let (Outcome::Row(shown), Some(returned_ns)) = (read.outcome(), read.returned_ns()) else {
            return None;
        };
        let nothing = Known::default();
        let row = rows.get(key).unwrap_or(&nothing);
        let floor = row.floor(read.invoked_ns.saturating_sub(*bound_ns));
        let why = wrong(row, floor, shown.as_ref(), returned_ns)?;
        Some(Violation::Staleness { read: read.clone(), why })
    });
    reads.collect()
}

/// What is wrong with a row shown when it had to have reached `floor`.
fn wrong(
    row: &Known,
    floor: Version,
    shown: Option<&(Bytes, Version)>,
    returned_ns: u64,
) -> Option<String> {
    let old = format!("version {floor} was known before the time that it may be behind");
    let begun = || row.written.iter().filter(|write| write.invoked_ns <= returned_ns);
    let Some((value, version)) = shown else {
        // Without a row there is no version: a delete at or above the floor may be what it shows.
        let deleted = begun().any(|write| {
            write.value.is_none() && write.version.is_none_or(|version| version >= floor)
        });
        return (floor != Version::ABSENT && !deleted).then_some(old);
    };
    if *version < floor {
        return Some(old);
    }
    let wrote = |write: &Written| {
        write.value == Some(value) && write.version.is_none_or(|written| written == *version)
    };
    (!begun().any(|write| wrote(write))).then(|| "nobody had written this".to_owned())
}

fn known(history: &History) -> BTreeMap<&Bytes, Known<'_>> {
    let mut rows: BTreeMap<&Bytes, Known> = BTreeMap::new();
    for recorded in history.operations() {
        match (&recorded.operation, recorded.outcome()) {
            (Operation::Get { key, bound_ns: None }, Outcome::Row(Some((_, version)))) => {
                reached(&mut rows, key, recorded, *version);
            }
            (Operation::Write(mutations), Outcome::Conflict(current)) => {
                let conditioned = mutations.iter().filter(|m| m.expected.is_some());
                for (mutation, version) in conditioned.zip(current) {
                    reached(&mut rows, &mutation.key, recorded, *version);
                }
            }
            (Operation::Write(mutations), Outcome::Applied(_) | Outcome::Unknown) => {
                let version = recorded.applied_version();
                for mutation in mutations {
                    let (value, invoked_ns) = (mutation.value.as_ref(), recorded.invoked_ns);
                    let written = Written { invoked_ns, value, version };
                    rows.entry(&mutation.key).or_default().written.push(written);
                    if let Some(version) = version {
                        reached(&mut rows, &mutation.key, recorded, version);
                    }
                }
            }
            _ => {}
        }
    }
    rows.values_mut().for_each(|row| row.reached.sort_unstable());
    rows
}

fn reached<'a>(
    rows: &mut BTreeMap<&'a Bytes, Known<'a>>,
    key: &'a Bytes,
    by: &Recorded,
    version: Version,
) {
    if let Some(returned_ns) = by.returned_ns() {
        rows.entry(key).or_default().reached.push((returned_ns, version));
    }
}
