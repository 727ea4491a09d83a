//! A replica move must not put the voters into fewer regions than they could span and did span before.

use super::{Finding, Scene, fatal, remark, replay};
use isobar_api::NodeId;
use std::collections::BTreeSet;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let start = replay::start(scene);
    let Some(end) = replay::play(&start, &scene.directive.steps).pop() else {
        return Vec::new();
    };
    let region = |n: &NodeId| scene.node(*n).map(|v| v.region.as_str());
    let span =
        |nodes: &BTreeSet<NodeId>| nodes.iter().filter_map(region).collect::<BTreeSet<_>>().len();
    let (before, after) = (span(&start.voters), span(&end.voters));
    if after >= before {
        return Vec::new();
    }
    let what = format!("the voters would span {after} regions instead of {before}");
    // Repair and drain take what is there; people should know.
    vec![if scene.is_optimisation() { fatal(what) } else { remark(what) }]
}
