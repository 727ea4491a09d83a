//! Nodes that get something are alive, are not being emptied, and have room; nodes that lose something by repair
//! really lost it.

use super::{Finding, Scene, fatal, replay};
use crate::view::NodeHealth;
use isobar_api::{
    NodeId,
    directive::{DirectiveKind, Step},
};

/// Part of a disk that stays free.
const DISK_RESERVE_SHARE: f64 = 0.05;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for step in &scene.directive.steps {
        match step {
            Step::Split { .. } | Step::Merge { .. } => {}
            Step::RemoveReplica { node } => found.extend(removal(scene, *node)),
            Step::AddLearner { node } | Step::Promote { node } | Step::TransferLeader { node } => {
                if !scene.is_alive(*node) {
                    found.push(fatal(format!("{step}: the node is not known to be alive")));
                }
                if scene.is_faulty(*node) {
                    found.push(fatal(format!("{step}: its storage has failed")));
                }
                if scene.input.drains.contains(node) {
                    found.push(fatal(format!("{step}: the node is being drained")));
                }
                if matches!(step, Step::AddLearner { .. }) && !has_room(scene, *node) {
                    found.push(fatal(format!("{step}: the node has no disk headroom")));
                }
            }
        }
    }
    found
}

fn has_room(scene: &Scene<'_>, node: NodeId) -> bool {
    let Some(load) = scene.node(node).map(|n| &n.load) else {
        return false;
    };
    let brings = |steps: &[Step]| steps.contains(&Step::AddLearner { node });
    let same_plan = scene.plan.directives.iter().filter(|d| brings(&d.steps));
    let bytes =
        same_plan.filter_map(|d| scene.input.view.shards.get(&d.shard)).map(|s| s.size_bytes);
    let incoming = bytes.fold(0u64, u64::saturating_add);
    let reserve = (load.disk_total_bytes as f64 * DISK_RESERVE_SHARE) as u64;
    load.disk_total_bytes > 0 && load.disk_free_bytes >= incoming.saturating_add(reserve)
}

/// What may be removed depends on why.
fn removal(scene: &Scene<'_>, node: NodeId) -> Option<Finding> {
    let draining = scene.input.drains.contains(&node);
    let start = replay::start(scene);
    match scene.directive.kind {
        DirectiveKind::Drain if !draining => Some(fatal(format!("{node} is not being drained"))),
        DirectiveKind::Repair => {
            let dead_ms = scene.input.policy.repair.dead_after_s.saturating_mul(1_000);
            let lost = match scene.node(node).map(|n| n.health) {
                Some(NodeHealth::Dead { since_unix_ms }) => {
                    draining || scene.input.now_unix_ms.saturating_sub(since_unix_ms) >= dead_ms
                }
                _ => false,
            };
            let want = scene.rule().map_or(start.voters.len(), |r| usize::from(r.replicas));
            let extra = start.learners.contains(&node) || start.voters.len() > want;
            let allowed = lost || scene.is_faulty(node) || extra;
            (!allowed).then(|| fatal(format!("{node} is not lost, repair must not remove it")))
        }
        _ => None,
    }
}
