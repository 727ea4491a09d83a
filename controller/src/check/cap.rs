//! Never more replicas than the table allows, and never two on one node.

use super::{Finding, Scene, fatal, replay};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let max = scene.rule().map_or(isobar_api::limits::REPLICAS_MAX, |r| r.replicas_max);
    let start = replay::start(scene);
    let before = start.voters.len() + start.learners.len();
    let pictures = replay::play(&start, &scene.directive.steps);
    let most = pictures.iter().map(|p| p.voters.len() + p.learners.len()).max().unwrap_or(0);
    let mut found = Vec::new();
    if most > before && most > usize::from(max) {
        found.push(fatal(format!("{most} replicas on the way, the table allows {max}")));
    }
    if pictures.iter().any(|p| p.doubled) {
        found.push(fatal("two replicas on one node"));
    }
    found
}
