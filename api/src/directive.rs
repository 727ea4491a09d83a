//! Directives: what the controller may ask of nodes, and how nodes answer.
//!
//! ```text
//! proposed → checked → approved → journaled → sent → accepted → step k → applied → verified
//!     └→ rejected   └→ expired  └→ cancelled            └→ failed → compensating → undone
//! ```

use crate::{
    ids::{DirectiveId, NodeId, PlanId, ShardId, Term},
    limits,
    plan::Effect,
    shard::Epoch,
};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use crate::refusal::Refusal;

/// One small operation on one shard. Each is idempotent and is checked by the node's own guards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Cut the shard in two at a key strictly inside it.
    Split {
        /// First key of the new right-hand shard, printable form.
        at_key: String,
    },
    /// Give a node a copy that does not vote, and wait until it has caught up.
    AddLearner {
        /// The node.
        node: NodeId,
    },
    /// Make a caught-up learner a voter.
    Promote {
        /// The node.
        node: NodeId,
    },
    /// Make another voter the leader.
    TransferLeader {
        /// The node.
        node: NodeId,
    },
    /// Take a replica that does not lead out of the group; its data is deleted afterwards.
    RemoveReplica {
        /// The node.
        node: NodeId,
    },
    /// Take over the right neighbour, whose replicas lie on the same nodes: it is frozen, then subsumed.
    Merge {
        /// The right neighbour; it ends to exist.
        right: ShardId,
        /// The epoch it must have.
        right_epoch: Epoch,
    },
}

impl Step {
    /// The node the step aims at, where it aims at one.
    pub fn target(&self) -> Option<NodeId> {
        match self {
            Self::Split { .. } | Self::Merge { .. } => None,
            Self::AddLearner { node }
            | Self::Promote { node }
            | Self::TransferLeader { node }
            | Self::RemoveReplica { node } => Some(*node),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { at_key } => write!(f, "split at {at_key}"),
            Self::AddLearner { node } => write!(f, "add learner on {node}"),
            Self::Promote { node } => write!(f, "promote {node}"),
            Self::TransferLeader { node } => write!(f, "transfer leader to {node}"),
            Self::RemoveReplica { node } => write!(f, "remove replica from {node}"),
            Self::Merge { right, .. } => write!(f, "merge with {right}"),
        }
    }
}

/// What a directive is for; cheapest first. Repair and drain are not optimisations and come before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectiveKind {
    /// Replace a lost replica.
    Repair,
    /// Empty a node.
    Drain,
    /// Move leadership.
    TransferLeader,
    /// Move a replica (and leadership with it, where that is the aim).
    MoveReplica,
    /// Cut a hot or large shard.
    Split,
    /// Join two cold neighbours.
    Merge,
}

impl fmt::Display for DirectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Repair => "repair",
            Self::Drain => "drain",
            Self::TransferLeader => "transfer_leader",
            Self::MoveReplica => "move_replica",
            Self::Split => "split",
            Self::Merge => "merge",
        })
    }
}

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectiveState {
    /// Planned.
    Proposed,
    /// Passed the plan's checks.
    Checked,
    /// Allowed to run, by policy or by a person.
    Approved,
    /// Durable in the journal. Nothing is sent before.
    Journaled,
    /// First step sent.
    Sent,
    /// A node accepted the running step.
    Accepted,
    /// Every step is done.
    Applied,
    /// Telemetry newer than the last step has been compared with the prediction.
    Verified,
    /// Refused by a check or a person.
    Rejected,
    /// Not started in time.
    Expired,
    /// Given up before it changed anything.
    Cancelled,
    /// A step failed; nothing could or needed to be undone.
    Failed,
    /// A step failed; earlier steps are being undone.
    Compensating,
    /// Earlier steps were undone.
    Undone,
}

impl DirectiveState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Verified
                | Self::Rejected
                | Self::Expired
                | Self::Cancelled
                | Self::Failed
                | Self::Undone
        )
    }

    /// Whether a node may be working on it, so that its shard is taken.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::Approved | Self::Journaled | Self::Sent | Self::Accepted | Self::Compensating
        )
    }

    /// Whether the journal allows the change from `self` to `next`.
    pub fn may_become(self, next: Self) -> bool {
        use DirectiveState as S;
        match self {
            S::Proposed => matches!(next, S::Checked | S::Rejected | S::Expired | S::Cancelled),
            S::Checked => matches!(next, S::Approved | S::Rejected | S::Expired | S::Cancelled),
            S::Approved => matches!(next, S::Journaled | S::Expired | S::Cancelled),
            S::Journaled => matches!(next, S::Sent | S::Expired | S::Cancelled),
            S::Sent | S::Accepted => {
                matches!(
                    next,
                    S::Sent | S::Accepted | S::Applied | S::Cancelled | S::Failed | S::Compensating
                )
            }
            S::Applied => matches!(next, S::Verified | S::Compensating),
            S::Compensating => matches!(next, S::Compensating | S::Undone | S::Failed),
            S::Verified => matches!(next, S::Compensating),
            _ => false,
        }
    }
}

impl fmt::Display for DirectiveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_value(self).ok();
        f.pad(text.as_ref().and_then(|t| t.as_str()).unwrap_or("unknown"))
    }
}

/// What a directive may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Bytes that may be copied.
    pub copy_bytes: u64,
    /// How much the shard's p99 may rise meanwhile, milliseconds.
    pub p99_rise_ms: f64,
    /// Longest time without progress before it is aborted, milliseconds.
    pub stall_ms: u64,
}

