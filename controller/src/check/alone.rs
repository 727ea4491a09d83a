//! One directive at a time works on a shard, and none on effects that have not shown yet.

use super::{Finding, Scene, fatal};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let shard = scene.directive.shard;
    let mut found = Vec::new();
    if scene.input.busy.contains(&shard) {
        found.push(fatal("an open directive works on the shard"));
    }
    if scene.plan.directives.iter().filter(|d| d.shard == shard).count() > 1 {
        found.push(fatal("the plan has several directives for the shard"));
    }
    for entry in scene.input.ledger.iter().filter(|e| e.shard == shard) {
        let id = entry.directive_id;
        match entry.applied_unix_ms {
            None => found.push(fatal(format!("{id} is under way"))),
            Some(at) => {
                let seen = scene.shard.reported_unix_ms.is_some_and(|seen| seen > at);
                if scene.is_optimisation() || !seen {
                    found.push(fatal(format!("the effect of {id} has not shown yet")));
                }
            }
        }
    }
    found
}
