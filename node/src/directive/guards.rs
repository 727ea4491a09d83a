//! What a node refuses, whoever asks. Each guard is a safety property; no controller can switch one off.

use super::Directives;
use crate::{
    planted::{NO_VOTER_FLOOR, PROMOTE_BEHIND, is_planted},
    replica::Replica,
};
use isobar_api::{
    Epoch, NodeId, Replica as Member, ReplicaRole, ShardDescriptor,
    directive::{Refusal, Step},
    report::MemberInfo,
};
use openraft::async_runtime::WatchReceiver;

/// Log entries a learner may be behind when it is promoted, and a voter when it is given the lead.
pub(super) const BEHIND_MAX: u64 = 64;

/// The shard is as the order says.
pub(super) fn epoch(replica: &Replica, expected: Epoch) -> Result<(), Refusal> {
    let current = replica.state.epoch();
    if current == expected { Ok(()) } else { Err(Refusal::EpochMoved { expected, current }) }
}

/// Whether the state that the step asks for is there.
pub(super) fn already_done(replica: &Replica, step: &Step) -> bool {
    let on = |node: &NodeId| member_on(replica, *node);
    match step {
        Step::Split { .. } | Step::AddLearner { .. } => false,
        Step::Promote { node } => on(node).is_some_and(|m| m.role == ReplicaRole::Voter),
        Step::TransferLeader { node } => replica.leader_node() == Some(*node),
        Step::RemoveReplica { node } => on(node).is_none(),
        Step::Merge { right, .. } => replica.state.subsumed().contains(right),
    }
}

/// The replica on a node.
pub(super) fn member_on(replica: &Replica, node: NodeId) -> Option<Member> {
    replica.state.replicas().iter().find(|m| m.node_id == node).copied()
}

/// The shard's descriptor.
pub(super) fn descriptor(replica: &Replica) -> Result<std::sync::Arc<ShardDescriptor>, Refusal> {
    replica.state.descriptor().ok_or_else(|| Refusal::NotNow { why: "the replica is empty".into() })
}

/// No other membership change is half-way.
pub(super) fn settled(replica: &Replica) -> Result<(), Refusal> {
    if replica.state.is_joint() {
        return Err(Refusal::NotNow { why: "a membership change is half-way".into() });
    }
    Ok(())
}

/// No merge is about to end it.
pub(super) fn unfrozen(replica: &Replica) -> Result<(), Refusal> {
    match replica.state.frozen() {
        Some(frozen) => Err(Refusal::NotNow { why: format!("{} takes it over", frozen.into) }),
        None => Ok(()),
    }
}

/// How far a replica is behind the leader, from the leader's own bookkeeping.
pub(super) fn behind(replica: &Replica, member: Member) -> Option<u64> {
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = metrics.replication.as_ref()?.get(&member.replica_id.0)?.as_ref()?;
    Some(last.saturating_sub(matched.index()))
}

/// A replica has caught up.
pub(super) fn caught_up(replica: &Replica, member: Member) -> Result<(), Refusal> {
    let node = member.node_id;
    match behind(replica, member) {
        Some(behind) if behind <= BEHIND_MAX => Ok(()),
        _ if is_planted(PROMOTE_BEHIND) => Ok(()),
        Some(behind) => Err(Refusal::TargetBehind { node, behind }),
        None => {
            Err(Refusal::TargetUnavailable { node, why: "it has not answered this leader".into() })
        }
    }
}

impl Directives {
    /// A live member of the cluster.
    pub(super) fn live_member(&self, node: NodeId) -> Result<MemberInfo, Refusal> {
        let unavailable = |why: &str| Refusal::TargetUnavailable { node, why: why.into() };
        let member = self.registry.transport().members().get(node);
        let member = member.ok_or_else(|| unavailable("not a member of the cluster"))?;
        if member.alive { Ok(member) } else { Err(unavailable("gossip believes it to be dead")) }
    }

    /// A new replica may lie on a node: allowed region, within the cap, room on its disk.
    pub(super) fn may_hold(&self, replica: &Replica, member: &MemberInfo) -> Result<(), Refusal> {
        let descriptor = descriptor(replica)?;
        if !descriptor.rule.allows(&member.region) {
            return Err(Refusal::RegionNotAllowed { region: member.region.clone() });
        }
        // Add before remove needs one more than the rule for the time of the move.
        let max = u64::from(descriptor.rule.replicas_max.max(descriptor.rule.replicas)) + 1;
        if replica.state.replicas().len() as u64 >= max {
            return Err(Refusal::TooManyReplicas { max: max - 1 });
        }
        let (free_bytes, needed_bytes) = (member.load.disk_free_bytes, self.disk_reserve_bytes);
        // A member that has not reported its disk yet decides for itself.
        if member.load.disk_total_bytes > 0 && free_bytes < needed_bytes {
            return Err(Refusal::NoHeadroom { node: member.node_id, free_bytes, needed_bytes });
        }
        Ok(())
    }

    /// A replica may be taken away: it does not lead, enough voters remain, and a majority of them lives.
    pub(super) fn may_remove(&self, replica: &Replica, member: Member) -> Result<(), Refusal> {
        if replica.leader_node() == Some(member.node_id) || member.replica_id == replica.replica_id
        {
            return Err(Refusal::TargetLeads { node: member.node_id });
        }
        if member.role == ReplicaRole::Learner {
            return Ok(());
        }
        let floor = u64::from(descriptor(replica)?.rule.replicas);
        let members = replica.state.replicas();
        let rest = members
            .iter()
            .filter(|m| m.role == ReplicaRole::Voter && m.replica_id != member.replica_id);
        let remaining = rest.clone().count() as u64;
        if remaining < floor && !is_planted(NO_VOTER_FLOOR) {
            return Err(Refusal::BelowFloor { remaining, floor });
        }
        // A node that died while nothing was written looks caught up.
        let serves = |m: &Member| {
            m.replica_id == replica.replica_id
                || (caught_up(replica, *m).is_ok() && self.live_member(m.node_id).is_ok())
        };
        let current = rest.filter(|m| serves(m)).count() as u64;
        if current <= remaining / 2 {
            let why = format!(
                "only {current} of the {remaining} voters that remain are alive and caught up"
            );
            return Err(Refusal::NotNow { why });
        }
        Ok(())
    }
}
