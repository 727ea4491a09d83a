//! No step brings data, votes or leadership to a region that the table does not allow.

use super::{Finding, Scene, fatal};
use isobar_api::directive::Step;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let Some(rule) = scene.rule() else {
        if scene.is_system() {
            return Vec::new();
        }
        return vec![fatal("the table's rule is not known, so its allowed regions are not")];
    };
    let mut found = Vec::new();
    for step in scene.directive.steps.iter().chain(&scene.directive.undo) {
        if let Step::AddLearner { node } | Step::Promote { node } | Step::TransferLeader { node } =
            step
        {
            match scene.node(*node) {
                None => found.push(fatal(format!("{step}: the region of {node} is not known"))),
                Some(n) if !rule.regions.is_empty() && !rule.regions.contains(&n.region) => {
                    found.push(fatal(format!("{step}: {} is not an allowed region", n.region)));
                }
                Some(_) => {}
            }
        }
    }
    found
}
