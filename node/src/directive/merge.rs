//! The merge step: the guards, then freezing the right neighbour, then subsuming it, or calling it all off.

use super::{
    Directives, guards,
    steps::{Done, already, in_time},
};
use crate::{
    catalog::META_TABLE,
    merge::{MergeAnswer, Merges},
    replica::Replica,
    shard::{Command, CommandResult, SubsumeCommand},
};
use isobar_api::{
    Epoch, NodeId, Replica as Member, ShardDescriptor, ShardId,
    directive::{Refusal, StepOrder},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Shards that one may consist of; each is remembered for good.
const PARTS_MAX: usize = 4_096;

/// The right neighbour as it is frozen.
struct FrozenRight {
    descriptor: Box<ShardDescriptor>,
    replicas: Vec<Member>,
    index: u64,
}

impl Directives {
    pub(super) async fn merge(
        &self,
        order: &StepOrder,
        left: &Arc<Replica>,
        (right, right_epoch): (ShardId, Epoch),
        abort: &CancellationToken,
    ) -> Result<Done, Refusal> {
        if left.state.subsumed().contains(&right) {
            return Ok(already());
        }
        self.may_merge(left, right, right_epoch)?;
        let round = guards::descriptor(left)?.merging.round;
        let merges = Merges::new(self.registry.clone(), self.catalog.meta().hints().clone());
        let frozen = match merges.freeze_right(left, right, right_epoch, round).await {
            Ok(MergeAnswer::Frozen { descriptor, replicas, index }) => {
                Ok(FrozenRight { descriptor, replicas, index })
            }
            Ok(other) => Err(Refusal::NotNow { why: format!("{right} answered {other:?}") }),
            Err(error) => Err(Refusal::NotNow { why: format!("{right} is not frozen: {error}") }),
        };
        let index = frozen.as_ref().ok().map(|frozen| frozen.index);
        let merged = match frozen {
            Ok(_) if abort.is_cancelled() => Err(Refusal::Aborted),
            Ok(frozen) => self.subsume(order, left, &frozen, round).await,
            Err(refusal) => Err(refusal),
        };
        let Err(refusal) = merged else { return Ok(Done::default()) };
        // Whatever has come of it: the log of the survivor says how it ends.
        match merges.give_up(left, right, round, index).await {
            Ok(false) => return Ok(Done::default()),
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%right, %error, "a merge is neither done nor called off yet");
            }
        }
        // Not to be tried again at once: each try costs the right shard a moment without requests.
        match refusal {
            Refusal::Aborted => Err(refusal),
            other => not_mergeable(format!("called off: {other}")),
        }
    }

    async fn subsume(
        &self,
        order: &StepOrder,
        left: &Arc<Replica>,
        right: &FrozenRight,
        round: u64,
    ) -> Result<(), Refusal> {
        let (ours, theirs) = (guards::descriptor(left)?, &right.descriptor);
        let epoch = left.state.epoch();
        // The membership that the command is bound to is the one that is compared here.
        adjoin(&ours, theirs)?;
        aligned(&left.state.replicas(), &right.replicas)?;
        let command = SubsumeCommand {
            right: theirs.shard_id,
            right_start: theirs.range.start.clone(),
            right_end: theirs.range.end.clone(),
            right_shape: theirs.shape,
            freeze_index: right.index,
            round,
            expected_shape: epoch.shape,
            expected_membership: epoch.membership,
            directive_id: order.directive_id.0,
            step_index: order.step_index,
        };
        match in_time(left.propose(Command::Subsume(command))).await? {
            (_, CommandResult::Subsumed) => Ok(()),
            (_, CommandResult::Refused(why)) => Err(Refusal::NotNow { why }),
            (_, other) => Err(Refusal::NotNow { why: format!("answered by {other}") }),
        }
    }

    /// The two shards may be merged: neighbours of one table, on the same living nodes, nothing half-way.
    fn may_merge(&self, left: &Replica, right: ShardId, expected: Epoch) -> Result<(), Refusal> {
        guards::settled(left)?;
        guards::unfrozen(left)?;
        let ours = guards::descriptor(left)?;
        if ours.table_id == META_TABLE {
            return not_mergeable("the system table is not merged");
        }
        let Some(neighbour) = self.registry.get(right) else {
            return not_mergeable(format!("{right} has no replica beside the leader"));
        };
        let theirs = guards::descriptor(&neighbour)?;
        adjoin(&ours, &theirs)?;
        let current = neighbour.state.epoch();
        if current < expected {
            return Err(Refusal::NotNow { why: format!("{right} has not come to {expected} yet") });
        }
        if current > expected {
            return not_mergeable(format!("{right} has epoch {current}, not {expected}"));
        }
        if neighbour.state.is_joint() {
            return Err(Refusal::NotNow { why: format!("{right} changes its membership") });
        }
        aligned(&left.state.replicas(), &neighbour.state.replicas())?;
        for member in left.state.replicas().iter() {
            self.live_member(member.node_id)?;
        }
        let parts = left.state.subsumed().len() + neighbour.state.subsumed().len();
        if parts >= PARTS_MAX {
            return not_mergeable(format!("it consists of {parts} shards already"));
        }
        Ok(())
    }
}

fn not_mergeable<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::NotMergeable { why: why.into() })
}

fn adjoin(left: &ShardDescriptor, right: &ShardDescriptor) -> Result<(), Refusal> {
    if left.table_id != right.table_id || left.range.join(&right.range).is_none() {
        return not_mergeable(format!("{} does not begin where this one ends", right.shard_id));
    }
    if left.rule != right.rule {
        return not_mergeable("the shards have different rules");
    }
    Ok(())
}

/// Each node has a replica of both, or of none. Which of them vote may differ: the survivor's stay as they are.
fn aligned(left: &[Member], right: &[Member]) -> Result<(), Refusal> {
    let nodes =
        |members: &[Member]| members.iter().map(|m| m.node_id).collect::<BTreeSet<NodeId>>();
    if nodes(left) == nodes(right) {
        return Ok(());
    }
    not_mergeable("their replicas lie on different nodes")
}
