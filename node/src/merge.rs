//! Merging two neighbours, as the nodes do it together. `docs/src/merge.md` tells the whole story and why it is safe.
//!
//! ```text
//! leader of left ── Freeze ─► leader of right ── Applied ─► every node of right (syncs before it answers)
//!       │ then Subsume, or CallOff, in the log of left
//!       └─ after a CallOff ── Thaw ─► leader of right          left alone, right asks by itself: CallOff
//! ```

#[cfg(test)]
mod tests;

use crate::{
    directive::COMMIT_WITHIN,
    engine::offload,
    gossip::ShardHints,
    registry::Registry,
    replica::Replica,
    shard::{Command, CommandResult, FreezeCommand},
};
use futures::future::{join_all, try_join_all};
use isobar_api::{
    ApiError, Epoch, ErrorCode, Frozen, NodeId, Replica as Member, ReplicaId, ShardDescriptor,
    ShardEntry, ShardId, proto::MergeRequest,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// Every node of a frozen shard must have applied the freeze within this time, or the merge is called off.
const APPLIED_WITHIN: Duration = Duration::from_secs(3);
/// A call besides: committing, and the way there and back.
const ASKED_WITHIN: Duration = Duration::from_secs(3);
/// Changes of leader that a call follows.
const HOPS_MAX: usize = 3;

/// What one node asks of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MergeCall {
    /// To the right shard's leader: freeze it, and answer once every replica has it durably.
    Freeze {
        /// The right shard.
        right: ShardId,
        /// The survivor.
        into: ShardId,
        /// The survivor's round.
        round: u64,
        /// The epoch that the right shard must have.
        expected: Epoch,
    },
    /// To each node of the right shard: answer once the replica has applied its log up to the freeze, durably.
    Applied {
        /// The right shard.
        right: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// Log index of the freeze.
        index: u64,
    },
    /// To the survivor's leader: call the merge off, unless it is done.
    CallOff {
        /// The survivor.
        survivor: ShardId,
        /// The right shard.
        right: ShardId,
        /// The round.
        round: u64,
    },
    /// To anyone: whether a shard is part of another one.
    Ended {
        /// The shard.
        right: ShardId,
    },
    /// To the right shard's leader, once the merge is called off.
    Thaw {
        /// The right shard.
        right: ShardId,
        /// Log index of the freeze.
        index: u64,
    },
}

/// What the other node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MergeAnswer {
    /// The right shard as it is frozen.
    Frozen {
        /// Its descriptor.
        descriptor: Box<ShardDescriptor>,
        /// Its replicas.
        replicas: Vec<Member>,
        /// Log index of the freeze.
        index: u64,
    },
    /// It is applied and durable.
    Applied,
    /// The right shard is part of the survivor.
    Subsumed,
    /// The right shard will not become part of the survivor in this round.
    CalledOff,
    /// It takes requests again.
    Thawed,
    /// Nothing is known here of the shard's end.
    NotEnded,
}

/// The nodes' part in merges. Cheap to make.
pub struct Merges {
    registry: Registry,
    hints: ShardHints,
}

impl Merges {
    /// Merges of the node's replicas; hints say where other shards are led.
    pub fn new(registry: Registry, hints: ShardHints) -> Self {
        Self { registry, hints }
    }

    /// Does what another node asks.
    pub async fn answer(&self, call: MergeCall) -> Result<MergeAnswer, ApiError> {
        match call {
            MergeCall::Freeze { right, into, round, expected } => {
                self.freeze(right, into, round, expected).await
            }
            MergeCall::Applied { right, replica, index } => {
                self.applied(right, replica, index).await
            }
            MergeCall::CallOff { survivor, right, round } => {
                self.call_off(survivor, right, round).await
            }
            MergeCall::Ended { right } => Ok(match self.registry.survivor_of(right) {
                Some(_) => MergeAnswer::Subsumed,
                None => MergeAnswer::NotEnded,
            }),
            MergeCall::Thaw { right, index } => {
                let replica = self.led(right)?;
                propose(&replica, Command::Thaw { index }).await.map(|_| MergeAnswer::Thawed)
            }
        }
    }

    async fn freeze(
        &self,
        right: ShardId,
        into: ShardId,
        round: u64,
        expected: Epoch,
    ) -> Result<MergeAnswer, ApiError> {
        let replica = self.led(right)?;
        let freeze = FreezeCommand {
            into,
            round,
            expected_shape: expected.shape,
            expected_membership: expected.membership,
        };
        let index = match in_time(replica.propose_alone(Command::Freeze(freeze))).await? {
            CommandResult::Frozen { index } => index,
            other => return Err(replica.error(ErrorCode::Refused, format!("not frozen: {other}"))),
        };
        let descriptor = replica.descriptor()?;
        let ours = Some(Frozen { into, round, index });
        if descriptor.merging.frozen != ours {
            return Err(replica.error(ErrorCode::Unavailable, "it was thawed again"));
        }
        // Nothing changes the membership that the freeze was applied with: see the guards of the steps.
        let replicas = replica.state.replicas().to_vec();
        let heard = replicas.iter().map(|member| async move {
            let call = MergeCall::Applied { right, replica: member.replica_id, index };
            self.ask(member.node_id, call, APPLIED_WITHIN).await
        });
        try_join_all(heard).await?;
        Ok(MergeAnswer::Frozen { descriptor: Box::new((*descriptor).clone()), replicas, index })
    }

