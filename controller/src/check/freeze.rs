//! Nothing starts in a frozen scope.

use super::{Finding, Scene, fatal};
use isobar_api::{NodeId, ShardId, directive::Step};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let in_force =
        scene.input.freezes.iter().filter(|f| scene.input.now_unix_ms < f.expires_at_unix_ms);
    let covering = in_force.filter(|f| covers(scene, &f.scope));
    covering.map(|f| fatal(format!("{} is frozen by {}: {}", f.scope, f.owner, f.reason))).collect()
}

fn covers(scene: &Scene<'_>, scope: &str) -> bool {
    let (what, which) = scope.split_once(':').unwrap_or((scope, ""));
    match what {
        "table" => {
            let info = scene.input.view.tables.get(&scene.shard.entry.table_id);
            scene.shard.table == which || info.is_some_and(|t| t.spec.name == which)
        }
        "region" => {
            let inside = |n: NodeId| scene.node(n).is_some_and(|v| v.region.as_str() == which);
            touched(scene).into_iter().any(inside)
        }
        "shard" => which
            .parse::<ShardId>()
            .map_or(true, |id| scene.directive.shards().any(|shard| shard == id)),
        "node" => which.parse::<NodeId>().map_or(true, |id| touched(scene).contains(&id)),
        // The whole cluster, or words nobody can read, which stop everything to be safe.
        _ => true,
    }
}

/// Nodes on which the steps change something.
fn touched(scene: &Scene<'_>) -> Vec<NodeId> {
    let entry = &scene.shard.entry;
    let mut nodes: Vec<NodeId> = Vec::new();
    for step in &scene.directive.steps {
        match step {
            Step::Split { .. } | Step::Merge { .. } => {
                nodes.extend(entry.replicas.iter().map(|r| r.node_id))
            }
            Step::TransferLeader { node } => {
                nodes.push(*node);
                nodes.extend(entry.leader);
            }
            Step::AddLearner { node } | Step::Promote { node } | Step::RemoveReplica { node } => {
                nodes.push(*node)
            }
        }
    }
    nodes
}
