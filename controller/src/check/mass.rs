//! When many nodes are dead at once, nothing is repaired or improved by itself: more likely the controller is cut
//! off, or moving would bury what is left.

use super::{Finding, Scene, fatal, is_dead};
use crate::planner::PlanInput;
use isobar_api::{NodeId, directive::DirectiveKind};
use std::collections::BTreeSet;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    if scene.directive.kind == DirectiveKind::Drain {
        return Vec::new();
    }
    scene.mass_failure.map(fatal).into_iter().collect()
}

/// Says so if more nodes are dead than the policy takes for single failures. Dead nodes that hold nothing were
/// retired and do not count. It looks at every replica of the cluster: once per plan is enough.
pub(super) fn failure(input: &PlanInput<'_>) -> Option<String> {
    let nodes = &input.view.nodes;
    let dead: BTreeSet<NodeId> = nodes.keys().copied().filter(|n| is_dead(input, *n)).collect();
    if dead.is_empty() {
        return None;
    }
    let replicas = input.view.shards.values().flat_map(|s| &s.entry.replicas);
    let holders: BTreeSet<NodeId> =
        replicas.map(|r| r.node_id).filter(|n| dead.contains(n)).collect();
    let (lost, all) = (holders.len(), nodes.len() - dead.len() + holders.len());
    let share = lost as f64 / all.max(1) as f64;
    let too_many = share > input.policy.repair.dead_share_max;
    too_many.then(|| format!("{lost} of {all} nodes are dead: a person has to look"))
}
