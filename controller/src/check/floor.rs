//! Voters never fall below the table's floor; where they are below it already, no step takes another.

use super::{Finding, Scene, fatal, replay};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let start = replay::start(scene);
    let floor = scene.rule().map_or(start.voters.len(), |r| usize::from(r.replicas));
    let floor = floor.min(start.voters.len()).max(1);
    let pictures = replay::play(&start, &scene.directive.steps);
    let lowest = pictures.iter().map(|p| p.voters.len()).min().unwrap_or(floor);
    if lowest < floor {
        vec![fatal(format!("{lowest} voters would remain, the floor is {floor}"))]
    } else {
        Vec::new()
    }
}
