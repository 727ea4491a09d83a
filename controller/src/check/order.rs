//! Add before remove: a directive that replaces a voter takes the old one only after the new one votes.

use super::{Finding, Scene, fatal, replay};
use isobar_api::directive::Step;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let voters = replay::start(scene).voters;
    let steps = &scene.directive.steps;
    let takes = |s: &Step| matches!(s, Step::RemoveReplica { node } if voters.contains(node));
    let gives = |s: &Step| matches!(s, Step::AddLearner { .. } | Step::Promote { .. });
    let first_taken = steps.iter().position(takes);
    let last_given = steps.iter().rposition(gives);
    match (first_taken, last_given) {
        (Some(taken), Some(given)) if taken < given => {
            vec![fatal("it removes a voter before its replacement votes")]
        }
        _ => Vec::new(),
    }
}
