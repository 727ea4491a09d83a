use super::*;
use isobar_api::{
    Epoch, KeyRange, Replica, ReplicaRole,
    report::{Arrivals, LatencySummary},
};

const START: u64 = 1_000_000;

fn entry(leader: u64, membership: u64) -> ShardEntry {
    let voter =
        |n| Replica { replica_id: ReplicaId(n), node_id: NodeId(n), role: ReplicaRole::Voter };
    ShardEntry {
        shard_id: ShardId(1),
        table_id: TableId(1),
        range: KeyRange::all(),
        epoch: Epoch { shape: 1, membership },
        replicas: (1..=2).map(voter).collect(),
        leader: Some(NodeId(leader)),
        term: membership,
    }
}

fn report(node: u64, reads: u64, full: bool) -> NodeReport {
    let region = Region::new("eu").expect("legal");
    let replica = ReplicaReport {
        shard: entry(1, 5),
        table: "orders".into(),
        replica_id: ReplicaId(node),
        is_leader: node == 1,
        last_log_index: 100,
        applied_index: 100,
        matched: vec![(ReplicaId(2), 90)],
        size_bytes: 500,
        arrivals: vec![Arrivals { region: Some(region.clone()), reads, writes: 0, scans: 0 }],
        latency: LatencySummary::default(),
        hot_keys: vec![],
        access_octiles: vec![],
        fault: None,
    };
    NodeReport {
        cluster_id: "c".into(),
        node_id: NodeId(node),
        region,
        zone: "a".into(),
        address: format!("127.0.0.1:{node}"),
        incarnation: 1,
        sequence: 1,
        at_unix_ms: 0,
        interval_ms: 1_000,
        controller_term: Term(3),
        full,
        load: NodeLoad::default(),
        replicas: if reads > 0 || full { vec![replica] } else { vec![] },
        gone: vec![],
        alive: vec![NodeId(node)],
    }
}

fn policy() -> ObservePolicy {
    ObservePolicy { window_s: 10, ..ObservePolicy::default() }
}

/// A fold that has just begun its first whole window.
fn begun() -> Fold {
    let mut fold = Fold::new(String::new(), START);
    fold.apply_report(report(1, 0, true), START);
    fold.apply_report(report(2, 0, true), START);
    assert_eq!(fold.close_window(&policy(), START), None);
    assert_eq!(fold.close_window(&policy(), START + 9_999), None);
    fold
}

fn second(fold: &mut Fold, at: u64, nodes: &[(u64, u64)]) {
    for (node, reads) in nodes {
        fold.apply_report(report(*node, *reads, false), at);
    }
}

#[test]
fn rates_are_summed_over_replicas_and_quiet_is_zero() {
    let mut fold = begun();
    for s in 10..20 {
        second(&mut fold, START + s * 1_000, &[(1, 30), (2, if s < 15 { 10 } else { 0 })]);
    }
    let closed = fold.close_window(&policy(), START + 20_100).expect("its time is over");
    assert_eq!(closed.start_unix_ms, START + 10_000);
    let rates = closed.shards[&ShardId(1)].as_ref().expect("all were heard");
    let total: f64 = rates.values().map(|r| r.reads_per_s).sum();
    assert!((total - 35.0).abs() < 1e-9, "{total}");
    let stored = serde_json::to_string(&closed).expect("plain data");
    assert_eq!(serde_json::from_str::<ClosedWindow>(&stored).expect("own text"), closed);
    let view = fold.view(&policy(), START + 20_100);
    let shard = &view.shards[&ShardId(1)];
    assert_eq!((shard.windows, shard.behind[&ReplicaId(2)], shard.size_bytes), (1, 10, 500));
    // The next window is quiet, and measured: zero, not unknown.
    for s in 21..30 {
        second(&mut fold, START + s * 1_000, &[(1, 0), (2, 0)]);
    }
    let quiet = fold.close_window(&policy(), START + 30_000).expect("its time is over");
    assert_eq!(quiet.shards[&ShardId(1)], Some(BTreeMap::new()));
}

#[test]
fn a_window_with_a_silent_replica_is_a_gap() {
    let mut fold = begun();
    for s in 10..20 {
        second(&mut fold, START + s * 1_000, if s < 13 { &[(1, 30), (2, 1)] } else { &[(1, 30)] });
    }
    let closed = fold.close_window(&policy(), START + 20_100).expect("its time is over");
    assert_eq!(closed.shards[&ShardId(1)], None);
    assert_eq!(fold.view(&policy(), START + 20_100).shards[&ShardId(1)].windows, 0);
}

#[test]
fn lost_reports_do_not_lower_a_rate() {
    let mut fold = begun();
    for s in 10..20 {
        let nodes: &[(u64, u64)] = if s % 3 == 0 { &[(2, 0)] } else { &[(1, 30), (2, 0)] };
        second(&mut fold, START + s * 1_000, nodes);
    }
    let closed = fold.close_window(&policy(), START + 20_000).expect("its time is over");
    let rates = closed.shards[&ShardId(1)].as_ref().expect("enough was heard");
    assert!((rates.values().next().expect("eu").reads_per_s - 30.0).abs() < 1e-9);
}

