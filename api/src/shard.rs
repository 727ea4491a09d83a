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

    /// Both together, where the other begins where this one ends.
    pub fn join(&self, right: &Self) -> Option<Self> {
        let adjoin = !self.end.is_empty() && self.end == right.start;
        adjoin.then(|| Self { start: self.start.clone(), end: right.end.clone() })
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
    /// How it stands with merges.
    #[serde(default)]
    pub merging: Merging,
}

/// How a shard stands with merges. A shard takes over its right neighbour: that one is frozen first, then subsumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merging {
    /// As a survivor: counts the merges that were called off. One of an earlier round is never carried out.
    pub round: u64,
    /// Set while the shard takes no requests, because its left neighbour is about to subsume it.
    pub frozen: Option<Frozen>,
}

/// By what a shard is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The shard that is to subsume it.
    pub into: ShardId,
    /// The survivor's round.
    pub round: u64,
    /// Log index of the freeze: nothing after it changes the shard's rows or sessions.
    pub index: u64,
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
        assert_eq!(range("b", "m").join(&range("m", "")), Some(range("b", "")));
        assert_eq!(range("b", "").join(&range("", "b")), None, "the other way round");
        assert_eq!(range("b", "m").join(&range("n", "")), None, "a gap");
    }
}
