//! The directive belongs to this controller term, this policy and the shard as the view shows it.

use super::{Finding, Scene, fatal};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let (d, input) = (scene.directive, scene.input);
    let mut found = Vec::new();
    if d.controller_term != input.controller_term {
        found.push(fatal(format!(
            "it carries {}, the controller has {}",
            d.controller_term, input.controller_term
        )));
    }
    if d.policy_version != input.policy_version {
        let now = input.policy_version;
        found.push(fatal(format!(
            "it was planned under policy {}, {now} is in force",
            d.policy_version
        )));
    }
    if d.expected_epoch != scene.shard.entry.epoch {
        let now = scene.shard.entry.epoch;
        found.push(fatal(format!("it expects epoch {}, the shard has {now}", d.expected_epoch)));
    }
    if d.table != scene.shard.table {
        found.push(fatal(format!(
            "it names table `{}`, the shard is of `{}`",
            d.table, scene.shard.table
        )));
    }
    found
}
