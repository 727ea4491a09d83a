//! What holds the planner back: effects under way, rest, freezes, budgets.

use super::world::{World, short};
use crate::{
    journal::fingerprint,
    view::{InFlight, NodeHealth},
};
use isobar_api::{DirectiveId, NodeId, ShardId, directive::DirectiveKind as Kind};

#[test]
fn effects_under_way_count() {
    let mut w = World::new();
    for s in 1..=14 {
        let leader = if s <= 10 { [1, 2, 5] } else { [2, 1, 5] };
        w.shard(s, &leader, &[("eu", 10.0)]);
    }
    assert_eq!(
        w.plan().directives.len(),
        1,
        "100 and 40: then a shard is more than a fifth of the gap"
    );
    for s in 0..3 {
        w.ledger.push(InFlight {
            directive_id: DirectiveId(s + 1),
            shard: ShardId(s + 1),
            kind: Kind::TransferLeader,
            load_delta: [(NodeId(1), -10.0), (NodeId(2), 10.0)].into(),
            copies: vec![],
            applied_unix_ms: None,
        });
    }
    assert!(w.plan().directives.is_empty(), "70 and 70 once those are done");
    for s in 1..=3 {
        w.view.shards.get_mut(&ShardId(s)).expect("known").entry.leader = Some(NodeId(2));
    }
    assert!(w.plan().directives.is_empty(), "nor are they counted twice once the view shows them");
}

#[test]
fn what_came_to_nothing_a_moment_ago_takes_nobodys_turn() {
    let mut w = World::new();
    w.policy.budget.repair_active_max = 1;
    w.shard(1, &[1, 3, 5], &[]);
    w.shard(2, &[2, 3, 5], &[]);
    w.kill(3, 300);
    let first = w.only();
    w.quiet.insert(fingerprint(first.shard, first.kind, &first.steps));
    let second = w.only();
    assert_ne!(second.shard, first.shard, "{second:?}");
    let reasons: Vec<_> = w.plan().candidates.into_iter().filter_map(|c| c.rejected).collect();
    assert!(reasons.iter().any(|r| r.contains("came to nothing")), "{reasons:?}");
}

#[test]
fn a_learner_that_is_being_filled_still_needs_its_room() {
    let mut w = World::new();
    w.shard(2, &[1, 5], &[]).size_bytes = 6 << 30;
    w.shard(1, &[1, 3, 5], &[]).size_bytes = 6 << 30;
    w.learner(1, 2);
    let now = w.now_unix_ms;
    w.view.shards.get_mut(&ShardId(1)).expect("one").changed_unix_ms = now;
    let load = &mut w.view.nodes.get_mut(&NodeId(2)).expect("n2").load;
    (load.disk_total_bytes, load.disk_free_bytes) = (20 << 30, 10 << 30);
    for node in [3, 4] {
        w.view.nodes.get_mut(&NodeId(node)).expect("known").health = NodeHealth::Unknown;
    }
    assert_eq!(short(&w.only().steps), "+2 ^2", "nothing is on its way yet");
    w.ledger.push(InFlight {
        directive_id: DirectiveId(1),
        shard: ShardId(1),
        kind: Kind::MoveReplica,
        load_delta: Default::default(),
        copies: vec![NodeId(1), NodeId(2)],
        applied_unix_ms: None,
    });
    assert!(w.refusal(2, Kind::Repair).contains("1 without disk headroom"));
}

#[test]
fn restless_busy_stale_and_frozen_shards_are_left_alone() {
    let base = || {
        let mut w = World::new();
        w.shard(1, &[3, 1, 5], &[("eu", 90.0)]);
        w
    };
    let refused = |change: &dyn Fn(&mut World), why: &str| {
        let mut w = base();
        change(&mut w);
        let reason = w.refusal(1, Kind::TransferLeader);
        assert!(reason.contains(why), "{reason}");
    };
    let now = base().now_unix_ms;
    refused(
        &|w| drop(w.history.insert(ShardId(1), vec![now - 200_000])),
        "left alone for 100 s more",
    );
    refused(
        &|w| drop(w.history.insert(ShardId(1), vec![now - 900_000, now - 800_000])),
        "moved 2 times",
    );
    refused(&|w| assert!(w.busy.insert(ShardId(1))), "another directive");
    refused(
        &|w| w.view.shards.get_mut(&ShardId(1)).expect("one").reported_unix_ms = Some(now - 11_000),
        "11.0 s old",
    );
    refused(&|w| w.view.shards.get_mut(&ShardId(1)).expect("one").windows = 5, "5 windows seen");
    refused(&|w| w.forecasts.clear(), "no forecast");
    refused(
        &|w| w.view.nodes.get_mut(&NodeId(5)).expect("n5").health = NodeHealth::Unknown,
        "n5 is not well",
    );
    refused(&|w| w.view.tables.clear(), "rule is not known");
    for scope in ["cluster", "table:orders", "shard:1", "shard:s1", "no such words"] {
        refused(&|w| w.freeze(scope), "frozen");
    }
    refused(&|w| w.freeze("node:n3"), "n3 is frozen");
}

#[test]
fn frozen_nodes_get_nothing_until_the_freeze_expires() {
    let base = || {
        let mut w = World::new();
        w.shard(1, &[3, 1, 5], &[("eu", 90.0)]);
        w
    };
    for scope in ["node:1", "region:eu"] {
        let mut w = base();
        w.freeze(scope);
        let named = |w: &World| {
            w.plan()
                .directives
                .iter()
                .any(|d| d.steps.iter().any(|s| s.target() == Some(NodeId(1))))
        };
        assert!(!named(&w), "{scope}");
        w.now_unix_ms += 1_000;
        assert!(named(&w), "{scope} has expired");
    }
}

#[test]
fn budgets_hold_and_repair_has_its_own() {
    let mut w = World::new();
    for s in 0..20 {
        w.shard(s + 1, &[3, 1, 5], &[("eu", 90.0)]);
    }
    let plan = w.plan();
    assert_eq!(plan.directives.len(), 8);
    let waits = plan
        .candidates
        .iter()
        .filter_map(|c| c.rejected.as_deref())
        .filter(|r| r.contains("its turn"));
    assert_eq!(waits.count(), 12);
    w.kill(5, 1_000);
    w.policy.budget.active_max = 1;
    let repairs = w.plan().directives;
    // n3 leads all of them and may take part in two copies at once.
    assert_eq!(repairs.iter().filter(|d| d.kind == Kind::Repair).count(), 2);
    assert!(
        repairs.iter().all(|d| d.kind == Kind::Repair),
        "shards with a dead voter are not optimised"
    );
}
