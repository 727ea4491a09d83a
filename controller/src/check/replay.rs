//! Plays steps on a bare picture of a replica set. Its own model, on purpose.

use super::Scene;
use isobar_api::{NodeId, ReplicaRole, directive::Step};
use std::collections::BTreeSet;

/// A replica set at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// `None`: not known, or being elected.
    pub leader: Option<NodeId>,
    /// What was wrong with the step that led here.
    pub wrong: Option<String>,
    /// Whether two replicas share a node.
    pub doubled: bool,
}

/// The set as it is when the directive starts: a dead or failed leader has been or is being replaced.
pub(super) fn start(scene: &Scene<'_>) -> Picture {
    let entry = &scene.shard.entry;
    let of = |role| {
        entry.replicas.iter().filter(|r| r.role == role).map(|r| r.node_id).collect::<BTreeSet<_>>()
    };
    let (voters, learners) = (of(ReplicaRole::Voter), of(ReplicaRole::Learner));
    let doubled =
        voters.len() + learners.len() < entry.replicas.len() || !voters.is_disjoint(&learners);
    let works = |n: &NodeId| !scene.is_dead(*n) && !scene.is_faulty(*n);
    Picture { voters, learners, leader: entry.leader.filter(works), wrong: None, doubled }
}

/// The pictures after each step.
pub(super) fn play(from: &Picture, steps: &[Step]) -> Vec<Picture> {
    let mut now = from.clone();
    let next = |step: &Step| {
        now.wrong = advance(&mut now, step).err();
        now.clone()
    };
    steps.iter().map(next).collect()
}

fn advance(now: &mut Picture, step: &Step) -> Result<(), String> {
    match step {
        Step::Split { .. } | Step::Merge { .. } => {}
        Step::AddLearner { node } => {
            if now.voters.contains(node) || !now.learners.insert(*node) {
                now.doubled = true;
                return Err(format!("{step}: a second replica on one node"));
            }
        }
        Step::Promote { node } => {
            if !now.learners.remove(node) {
                return Err(format!("{step}: there is no learner"));
            }
            now.voters.insert(*node);
        }
        Step::TransferLeader { node } => {
            now.leader = Some(*node);
            if !now.voters.contains(node) {
                return Err(format!("{step}: it is not a voter"));
            }
        }
        Step::RemoveReplica { node } => {
            let was_there = now.voters.remove(node) | now.learners.remove(node);
            if now.leader == Some(*node) {
                return Err(format!("{step}: it leads"));
            }
            if !was_there {
                return Err(format!("{step}: there is no replica"));
            }
        }
    }
    Ok(())
}
