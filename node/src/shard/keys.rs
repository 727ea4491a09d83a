//! Where things lie in the state engine.
//!
//! | space    | key                                                   | value |
//! | -------- | ----------------------------------------------------- | ----- |
//! | Data     | table `u64` · user key                                | row |
//! | Sessions | shard `u64` · `c` · client (16 bytes)                 | session |
//! | Sessions | shard `u64` · `r` · client (16 bytes) · page `u64`    | outcomes of 64 sequences |
//! | Sessions | shard `u64` · `p` · client (16 bytes)                 | what was acknowledged in parts of the keys |
//! | Meta     | shard `u64` · `d`, `a`, `i`                           | descriptor, applied state, installing mark |
//! | Meta     | shard `u64` · `m` · shard `u64`                       | that the second is part of the first |
//! | Meta     | shard `u64` · `x` · directive `u64` · step `u32`      | step result |
//! | Staging  | shard `u64` · attempt (8 bytes) · chunk `u32`         | received chunk |
//! | Meta     | `0xff…` (see [`node`])                                | facts about the node itself |
//!
//! Rows are keyed by table, not by shard: splits and merges move no row.

use super::command::ClientId;
use crate::engine::Scan;
use isobar_api::{KeyRange, ShardId, TableId};

fn prefix(shard: ShardId, kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(40);
    key.extend_from_slice(&shard.0.to_be_bytes());
    key.push(kind);
    key
}

/// One page of at most `rows` rows between two bounds.
pub fn page(start: &[u8], end: &[u8], rows: usize) -> Scan {
    Scan::range(start, Some(end.to_vec())).limit_rows(rows)
}

/// First key after every key that starts with `prefix`, which has a byte below `0xff`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    crate::engine::prefix_end(prefix).unwrap_or_default()
}

/// A row.
pub fn row(table: TableId, user_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + user_key.len());
    key.extend_from_slice(&table.0.to_be_bytes());
    key.extend_from_slice(user_key);
    key
}

/// The user key of a row's stored key.
pub fn user_key(stored: &[u8]) -> &[u8] {
    stored.get(8..).unwrap_or_default()
}

/// Stored bounds of a range of a table's rows.
pub fn rows(table: TableId, range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let start = row(table, &range.start);
    let end =
        if range.end.is_empty() { after_prefix(&row(table, b"")) } else { row(table, &range.end) };
    (start, end)
}

/// A client's session.
pub fn session(shard: ShardId, client: &ClientId) -> Vec<u8> {
    let mut key = prefix(shard, b'c');
    key.extend_from_slice(client);
    key
}

/// A page of a client's remembered outcomes.
pub fn outcome_page(shard: ShardId, client: &ClientId, page: u64) -> Vec<u8> {
    let mut key = prefix(shard, b'r');
    key.extend_from_slice(client);
    key.extend_from_slice(&page.to_be_bytes());
    key
}

/// Bounds of all pages of a client.
pub fn outcome_pages(shard: ShardId, client: &ClientId) -> (Vec<u8>, Vec<u8>) {
    let start = outcome_page(shard, client, 0);
    let end = after_prefix(&start[..start.len() - 8]);
    (start, end)
}

/// What a client has acknowledged in parts of the keys.
pub fn session_parts(shard: ShardId, client: &ClientId) -> Vec<u8> {
    let mut key = prefix(shard, b'p');
    key.extend_from_slice(client);
    key
}

