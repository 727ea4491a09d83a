//! Holds the record against what the cluster has.

use super::record::{Record, number_of};
use isobar_client::{ReadLevel, TableHandle};
use std::time::Duration;

/// Keys that are read at once.
const KEYS_AT_ONCE: usize = 400;

/// What came of the writes of one record.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged writes.
    pub acknowledged: usize,
    /// Keys that have the last acknowledged write or a later one.
    pub kept_keys: usize,
    /// Keys that do not.
    pub lost: Vec<String>,
    /// Keys that do, although a linearizable read did not show it at first.
    pub late: Vec<String>,
}

impl Verdict {
    /// Reads every key that has an acknowledged write, linearizable.
    pub async fn of(record: &Record, table: &TableHandle) -> Self {
        let mut verdict = Self { acknowledged: record.acks_unix_ms.len(), ..Self::default() };
        let written: Vec<_> = record.keys.iter().filter(|(_, key)| key.acknowledged > 0).collect();
        for some in written.chunks(KEYS_AT_ONCE) {
            let keys: Vec<&str> = some.iter().map(|(key, _)| key.as_str()).collect();
            let rows = table.multi_get(&keys, ReadLevel::Linearizable).await;
            let rows = rows.expect("every shard serves again");
            for ((key, expected), row) in some.iter().zip(rows) {
                let found = row.map_or(0, |row| number_of(&row.value));
                assert!(found <= expected.tried, "{key} has write {found}, which nobody sent");
                if found >= expected.acknowledged {
                    verdict.kept_keys += 1;
                } else {
                    let acknowledged = expected.acknowledged;
                    let what = format!("{key}: {acknowledged} was acknowledged, {found} is there");
                    match is_there_later(table, key, acknowledged).await {
                        true => verdict.late.push(what),
                        false => verdict.lost.push(what),
                    }
                }
            }
        }
        verdict
    }
}

/// Tells a lost write from a read that went back in time; both are wrong.
async fn is_there_later(table: &TableHandle, key: &str, acknowledged: u64) -> bool {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let row = table.get(key.as_bytes(), ReadLevel::Linearizable).await;
    row.expect("every shard serves again").is_some_and(|row| number_of(&row.value) >= acknowledged)
}
