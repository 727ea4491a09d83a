//! The planner comes to rest, stays at rest, and never runs in circles.

use super::messy::messy;
use crate::planner::{
    plan,
    simulate::apply_plan,
    synthetic::{Synthetic, synthetic_input},
};
use isobar_api::{
    NodeId, ShardId,
    directive::{DirectiveKind, Step},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Plans and carries out, with enough time between rounds for every dwell time and hourly budget to be over, so
/// that nothing but the planner's own judgement keeps shards where they are. Returns the moves of each shard.
fn run(w: &mut Synthetic, rounds: usize) -> (BTreeMap<ShardId, Vec<NodeId>>, Option<usize>) {
    let mut leaders: BTreeMap<ShardId, Vec<NodeId>> = BTreeMap::new();
    for (id, shard) in &w.view.shards {
        leaders.insert(*id, shard.entry.leader.into_iter().collect());
    }
    let mut quiet_since = None;
    for round in 0..rounds {
        let made = plan(&w.input());
        let notes = crate::check::check(&made, &w.input());
        assert!(crate::check::stopped(&notes).is_empty(), "{notes:#?}");
        if made.directives.is_empty() {
            quiet_since = quiet_since.or(Some(round));
        } else {
            quiet_since = None;
        }
        let now = w.now_unix_ms;
        apply_plan(&mut w.view, &mut w.history, &made, now).expect("every step can be done");
        for d in &made.directives {
            if let Some(Step::TransferLeader { node }) =
                d.steps.iter().rfind(|s| matches!(s, Step::TransferLeader { .. }))
            {
                leaders.entry(d.shard).or_default().push(*node);
            }
        }
        w.advance(3_600_001);
        w.forecast();
    }
    (leaders, quiet_since)
}

fn assert_at_rest(leaders: &BTreeMap<ShardId, Vec<NodeId>>, quiet_since: Option<usize>) {
    assert!(quiet_since.is_some(), "it never came to rest");
    for (shard, path) in leaders {
        let mut nodes = path.clone();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), path.len(), "{shard} came back to a node it had left: {path:?}");
    }
}

#[test]
fn a_fixed_load_comes_to_rest_and_stays() {
    for seed in 0..12 {
        let mut w = synthetic_input(4 + seed % 9, 20 + 5 * seed, seed);
        let (leaders, quiet) = run(&mut w, 60);
        assert_at_rest(&leaders, quiet);
        assert!(leaders.values().any(|p| p.len() > 1), "seed {seed}: nothing was improved at all");
        assert!(leaders.values().all(|p| p.len() <= 4), "seed {seed}: {leaders:?}");
        // One arbiter: what it made itself it finds good, whatever the seed of ties.
        w.seed ^= 99;
        assert!(plan(&w.input()).directives.is_empty());
    }
}

#[test]
fn readers_are_better_off_afterwards() {
    let mut w = synthetic_input(10, 60, 5);
    let wait = |w: &Synthetic| -> f64 {
        let one = |s: &crate::view::ShardView| -> f64 {
            let home = &w.view.nodes[&s.entry.leader.expect("led")].region;
            let trip = |(r, a): (&Option<isobar_api::Region>, &crate::view::ArrivalRate)| {
                a.reads_per_s * w.rtt.get(r.as_ref().expect("known"), home).expect("known")
            };
            s.arrivals.iter().map(trip).sum()
        };
        w.view.shards.values().map(one).sum()
    };
    let before = wait(&w);
    run(&mut w, 60);
    assert!(wait(&w) < 0.4 * before, "{} of {before}", wait(&w));
}

#[test]
fn hot_shards_are_cut_until_they_are_cool() {
    let mut w = synthetic_input(6, 12, 2);
    for rate in w.view.shards.values_mut().flat_map(|s| s.arrivals.values_mut()) {
        rate.reads_per_s *= 20.0;
    }
    w.forecast();
    let (_, quiet) = run(&mut w, 60);
    assert!(quiet.is_some() && w.view.shards.len() > 12);
    let ranges: Vec<_> = w.view.shards.values().map(|s| &s.entry.range).collect();
    for (i, a) in ranges.iter().enumerate() {
        assert!(ranges[i + 1..].iter().all(|b| !a.overlaps(b)));
    }
}

#[test]
fn a_drained_node_becomes_empty_and_a_dead_one_is_replaced() {
    let mut w = synthetic_input(8, 40, 4);
    w.drains.insert(NodeId(3));
    let dead = w.view.nodes.get_mut(&NodeId(5)).expect("n5");
    dead.health = crate::view::NodeHealth::Dead { since_unix_ms: 0 };
    let (_, quiet) = run(&mut w, 120);
    assert!(quiet.is_some());
    for shard in w.view.shards.values() {
        assert_eq!(shard.entry.replicas.len(), 3, "{:?}", shard.entry);
        assert!(
            shard.entry.replicas.iter().all(|r| r.node_id != NodeId(3) && r.node_id != NodeId(5))
        );
    }
}

#[test]
fn under_an_alternating_load_moves_stay_within_the_hourly_budget() {
    let mut w = synthetic_input(6, 30, 8);
    let regions: Vec<_> = w.rtt.regions().cloned().collect();
    let mut moved: BTreeMap<ShardId, Vec<u64>> = BTreeMap::new();
    for round in 0..240 {
        for (i, shard) in w.view.shards.values_mut().enumerate() {
            let home = &regions[(i + round) % regions.len()];
            for (region, rate) in &mut shard.arrivals {
                rate.reads_per_s = if region.as_ref() == Some(home) { 100.0 } else { 1.0 };
            }
        }
        w.forecast();
        let made = plan(&w.input());
        for d in &made.directives {
            assert_ne!(d.kind, DirectiveKind::Split);
            moved.entry(d.shard).or_default().push(w.now_unix_ms);
        }
        let now = w.now_unix_ms;
        apply_plan(&mut w.view, &mut w.history, &made, now).expect("every step can be done");
        w.advance(60_000);
    }
    assert!(moved.values().map(Vec::len).sum::<usize>() > 30, "the load does call for moves");
    for (shard, times) in &moved {
        for from in times {
            let hour = times.iter().filter(|t| *t >= from && **t < from + 3_600_000).count();
            assert!(hour <= 2, "{shard} moved {hour} times within an hour");
        }
        let dwell = times.windows(2).all(|t| t[1] - t[0] >= 300_000);
        assert!(dwell, "{shard} moved within its dwell time");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn even_a_cluster_in_disorder_comes_to_rest(nodes in 1u64..10, shards in 1u64..25, seed in any::<u64>()) {
        let mut w = messy(nodes, shards, seed);
        w.busy.clear();
        w.ledger.clear();
        w.freezes.clear();
        let (_, quiet) = run(&mut w, 150);
        prop_assert!(quiet.is_some());
    }
}
