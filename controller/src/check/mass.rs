//! When many nodes are dead at once, nothing is repaired or improved by itself: more likely the controller is cut
//! off, or moving would bury what is left.

use super::{Finding, Scene, fatal};
use isobar_api::directive::DirectiveKind;
use std::collections::BTreeSet;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    if scene.directive.kind == DirectiveKind::Drain {
        return Vec::new();
    }
    // The count is the same for every directive of a plan; only the first pays for it.
    if scene.position > 0 && !any_dead(scene) {
        return Vec::new();
    }
    let view = scene.input.view;
    let holders: BTreeSet<_> =
        view.shards.values().flat_map(|s| &s.entry.replicas).map(|r| r.node_id).collect();
    let dead = view.nodes.keys().filter(|n| scene.is_dead(**n) && holders.contains(n)).count();
    let alive = view.nodes.keys().filter(|n| !scene.is_dead(**n)).count();
    let share = dead as f64 / (dead + alive).max(1) as f64;
    if share > scene.input.policy.repair.dead_share_max {
        return vec![fatal(format!(
            "{dead} of {} nodes are dead: a person has to look",
            dead + alive
        ))];
    }
    Vec::new()
}

fn any_dead(scene: &Scene<'_>) -> bool {
    scene.input.view.nodes.keys().any(|n| scene.is_dead(*n))
}
