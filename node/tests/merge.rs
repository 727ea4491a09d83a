//! Merges in a cluster of real nodes: under load, with leaders on different nodes, with nodes that die in between.

mod support;

use isobar_api::{
    DirectiveId, Epoch, ErrorCode, NodeId, ShardEntry, ShardId,
    directive::{Refusal, Step, StepOrder, StepResult},
    proto::{
        ExecuteStepRequest, MergeRequest, kv_result, node_client::NodeClient,
        peer_client::PeerClient,
    },
};
use isobar_node::merge::{MergeAnswer, MergeCall};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use support::{Cluster, get_op, put_op, write_op};
use tokio::sync::RwLock;

const TABLE: &str = "orders";
const WITHIN: Duration = Duration::from_secs(40);
/// A frozen shard that nobody thaws does so later than this.
const THAWS_BY_ITSELF: Duration = Duration::from_secs(5);

/// A table of one shard that was cut at `k030`: the halves lie on the same nodes.
async fn halves(nodes: usize, rows: usize) -> (Cluster, ShardEntry, ShardEntry) {
    let mut cluster = Cluster::start(nodes).await;
    cluster.create_table(TABLE, 3).await;
    for i in 0..rows {
        cluster.put(TABLE, format!("k{i:03}").as_bytes(), format!("v{i}").as_bytes()).await;
    }
    let parent = cluster.shards(TABLE).await.remove(0);
    let (left, right) = cut(&cluster, parent.shard_id, 1).await;
    (cluster, left, right)
}

