//! The openraft type configuration, and names for the types that follow from it.
//!
//! Nothing outside `consensus/raft` and `shard` names an openraft type: the alpha's API moves.

use crate::shard::{Command, CommandResult, ShardStateMachine};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a replica lives: all that consensus must know to reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RaftNode {
    /// The node.
    pub node_id: u64,
}

impl fmt::Display for RaftNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.node_id)
    }
}

openraft::declare_raft_types!(
    /// One group per shard. A consensus node id is a replica id; one leader per term.
    pub TypeConfig:
        D = Command,
        R = CommandResult,
        NodeId = u64,
        Node = RaftNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// A running group member.
pub type Raft = openraft::Raft<TypeConfig, ShardStateMachine>;
/// A log position.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A log entry.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, RaftNode>;
/// Voters and learners, with the log position that stored them.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot stands for.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// The log position every group begins at: its first members agree on it without having logged it.
pub fn seed_log_id() -> LogId {
    LogId::new_term_index(0, 0)
}

/// A snapshot.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, crate::shard::ShardSnapshot>;

/// Encodes a consensus message or record.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data without foreign serializers always encodes")
}

/// Decodes a consensus message or record; any bytes give a value or an error.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
