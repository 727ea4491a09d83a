//! Several nodes at once, where five replicas can bear it.

use crate::{
    record::now_unix_ms,
    support::{cluster::Plan, wait, wait_until},
    trial::{TableOf, Trial},
};
use isobar_api::{NodeId, table::AckLevel};
use std::collections::BTreeSet;

const TABLE: TableOf = TableOf {
    name: "orders",
    replicas: 5,
    ack: AckLevel::Majority,
    split_keys: &["b", "c", "d", "e"],
};
/// One for each shard.
const WRITERS: u64 = 5;

/// Repairs soon, and does nothing else.
const REPAIRING: &str = "\
[observe]
window_s = 1
windows_min = 2
stale_after_s = 3
[balance]
gain_ms_min = 100000.0
[split]
requests_per_s_max = 1000000.0
[repair]
dead_after_s = 5
";

/// Kills nodes at once and waits until a write to each shard was begun and acknowledged after it.
fn kill_together(trial: &mut Trial, nodes: [NodeId; 2]) {
    let began = now_unix_ms();
    for node in nodes {
        trial.cluster.kill_node(node);
    }
    let writers: BTreeSet<char> = "abcde".chars().take(WRITERS as usize).collect();
    wait_until("a write to each shard", || {
        let record = trial.record();
        let after = record.acks.iter().filter(|ack| ack.tried_at >= began);
        let letters = after.filter_map(|ack| ack.key.split_once('/')?.1.chars().next());
        letters.collect::<BTreeSet<char>>() == writers
    });
    println!(
        "{nodes:?} killed at once: all shards took writes again after {} ms",
        now_unix_ms() - began
    );
}

#[test]
fn two_of_five_at_once_and_then_two_others_are_borne_by_five_replicas() {
    let regions = ["eu", "us", "asia", "eu", "us"];
    let mut trial = Trial::start("two of five", Plan::nodes(&regions), &[TABLE], WRITERS);
    kill_together(&mut trial, [NodeId(1), NodeId(2)]);
    trial.wait_for_acks(200);
    trial.cluster.start_all();
    trial.wait_for_acks(200);
    // Three are left, and two of them are those that came back: without what they missed there is no majority.
    kill_together(&mut trial, [NodeId(4), NodeId(5)]);
    trial.wait_for_acks(200);
    trial.end_without_loss();
}

#[test]
fn two_of_seven_at_once_are_replaced_on_the_nodes_that_are_left() {
    let regions = ["eu", "us", "asia", "eu", "us", "asia", "eu"];
    let plan = Plan { policy: Some(REPAIRING.into()), ..Plan::nodes(&regions) };
    let mut trial = Trial::start("two of seven", plan, &[TABLE], WRITERS);
    let dead = [NodeId(1), NodeId(2)];
    let began = now_unix_ms();
    kill_together(&mut trial, dead);
    let healed = || {
        let shards = wait(trial.cluster.shards(TABLE.name));
        let whole = |shard: &isobar_api::ShardEntry| {
            let voters: Vec<NodeId> = shard.voters().collect();
            voters.len() == 5 && !voters.iter().any(|node| dead.contains(node))
        };
        shards.iter().all(whole)
    };
    wait_until("five living voters of every shard", healed);
    println!("two of seven: every shard had five living voters after {} ms", now_unix_ms() - began);
    trial.wait_for_acks(200);
    trial.end_without_loss();
}
