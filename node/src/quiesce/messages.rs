//! What nodes say to each other about sleeping groups: few messages for many groups.

use super::rest::{Lead, Settled, Watched, follows};
use crate::{
    consensus::raft::types::{LogId, decode, encode},
    registry::Registry,
    replica::{Replica, error_chain},
    transport::{FrameKind, Message, Transport},
};
use isobar_api::{NodeId, ReplicaId, ShardId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Groups in one message at most.
pub(super) const GROUPS_MAX: usize = 4_096;

/// A leader would have its followers sleep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Proposal {
    pub(super) shard: u64,
    /// The replica that leads.
    pub(super) leader: u64,
    /// The replica that is asked.
    pub(super) follower: u64,
    pub(super) term: u64,
    /// The last entry that the leader has; it is applied.
    pub(super) last: LogId,
}

/// Asks a node whether its replicas may sleep.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SleepRequest {
    /// The leader's node.
    pub(super) node: u64,
    /// Its life.
    pub(super) incarnation: u64,
    pub(super) proposals: Vec<Proposal>,
}

/// What became of each proposal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SleepAnswer {
    /// The life of the node that answers.
    pub(super) incarnation: u64,
    /// In the order of the proposals: whether the replica sleeps now.
    pub(super) asleep: Vec<bool>,
}

/// Answers a message that is for the node, not for one of its groups.
pub(super) fn answer(
    registry: &Registry,
    kind: FrameKind,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    let Some(incarnation) = registry.incarnation() else {
        return Err("this node puts no groups to sleep".into());
    };
    if kind == FrameKind::Ping {
        return Ok(encode(&incarnation));
    }
    let request: SleepRequest = decode(payload).map_err(|why| error_chain(&why))?;
    let proposals = request.proposals.iter().take(GROUPS_MAX);
    let leader = Watched { node: NodeId(request.node), incarnation: request.incarnation };
    let asleep = proposals.map(|proposal| follow_to_sleep(registry, leader, proposal)).collect();
    Ok(encode(&SleepAnswer { incarnation, asleep }))
}

/// Puts a follower to sleep, if term, leader and log are what its leader says. Sleep changes no more than the timers, so
/// a wrong answer here could cost time, never a write.
fn follow_to_sleep(registry: &Registry, node: Watched, proposal: &Proposal) -> bool {
    let follower =
        |replica: &std::sync::Arc<Replica>| {
            replica.replica_id == ReplicaId(proposal.follower)
                && replica.state.replicas().iter().any(|member| {
                    member.replica_id.0 == proposal.leader && member.node_id == node.node
                })
        };
    let Some(replica) = registry.get(ShardId(proposal.shard)).filter(follower) else {
        return false;
    };
    let leader = Lead { node: node.node, replica: proposal.leader };
    let settled = Settled { term: proposal.term, last: proposal.last, others: Vec::new() };
    if !follows(&replica, leader, &settled) {
        return false;
    }
    // One that sleeps already does so again: whatever woke its leader has not reached it.
    if let Some(number) = replica.rest.number() {
        replica.rest.end(&replica.raft, number);
    }
    replica.rest.begin(&replica.raft, Some(leader), vec![node]).is_some()
}

/// Sends a message to a node and decodes what it answers; none if it does not.
pub(super) async fn ask<A: DeserializeOwned>(
    transport: &Transport,
    node: NodeId,
    kind: FrameKind,
    payload: Vec<u8>,
    within: Duration,
) -> Option<A> {
    let message = Message { shard: ShardId(0), from_replica: 0, to_replica: 0, kind, payload };
    match transport.call(node, message, within).await {
        Ok(bytes) => decode(&bytes).ok(),
        Err(error) => {
            tracing::debug!(%node, %error, "not known how its replicas rest");
            None
        }
    }
}

/// Reads bytes as the messages of this module, for the fuzz tests.
#[cfg(test)]
pub(crate) fn decode_messages(bytes: &[u8]) {
    let _ = isobar_fuzz::read_within(bytes.len(), || decode::<SleepRequest>(bytes));
    let _ = isobar_fuzz::read_within(bytes.len(), || decode::<SleepAnswer>(bytes));
}