/// The number in the key of a page of outcomes.
pub fn page_number(outcome_page: &[u8]) -> u64 {
    outcome_page.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Bounds of all sessions and outcomes of a shard.
pub fn sessions(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    // Above every kind, and right for the highest shard id too.
    (shard.0.to_be_bytes().to_vec(), prefix(shard, u8::MAX))
}

/// Bounds of the session records alone.
pub fn session_records(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    (prefix(shard, b'c'), prefix(shard, b'c' + 1))
}

/// The descriptor.
pub fn descriptor(shard: ShardId) -> Vec<u8> {
    prefix(shard, b'd')
}

/// The applied state.
pub fn applied(shard: ShardId) -> Vec<u8> {
    prefix(shard, b'a')
}

/// The mark of a snapshot that is being installed.
pub fn installing(shard: ShardId) -> Vec<u8> {
    prefix(shard, b'i')
}

/// A stored step result.
pub fn step(shard: ShardId, directive: u64, step: u32) -> Vec<u8> {
    let mut key = prefix(shard, b'x');
    key.extend_from_slice(&directive.to_be_bytes());
    key.extend_from_slice(&step.to_be_bytes());
    key
}

/// Bounds of all step results of a shard.
pub fn steps(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    (prefix(shard, b'x'), prefix(shard, b'x' + 1))
}

/// That a shard was subsumed by another, or by one that became part of it.
pub fn subsumed(survivor: ShardId, right: ShardId) -> Vec<u8> {
    let mut key = prefix(survivor, b'm');
    key.extend_from_slice(&right.0.to_be_bytes());
    key
}

/// Bounds of all that a shard has subsumed.
pub fn all_subsumed(survivor: ShardId) -> (Vec<u8>, Vec<u8>) {
    (prefix(survivor, b'm'), prefix(survivor, b'm' + 1))
}

/// The shard at the end of a key, such as the one that was subsumed.
pub fn last_shard(key: &[u8]) -> ShardId {
    ShardId(key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// A received chunk.
pub fn chunk(shard: ShardId, attempt: &[u8], index: u32) -> Vec<u8> {
    let mut key = shard.0.to_be_bytes().to_vec();
    key.extend_from_slice(attempt);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Bounds of all chunks of one attempt.
pub fn chunks_of(shard: ShardId, attempt: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (chunk(shard, attempt, 0), [&chunk(shard, attempt, u32::MAX), &[0][..]].concat())
}

/// Bounds of all received chunks of a shard.
pub fn chunks(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    sessions(shard)
}

/// Facts about the node itself, in the Meta space behind every shard.
pub mod node {
    use isobar_api::ShardId;

    /// First key of this part.
    pub const START: &[u8] = &[0xff; 9];

    fn key(name: &str) -> Vec<u8> {
        [START, name.as_bytes()].concat()
    }

    /// Highest controller term accepted.
    pub fn controller_term() -> Vec<u8> {
        key("controller-term")
    }

    /// Which replica of a shard this node holds.
    pub fn replica(shard: ShardId) -> Vec<u8> {
        [&key("replica/"), shard.0.to_be_bytes().as_slice()].concat()
    }

    /// Bounds of all replicas held.
    pub fn replicas() -> (Vec<u8>, Vec<u8>) {
        (key("replica/"), super::after_prefix(&key("replica/")))
    }

    /// Highest replica id of a shard that was removed from this node.
    pub fn tombstone(shard: ShardId) -> Vec<u8> {
        [&key("tombstone/"), shard.0.to_be_bytes().as_slice()].concat()
    }

    /// That the log of a subsumed shard is still to be destroyed.
    pub fn log_left(shard: ShardId) -> Vec<u8> {
        [&key("log-left/"), shard.0.to_be_bytes().as_slice()].concat()
    }

    /// Bounds of all logs to be destroyed.
    pub fn logs_left() -> (Vec<u8>, Vec<u8>) {
        (key("log-left/"), super::after_prefix(&key("log-left/")))
    }

    /// That the founding of the cluster is complete.
    pub fn founded() -> Vec<u8> {
        key("founded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_table_lies_before_the_next_table() {
        let (start, end) = rows(TableId(7), &KeyRange::all());
        assert!(start <= row(TableId(7), b"") && row(TableId(7), &[0xff; 30]) < end);
        assert!(end <= row(TableId(8), b""));
    }

    #[test]
    fn a_shard_owns_its_keys_and_no_others() {
        let client = [0xff; 16];
        for shard in [0, 7, u64::MAX] {
            let (start, end) = sessions(ShardId(shard));
            for other in [0, 6, 7, 8, u64::MAX - 1, u64::MAX].map(ShardId) {
                for key in [
                    outcome_page(other, &client, u64::MAX),
                    step(other, u64::MAX, u32::MAX),
                    chunk(other, &[0; 8], 0),
                    chunk(other, &[0xfe; 8], u32::MAX),
                ] {
                    assert_eq!(start <= key && key < end, other.0 == shard, "{key:02x?}");
                }
            }
            assert!(end.as_slice() <= node::START);
        }
    }
}
