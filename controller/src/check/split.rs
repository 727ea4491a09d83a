//! A cut lies strictly inside the shard and does not chase a single hot key.

use super::{Finding, Scene, fatal};
use isobar_api::{directive::Step, limits, table::key_from_text};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for step in &scene.directive.steps {
        let Step::Split { at_key } = step else {
            continue;
        };
        let range = &scene.shard.entry.range;
        let inside = key_from_text(at_key).is_ok_and(|key| {
            let above = key > range.start;
            let below = range.end.is_empty() || key < range.end;
            above && below && !key.is_empty() && key.len() <= limits::KEY_BYTES_MAX
        });
        if !inside {
            found.push(fatal("the key is not strictly inside the shard"));
        }
        if scene.is_system() {
            found.push(fatal("the system table is not split"));
        }
        let policy = &scene.input.policy.split;
        let hottest = scene.shard.hot_keys.iter().map(|k| k.share).fold(0.0, f64::max);
        let for_size = scene.shard.size_bytes > policy.size_bytes_max;
        if hottest > policy.hot_key_share_max && !for_size {
            found.push(fatal(format!("one key takes {:.0} %, a cut is useless", hottest * 100.0)));
        }
    }
    found
}
