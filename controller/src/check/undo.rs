//! The undo steps lead back, by legal steps, to the replica set and leader of before.

use super::{Finding, Scene, fatal, replay};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let d = scene.directive;
    if d.undo.is_empty() {
        return Vec::new();
    }
    let start = replay::start(scene);
    let done = replay::play(&start, &d.steps).pop().unwrap_or_else(|| start.clone());
    let back = replay::play(&done, &d.undo);
    if let Some(wrong) = back.iter().find_map(|p| p.wrong.clone()) {
        return vec![fatal(format!("undo: {wrong}"))];
    }
    let lowest = back.iter().map(|p| p.voters.len()).min().unwrap_or(0);
    if lowest < start.voters.len().min(done.voters.len()) {
        return vec![fatal("undo removes a voter before it adds one")];
    }
    let same = back.last().is_some_and(|p| p.voters == start.voters && p.leader == start.leader);
    if same {
        Vec::new()
    } else {
        vec![fatal("undo does not lead back to the replicas and leader of before")]
    }
}
