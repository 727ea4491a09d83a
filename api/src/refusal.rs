//! Why a node does not carry out a step of a directive.

use crate::{
    ids::{DirectiveId, NodeId, Region, Term},
    shard::Epoch,
};
use serde::{Deserialize, Serialize};

/// Why a node does not do a step. Nothing was changed by a refused step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The order cannot be read or contradicts itself.
    #[error("malformed: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// It is for another cluster.
    #[error("for another cluster")]
    OtherCluster,
    /// A controller with a higher term was seen.
    #[error("controller term {sent} is fenced, {seen} was seen")]
    StaleTerm {
        /// The order's term.
        sent: Term,
        /// The highest seen.
        seen: Term,
    },
    /// The shard has changed since.
    #[error("the shard's epoch is {current}, not {expected}")]
    EpochMoved {
        /// The order's epoch.
        expected: Epoch,
        /// The shard's epoch.
        current: Epoch,
    },
    /// Too late.
    #[error("expired at {at_unix_ms} ms")]
    Expired {
        /// Its last moment.
        at_unix_ms: u64,
    },
    /// This node holds no replica of the shard.
    #[error("the shard is not here")]
    ShardNotHere,
    /// Another node leads the shard.
    #[error("not the leader{}", leader.map(|n| format!(", {n} is")).unwrap_or_default())]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Another directive works on the shard.
    #[error("busy with {directive}")]
    Busy {
        /// Which.
        directive: DirectiveId,
    },
    /// The table may not lie in the target's region.
    #[error("{region} is not an allowed region of the table")]
    RegionNotAllowed {
        /// The region.
        region: Region,
    },
    /// The target is unknown, dead or does not answer.
    #[error("{node} cannot be used: {why}")]
    TargetUnavailable {
        /// The target.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The target has no replica, or not of the role that the step needs.
    #[error("{node} is not {needed}")]
    WrongRole {
        /// The target.
        node: NodeId,
        /// What it would have to be.
        needed: String,
    },
    /// The target has not caught up.
    #[error("{node} is {behind} log entries behind")]
    TargetBehind {
        /// The target.
        node: NodeId,
        /// How far.
        behind: u64,
    },
    /// Too few voters, or too few live ones, would remain.
    #[error("{remaining} voters would remain, the floor is {floor}")]
    BelowFloor {
        /// Voters that would remain.
        remaining: u64,
        /// The table's floor.
        floor: u64,
    },
    /// More replicas than the table allows.
    #[error("the table allows {max} replicas")]
    TooManyReplicas {
        /// The cap.
        max: u64,
    },
    /// The replica leads; transfer leadership first.
    #[error("{node} leads the shard")]
    TargetLeads {
        /// The target.
        node: NodeId,
    },
    /// The split key is not strictly inside the shard.
    #[error("the key is not strictly inside {range}")]
    KeyOutside {
        /// The shard's range.
        range: String,
    },
    /// The shards cannot be merged as they are.
    #[error("no merge: {why}")]
    NotMergeable {
        /// Why.
        why: String,
    },
    /// The target has too little free disk.
    #[error("{node} has {free_bytes} bytes free, {needed_bytes} are needed")]
    NoHeadroom {
        /// The target.
        node: NodeId,
        /// Free bytes.
        free_bytes: u64,
        /// Needed bytes.
        needed_bytes: u64,
    },
    /// The step was stopped on request.
    #[error("aborted on request")]
    Aborted,
    /// It could not be done now; it may work later.
    #[error("not now: {why}")]
    NotNow {
        /// Why.
        why: String,
    },
    /// The shard's storage has failed on this node.
    #[error("storage fault: {why}")]
    StorageFault {
        /// What failed.
        why: String,
    },
}

impl Refusal {
    /// Whether sending the same order again (perhaps to another node) can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NotLeader { .. }
                | Self::ShardNotHere
                | Self::Busy { .. }
                | Self::NotNow { .. }
                | Self::TargetBehind { .. }
        )
    }
}
