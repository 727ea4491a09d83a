//! Cold neighbours are joined, and nothing that is joined is cut again, nor the other way round.

use super::world::{World, short};
use crate::planner::{
    plan,
    simulate::apply_plan,
    synthetic::{Synthetic, synthetic_input},
};
use crate::view::InFlight;
use isobar_api::{DirectiveId, ShardId, directive::DirectiveKind as Kind};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn cold() -> World {
    let mut w = World::new();
    w.policy.merge.enabled = true;
    w.shard(1, &[1, 3, 5], &[("eu", 5.0)]);
    w.shard(2, &[1, 5, 3], &[("eu", 5.0)]);
    w
}

#[test]
fn cold_neighbours_on_the_same_nodes_are_joined_if_the_policy_allows_it() {
    let mut w = cold();
    let d = w.only();
    assert_eq!((d.kind, d.shard, short(&d.steps).as_str()), (Kind::Merge, ShardId(1), "&2"));
    assert!(d.undo.is_empty() && d.reason.contains("s2"), "{}", d.reason);
    assert_eq!(d.shards().collect::<Vec<_>>(), [ShardId(1), ShardId(2)]);
    w.policy.merge.enabled = false;
    assert!(w.plan().directives.is_empty());
}

/// Carries out what is planned, an hour later each time.
fn next(w: &mut World) -> (ShardId, String) {
    let made = w.plan();
    assert_eq!(made.directives.len(), 1, "{made:#?}");
    let now = w.now_unix_ms;
    let Synthetic { view, history, .. } = &mut w.0;
    apply_plan(view, history, &made, now).expect("every step can be done");
    w.advance(3_600_000);
    w.forecast();
    (made.directives[0].shard, short(&made.directives[0].steps))
}

#[test]
fn neighbours_that_lie_apart_are_brought_together_and_then_joined() {
    let mut w = cold();
    w.shard(1, &[1, 3, 5], &[("eu", 5.0)]);
    w.shard(2, &[2, 4, 5], &[("eu", 5.0)]);
    // In its own region, and the leader last: it hands over to one that stays.
    assert_eq!(next(&mut w), (ShardId(2), "+3 ^3 -4".into()));
    assert_eq!(next(&mut w), (ShardId(2), "+1 ^1 >1 -2".into()));
    assert_eq!(next(&mut w), (ShardId(1), "&2".into()));
}

#[test]
fn neighbours_are_not_brought_together_if_that_could_not_last() {
    let apart = || {
        let mut w = cold();
        w.shard(2, &[1, 3, 4], &[("eu", 5.0)]);
        w
    };
    assert_eq!(short(&apart().only().steps), "+5 ^5 -4");
    // Not while either was changed a moment ago, or the move would not be allowed anyway.
    for late in [1, 2] {
        let mut w = apart();
        let now = w.now_unix_ms;
        w.view.shards.get_mut(&ShardId(late)).expect("known").changed_unix_ms = now - 3_599_000;
        assert!(w.refusal(1, Kind::Merge).contains("not merged for 1 s more"), "{late}");
    }
    let mut w = apart();
    w.policy.balance.move_replicas = false;
    assert!(w.refusal(1, Kind::Merge).contains("s2: "));
    let mut w = apart();
    let now = w.now_unix_ms;
    w.history.insert(ShardId(2), vec![now - 1_000]);
    assert!(w.refusal(1, Kind::Merge).contains("s2: "));
    // The left one does not lie where the readers of the right one are.
    let mut w = cold();
    w.shard(1, &[1, 2, 3], &[("eu", 5.0)]);
    w.shard(2, &[5, 1, 3], &[("ap", 5.0)]);
    assert!(w.refusal(1, Kind::Merge).contains("different nodes"));
}

#[test]
fn three_in_a_row_are_one_merge_of_a_plan() {
    let mut w = cold();
    w.shard(3, &[1, 3, 5], &[("eu", 5.0)]);
    let plan = w.plan();
    assert_eq!(plan.directives.len(), 1, "{:#?}", plan.directives);
}

