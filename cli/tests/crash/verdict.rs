//! Holds the record against what the cluster has.

// Two test binaries are compiled with it and use different parts.
#![allow(dead_code)]

use super::record::{KeyRecord, Record, number_of};
use isobar_client::{ReadLevel, Row, TableHandle};
use std::time::Duration;

/// Keys that are read at once.
const KEYS_AT_ONCE: usize = 400;

/// What came of the writes of one record to one table.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged writes.
    pub acknowledged: usize,
    /// Keys that have the last acknowledged write or a later one.
    pub kept_keys: usize,
    /// Keys that do not.
    pub lost: Vec<String>,
    /// The same as `table/key` alone.
    pub lost_keys: Vec<String>,
    /// Keys that do, although a linearizable read did not show it at first.
    pub late: Vec<String>,
}

impl Verdict {
    /// Reads every key that has an acknowledged write, linearizable.
    pub async fn of(record: &Record, table: &TableHandle) -> Self {
        let name = &table.info().spec.name;
        let mut verdict = Self { acknowledged: record.acks_of(name), ..Self::default() };
        let written: Vec<(&str, &KeyRecord)> = record
            .keys
            .iter()
            .filter_map(|(key, known)| Some((key.strip_prefix(name)?.strip_prefix('/')?, known)))
            .filter(|(_, known)| known.acknowledged > 0)
            .collect();
        for some in written.chunks(KEYS_AT_ONCE) {
            let keys: Vec<&str> = some.iter().map(|(key, _)| *key).collect();
            let rows = table.multi_get(&keys, ReadLevel::Linearizable).await;
            let rows = rows.expect("every shard serves again");
            for ((key, expected), row) in some.iter().zip(rows) {
                let Some(what) = missing(key, expected, row) else {
                    verdict.kept_keys += 1;
                    continue;
                };
                match is_there_later(table, key, expected.acknowledged).await {
                    true => verdict.late.push(what),
                    false => {
                        verdict.lost.push(what);
                        verdict.lost_keys.push(format!("{name}/{key}"));
                    }
                }
            }
        }
        verdict
    }
}

/// What is wrong with the row of a key, if something is.
fn missing(key: &str, expected: &KeyRecord, row: Option<Row>) -> Option<String> {
    let (found, version) = row.map_or((0, None), |row| (number_of(&row.value), Some(row.version)));
    let acknowledged = expected.acknowledged;
    assert!(found <= expected.tried, "{key} has write {found}, which nobody sent");
    // The same write has the same version, a later one a later version.
    if found >= acknowledged && (found > acknowledged) == (version > expected.version) {
        return None;
    }
    Some(format!(
        "{key}: {acknowledged} was acknowledged as {:?}, {found} is there as {version:?}",
        expected.version
    ))
}

/// Tells a lost write from a read that went back in time; both are wrong.
async fn is_there_later(table: &TableHandle, key: &str, acknowledged: u64) -> bool {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let row = table.get(key.as_bytes(), ReadLevel::Linearizable).await;
    row.expect("every shard serves again").is_some_and(|row| number_of(&row.value) >= acknowledged)
}
