//! A merge joins two cold neighbours that lie on the same nodes and could not be cut again, and nothing else works on the
//! one that ends.

use super::{Finding, Scene, fatal};
use isobar_api::{NodeId, directive::Step, shard::ShardEntry};
use std::collections::BTreeSet;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let merges = |step: &Step| match step {
        Step::Merge { right, right_epoch } => Some((*right, *right_epoch)),
        _ => None,
    };
    let Some((right, right_epoch)) = scene.directive.steps.iter().find_map(merges) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            found.push(fatal(what));
        }
    };
    need(!scene.is_system(), "the system table is not merged");
    let Some(other) = scene.input.view.shards.get(&right) else {
        return vec![fatal(format!("{right} is not in the view"))];
    };
    let (left, entry) = (&scene.shard.entry, &other.entry);
    let adjoin = !left.range.end.is_empty() && left.range.end == entry.range.start;
    need(left.table_id == entry.table_id && adjoin, "the shards do not adjoin");
    need(entry.epoch == right_epoch, "the right shard has another epoch");
    let nodes = |e: &ShardEntry| e.replicas.iter().map(|r| r.node_id).collect::<BTreeSet<NodeId>>();
    need(nodes(left) == nodes(entry), "the shards lie on different nodes");
    need(nodes(left).into_iter().all(|n| scene.is_alive(n)), "a replica's node is not alive");
    let policy = scene.input.policy;
    need(policy.merge.enabled, "the policy allows no merges");
    let taken = |d: &isobar_api::directive::Directive| {
        d.shard == right
            || d.steps.iter().any(|s| merges(s).is_some_and(|(r, _)| r == scene.directive.shard))
    };
    need(!scene.plan.directives.iter().any(taken), "the plan has a directive for the right shard");
    need(!scene.input.busy.contains(&right), "an open directive works on the right shard");
    need(
        scene.input.ledger.iter().all(|e| e.shard != right),
        "an effect on the right shard has not shown yet",
    );
    let bytes = scene.shard.size_bytes.saturating_add(other.size_bytes);
    #[allow(clippy::cast_precision_loss)] // a limit, not an account
    let small = bytes as f64 <= policy.split.size_bytes_max as f64 * policy.merge.size_share_max;
    need(small, "the merged shard would be large");
    let seen = |s: &crate::view::ShardView| -> f64 {
        s.arrivals.values().map(|a| a.reads_per_s + a.writes_per_s).sum()
    };
    let per_s = seen(scene.shard) + seen(other);
    need(
        per_s <= policy.split.requests_per_s_max * policy.merge.load_share_max,
        "the merged shard would be busy",
    );
    let quiet_ms = policy.merge.dwell_s.saturating_mul(1_000);
    let changed = scene.shard.changed_unix_ms.max(other.changed_unix_ms);
    need(
        scene.input.now_unix_ms.saturating_sub(changed) >= quiet_ms,
        "one of the shards changed within the dwell time of merges",
    );
    found
}
