//! Shards, replicas, epochs and key ranges.

use crate::{
    ids::{NodeId, ReplicaId, ShardId, TableId},
    table::TableRule,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What has changed about a shard, and how often. Requests and directives carry it; older ones are refused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Counts changes of the key range (splits and merges).
    pub shape: u64,
    /// Log index of the newest membership of the consensus group.
    pub membership: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shape, self.membership)
    }
}

/// Keys from `start` (included) to `end` (excluded); an empty `end` means "to the end of the table".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// First key.
    #[serde(with = "crate::wire::key_text")]
    pub start: Vec<u8>,
    /// First key that is not inside any more; empty: no end.
    #[serde(with = "crate::wire::key_text")]
    pub end: Vec<u8>,
}

impl KeyRange {
    /// Every key of a table.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether the key lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.end.is_empty() || key < self.end.as_slice())
    }

    /// Whether both have a key in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        (other.end.is_empty() || self.start < other.end)
            && (self.end.is_empty() || other.start < self.end)
    }

    /// Left and right half at a key strictly inside.
    pub fn split_at(&self, key: &[u8]) -> Option<(Self, Self)> {
        if !self.contains(key) || key == self.start {
            return None;
        }
        let left = Self { start: self.start.clone(), end: key.to_vec() };
        let right = Self { start: key.to_vec(), end: self.end.clone() };
        Some((left, right))
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.end.is_empty() { "∞".into() } else { crate::wire::show_key(&self.end) };
        write!(f, "[{}, {end})", crate::wire::show_key(&self.start))
    }
}

/// Whether a replica votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaRole {
    /// Counts for the quorum.
    Voter,
    /// Receives the log and serves bounded-stale reads, but does not vote.
    Learner,
}

/// One copy of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Its id, unique inside the shard for ever.
    pub replica_id: ReplicaId,
    /// The node that holds it.
    pub node_id: NodeId,
    /// Voter or learner.
    pub role: ReplicaRole,
}

/// What every replica of a shard agrees on besides its rows; part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDescriptor {
    /// The shard.
    pub shard_id: ShardId,
    /// Its table.
    pub table_id: TableId,
    /// Its keys.
    pub range: KeyRange,
    /// Changes of the range so far.
    pub shape: u64,
    /// The next replica id to give out.
    pub next_replica_id: u64,
    /// The table's placement rule, copied so that guards need nobody else.
    pub rule: TableRule,
}

/// A shard as routing sees it: its range, epoch, replicas and who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// The shard.
    pub shard_id: ShardId,
    /// Its table.
    pub table_id: TableId,
    /// Its keys.
    pub range: KeyRange,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its replicas, in replica id order.
    pub replicas: Vec<Replica>,
    /// The node that leads it, where known.
    pub leader: Option<NodeId>,
    /// The consensus term in which `leader` leads.
    pub term: u64,
}

impl ShardEntry {
    /// Nodes of the voters, in replica id order.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|r| r.role == ReplicaRole::Voter).map(|r| r.node_id)
    }

    /// The replica on a node.
    pub fn replica_on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|r| r.node_id == node)
    }

    /// Order of freshness: a later one replaces an earlier one.
    pub fn freshness(&self) -> (u64, u64, u64, bool) {
        (self.epoch.shape, self.epoch.membership, self.term, self.leader.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange { start: start.into(), end: end.into() }
    }

    #[test]
    fn ranges_contain_and_overlap() {
        assert!(range("b", "d").contains(b"b") && !range("b", "d").contains(b"d"));
        assert!(range("b", "").contains(b"zzz"));
        assert!(range("a", "c").overlaps(&range("b", "d")));
        assert!(!range("a", "b").overlaps(&range("b", "c")));
    }

    #[test]
    fn a_split_needs_a_key_strictly_inside() {
        let (left, right) = range("b", "").split_at(b"m").expect("m lies inside");
        assert_eq!((left, right), (range("b", "m"), range("m", "")));
        assert!(range("b", "d").split_at(b"b").is_none());
        assert!(range("b", "d").split_at(b"d").is_none());
    }
}