#[test]
fn what_is_not_cold_not_beside_or_not_at_rest_stays_apart() {
    for late in [1, 2] {
        let mut w = cold();
        let now = w.now_unix_ms;
        w.view.shards.get_mut(&ShardId(late)).expect("known").changed_unix_ms = now - 3_599_000;
        assert!(w.refusal(1, Kind::Merge).contains("not merged for 1 s more"), "{late}");
        w.advance(1_000);
        w.forecast();
        assert_eq!(w.only().kind, Kind::Merge);
    }
    let mut w = cold();
    w.busy.insert(ShardId(2));
    assert!(w.refusal(1, Kind::Merge).contains("s2: another directive is working"));
    let mut w = cold();
    w.ledger.push(InFlight {
        directive_id: DirectiveId(9),
        shard: ShardId(2),
        kind: Kind::TransferLeader,
        load_delta: BTreeMap::new(),
        copies: vec![],
        applied_unix_ms: Some(1),
    });
    assert!(w.refusal(1, Kind::Merge).contains("d9"));

    // A gap between them, too many requests, too many bytes: not even weighed.
    let mut w = cold();
    w.shard(4, &[1, 3, 5], &[("eu", 5.0)]);
    w.view.shards.remove(&ShardId(2));
    assert!(w.plan().candidates.iter().all(|c| c.kind != Kind::Merge));
    let limit = w.policy.split.requests_per_s_max * w.policy.merge.load_share_max;
    let mut w = cold();
    w.shard(2, &[1, 3, 5], &[("eu", limit)]);
    assert!(w.plan().directives.iter().all(|d| d.kind != Kind::Merge));
    let mut w = cold();
    w.view.shards.get_mut(&ShardId(2)).expect("known").size_bytes = 3 << 30;
    assert!(w.plan().directives.iter().all(|d| d.kind != Kind::Merge));
}

/// Shares a load evenly among the shards, whatever their number is by now.
fn spread(w: &mut Synthetic, requests_per_s: f64) {
    let shards = w.view.shards.len() as f64;
    for shard in w.view.shards.values_mut() {
        let regions = shard.arrivals.len() as f64;
        for rate in shard.arrivals.values_mut() {
            rate.reads_per_s = requests_per_s / shards / regions;
            rate.writes_per_s = 0.0;
        }
    }
    w.forecast();
}

/// Rounds of ten minutes each; how many cuts and merges there were.
fn rounds(w: &mut Synthetic, count: usize, requests_per_s: f64) -> (usize, usize) {
    let (mut cuts, mut merges) = (0, 0);
    for _ in 0..count {
        spread(w, requests_per_s);
        let made = plan(&w.input());
        let notes = crate::check::check(&made, &w.input());
        assert!(crate::check::stopped(&notes).is_empty(), "{notes:#?}");
        cuts += made.directives.iter().filter(|d| d.kind == Kind::Split).count();
        merges += made.directives.iter().filter(|d| d.kind == Kind::Merge).count();
        let now = w.now_unix_ms;
        apply_plan(&mut w.view, &mut w.history, &made, now).expect("every step can be done");
        w.advance(600_000);
    }
    (cuts, merges)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Under a fixed load there are cuts or merges, never both, and then neither.
    #[test]
    fn a_fixed_load_is_never_cut_and_merged(seed in 0..100_u64, requests_per_s in 10.0..60_000.0_f64) {
        let mut w = synthetic_input(3, 8, seed);
        w.policy.merge.enabled = true;
        let (cuts, merges) = rounds(&mut w, 80, requests_per_s);
        prop_assert!(cuts == 0 || merges == 0, "{cuts} cuts, {merges} merges");
        prop_assert_eq!(rounds(&mut w, 20, requests_per_s), (0, 0), "it never comes to rest");
    }
}

#[test]
fn days_and_nights_cut_by_day_and_merge_by_night_and_no_more_than_that() {
    let mut w = synthetic_input(3, 4, 5);
    w.policy.merge.enabled = true;
    for day in 0..4 {
        let (cuts, merges) = rounds(&mut w, 72, 30_000.0);
        assert!(cuts > 0 && merges == 0, "day {day}: {cuts} cuts, {merges} merges");
        let by_day = w.view.shards.len();
        let (cuts, merges) = rounds(&mut w, 72, 300.0);
        assert!(cuts == 0 && merges > 0, "night {day}: {cuts} cuts, {merges} merges");
        assert!(w.view.shards.len() < by_day / 2, "{} of {by_day}", w.view.shards.len());
    }
}
