//! A cluster of real nodes in one process: real sockets, real files, the node's own services.

mod support;

use isobar_api::{
    Epoch, ErrorCode, NodeId, Region, ShardEntry, ShardId, Term,
    directive::{Refusal, Step},
    rtt::RttMatrix,
    table::{AckLevel, TableRule},
};
use std::time::Duration;
use support::{Cluster, get_op, put_op, write_op};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_survive_a_split_a_move_and_the_loss_of_a_leader() {
    let mut cluster = Cluster::start(4).await;
    cluster.create_table("orders", 3).await;
    for i in 0..60 {
        cluster.put("orders", format!("k{i:03}").as_bytes(), format!("v{i}").as_bytes()).await;
    }
    let before = cluster.shards("orders").await;
    assert_eq!(before.len(), 1);
    let parent = &before[0];

    let split = cluster.step(parent, 1, 0, Step::Split { at_key: "k030".into() }).await;
    let split = split.expect("the split is done");
    let child = split.new_shard.expect("a split makes a shard");
    let again = cluster.step(parent, 1, 0, Step::Split { at_key: "k030".into() }).await;
    assert_eq!(
        again.expect("a repeat is answered").new_shard,
        Some(child),
        "from the stored result"
    );
    cluster.check_rows("orders", 60).await;

    let entry = cluster.led_entry(child).await;
    let held: Vec<NodeId> = entry.voters().collect();
    let fresh = (1..=4).map(NodeId).find(|n| !held.contains(n)).expect("one node holds none");
    let old = *held.iter().find(|n| Some(**n) != entry.leader).expect("a follower");
    let mut at = entry;
    for (index, step) in [
        Step::AddLearner { node: fresh },
        Step::Promote { node: fresh },
        Step::TransferLeader { node: fresh },
        Step::RemoveReplica { node: old },
    ]
    .into_iter()
    .enumerate()
    {
        let done = cluster.step(&at, 2, index as u32, step.clone()).await;
        let done = done.unwrap_or_else(|refusal| panic!("{step}: {refusal}"));
        at = cluster.led_entry(child).await;
        assert_eq!(at.epoch, done.epoch_after, "{step}");
    }
    assert_eq!(at.leader, Some(fresh));
    assert!(at.replica_on(old).is_none() && at.voters().count() == 3);
    cluster.check_rows("orders", 60).await;

    cluster.stop(fresh).await;
    cluster.check_rows("orders", 60).await;
    for i in 60..70 {
        cluster.put("orders", format!("k{i:03}").as_bytes(), format!("v{i}").as_bytes()).await;
    }
    cluster.restart(fresh).await;
    cluster.check_rows("orders", 70).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_write_is_applied_once_and_conditions_hold() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_table("orders", 3).await;
    let client = [7; 16];
    let first = cluster.write("orders", client, 1, vec![put_op(b"a", b"1", None)]).await;
    let first = first.expect("applied");
    cluster.write("orders", client, 2, vec![put_op(b"a", b"2", None)]).await.expect("applied");
    let repeat = cluster.write("orders", client, 1, vec![put_op(b"a", b"1", None)]).await;
    let repeat = repeat.expect("answered from memory");
    assert!(repeat.repeated_request && repeat.version == first.version);
    assert_eq!(cluster.get("orders", b"a").await.as_deref(), Some(b"2".as_slice()));

    let stale = first.version.expect("a version");
    let conditional = vec![put_op(b"a", b"3", Some(stale)), put_op(b"b", b"3", None)];
    let refused = cluster.write("orders", client, 3, conditional).await.expect("answered");
    assert!(!refused.applied && refused.current.len() == 1);
    assert_eq!(cluster.get("orders", b"b").await, None, "a batch is all or nothing");
    let current = refused.current[0];
    let conditional = vec![put_op(b"a", b"3", Some(current)), put_op(b"b", b"3", None)];
    assert!(cluster.write("orders", client, 4, conditional).await.expect("answered").applied);
    assert_eq!(cluster.get("orders", b"b").await.as_deref(), Some(b"3".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guards_refuse_what_would_hurt() {
    let mut cluster = Cluster::start(4).await;
    cluster.create_table("orders", 3).await;
    let entry = cluster.shards("orders").await.remove(0);
    let voters: Vec<NodeId> = entry.voters().collect();
    let leader = entry.leader.expect("a leader");
    let follower = *voters.iter().find(|n| **n != leader).expect("a follower");
    let outside = (1..=4).map(NodeId).find(|n| !voters.contains(n)).expect("one holds none");

    let expect = async |at: &ShardEntry, step: Step, what: &str| {
        let refusal = cluster.step(at, 9, 0, step).await.expect_err(what);
        (refusal, what.to_owned())
    };
    let refusal = expect(&entry, Step::RemoveReplica { node: follower }, "below the floor").await;
    assert!(matches!(refusal.0, Refusal::BelowFloor { remaining: 2, floor: 3 }), "{refusal:?}");
    let refusal = expect(&entry, Step::RemoveReplica { node: leader }, "the leader").await;
    assert!(matches!(refusal.0, Refusal::TargetLeads { .. }), "{refusal:?}");
    let refusal = expect(&entry, Step::Promote { node: outside }, "no learner there").await;
    assert!(matches!(refusal.0, Refusal::WrongRole { .. }), "{refusal:?}");
    let refusal = expect(&entry, Step::AddLearner { node: NodeId(77) }, "nobody").await;
    assert!(matches!(refusal.0, Refusal::TargetUnavailable { .. }), "{refusal:?}");
    let mut moved = entry.clone();
    moved.epoch = Epoch { shape: 9, membership: 9 };
    let refusal = expect(&moved, Step::Split { at_key: "m".into() }, "another epoch").await;
    assert!(matches!(refusal.0, Refusal::EpochMoved { .. }), "{refusal:?}");

    cluster.term = Term(5);
    cluster
        .step(&entry, 10, 0, Step::AddLearner { node: outside })
        .await
        .expect("term 5 is accepted");
    cluster.term = Term(4);
    let entry = cluster.led_entry(entry.shard_id).await;
    let refusal =
        cluster.step(&entry, 11, 0, Step::Promote { node: outside }).await.expect_err("fenced");
    assert_eq!(refusal, Refusal::StaleTerm { sent: Term(4), seen: Term(5) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_voter_is_taken_away_that_the_others_cannot_do_without() {
    let mut cluster = Cluster::start(4).await;
    cluster.create_table("orders", 2).await;
    let entry = cluster.shards("orders").await.remove(0);
    let dead = entry.voters().find(|n| Some(*n) != entry.leader).expect("a follower");
    let third = (1..=4).map(NodeId).find(|n| !entry.voters().any(|v| v == *n)).expect("one more");
    let mut at = entry;
    for (index, step) in
        [Step::AddLearner { node: third }, Step::Promote { node: third }].into_iter().enumerate()
    {
        cluster.step(&at, 1, index as u32, step).await.expect("done");
        at = cluster.led_entry(at.shard_id).await;
    }
    // Nothing is written any more, so by its log the dead one stays caught up.
    cluster.stop(dead).await;
    let living: Vec<NodeId> = at.voters().filter(|n| *n != dead).collect();
    for node in &living {
        cluster.seen_dead(*node, dead).await;
    }
    let refusal = loop {
        at = cluster.led_entry(at.shard_id).await;
        let other = *living.iter().find(|n| Some(**n) != at.leader).expect("two live");
        let removed = cluster.step(&at, 2, 0, Step::RemoveReplica { node: other }).await;
        match removed.expect_err("the other half of the rest is dead") {
            Refusal::NotLeader { .. } => {}
            refusal => break refusal,
        }
    };
    assert!(refusal.to_string().contains("1 of the 2 voters that remain"), "{refusal}");
    cluster.put("orders", b"k", b"v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_acknowledges_no_write_though_the_leader_would_alone() {
    let mut cluster = Cluster::start(3).await;
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 3, ack: AckLevel::Leader };
    cluster.create_table_with("fast", rule, &[]).await;
    cluster.put("fast", b"k", b"v").await;
    let entry = cluster.shards("fast").await.remove(0);
    let follower = entry.voters().find(|n| Some(*n) != entry.leader).expect("a follower");
    for sequence in 1..=40 {
        let op = write_op([3; 16], sequence, vec![put_op(b"k", b"lost", None)]);
        let answer = cluster.execute_on(follower, &entry, op).await;
        assert_eq!(answer.expect_err("it does not lead").code, ErrorCode::NotLeader);
    }
}

/// A hand-over across slow links takes some round trips. Whoever asks meanwhile must not be sent from node to node:
/// each try is served, or told the node that leads next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_during_a_hand_over_is_served_or_sent_to_the_next_leader() {
    let regions = ["region-0", "region-1", "region-2"].map(|r| Region::new(r).expect("legal"));
    let mut wan = RttMatrix::default();
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        wan.set(&regions[a], &regions[b], 60.0);
    }
    let mut cluster = Cluster::start_apart(3, wan).await;
    cluster.create_table("orders", 3).await;
    cluster.put("orders", b"k", b"v").await;
    for round in 0..4 {
        let entry = cluster.led_entry(cluster.shards("orders").await[0].shard_id).await;
        let old = entry.leader.expect("it is led");
        let next = entry.voters().find(|n| *n != old).expect("a follower");
        let asking = async {
            // From before the hand-over to after it, 10 ms apart, at every replica and for reads and writes in turn.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let tries = (0..24u64).map(|at| {
                let (cluster, entry, node) = (&cluster, &entry, NodeId(1 + at % 3));
                let write = write_op([3; 16], 1 + round * 24 + at, vec![put_op(b"k", b"v", None)]);
                let op = if at % 2 == 0 { get_op(b"k") } else { write };
                async move {
                    tokio::time::sleep(Duration::from_millis(10 * at)).await;
                    (node, at, cluster.execute_on(node, entry, op).await)
                }
            });
            futures::future::join_all(tries).await
        };
        let moved = cluster.step(&entry, 20 + round, 0, Step::TransferLeader { node: next });
        let (moved, answers) = tokio::join!(moved, asking);
        moved.expect("the lead is handed over");
        for (node, at, answer) in answers {
            let Err(error) = answer else { continue };
            let told = error.shards.first().and_then(|entry| entry.leader);
            let helpful = error.code == ErrorCode::NotLeader && told.is_some_and(|n| n != node);
            assert!(helpful, "try {at} at {node}, from {old} to {next}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_refused_with_their_codes() {
    let mut cluster = Cluster::start(1).await;
    cluster.create_table("t", 1).await;
    let client = [1; 16];
    let cases = [
        (put_op(b"", b"v", None), ErrorCode::KeySize),
        (put_op(&vec![b'k'; 5_000], b"v", None), ErrorCode::KeySize),
        (put_op(b"k", &vec![0; (1 << 20) + 1], None), ErrorCode::ValueSize),
    ];
    for (at, (mutation, code)) in cases.into_iter().enumerate() {
        let error = cluster.write("t", client, at as u64 + 1, vec![mutation]).await;
        assert_eq!(error.expect_err("refused").code, code);
    }
    let error = cluster.write("t", client, 9, vec![]).await.expect_err("no mutations");
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert_eq!(cluster.led_entry(ShardId(1)).await.shard_id, ShardId(1), "the node goes on");
}

/// `all` is told when every voter has it, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_all_must_hold_waits_for_a_voter_that_is_away() {
    let mut cluster = Cluster::start(3).await;
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 3, ack: AckLevel::All };
    cluster.create_table_with("safe", rule, &[]).await;
    cluster.put("safe", b"k", b"v").await;
    let entry = cluster.led_entry(cluster.shards("safe").await[0].shard_id).await;
    let away = entry.voters().find(|n| Some(*n) != entry.leader).expect("a follower");
    cluster.stop(away).await;
    let op = write_op([3; 16], 1, vec![put_op(b"k", b"w", None)]);
    let leader = entry.leader.expect("led_entry waits for it");
    let told = cluster.execute_on(leader, &entry, op).await.expect_err("one has it not");
    assert_eq!(told.code, ErrorCode::DeadlineExceeded, "{told}");
    cluster.restart(away).await;
    let repeated = cluster.write("safe", [3; 16], 1, vec![put_op(b"k", b"w", None)]).await;
    assert!(repeated.expect("all have it").repeated_request);
}
