//! The steps themselves, mapped to operations of the consensus group.

use super::{
    Directives,
    guards::{self, member_on},
};
use crate::{
    consensus::raft::types::{RaftNode, TypeConfig},
    replica::{Replica, error_chain},
    shard::{Command, CommandResult, SplitCommand},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, Replica as Member, ReplicaRole, ShardId,
    directive::{Refusal, StepEvent, StepOrder},
    proto::RetireReplicaRequest,
    table::key_from_text,
};
use openraft::{ChangeMembers, Precondition, async_runtime::WatchReceiver};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const TRANSFER_WITHIN: Duration = Duration::from_secs(5);
const MEMBERSHIP_WITHIN: Duration = Duration::from_secs(15);
/// A step of a group without a quorum ends after this, so that the shard is not busy for ever. What was logged may
/// still be done later; a repeat of the step finds it.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_secs(15);

/// What a step brought about besides the new epoch.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) new_shard: Option<ShardId>,
    pub(super) copied_bytes: u64,
    pub(super) already: bool,
}

pub(super) fn already() -> Done {
    Done { already: true, ..Done::default() }
}

impl Directives {
    pub(super) async fn split(
        &self,
        order: &StepOrder,
        replica: &Arc<Replica>,
        at_key: &str,
    ) -> Result<Done, Refusal> {
        let malformed = |e: ApiError| Refusal::Malformed { why: e.message };
        let at_key = key_from_text(at_key).map_err(malformed)?;
        let descriptor = guards::descriptor(replica)?;
        guards::settled(replica)?;
        guards::unfrozen(replica)?;
        if descriptor.range.split_at(&at_key).is_none() {
            return Err(Refusal::KeyOutside { range: descriptor.range.to_string() });
        }
        let child = self.catalog.meta().allocate("shard", 2, 1).await.map_err(not_now)?;
        let child = ShardId(child);
        let command = SplitCommand {
            at_key,
            child,
            expected_shape: order.expected_epoch.shape,
            directive_id: order.directive_id.0,
            step_index: order.step_index,
        };
        match in_time(replica.propose_alone(Command::Split(command))).await? {
            CommandResult::Split { .. } => Ok(Done { new_shard: Some(child), ..Done::default() }),
            CommandResult::Refused(why) => Err(Refusal::NotNow { why }),
            other => Err(Refusal::NotNow { why: format!("answered by {other}") }),
        }
    }

    pub(super) async fn add_learner(
        &self,
        replica: &Arc<Replica>,
        node: NodeId,
        events: &watch::Sender<StepEvent>,
        abort: &CancellationToken,
    ) -> Result<Done, Refusal> {
        let member = self.live_member(node)?;
        let present = member_on(replica, node);
        if present.is_none() {
            self.may_hold(replica, &member)?;
            guards::settled(replica)?;
            self.make_learner(replica, node).await?;
        }
        let Some(learner) = member_on(replica, node) else {
            return Err(Refusal::NotNow { why: "the learner is gone again".into() });
        };
        let copied_bytes = self.replica_bytes(replica);
        match self.await_caught_up(replica, learner, events, abort).await {
            Ok(()) => Ok(Done { copied_bytes, already: present.is_some(), ..Done::default() }),
            Err(refusal) => {
                if present.is_none() && learner.role == ReplicaRole::Learner {
                    self.take_back(replica, learner).await;
                }
                Err(refusal)
            }
        }
    }

    /// Gives out a replica id, has the node make room, and adds it to the group.
    async fn make_learner(&self, replica: &Arc<Replica>, node: NodeId) -> Result<(), Refusal> {
        let id = match propose(replica, Command::AllocateReplica).await? {
            CommandResult::Replica(id) => id,
            other => return Err(Refusal::NotNow { why: format!("answered by {other}") }),
        };
        self.registry.ensure_remote(replica, node, id).await.map_err(|e| target_error(node, &e))?;
        let nodes = BTreeMap::from([(id.0, RaftNode { node_id: node.0 })]);
        self.change(replica, ChangeMembers::AddNodes(nodes)).await
    }

