//! Every step can be done where it stands, and the leader is always a voter.

use super::{Finding, Scene, fatal, replay};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let start = replay::start(scene);
    let mut found = Vec::new();
    for picture in replay::play(&start, &scene.directive.steps) {
        if let Some(leader) = picture.leader.filter(|l| !picture.voters.contains(l)) {
            found.push(fatal(format!("{leader} would lead without being a voter")));
        }
        found.extend(picture.wrong.map(fatal));
    }
    found
}
