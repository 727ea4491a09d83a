//! Orders that no sane controller sends, and what a node may answer to each of them.

use isobar_api::{
    DirectiveId, Epoch, NodeId, ShardEntry, ShardId, Term,
    directive::{Refusal, Step, StepOrder, StepResult},
};
use proptest::prelude::*;

/// The node whose region the table may not lie in.
pub const FORBIDDEN: NodeId = NodeId(3);
/// Terms below it are fenced on every node from the start.
pub const FIRST_TERM: Term = Term(10);

/// What is wrong with an order.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No JSON, or other JSON.
    Bytes(Vec<u8>),
    /// An order with some bytes changed.
    Mutated(Vec<(prop::sample::Index, u8)>),
    /// A field the protocol does not have, or a value it does not allow.
    Shape(u8),
    /// From a controller that was replaced.
    StaleTerm(u64),
    /// From a controller of the future; it fences all before it.
    FutureTerm,
    /// Planned against another state of the shard.
    OtherEpoch(u64),
    /// For another cluster.
    OtherCluster,
    /// Too late.
    Expired,
    /// For a shard that does not exist.
    OtherShard(u64),
    /// Fresh and well-formed; only the step is bad, or bad now.
    BadStep,
    /// An order that was carried out before.
    Repeat(prop::sample::Index),
}

/// One order before it meets the state of the cluster.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is wrong.
    pub fault: Fault,
    /// What is asked for.
    pub step: Step,
    /// About which shard.
    pub shard: prop::sample::Index,
    /// Whom it is sent to, unless to the leader.
    pub node: Option<u64>,
}

/// Every kind of bad order.
pub fn drafts() -> impl Strategy<Value = Draft> {
    let fault = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Fault::Bytes),
        3 => prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6).prop_map(Fault::Mutated),
        2 => (0..8_u8).prop_map(Fault::Shape),
        4 => (0..FIRST_TERM.0).prop_map(Fault::StaleTerm),
        1 => Just(Fault::FutureTerm),
        5 => (0..6_u64).prop_map(Fault::OtherEpoch),
        2 => Just(Fault::OtherCluster),
        2 => Just(Fault::Expired),
        1 => (100..u64::MAX).prop_map(Fault::OtherShard),
        16 => Just(Fault::BadStep),
        4 => any::<prop::sample::Index>().prop_map(Fault::Repeat),
    ];
    let node = prop_oneof![3 => Just(None), 1 => (1..=4_u64).prop_map(Some)];
    (fault, steps(), any::<prop::sample::Index>(), node)
        .prop_map(|(fault, step, shard, node)| Draft { fault, step, shard, node })
}

fn steps() -> impl Strategy<Value = Step> {
    let node = prop_oneof![8 => 1..=4_u64, 1 => Just(77), 1 => any::<u64>()].prop_map(NodeId);
    (node, 0..22_u8, "[a-z]{0,3}").prop_map(|(node, kind, at_key)| match kind {
        0..=3 => Step::AddLearner { node },
        4..=8 => Step::Promote { node },
        9..=12 => Step::TransferLeader { node },
        13..=18 => Step::RemoveReplica { node },
        // Of a shard that may exist, at an epoch that may be right.
        19..=20 => Step::Merge { right: ShardId(node.0), right_epoch: Epoch::default() },
        // The table's keys begin with `k`; most of these lie outside, some make a split.
        _ => Step::Split { at_key },
    })
}

/// What the senders know of the cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub cluster_id: String,
    pub term: Term,
    pub entries: Vec<ShardEntry>,
    /// Orders that were carried out, with their results.
    pub done: Vec<(StepOrder, StepResult)>,
    pub directives: u64,
}

impl World {
    /// A well-formed order with a new directive id.
    pub fn order(&mut self, at: &ShardEntry, step: Step) -> StepOrder {
        self.directives += 1;
        StepOrder {
            directive_id: DirectiveId(self.directives),
            step_index: 0,
            controller_term: self.term,
            cluster_id: self.cluster_id.clone(),
            shard: at.shard_id,
            expected_epoch: at.epoch,
            step,
            expires_at_unix_ms: u64::MAX,
            reason: "a fault test".into(),
        }
    }

    /// Makes an order of a draft: whom to send it to, and what.
    pub fn make(&mut self, draft: &Draft) -> Made {
        let entry = self.entries[draft.shard.index(self.entries.len())].clone();
        let mut order = self.order(&entry, draft.step.clone());
        if let Step::Merge { right, right_epoch } = &mut order.step
            && order.directive_id.0 % 4 > 0
            && let Some(other) = self.entries.iter().find(|other| other.shard_id != entry.shard_id)
        {
            (*right, *right_epoch) = (other.shard_id, other.epoch);
        }
        let mut earlier = None;
        match &draft.fault {
            Fault::StaleTerm(term) => order.controller_term = Term(*term),
            Fault::FutureTerm => {
                self.term.0 += 1;
                order.controller_term = self.term;
            }
            Fault::OtherEpoch(by) => order.expected_epoch = other_epoch(entry.epoch, *by),
            Fault::OtherCluster => order.cluster_id.push('x'),
            Fault::Expired => order.expires_at_unix_ms = 1_000,
            Fault::OtherShard(shard) => order.shard = ShardId(*shard),
            Fault::Repeat(which) if !self.done.is_empty() => {
                let (before, result) = self.done[which.index(self.done.len())].clone();
                order = StepOrder { controller_term: self.term, ..before };
                earlier = Some(result);
            }
            _ => {}
        }
        let leader = self.entries.iter().find(|e| e.shard_id == order.shard).and_then(|e| e.leader);
        let node = draft.node.map(NodeId).or(leader).unwrap_or(NodeId(1));
        Made { node, json: json(&order, &draft.fault), order, earlier }
    }
}