    async fn await_caught_up(
        &self,
        replica: &Arc<Replica>,
        learner: Member,
        events: &watch::Sender<StepEvent>,
        abort: &CancellationToken,
    ) -> Result<(), Refusal> {
        let mut best = u64::MAX;
        loop {
            if abort.is_cancelled() {
                return Err(Refusal::Aborted);
            }
            if !replica.is_leader() {
                return Err(Refusal::NotLeader { leader: replica.leader_node() });
            }
            if let Some(why) = replica.fault() {
                return Err(Refusal::StorageFault { why });
            }
            if guards::caught_up(replica, learner).is_ok() {
                return Ok(());
            }
            let metrics = replica.raft.metrics();
            let total = metrics.borrow_watched().last_log_index.unwrap_or(0);
            if let Some(behind) = guards::behind(replica, learner)
                && behind < best
            {
                best = behind;
                events.send_replace(StepEvent::Progress { done: total - behind, total });
            }
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Removes a learner that an aborted step had added.
    async fn take_back(&self, replica: &Arc<Replica>, learner: Member) {
        let nodes = BTreeSet::from([learner.replica_id.0]);
        if let Err(refusal) = self.change(replica, ChangeMembers::RemoveNodes(nodes)).await {
            tracing::warn!(%refusal, "the learner of an aborted step stays for now");
            return;
        }
        self.retire_remote(replica, learner).await;
    }

    pub(super) async fn promote(
        &self,
        replica: &Arc<Replica>,
        node: NodeId,
    ) -> Result<Done, Refusal> {
        let Some(member) = member_on(replica, node) else {
            return Err(Refusal::WrongRole { node, needed: "a learner of the shard".into() });
        };
        if member.role == ReplicaRole::Voter {
            return Ok(already());
        }
        let info = self.live_member(node)?;
        if !guards::descriptor(replica)?.rule.allows(&info.region) {
            return Err(Refusal::RegionNotAllowed { region: info.region });
        }
        guards::settled(replica)?;
        guards::caught_up(replica, member)?;
        let ids = BTreeSet::from([member.replica_id.0]);
        self.change(replica, ChangeMembers::AddVoterIds(ids)).await?;
        Ok(Done::default())
    }

    pub(super) async fn transfer_leader(
        &self,
        replica: &Arc<Replica>,
        node: NodeId,
        abort: &CancellationToken,
    ) -> Result<Done, Refusal> {
        if replica.leader_node() == Some(node) {
            return Ok(already());
        }
        let voter = member_on(replica, node).filter(|m| m.role == ReplicaRole::Voter);
        let Some(voter) = voter else {
            return Err(Refusal::WrongRole { node, needed: "a voter of the shard".into() });
        };
        self.live_member(node)?;
        guards::settled(replica)?;
        guards::caught_up(replica, voter)?;
        let fatal = |e: &dyn std::error::Error| Refusal::StorageFault { why: error_chain(e) };
        replica.raft.trigger().transfer_leader(voter.replica_id.0).await.map_err(|e| fatal(&e))?;
        let began = Instant::now();
        while began.elapsed() < TRANSFER_WITHIN && !abort.is_cancelled() {
            if replica.leader_node() == Some(node) {
                return Ok(Done::default());
            }
            tokio::time::sleep(LOOK_EVERY / 2).await;
        }
        Err(Refusal::NotNow { why: format!("{node} has not taken the lead") })
    }

    pub(super) async fn remove_replica(
        &self,
        replica: &Arc<Replica>,
        node: NodeId,
    ) -> Result<Done, Refusal> {
        let Some(member) = member_on(replica, node) else { return Ok(already()) };
        self.may_remove(replica, member)?;
        guards::settled(replica)?;
        let ids = BTreeSet::from([member.replica_id.0]);
        let change = match member.role {
            ReplicaRole::Voter => ChangeMembers::RemoveVoters(ids),
            ReplicaRole::Learner => ChangeMembers::RemoveNodes(ids),
        };
        self.change(replica, change).await?;
        self.retire_remote(replica, member).await;
        Ok(Done::default())
    }

    /// Changes the membership, provided that it is still the one the guards looked at.
    async fn change(
        &self,
        replica: &Arc<Replica>,
        change: ChangeMembers<u64, RaftNode>,
    ) -> Result<(), Refusal> {
        guards::unfrozen(replica)?;
        let last_membership_log_id = {
            let metrics = replica.raft.metrics();
            let metrics = metrics.borrow_watched();
            *metrics.membership_config.log_id()
        };
        let seen = last_membership_log_id.map_or(0, |id| id.index());
        if seen != replica.state.epoch().membership {
            return Err(Refusal::NotNow { why: "a membership change is being applied".into() });
        }
        let unchanged: Precondition<TypeConfig> =
            Precondition::LastMembershipLogId { last_membership_log_id };
        let changing = replica.raft.change_membership_if(change, false, [unchanged]);
        match tokio::time::timeout(MEMBERSHIP_WITHIN, changing).await {
            Ok(Ok(response)) => {
                let applied = Some(response.log_id.index());
                let wait = replica.raft.wait(Some(MEMBERSHIP_WITHIN));
                let _ = wait.applied_index_at_least(applied, "membership").await;
                Ok(())
            }
            Ok(Err(error)) => Err(not_now(replica.write_error(&error))),
            Err(_) => Err(Refusal::NotNow {
                why: "the membership change was not committed in time".into(),
            }),
        }
    }

    /// Tells a node that its replica is removed. It asks us back before it deletes anything; if it cannot be
    /// reached it finds out by itself later.
    async fn retire_remote(&self, replica: &Arc<Replica>, member: Member) {
        let transport = self.registry.transport();
        let request = RetireReplicaRequest {
            shard_id: replica.shard_id.0,
            replica_id: member.replica_id.0,
            from_node: transport.members().own().node_id.0,
            membership_epoch: replica.state.epoch().membership,
        };
        let node = member.node_id;
        let told = transport.retire_replica(node, request, Duration::from_secs(5)).await;
        if let Err(error) = told {
            tracing::info!(%node, %error, "the removed replica will find out by itself");
        }
    }

    fn replica_bytes(&self, replica: &Replica) -> u64 {
        let Some(descriptor) = replica.state.descriptor() else { return 0 };
        let (start, end) = crate::shard::keys::rows(descriptor.table_id, &descriptor.range);
        let size = self.registry.state_engine().approximate_size_bytes(
            crate::engine::Space::Data,
            &start,
            Some(&end),
        );
        size.unwrap_or(0)
    }
}

/// Puts a command of a step through the log.
pub(super) async fn propose(replica: &Replica, command: Command) -> Result<CommandResult, Refusal> {
    in_time(replica.propose(command)).await.map(|(_, result)| result)
}

pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(COMMIT_WITHIN, work).await {
        Ok(answer) => answer.map_err(not_now),
        Err(_) => Err(Refusal::NotNow { why: "it was not committed in time".into() }),
    }
}

pub(super) fn not_now(error: ApiError) -> Refusal {
    match error.code {
        ErrorCode::NotLeader => {
            Refusal::NotLeader { leader: error.shards.first().and_then(|e| e.leader) }
        }
        ErrorCode::Corruption | ErrorCode::StorageFailed => {
            Refusal::StorageFault { why: error.message }
        }
        _ => Refusal::NotNow { why: error.message },
    }
}

fn target_error(node: NodeId, error: &ApiError) -> Refusal {
    Refusal::TargetUnavailable { node, why: error.to_string() }
}