/// A small, checked, reversible change of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive {
    /// Its id; zero until the journal gave it one.
    pub id: DirectiveId,
    /// The plan it belongs to.
    pub plan_id: PlanId,
    /// What it is for.
    pub kind: DirectiveKind,
    /// Term of the controller that issued it.
    pub controller_term: Term,
    /// The shard.
    pub shard: ShardId,
    /// The shard's table, for people.
    pub table: String,
    /// The epoch it was planned against.
    pub expected_epoch: Epoch,
    /// Version of the policy it was planned under.
    pub policy_version: u64,
    /// The forecaster behind it, or `baseline`.
    pub model_version: String,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What would reverse it, in order, from the state after the last step.
    pub undo: Vec<Step>,
    /// What it may cost.
    pub budget: Budget,
    /// Higher goes first.
    pub priority: u8,
    /// Not before, Unix milliseconds.
    pub not_before_unix_ms: u64,
    /// Not started after, Unix milliseconds.
    pub expires_at_unix_ms: u64,
    /// Why, in a sentence with figures.
    pub reason: String,
    /// What it is expected to change.
    pub predicted: Effect,
}

impl Directive {
    /// The shards it works on: its own, and one that it merges into that.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        let merged = self.steps.iter().filter_map(|step| match step {
            Step::Merge { right, .. } => Some(*right),
            _ => None,
        });
        std::iter::once(self.shard).chain(merged)
    }
}

/// One step on its way to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOrder {
    /// The directive.
    pub directive_id: DirectiveId,
    /// Position of the step; undo steps go on counting.
    pub step_index: u32,
    /// Term of the sender.
    pub controller_term: Term,
    /// The cluster it is meant for.
    pub cluster_id: String,
    /// The shard.
    pub shard: ShardId,
    /// The epoch the shard must have now.
    pub expected_epoch: Epoch,
    /// What to do.
    pub step: Step,
    /// Not started after, Unix milliseconds.
    pub expires_at_unix_ms: u64,
    /// Why; written to the node's log.
    pub reason: String,
}

impl StepOrder {
    /// Checks everything that can be checked without the shard.
    pub fn validate(&self) -> Result<(), Refusal> {
        let malformed = |why: &str| Err(Refusal::Malformed { why: why.into() });
        if self.directive_id.0 == 0 {
            return malformed("directive id 0");
        }
        if self.step_index as usize >= 2 * limits::DIRECTIVE_STEPS_MAX {
            return malformed("step index out of range");
        }
        if self.reason.len() > 4_096 {
            return malformed("reason longer than 4096 bytes");
        }
        if self.step.target() == Some(NodeId(0)) {
            return malformed("node id 0");
        }
        if let Step::Merge { right, .. } = &self.step
            && (right.0 == 0 || *right == self.shard)
        {
            return malformed("a shard merges with another one");
        }
        if let Step::Split { at_key } = &self.step {
            match crate::wire::parse_key(at_key) {
                Ok(key) if key.is_empty() || key.len() > limits::KEY_BYTES_MAX => {
                    return malformed("split key empty or too long");
                }
                Ok(_) => {}
                Err(why) => return malformed(&why),
            }
        }
        Ok(())
    }
}

/// The result of a step; stored, so that a repeat gets the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// The directive.
    pub directive_id: DirectiveId,
    /// The step.
    pub step_index: u32,
    /// The shard's epoch after the step.
    pub epoch_after: Epoch,
    /// The shard a split made.
    pub new_shard: Option<ShardId>,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Whether the state asked for was already there.
    pub already: bool,
}

/// What a node says while it carries out a step. The stream ends with `Done` or `Refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StepEvent {
    /// The guards passed; work has begun.
    Accepted,
    /// It advances; `done` rises until it reaches `total`.
    Progress {
        /// Log entries or bytes done.
        done: u64,
        /// Of how many; 0: unknown.
        total: u64,
    },
    /// It is done.
    Done(StepResult),
    /// It was refused or has failed; nothing was changed by this step.
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(step: Step) -> StepOrder {
        StepOrder {
            directive_id: DirectiveId(1),
            step_index: 0,
            controller_term: Term(1),
            cluster_id: "c".into(),
            shard: ShardId(1),
            expected_epoch: Epoch::default(),
            step,
            expires_at_unix_ms: 1,
            reason: "because".into(),
        }
    }

    #[test]
    fn final_states_stay() {
        use DirectiveState as S;
        for state in [S::Rejected, S::Expired, S::Cancelled, S::Failed, S::Undone] {
            assert!(state.is_final() && !state.may_become(S::Sent));
        }
        assert!(S::Journaled.may_become(S::Sent) && !S::Proposed.may_become(S::Sent));
        assert_eq!(S::Compensating.to_string(), "compensating");
    }

    #[test]
    fn malformed_orders_are_refused() {
        assert!(order(Step::Promote { node: NodeId(1) }).validate().is_ok());
        assert!(order(Step::Promote { node: NodeId(0) }).validate().is_err());
        assert!(order(Step::Split { at_key: String::new() }).validate().is_err());
        assert!(order(Step::Split { at_key: "\\x0".into() }).validate().is_err());
        let merge = |right| Step::Merge { right: ShardId(right), right_epoch: Epoch::default() };
        assert!(order(merge(2)).validate().is_ok());
        assert!(order(merge(1)).validate().is_err() && order(merge(0)).validate().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_order_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<StepOrder>(&bytes);
        }
    }
}
