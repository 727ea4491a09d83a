//! Optimisations need young telemetry and must leave a shard in peace after a move.

use super::{Finding, Scene, fatal};
use isobar_api::directive::DirectiveKind;

const HOUR_MS: u64 = 3_600_000;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    if !scene.is_optimisation() {
        return Vec::new();
    }
    let (policy, now) = (scene.input.policy, scene.input.now_unix_ms);
    let mut found = Vec::new();
    let stale_ms = policy.observe.stale_after_s.saturating_mul(1_000);
    match scene.shard.reported_unix_ms {
        None => found.push(fatal("no telemetry of the shard")),
        Some(at) if now.saturating_sub(at) > stale_ms => {
            found.push(fatal("telemetry of the shard is stale"))
        }
        Some(_) if scene.shard.windows < policy.observe.windows_min => {
            found.push(fatal("too few windows were seen"))
        }
        Some(_) => {}
    }
    if scene.directive.kind == DirectiveKind::Split {
        if now.saturating_sub(scene.shard.changed_unix_ms)
            < policy.split.dwell_s.saturating_mul(1_000)
        {
            found.push(fatal("the shard changed within the dwell time of splits"));
        }
        return found;
    }
    if scene.directive.kind == DirectiveKind::Merge {
        // It has a dwell time of its own.
        return found;
    }
    let moves = scene.input.history.get(&scene.directive.shard).map_or(&[][..], Vec::as_slice);
    let dwell_ms = policy.balance.dwell_s.saturating_mul(1_000);
    if moves.iter().any(|at| now.saturating_sub(*at) < dwell_ms) {
        found.push(fatal("the shard moved within the dwell time"));
    }
    let recent = moves.iter().filter(|at| now.saturating_sub(**at) < HOUR_MS).count();
    if recent >= policy.balance.moves_per_shard_hour as usize {
        found.push(fatal(format!("the shard moved {recent} times within the hour")));
    }
    found
}
