//! `kill -9` in the middle of a merge: the right neighbour is frozen, or the left one has just subsumed it.

use crate::{
    setting,
    support::{
        cluster::Plan,
        leader::{make_leader_of, order},
        wait, wait_until,
    },
    trial::{TableOf, Trial},
};
use isobar_api::{NodeId, ShardEntry, directive::Step, table::AckLevel};
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeSet, time::Duration};

const TABLE: TableOf =
    TableOf { name: "orders", replicas: 3, ack: AckLevel::Majority, split_keys: &["b"] };
/// One writes in the left shard, one in the right one.
const WRITERS: u64 = 2;
/// Leads the left shard, and so drives the merge.
const LEFT: NodeId = NodeId(1);
/// Leads the right shard.
const RIGHT: NodeId = NodeId(2);
/// Leads nothing.
const THIRD: NodeId = NodeId(3);

/// When the process dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The right shard is frozen, and one of its nodes has not said so yet.
    Frozen,
    /// The driver has just said that it is done.
    Subsumed,
    /// So long after the order.
    After(Duration),
}

/// The table in two halves, led by different nodes.
fn halves(trial: &Trial) -> (ShardEntry, ShardEntry) {
    wait(async {
        let cluster = &trial.cluster;
        let mut shards = cluster.shards(TABLE.name).await;
        while shards.len() < 2 {
            let said = order(cluster, &shards[0], Step::Split { at_key: "b".into() }).await;
            if !said.contains("done") {
                println!("not cut yet: {said}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            shards = cluster.shards(TABLE.name).await;
        }
        shards.sort_by(|a, b| a.range.cmp(&b.range));
        for (shard, node) in [(&shards[0], LEFT), (&shards[1], RIGHT)] {
            make_leader_of(cluster, TABLE.name, node, Some(shard.shard_id)).await;
        }
        loop {
            let mut shards = cluster.shards(TABLE.name).await;
            shards.sort_by(|a, b| a.range.cmp(&b.range));
            // A node that was just started may tell of the time before the cut.
            if let Ok([left, right]) = <[ShardEntry; 2]>::try_from(shards) {
                return (left, right);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

/// Waits until both writers have begun and finished a write after this moment.
fn wait_for_both(trial: &Trial) {
    let began = crate::record::now_unix_ms();
    wait_until("a write to each half", || {
        let record = trial.record();
        let after = record.acks.iter().filter(|ack| ack.tried_at >= began);
        let letters = after.filter_map(|ack| ack.key.split_once('/')?.1.chars().next());
        letters.collect::<BTreeSet<char>>().len() == WRITERS as usize
    });
}

/// Orders a merge, kills a node in the middle of it, and brings it back. Whether the halves are one shard afterwards.
fn merge_and_kill(trial: &mut Trial, victim: NodeId, moment: Moment) -> bool {
    let (left, right) = halves(trial);
    let step = Step::Merge { right: right.shard_id, right_epoch: right.epoch };
    let third_stops = matches!(moment, Moment::Frozen);
    if third_stops {
        // It cannot say that it has the freeze, so the merge waits for it, and the other two have it.
        trial.cluster.node(THIRD).signal(Signal::SIGSTOP);
    }
    let Trial { cluster, .. } = trial;
    wait(async {
        let ordered = order(cluster, &left, step);
        match moment {
            Moment::Subsumed => println!("the driver said: {}", ordered.await),
            Moment::Frozen => drop(tokio::time::timeout(Duration::from_secs(1), ordered).await),
            Moment::After(time) => drop(tokio::time::timeout(time, ordered).await),
        }
    });
    trial.cluster.kill_node(victim);
    if third_stops {
        trial.cluster.node(THIRD).signal(Signal::SIGCONT);
    }
    // Without the dead one: whatever came of the merge, both halves take writes again.
    wait_for_both(trial);
    trial.cluster.start_all();
    wait_for_both(trial);
    let merged = wait(trial.cluster.shards(TABLE.name)).len() == 1;
    println!("{victim} killed {moment:?}: {}", if merged { "merged" } else { "called off" });
    merged
}

#[test]
fn a_merge_that_loses_a_leader_in_the_middle_loses_no_acknowledged_write() {
    let mut trial = Trial::start("merge", Plan::nodes(&["eu", "us", "asia"]), &[TABLE], WRITERS);
    for victim in [LEFT, RIGHT] {
        assert!(!merge_and_kill(&mut trial, victim, Moment::Frozen), "one had not the freeze");
    }
    for victim in [LEFT, RIGHT] {
        assert!(merge_and_kill(&mut trial, victim, Moment::Subsumed), "it was done");
    }
    let mut rng = StdRng::seed_from_u64(setting("ISOBAR_FAULT_SEED", 1));
    let mut merged = 0;
    let rounds = setting("ISOBAR_FAULT_MERGES", 4);
    for round in 0..rounds {
        let moment = Moment::After(Duration::from_millis(rng.random_range(0..60)));
        let victim = if round % 2 == 0 { LEFT } else { RIGHT };
        merged += u64::from(merge_and_kill(&mut trial, victim, moment));
    }
    println!("at random moments: {merged} of {rounds} merged");
    trial.end_without_loss();
}