#[test]
fn fresher_entries_win_and_a_change_is_dated() {
    let mut fold = begun();
    let map = |fold: &mut Fold, entry, at| fold.apply_map("c", vec![], vec![], vec![entry], at);
    map(&mut fold, entry(2, 9), START + 20_000);
    map(&mut fold, entry(1, 8), START + 21_000);
    let view = fold.view(&policy(), START + 21_000);
    let shard = &view.shards[&ShardId(1)];
    assert_eq!((shard.entry.leader, shard.changed_unix_ms), (Some(NodeId(2)), START + 20_000));
    assert_eq!(shard.reported_unix_ms, None, "the new leader has not reported as such");
}

#[test]
fn other_clusters_are_ignored_and_full_reports_replace() {
    let mut fold = begun();
    let mut foreign = report(3, 5, true);
    foreign.cluster_id = "other".into();
    assert_eq!(fold.apply_report(foreign, START), Ingest::OtherCluster);
    assert_eq!(fold.known_nodes().len(), 2);
    let mut empty = report(1, 0, true);
    empty.replicas.clear();
    fold.apply_report(empty, START + 1_000);
    assert_eq!(
        fold.view(&policy(), START + 1_000).shards[&ShardId(1)].size_bytes,
        500,
        "replica 2's"
    );
    let mut gone = report(2, 0, false);
    gone.gone = vec![ShardId(1)];
    fold.apply_report(gone, START + 2_000);
    assert_eq!(fold.view(&policy(), START + 2_000).shards[&ShardId(1)].size_bytes, 0);
}

#[test]
fn the_highest_term_is_what_nodes_accepted_unless_it_is_absurd() {
    let mut fold = begun();
    assert_eq!(fold.highest_term(Term(1)), Term(3));
    let mut liar = report(2, 0, false);
    liar.controller_term = Term(u64::MAX);
    fold.apply_report(liar, START);
    assert_eq!(fold.highest_term(Term(1)), Term(3), "to follow it would end the counting of terms");
}

#[test]
fn death_shows_in_the_view_only_with_two_witnesses() {
    let mut fold = begun();
    let later = START + 60_000;
    let health = |fold: &Fold, at| fold.view(&policy(), at).nodes[&NodeId(2)].health;
    assert_eq!(health(&fold, later), NodeHealth::Unknown, "nobody reports");
    let mut friendly = report(1, 0, false);
    friendly.alive = vec![NodeId(1), NodeId(2)];
    fold.apply_report(friendly, later);
    assert_eq!(health(&fold, later), NodeHealth::Unknown, "gossip still sees it");
    fold.apply_report(report(1, 0, false), later + 11_000);
    assert_eq!(health(&fold, later + 11_000), NodeHealth::Dead { since_unix_ms: later });
}

#[test]
fn a_clock_that_is_set_back_hides_no_death_and_stops_no_window() {
    let mut fold = begun();
    let back = START - 900_000;
    assert_eq!(fold.close_window(&policy(), back), None);
    for s in 1..=30 {
        let mut alone = report(1, 5, false);
        alone.alive = vec![NodeId(1)];
        fold.apply_report(alone, back + s * 1_000);
        fold.close_window(&policy(), back + s * 1_000);
    }
    let view = fold.view(&policy(), back + 30_000);
    assert_eq!(view.nodes[&NodeId(1)].health, NodeHealth::Alive);
    assert_eq!(view.nodes[&NodeId(2)].health, NodeHealth::Dead { since_unix_ms: back });
    assert_eq!(view.shards[&ShardId(1)].windows, 2, "node 2 is dead and not waited for");
}

#[test]
fn absurd_figures_of_a_node_break_nothing() {
    let mut fold = begun();
    let mut absurd = report(1, u64::MAX, true);
    absurd.interval_ms = u64::MAX;
    absurd.replicas[0].arrivals[0].scans = u64::MAX;
    for s in 10..13 {
        fold.apply_report(absurd.clone(), START + s * 1_000);
    }
    assert!(fold.close_window(&policy(), START + 20_000).is_some());
    let endless = ObservePolicy { window_s: u64::MAX, ..policy() };
    fold.close_window(&endless, START + 13_000);
    fold.view(&endless, START + 13_000);
}

#[test]
fn hot_keys_of_a_node_that_fell_silent_are_not_todays() {
    let hot = |fold: &Fold, at| {
        let keys = fold.view(&policy(), at).shards[&ShardId(1)].access_octiles.clone();
        keys.into_iter().next()
    };
    let mut fold = begun();
    for (node, reads, octile) in [(1, 900, "old"), (2, 3, "new")] {
        let mut told = report(node, reads, false);
        told.replicas[0].access_octiles = vec![octile.into()];
        fold.apply_report(told, START);
    }
    assert_eq!(hot(&fold, START).as_deref(), Some("old"), "the busiest replica's");
    let mut lives = report(2, 0, false);
    lives.alive = vec![NodeId(2)];
    fold.apply_report(lives, START + 30_000);
    assert_eq!(hot(&fold, START + 30_000).as_deref(), Some("new"));
}
