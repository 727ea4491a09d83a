//! The plan stays within the budgets, with what is under way. Directives beyond a limit are stopped, earlier ones go.

use super::{Finding, Scene, fatal};
use isobar_api::{
    NodeId,
    directive::{Directive, DirectiveKind, Step},
};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let (d, budget) = (scene.directive, &scene.input.policy.budget);
    let upto = &scene.plan.directives[..=scene.position];
    let open = || scene.input.ledger.iter().filter(|e| e.applied_unix_ms.is_none());
    let mut found = Vec::new();

    let repair =
        |k: DirectiveKind| (k == DirectiveKind::Repair) == (d.kind == DirectiveKind::Repair);
    let max =
        if d.kind == DirectiveKind::Repair { budget.repair_active_max } else { budget.active_max };
    let active =
        open().filter(|e| repair(e.kind)).count() + upto.iter().filter(|x| repair(x.kind)).count();
    if active > max as usize {
        found.push(fatal(format!("{active} directives would be under way, the limit is {max}")));
    }

    for node in copying(scene, d) {
        let ours = upto.iter().filter(|x| copying(scene, x).contains(&node)).count();
        let copies = ours + open().filter(|e| e.copies.contains(&node)).count();
        if copies > budget.copies_per_node_max as usize {
            let max = budget.copies_per_node_max;
            found.push(fatal(format!(
                "{node} would take part in {copies} copies, the limit is {max}"
            )));
        }
    }

    let copies = d.steps.iter().any(|s| matches!(s, Step::AddLearner { .. }));
    let most = scene.shard.size_bytes.max(d.budget.copy_bytes);
    if copies && d.kind != DirectiveKind::Repair && most > budget.copy_bytes_max {
        found.push(fatal("it may copy more bytes than the policy allows"));
    }
    if copies && d.budget.copy_bytes < scene.shard.size_bytes {
        found.push(fatal("its byte budget is smaller than the shard"));
    }
    found
}

/// The nodes that receive and who leads by then and sends.
fn copying(scene: &Scene<'_>, d: &Directive) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::new();
    let mut leader = scene.input.view.shards.get(&d.shard).and_then(|s| s.entry.leader);
    for step in &d.steps {
        if let Step::TransferLeader { node } = step {
            leader = Some(*node);
        }
        if let Step::AddLearner { node } = step {
            nodes.push(*node);
            nodes.extend(leader);
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