async fn cut(cluster: &Cluster, shard: ShardId, directive: u64) -> (ShardEntry, ShardEntry) {
    let began = Instant::now();
    loop {
        let entry = cluster.led_entry(shard).await;
        let split = Step::Split { at_key: "k030".into() };
        match cluster.step(&entry, directive, 0, split).await {
            Ok(done) => {
                let child = done.new_shard.expect("a split makes a shard");
                return (cluster.led_entry(shard).await, cluster.led_entry(child).await);
            }
            Err(refusal) => {
                assert!(began.elapsed() < WITHIN, "not cut in time: {refusal}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn try_merge(
    cluster: &Cluster,
    left: ShardId,
    right: ShardId,
    directive: u64,
) -> Result<StepResult, Refusal> {
    let entry = cluster.led_entry(left).await;
    let right_epoch = cluster.led_entry(right).await.epoch;
    cluster.step(&entry, directive, 0, Step::Merge { right, right_epoch }).await
}

/// Asks until it is done, as the controller would.
async fn merge(cluster: &Cluster, left: ShardId, right: ShardId, directive: u64) -> StepResult {
    let began = Instant::now();
    loop {
        match try_merge(cluster, left, right, directive).await {
            Ok(done) => return done,
            Err(refusal) => {
                assert!(began.elapsed() < WITHIN, "not merged in time: {refusal}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_shard_has_every_row_and_knows_every_request() {
    let (mut cluster, left, right) = halves(3, 50).await;
    let client = [7; 16];
    let put = |key: &str| vec![put_op(key.as_bytes(), b"once", None)];
    let first = cluster.write(TABLE, client, 1, put("k055")).await.expect("written");

    let done = merge(&cluster, left.shard_id, right.shard_id, 2).await;
    assert!(!done.already);
    let merged = cluster.led_entry(left.shard_id).await;
    assert_eq!((merged.epoch, merged.epoch.shape), (done.epoch_after, left.epoch.shape + 1));
    assert_eq!(merged.range, isobar_api::KeyRange::all());
    let again = Step::Merge { right: right.shard_id, right_epoch: right.epoch };
    let again = cluster.step(&left, 2, 0, again).await.expect("a repetition is answered");
    assert_eq!(again, done, "from the stored result");
    cluster.check_rows(TABLE, 50).await;

    // Whoever still routes by the old map is told the new one, by every node.
    for node in (1..=3).map(NodeId) {
        let began = Instant::now();
        loop {
            let asked = cluster.execute_on(node, &right, get_op(b"k055")).await;
            let told = asked.expect_err("the shard is no more");
            let entry = told.shards.iter().find(|entry| entry.shard_id == left.shard_id);
            if told.code == ErrorCode::StaleEpoch && entry.is_some_and(|e| e.epoch == merged.epoch)
            {
                break;
            }
            assert!(began.elapsed() < WITHIN, "{node}: {told:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let repeat = cluster.write(TABLE, client, 1, put("k055")).await.expect("answered");
    assert!(repeat.repeated_request && repeat.version == first.version, "{repeat:?}");

    // What is merged stays so over restarts, and can be cut and merged again.
    for node in (1..=3).map(NodeId) {
        cluster.stop(node).await;
        cluster.restart(node).await;
    }
    cluster.check_rows(TABLE, 50).await;
    let (left, right) = cut(&cluster, left.shard_id, 3).await;
    merge(&cluster, left.shard_id, right.shard_id, 4).await;
    cluster.check_rows(TABLE, 50).await;
    let repeat = cluster.write(TABLE, client, 1, put("k055")).await.expect("answered");
    assert!(repeat.repeated_request && repeat.version == first.version, "{repeat:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_merged_is_refused_and_not_frozen() {
    let (mut cluster, left, right) = halves(4, 40).await;
    let refused = async |at: &ShardEntry, with: &ShardEntry, epoch: Epoch, why: &str| {
        let step = Step::Merge { right: with.shard_id, right_epoch: epoch };
        let refusal = cluster.step(at, 9, 0, step).await.expect_err(why);
        assert!(refusal.to_string().contains(why), "{refusal}, not {why}");
    };
    refused(&right, &left, left.epoch, "does not begin where").await;
    let old = Epoch { shape: 1, ..right.epoch };
    refused(&left, &right, old, "has epoch").await;
    let unknown = ShardEntry { shard_id: ShardId(77), ..right.clone() };
    refused(&left, &unknown, right.epoch, "no replica beside").await;
    let outside = (1..=4).map(NodeId).find(|n| left.replica_on(*n).is_none()).expect("one more");
    cluster.step(&right, 10, 0, Step::AddLearner { node: outside }).await.expect("done");
    let moved = cluster.led_entry(right.shard_id).await;
    refused(&left, &moved, moved.epoch, "on different nodes").await;
    let gone = Step::RemoveReplica { node: outside };
    cluster.step(&moved, 10, 1, gone).await.expect("done");

    // A follower that is silent, before and after the others know it: called off, and served again at once.
    let dead = left.voters().find(|n| Some(*n) != left.leader && Some(*n) != right.leader);
    let dead = dead.expect("a node that leads neither");
    cluster.stop(dead).await;
    let refusal = try_merge(&cluster, left.shard_id, right.shard_id, 11).await;
    refusal.expect_err("not every node can answer");
    let called_off = Instant::now();
    cluster.put(TABLE, b"k035", b"v35").await;
    let waited = called_off.elapsed();
    assert!(waited < THAWS_BY_ITSELF, "{waited:?}: whoever called it off has thawed nobody");
    cluster.seen_dead(left.leader.expect("led"), dead).await;
    let refusal = try_merge(&cluster, left.shard_id, right.shard_id, 12).await;
    refusal.expect_err("a node is dead");
    cluster.put(TABLE, b"k035", b"v35").await;
    cluster.restart(dead).await;
    merge(&cluster, left.shard_id, right.shard_id, 13).await;
    cluster.check_rows(TABLE, 40).await;
}

/// As if whoever was to merge it had died right after the freeze.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_was_left_frozen_thaws_by_itself() {
    let (mut cluster, left, right) = halves(3, 40).await;
    let call = MergeCall::Freeze {
        right: right.shard_id,
        into: left.shard_id,
        round: 0,
        expected: right.epoch,
    };
    let request = MergeRequest { call_json: serde_json::to_vec(&call).expect("plain").into() };
    let began = Instant::now();
    let (leader, answer) = loop {
        // Right after the cut the lead may still change hands.
        let leader = cluster.led_entry(right.shard_id).await.leader.expect("led");
        match PeerClient::new(cluster.channel(leader)).merge(request.clone()).await {
            Ok(answer) => break (leader, answer.into_inner()),
            Err(status) => assert!(began.elapsed() < WITHIN, "{status}"),
        }
    };
    let answer: MergeAnswer = serde_json::from_slice(&answer.answer_json).expect("an answer");
    assert!(matches!(answer, MergeAnswer::Frozen { .. }), "{answer:?}");

    let write = write_op([3; 16], 1, vec![put_op(b"k035", b"no", None)]);
    for op in [write, get_op(b"k035")] {
        let refused = cluster.execute_on(leader, &right, op).await.expect_err("frozen");
        assert_eq!(refused.code, ErrorCode::Merging);
    }
    let refusal = cluster.step(&right, 5, 0, Step::Split { at_key: "k035".into() }).await;
    assert!(matches!(refusal, Err(Refusal::NotNow { .. })), "{refusal:?}");
    cluster.check_rows(TABLE, 30).await;
    // Waits it out.
    cluster.put(TABLE, b"k035", b"v35").await;
    cluster.check_rows(TABLE, 40).await;
    let late = merge(&cluster, left.shard_id, right.shard_id, 6).await;
    assert!(!late.already);
    cluster.check_rows(TABLE, 40).await;
}

/// A replica that was removed while its node was away, of a shard that is over when the node comes back: nobody leads it
/// any more who could say so, and its keys belong to another shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_slept_through_the_end_of_its_shard_goes_away() {
    let (mut cluster, left, right) = halves(4, 40).await;
    let outside = (1..=4).map(NodeId).find(|n| left.replica_on(*n).is_none()).expect("one more");
    cluster.step(&right, 5, 0, Step::AddLearner { node: outside }).await.expect("done");
    cluster.stop(outside).await;
    let began = Instant::now();
    loop {
        let at = cluster.led_entry(right.shard_id).await;
        let gone = cluster.step(&at, 5, 1, Step::RemoveReplica { node: outside }).await;
        match gone {
            Ok(_) => break,
            Err(refusal) => assert!(began.elapsed() < WITHIN, "{refusal}"),
        }
    }
    merge(&cluster, left.shard_id, right.shard_id, 6).await;
    cluster.restart(outside).await;
    let mut in_the_way = false;
    loop {
        let at = cluster.led_entry(left.shard_id).await;
        match cluster.step(&at, 7, 0, Step::AddLearner { node: outside }).await {
            Ok(_) => break,
            Err(refusal) => {
                assert!(began.elapsed() < 2 * WITHIN, "{refusal}");
                in_the_way |= refusal.to_string().contains("holds some of these keys");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    assert!(in_the_way, "the old replica was there");
    cluster.check_rows(TABLE, 40).await;
}

/// Each key has one writer, who repeats a write until it is acknowledged; only then comes the next one.
async fn keep_writing(
    cluster: Arc<RwLock<Cluster>>,
    writer: u8,
    ended: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
    let keys = [format!("k{writer:03}"), format!("k{:03}", 50 + writer)];
    let mut last = vec![(Vec::new(), Vec::new(), 0); 2];
    let mut sequence = 0;
    while !ended.load(SeqCst) {
        sequence += 1;
        let at = (sequence % 2) as usize;
        let (key, value) = (keys[at].clone().into_bytes(), format!("{writer}/{sequence}"));
        let mutation = put_op(&key, value.as_bytes(), None);
        let began = Instant::now();
        loop {
            let held = cluster.read().await;
            let op = write_op([writer + 1; 16], sequence, vec![mutation.clone()]);
            let shards = held.shards(TABLE).await;
            if let Some(entry) = shards.into_iter().find(|e| e.range.contains(&key))
                && let Some(leader) = entry.leader
                && let Ok(kv_result::Result::Write(done)) =
                    held.execute_on(leader, &entry, op).await
            {
                assert!(done.applied);
                break;
            }
            drop(held);
            assert!(began.elapsed() < WITHIN, "writer {writer} is stuck at {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        count.fetch_add(1, SeqCst);
        last[at] = (key, value.into_bytes(), sequence);
    }
    last
}

/// Asks for a merge and stops a leader somewhere in the middle of it. Whether it was merged is not known then.
async fn merge_while_a_leader_stops(
    cluster: &Arc<RwLock<Cluster>>,
    (left, right): (ShardId, ShardId),
    stopping: ShardId,
    directive: u64,
    after: Duration,
) {
    let (channel, order, victim) = {
        let held = cluster.read().await;
        let at = held.led_entry(left).await;
        let right_epoch = held.led_entry(right).await.epoch;
        let order = StepOrder {
            directive_id: DirectiveId(directive),
            step_index: 0,
            controller_term: held.term,
            cluster_id: held.cluster_id().to_owned(),
            shard: left,
            expected_epoch: at.epoch,
            step: Step::Merge { right, right_epoch },
            expires_at_unix_ms: u64::MAX,
            reason: "a test".into(),
        };
        let victim = held.led_entry(stopping).await.leader.expect("led");
        (held.channel(at.leader.expect("led")), order, victim)
    };
    let order_json = serde_json::to_vec(&order).expect("plain data").into();
    let asked = tokio::spawn(async move {
        // The node may go away before it answers.
        let request = ExecuteStepRequest { order_json, traceparent: String::new() };
        if let Ok(events) = NodeClient::new(channel).execute_step(request).await {
            let mut events = events.into_inner();
            while let Ok(Some(_)) = events.message().await {}
        }
    });
    tokio::time::sleep(after).await;
    let mut held = cluster.write().await;
    held.stop(victim).await;
    held.restart(victim).await;
    drop(held);
    let _ = asked.await;
}

/// Every last acknowledged write is there, and known as done; how many were looked at.
async fn check_last(cluster: &Cluster, last: Vec<(Vec<u8>, Vec<u8>, u64)>) -> usize {
    let mut checked = 0;
    for (key, value, sequence) in last.into_iter().filter(|(_, _, sequence)| *sequence > 0) {
        assert_eq!(cluster.get(TABLE, &key).await, Some(value.clone()));
        let client = [value[0] - b'0' + 1; 16];
        let again = cluster.write(TABLE, client, sequence, vec![put_op(&key, b"twice", None)]);
        assert!(again.await.expect("answered").repeated_request);
        assert_eq!(cluster.get(TABLE, &key).await, Some(value));
        checked += 1;
    }
    checked
}

/// Cuts and merges under load, while leaders change and nodes stop in the middle of merges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_under_load_lose_nothing_while_leaders_stop() {
    const WRITERS: u8 = 4;
    let (cluster, left, right) = halves(3, 0).await;
    let cluster = Arc::new(RwLock::new(cluster));
    let (ended, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(keep_writing(cluster.clone(), writer, ended.clone(), count.clone()))
        })
        .collect();
    let (left, mut right) = (left.shard_id, right.shard_id);
    let mut broken = 0;
    for round in 0..8_u64 {
        let directive = 20 + 10 * round;
        {
            // Leaders on the same node in some rounds, on different ones in others.
            let held = cluster.read().await;
            let entry = held.led_entry(right).await;
            let heir = entry.voters().nth(round as usize % 3).expect("three voters");
            let _ = held.step(&entry, directive, 0, Step::TransferLeader { node: heir }).await;
        }
        if round % 2 == 1 {
            let stopping = if round % 4 == 1 { left } else { right };
            let after = Duration::from_millis(5 + 9 * round);
            let both = (left, right);
            merge_while_a_leader_stops(&cluster, both, stopping, directive + 1, after).await;
        }
        let held = cluster.read().await;
        let began = Instant::now();
        while !held.led_entry(left).await.range.contains(b"k050") {
            // Where it was merged just now, nobody leads the right one any more.
            let asked = try_merge(&held, left, right, directive + 2);
            let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
            assert!(began.elapsed() < WITHIN, "{asked:?}");
        }
        broken += round % 2;
        right = cut(&held, left, directive + 3).await.1.shard_id;
    }
    ended.store(true, SeqCst);
    let mut checked = 0;
    for writer in writers {
        checked += check_last(&*cluster.read().await, writer.await.expect("no writer fails")).await;
    }
    let count = count.load(SeqCst);
    println!("8 merges, {broken} with a leader stopped, {count} writes, {checked} checked");
    assert_eq!(checked, 2 * usize::from(WRITERS));
}
