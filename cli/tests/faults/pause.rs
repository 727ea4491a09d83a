//! Processes that are stopped and go on as if nothing had been.

use crate::{
    record::{number_of, value},
    setting,
    support::{
        cluster::{Cluster, Plan},
        leader::make_leader,
        wait,
    },
};
use isobar_api::{
    NodeId, ShardEntry,
    proto::{
        GetOp, KvItem, KvRequest, ReadLevel, ReadOptions, kv_client::KvClient, kv_item::Op,
        kv_result,
    },
};
use nix::sys::signal::Signal;
use std::time::Duration;
use tonic::transport::Channel;

const N1: NodeId = NodeId(1);
/// Reads that wait for the stopped node when it wakes up.
const READS: usize = 40;

/// Reads a key on one node, whoever leads: the write's number, or what the node said instead.
async fn read_on(channel: Channel, entry: ShardEntry, key: &str) -> Result<u64, String> {
    let read = ReadOptions { level: ReadLevel::Linearizable.into(), staleness_ms: 0 };
    let op = GetOp { keys: vec![key.to_owned().into()], read: Some(read) };
    let item = KvItem {
        shard_id: entry.shard_id.0,
        epoch: Some(entry.epoch.into()),
        op: Some(Op::Get(op)),
    };
    let request = KvRequest { items: vec![item], deadline_ms: 8_000, ..KvRequest::default() };
    let answers = KvClient::new(channel).execute(request).await.map_err(|why| why.to_string())?;
    let answer = answers.into_inner().message().await.map_err(|why| why.to_string())?;
    match answer.and_then(|answer| answer.results.into_iter().next()).and_then(|r| r.result) {
        Some(kv_result::Result::Get(get)) => {
            let row = get.rows.into_iter().next();
            Ok(row.and_then(|row| row.value).map_or(0, |value| number_of(&value)))
        }
        Some(kv_result::Result::Error(error)) => Err(error.message),
        other => Err(format!("{other:?}")),
    }
}

/// A leader is stopped, the others elect, a write is acknowledged, reads are sent to the stopped one, and then it wakes
/// up: it still takes itself for the leader, and its reads are at once there to be answered.
async fn wake_with_reads_waiting(cluster: &mut Cluster, round: u64) -> (u64, usize) {
    make_leader(cluster, "orders", N1).await;
    let table = cluster.client().await.table("orders").await.expect("the table is there");
    let before = table.put("k", value(2 * round)).await.expect("the leader lives");
    let entry = cluster.shards("orders").await.remove(0);
    let address = format!("http://{}", cluster.address(N1));
    let channel = Channel::from_shared(address).expect("an address").connect().await;
    let channel = channel.expect("it lives");
    let warm = read_on(channel.clone(), entry.clone(), "k").await;
    assert_eq!(warm, Ok(2 * round), "the leader's own read");
    cluster.node(N1).signal(Signal::SIGSTOP);
    let began = std::time::Instant::now();
    let after = table.put("k", value(2 * round + 1)).await.expect("the others elect");
    let resumed = began.elapsed();
    assert!(after > before);
    let reads: Vec<_> =
        (0..READS).map(|_| tokio::spawn(read_on(channel.clone(), entry.clone(), "k"))).collect();
    // They must be in the socket, not in this process, when it wakes up.
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.node(N1).signal(Signal::SIGCONT);
    let mut answered = 0;
    for read in reads {
        match read.await.expect("it does not panic") {
            Ok(number) => {
                assert_eq!(number, 2 * round + 1, "a read of the past from a leader of the past");
                answered += 1;
            }
            Err(why) => assert!(!why.contains("panic"), "{why}"),
        }
    }
    (resumed.as_millis() as u64, answered)
}

#[test]
fn a_leader_that_was_stopped_serves_no_old_reads_when_it_wakes_up() {
    let mut cluster = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    wait(async {
        cluster.create_table("orders", 3, &[]).await;
        for round in 1..=setting("ISOBAR_FAULT_PAUSES", 3) {
            let (resumed_ms, answered) = wake_with_reads_waiting(&mut cluster, round).await;
            println!(
                "stopped leader: writes resumed after {resumed_ms} ms; of {READS} reads that waited for it, \
                 {answered} were answered, none old"
            );
        }
    });
}