    /// Durably: after a crash of this node the freeze must still be applied, as the log that it came from may be gone.
    async fn applied(
        &self,
        right: ShardId,
        replica: ReplicaId,
        index: u64,
    ) -> Result<MergeAnswer, ApiError> {
        let ours = self.registry.get(right).filter(|ours| ours.replica_id == replica);
        let ours = ours.ok_or_else(|| not_here(right))?;
        let wait = ours.raft.wait(Some(APPLIED_WITHIN));
        let behind = |_| ours.error(ErrorCode::Unavailable, "this replica is behind");
        wait.applied_index_at_least(Some(index), "freeze").await.map_err(behind)?;
        if ours.state.frozen().is_none_or(|frozen| frozen.index != index) {
            return Err(ours.error(ErrorCode::Unavailable, "this replica is not frozen"));
        }
        let state = self.registry.state_engine().clone();
        let synced = offload(self.registry.state_engine(), move || state.sync()).await;
        synced.map_err(|why| ApiError::new(ErrorCode::Internal, why.to_string()))??;
        Ok(MergeAnswer::Applied)
    }

    /// What a replica here has applied is committed, so its word needs no confirmation by a quorum.
    async fn call_off(
        &self,
        survivor: ShardId,
        right: ShardId,
        round: u64,
    ) -> Result<MergeAnswer, ApiError> {
        if self.registry.survivor_of(right).is_some() {
            return Ok(MergeAnswer::Subsumed);
        }
        if self.registry.survivor_of(survivor).is_some() {
            // It ended without having subsumed the other: whoever took it over would know.
            return Ok(MergeAnswer::CalledOff);
        }
        let replica = self.led(survivor)?;
        match propose(&replica, Command::CallOff { right, round }).await? {
            CommandResult::CalledOff => Ok(MergeAnswer::CalledOff),
            CommandResult::Subsumed => Ok(MergeAnswer::Subsumed),
            other => Err(replica.error(ErrorCode::Internal, format!("answered by {other}"))),
        }
    }

    /// Has the right neighbour frozen, wherever it is led.
    pub(crate) async fn freeze_right(
        &self,
        left: &Replica,
        right: ShardId,
        expected: Epoch,
        round: u64,
    ) -> Result<MergeAnswer, ApiError> {
        let call = MergeCall::Freeze { right, into: left.shard_id, round, expected };
        self.ask_leader(right, call, APPLIED_WITHIN + ASKED_WITHIN).await
    }

    /// Calls a merge off in the log of the survivor that is led here, and thaws the other shard. False: it is done.
    pub(crate) async fn give_up(
        &self,
        left: &Replica,
        right: ShardId,
        round: u64,
        index: Option<u64>,
    ) -> Result<bool, ApiError> {
        if self.call_off(left.shard_id, right, round).await? == MergeAnswer::Subsumed {
            return Ok(false);
        }
        let frozen = self.registry.get(right).and_then(|right| right.state.frozen());
        let frozen = frozen.filter(|f| f.into == left.shard_id && f.round <= round);
        if let Some(index) = index.or(frozen.map(|frozen| frozen.index)) {
            let call = MergeCall::Thaw { right, index };
            if let Err(error) = self.ask_leader(right, call, ASKED_WITHIN).await {
                tracing::info!(%right, %error, "the frozen shard will find out by itself");
            }
        }
        Ok(true)
    }

