//! After every step a majority of the voters may be alive.

use super::{Finding, Scene, fatal, replay};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let start = replay::start(scene);
    let pictures = replay::play(&start, &scene.directive.steps);
    for picture in std::iter::once(&start).chain(&pictures) {
        let works = |n: &&isobar_api::NodeId| !scene.is_dead(**n) && !scene.is_faulty(**n);
        let (alive, voters) = (picture.voters.iter().filter(works).count(), picture.voters.len());
        if voters > 0 && alive * 2 <= voters {
            return vec![fatal(format!(
                "only {alive} of {voters} voters would be alive on the way"
            ))];
        }
    }
    Vec::new()
}
