//! Merge: two neighbours that are cold together become one shard, the left one.
//!
//! Far below the limits at which shards are cut, and long after either was changed: what is joined here is not cut
//! again soon, and what was just cut is not joined. The last stage: whatever else a plan wants with a shard comes first.
//! Neighbours that do not lie on the same nodes are brought together before.

use super::{
    Planning, align,
    draft::Draft,
    gates,
    record::Stage,
    reject::Reject,
    score::{self, Score},
};
use isobar_api::{
    NodeId, ShardEntry,
    directive::{DirectiveKind, Step},
    plan::Effect,
};
use std::collections::BTreeSet;

pub(super) const PRIORITY: u8 = 10;

/// Joins what is cold, coldest first. A shard takes part in one merge of a plan.
pub(crate) fn run(p: &mut Planning<'_>) {
    if !p.facts.input.policy.merge.enabled {
        return;
    }
    let mut order: Vec<usize> = (0..p.facts.shards.len()).collect();
    let place = |s: &usize| {
        let entry = &p.facts.shards[*s].view.entry;
        (entry.table_id, entry.range.start.clone())
    };
    order.sort_by_cached_key(place);
    let neighbours = order.windows(2).map(|pair| (pair[0], pair[1]));
    let mut wishes: Vec<(Score, usize, usize)> = neighbours
        .filter(|(left, right)| adjoin(p, *left, *right) && is_cold(p, *left, *right))
        .map(|(left, right)| {
            let node_load_milli = score::milli(load(p, left) + load(p, right));
            (Score { node_load_milli, ..Score::default() }, left, right)
        })
        .collect();
    wishes.sort_unstable();
    for (score, left, right) in wishes {
        match draft(p, left, right, score) {
            Ok(draft) => {
                let kind = draft.kind;
                if p.submit(draft) {
                    // Both: the neighbour must stay as it is until this is done.
                    p.taken[left] = Some(kind);
                    p.taken[right] = Some(kind);
                }
            }
            Err(why) => {
                let id = p.facts.shards[left].id;
                p.record.rejected(Stage::Merge, id, DirectiveKind::Merge, Vec::new(), score, why);
            }
        }
    }
}

fn adjoin(p: &Planning<'_>, left: usize, right: usize) -> bool {
    let [left, right] = [left, right].map(|s| &p.facts.shards[s].view.entry);
    left.table_id == right.table_id && left.range.join(&right.range).is_some()
}

/// Requests per second at the upper end of what is expected, and of what was seen.
fn load(p: &Planning<'_>, s: usize) -> f64 {
    let shard = &p.facts.shards[s];
    let seen: f64 = shard.view.arrivals.values().map(|a| a.reads_per_s + a.writes_per_s).sum();
    shard.load[2].max(seen)
}

#[allow(clippy::cast_precision_loss)] // a limit, not an account
fn is_cold(p: &Planning<'_>, left: usize, right: usize) -> bool {
    let (merge, split) = (&p.facts.input.policy.merge, &p.facts.input.policy.split);
    let [left_bytes, right_bytes] = [left, right].map(|s| p.facts.shards[s].view.size_bytes);
    let bytes = left_bytes.saturating_add(right_bytes) as f64;
    load(p, left) + load(p, right) <= split.requests_per_s_max * merge.load_share_max
        && bytes <= split.size_bytes_max as f64 * merge.size_share_max
}

fn gate(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let (input, shard) = (p.facts.input, &p.facts.shards[s]);
    let closed = gates::open(p, s).or_else(|| gates::sight(p, s));
    let closed = closed.or_else(|| gates::foreseen(p, s));
    if closed.is_some() {
        return closed;
    }
    let mut nodes = shard.view.entry.replicas.iter().map(|r| r.node_id);
    if let Some(node) = nodes.find(|n| p.facts.node_frozen(*n)) {
        return Some(Reject::NodeFrozen(node));
    }
    let dwell_ms = input.policy.merge.dwell_s.saturating_mul(1_000);
    let quiet_ms = input.age_ms(Some(shard.view.changed_unix_ms)).unwrap_or(0);
    let left_s = dwell_ms.saturating_sub(quiet_ms).div_ceil(1_000);
    (left_s > 0).then_some(Reject::MergeDwell { left_s })
}

fn draft(p: &Planning<'_>, left: usize, right: usize, score: Score) -> Result<Draft, Reject> {
    let (l, r) = (&p.facts.shards[left], &p.facts.shards[right]);
    if let Some(why) = gate(p, left) {
        return Err(why);
    }
    if let Some(why) = gate(p, right) {
        return Err(Reject::Neighbour(r.id, Box::new(why)));
    }
    let nodes = |e: &ShardEntry| e.replicas.iter().map(|r| r.node_id).collect::<BTreeSet<NodeId>>();
    if nodes(&l.view.entry) != nodes(&r.view.entry) {
        return align::draft(p, left, right, score);
    }
    let bytes = l.view.size_bytes.saturating_add(r.view.size_bytes);
    let reason = format!(
        "with its right neighbour {} it expects at most {:.1} requests/s and has {bytes} bytes; the policy cuts at {:.0} \
         requests/s and {} bytes",
        r.id,
        load(p, left) + load(p, right),
        p.facts.input.policy.split.requests_per_s_max,
        p.facts.input.policy.split.size_bytes_max,
    );
    let metric = "shards".into();
    Ok(Draft {
        s: left,
        stage: Stage::Merge,
        kind: DirectiveKind::Merge,
        steps: vec![Step::Merge { right: r.id, right_epoch: r.view.entry.epoch }],
        priority: PRIORITY,
        score,
        model: p.model_of(left),
        reason,
        predicted: Effect {
            metric,
            before: 2.0,
            after: 1.0,
            after_lower: 1.0,
            after_upper: 1.0,
            realised: None,
        },
    })
}