    /// What a replica does that has been frozen for too long: whoever was to merge its shard may be gone. Its leader has
    /// the merge called off and thaws; a replica whose shard is part of another one by now, and that nobody will tell,
    /// goes away.
    pub(crate) async fn settle(&self, replica: &Arc<Replica>, frozen: Frozen) {
        let right = replica.shard_id;
        let leads = replica.is_leader();
        let call = match leads {
            true => MergeCall::CallOff { survivor: frozen.into, right, round: frozen.round },
            false => MergeCall::Ended { right },
        };
        match self.ask_anyone(replica, frozen.into, call).await {
            Ok(MergeAnswer::CalledOff) if leads => {
                match propose(replica, Command::Thaw { index: frozen.index }).await {
                    Ok(_) => {
                        tracing::warn!(%right, survivor = %frozen.into, "a merge came to nothing; thawed");
                    }
                    Err(error) => tracing::debug!(%right, %error, "not thawed yet"),
                }
            }
            Ok(MergeAnswer::Subsumed) if !self.registry.holds(frozen.into) => {
                if let Err(error) = self.registry.retire(right, replica.replica_id).await {
                    tracing::warn!(%right, %error, "a replica of a merged shard stays for now");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%right, %error, "the survivor's leader does not answer"),
        }
    }

    /// Retires a replica that hears of no leader, if another node knows that its shard is part of another one.
    pub(crate) async fn retire_if_subsumed(&self, replica: &Arc<Replica>) -> bool {
        let right = replica.shard_id;
        let call = MergeCall::Ended { right };
        let Ok(MergeAnswer::Subsumed) = self.ask_anyone(replica, right, call).await else {
            return false;
        };
        // Where a replica of the survivor lies beside it, that one takes it over.
        let beside = self.registry.survivor_of(right).is_some();
        !beside && self.registry.retire(right, replica.replica_id).await.unwrap_or(false)
    }

    /// Asks the leader of the survivor, and those of whichever shards have the replica's keys now.
    async fn ask_anyone(
        &self,
        replica: &Replica,
        survivor: ShardId,
        call: MergeCall,
    ) -> Result<MergeAnswer, ApiError> {
        let own = self.own();
        let leader = self.leader_of(survivor);
        let mut nodes: Vec<NodeId> = leader.into_iter().collect();
        if let Some(descriptor) = replica.state.descriptor() {
            let newer = |entry: &ShardEntry| {
                entry.shard_id != replica.shard_id
                    && entry.epoch.shape > descriptor.shape
                    && entry.range.overlaps(&descriptor.range)
            };
            let known = self.hints.of_table(descriptor.table_id);
            nodes.extend(known.into_iter().filter(newer).filter_map(|entry| entry.leader));
        }
        nodes.sort_unstable_by_key(|node| (Some(*node) != leader, *node != own, *node));
        nodes.dedup();
        let asked = nodes.into_iter().take(HOPS_MAX);
        let answers = join_all(asked.map(|node| self.ask(node, call.clone(), ASKED_WITHIN))).await;
        let mut unknown = Err(not_here(survivor));
        for answer in answers {
            match answer {
                // Who knows nothing of an end may be this node itself, or have lost the shard long ago.
                Ok(MergeAnswer::NotEnded) => unknown = Ok(MergeAnswer::NotEnded),
                Ok(answer) => return Ok(answer),
                Err(error) if unknown.is_err() => unknown = Err(error),
                Err(_) => {}
            }
        }
        unknown
    }

    async fn ask_leader(
        &self,
        shard: ShardId,
        call: MergeCall,
        within: Duration,
    ) -> Result<MergeAnswer, ApiError> {
        let mut leader = self.leader_of(shard);
        for _ in 1..HOPS_MAX {
            let Some(node) = leader else { break };
            match self.ask(node, call.clone(), within).await {
                Err(error) if error.code == ErrorCode::NotLeader => {
                    leader = error.shards.first().and_then(|entry| entry.leader);
                    leader = leader.filter(|next| *next != node);
                }
                answer => return answer,
            }
        }
        Err(ApiError::new(ErrorCode::Unavailable, format!("no leader of {shard} is known")))
    }

    async fn ask(
        &self,
        node: NodeId,
        call: MergeCall,
        within: Duration,
    ) -> Result<MergeAnswer, ApiError> {
        if node == self.own() {
            return Box::pin(self.answer(call)).await;
        }
        let call_json = serde_json::to_vec(&call).expect("plain data always encodes").into();
        let request = MergeRequest { call_json };
        let answer = self.registry.transport().merge(node, request, within).await?;
        serde_json::from_slice(&answer.answer_json)
            .map_err(|why| ApiError::new(ErrorCode::Internal, format!("merge answer: {why}")))
    }

    /// By our own replica if we hold one, else by gossip.
    fn leader_of(&self, shard: ShardId) -> Option<NodeId> {
        let own = self.registry.get(shard).and_then(|replica| replica.leader_node());
        own.or_else(|| self.hints.get(shard)?.leader)
    }

    fn led(&self, shard: ShardId) -> Result<Arc<Replica>, ApiError> {
        let replica = self.registry.get(shard).ok_or_else(|| not_here(shard))?;
        if replica.is_leader() {
            return Ok(replica);
        }
        Err(replica.error(ErrorCode::NotLeader, "this replica does not lead"))
    }

    fn own(&self) -> NodeId {
        self.registry.transport().members().own().node_id
    }
}

fn not_here(shard: ShardId) -> ApiError {
    ApiError::new(ErrorCode::ShardNotHere, format!("{shard} has no such replica here"))
}

async fn propose(replica: &Replica, command: Command) -> Result<CommandResult, ApiError> {
    in_time(async { replica.propose(command).await.map(|(_, result)| result) }).await
}

async fn in_time(
    proposed: impl Future<Output = Result<CommandResult, ApiError>>,
) -> Result<CommandResult, ApiError> {
    tokio::time::timeout(COMMIT_WITHIN, proposed).await.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorCode::Unavailable, "it was not committed in time"))
    })
}