/// An order on its way.
#[derive(Clone, Debug)]
pub struct Made {
    pub node: NodeId,
    pub json: Vec<u8>,
    pub order: StepOrder,
    /// The result, where the same order was carried out before.
    pub earlier: Option<StepResult>,
}

fn other_epoch(now: Epoch, by: u64) -> Epoch {
    match by {
        0 => Epoch { shape: now.shape + 1_000, ..now },
        1 => Epoch { membership: u64::MAX, ..now },
        2 => Epoch { shape: 0, membership: u64::MAX },
        by => Epoch { shape: now.shape + 1_000, membership: now.membership.saturating_sub(by) },
    }
}

fn json(order: &StepOrder, fault: &Fault) -> Vec<u8> {
    let mut text = serde_json::to_vec(order).expect("plain data");
    match fault {
        Fault::Bytes(bytes) => return bytes.clone(),
        Fault::Mutated(changes) => {
            for (place, byte) in changes {
                let place = place.index(text.len());
                text[place] = *byte;
            }
        }
        Fault::Shape(which) => {
            let mut value = serde_json::to_value(order).expect("plain data");
            match which {
                0 => value["force"] = true.into(),
                1 => value["directive_id"] = 0.into(),
                2 => value["step_index"] = 4_000_000.into(),
                3 => value["reason"] = "x".repeat(5_000).into(),
                4 => value["step"] = serde_json::json!({ "step": "format_disk" }),
                5 => value["step"] = serde_json::json!({ "step": "split", "at_key": "\\xZZ" }),
                6 => value["controller_term"] = (-1).into(),
                _ => {
                    value["step"] =
                        serde_json::json!({ "step": "add_learner", "node": 1, "force": true })
                }
            }
            text = serde_json::to_vec(&value).expect("plain data");
        }
        _ => {}
    }
    text
}

/// Whether a node may answer so. What is right by accident (a removal that leaves enough voters) may be done; the
/// invariants are looked at besides, whatever the answer is.
pub fn judge(
    draft: &Draft,
    made: &Made,
    answer: &Result<StepResult, Refusal>,
) -> Result<(), String> {
    let wrong = |expected: &str| {
        Err(format!("expected {expected}: {draft:?} of {made:?} was answered {answer:?}"))
    };
    let refusal = answer.as_ref().err();
    match &draft.fault {
        // Some random bytes may happen to be an order, but then they are for another cluster.
        Fault::Bytes(_) => match refusal {
            Some(Refusal::Malformed { .. } | Refusal::OtherCluster) => Ok(()),
            _ => wrong("a malformed order"),
        },
        Fault::Shape(_) if !matches!(refusal, Some(Refusal::Malformed { .. })) => {
            wrong("a malformed order")
        }
        _ if matches!(refusal, Some(Refusal::Malformed { .. })) => Ok(()),
        Fault::StaleTerm(_) if !matches!(refusal, Some(Refusal::StaleTerm { .. })) => {
            wrong("a fenced term")
        }
        Fault::OtherCluster if refusal != Some(&Refusal::OtherCluster) => wrong("another cluster"),
        Fault::Expired | Fault::OtherShard(_) if answer.is_ok() => wrong("a refusal"),
        // Asked for what is there already, a node says so; that changes nothing.
        Fault::OtherEpoch(_) if answer.as_ref().is_ok_and(|done| !done.already) => {
            wrong("a refusal")
        }
        Fault::Repeat(_) if made.earlier.is_some() => judge_repeat(made, answer),
        Fault::BadStep | Fault::FutureTerm if answer.is_ok() && never(&made.order.step) => {
            wrong("a refusal")
        }
        _ => Ok(()),
    }
}

/// Steps that are wrong in every state of the shard.
fn never(step: &Step) -> bool {
    match step {
        // To be rid of a node that has nothing is no harm.
        Step::RemoveReplica { .. } => false,
        Step::Split { at_key } => at_key.is_empty(),
        other => other.target().is_some_and(|node| node == FORBIDDEN || node.0 > 4),
    }
}

/// A repeat is answered as the first time, or refused; what it asked for is not done twice.
fn judge_repeat(made: &Made, answer: &Result<StepResult, Refusal>) -> Result<(), String> {
    let (Some(earlier), Ok(now)) = (&made.earlier, answer) else { return Ok(()) };
    let leads_again = matches!(made.order.step, Step::TransferLeader { .. });
    if now == earlier || now.already || leads_again {
        return Ok(());
    }
    Err(format!("{:?} was answered {earlier:?} first and {now:?} then", made.order))
}
