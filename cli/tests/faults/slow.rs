//! Peers and clients that are slow without being gone: what they cost is bounded, and nobody else waits for them.

use crate::support::{
    cluster::{Cluster, Plan},
    leader::make_leader,
    wait,
};
use isobar_api::{
    NodeId, ShardEntry,
    proto::{
        GetOp, KvItem, KvRequest, KvResponse, ReadLevel as WireLevel, ReadOptions,
        kv_client::KvClient, kv_item::Op, kv_result,
    },
};
use isobar_benches::usage::process_rss_bytes;
use isobar_client::ReadLevel;
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::{Streaming, transport::Channel};

const N1: NodeId = NodeId(1);
const N3: NodeId = NodeId(3);
/// Rows of a mebibyte each.
const ROWS: usize = 8;
const REQUESTS: usize = 200;
const SLOW_CLIENTS: usize = 4;

fn rss_mib(cluster: &mut Cluster, node: NodeId) -> u64 {
    process_rss_bytes(cluster.node(node).id()).expect("it runs") >> 20
}

async fn service(cluster: &Cluster, node: NodeId) -> KvClient<Channel> {
    let address = format!("http://{}", cluster.address(node));
    let channel = Channel::from_shared(address).expect("an address").connect().await;
    KvClient::new(channel.expect("it lives"))
}

/// A read of what a node has, whoever leads.
fn local_read(entry: &ShardEntry, keys: Vec<String>) -> KvRequest {
    let read = ReadOptions { level: WireLevel::Local.into(), staleness_ms: 0 };
    let keys = keys.into_iter().map(Into::into).collect();
    let item = KvItem {
        shard_id: entry.shard_id.0,
        epoch: Some(entry.epoch.into()),
        op: Some(Op::Get(GetOp { keys, read: Some(read) })),
    };
    KvRequest { items: vec![item], deadline_ms: 60_000, ..KvRequest::default() }
}

/// Asks for 8 MiB two hundred times, and takes none of it.
async fn ask_and_take_nothing(cluster: &Cluster, entry: &ShardEntry) -> Streaming<KvResponse> {
    let request = local_read(entry, (0..ROWS).map(|row| format!("row-{row}")).collect());
    let numbered = move |at| KvRequest { first_item: at, ..request.clone() };
    let requests = tokio_stream::iter((0..REQUESTS as u64).map(numbered));
    let requests = requests.chain(tokio_stream::pending());
    let mut service = service(cluster, N1).await.max_decoding_message_size(16 << 20);
    service.pipeline(requests).await.expect("the stream opens").into_inner()
}

/// The first byte of a row as a node has it.
async fn first_byte(service: &mut KvClient<Channel>, entry: &ShardEntry, key: &str) -> Option<u8> {
    let answer = service.execute(local_read(entry, vec![key.into()])).await.ok()?;
    let message = answer.into_inner().message().await.ok()??;
    match message.results.into_iter().next()?.result? {
        kv_result::Result::Get(get) => get.rows.first()?.value.as_ref()?.first().copied(),
        _ => None,
    }
}

#[test]
fn clients_that_take_no_answers_cost_little_and_stop_nobody() {
    let mut cluster = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    wait(async {
        cluster.create_table("orders", 3, &[]).await;
        make_leader(&cluster, "orders", N1).await;
        let entry = cluster.shards("orders").await.remove(0);
        let orders = cluster.client().await.table("orders").await.expect("the table is there");
        for row in 0..ROWS {
            orders.put(format!("row-{row}"), vec![row as u8; 1 << 20]).await.expect("room");
        }
        let before = rss_mib(&mut cluster, N1);
        let mut slow = Vec::new();
        for _ in 0..SLOW_CLIENTS {
            slow.push(ask_and_take_nothing(&cluster, &entry).await);
        }
        for number in 0..300_u32 {
            orders.put("k", number.to_string()).await.expect("others are served");
            let row = orders.get(b"k", ReadLevel::Linearizable).await.expect("others are served");
            assert_eq!(row.expect("it is there").value, number.to_string().as_bytes());
        }
        let during = rss_mib(&mut cluster, N1);
        let asked_mib = SLOW_CLIENTS * REQUESTS * ROWS;
        println!("{asked_mib} MiB asked for and not taken: n1 from {before} to {during} MiB");
        assert!(during < before + 300, "from {before} to {during} MiB");
        // They were not forgotten: one that takes answers again gets them all.
        let (mut answers, mut got) = (slow.remove(0), 0);
        while got < REQUESTS {
            let answer = answers.message().await.expect("it goes on").expect("it goes on");
            got += answer.results.len();
        }
    });
}

#[test]
fn a_follower_that_stands_still_costs_the_leader_little_and_stops_no_writes() {
    const WRITERS: usize = 16;
    const WRITES: usize = 250;
    const VALUE_BYTES: usize = 64 << 10;
    let mut cluster = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    wait(async {
        cluster.create_table("orders", 3, &[]).await;
        make_leader(&cluster, "orders", N1).await;
        let orders = cluster.client().await.table("orders").await.expect("the table is there");
        orders.put("k-0", vec![0; VALUE_BYTES]).await.expect("all live");
        let entry = cluster.shards("orders").await.remove(0);
        let before = rss_mib(&mut cluster, N1);
        cluster.node(N3).signal(Signal::SIGSTOP);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let orders = orders.clone();
                tokio::spawn(async move {
                    // One row again and again, so that memory is the log's and not the rows'.
                    for write in 0..WRITES {
                        let value = vec![write as u8; VALUE_BYTES];
                        orders.put(format!("k-{writer}"), value).await.expect("two of three write");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("it does not panic");
        }
        let during = rss_mib(&mut cluster, N1);
        let written_mib = (WRITERS * WRITES * VALUE_BYTES) >> 20;
        println!("{written_mib} MiB behind a stopped follower: n1 from {before} to {during} MiB");
        cluster.node(N3).signal(Signal::SIGCONT);
        let mut n3 = service(&cluster, N3).await;
        for writer in 0..WRITERS {
            let key = format!("k-{writer}");
            while first_byte(&mut n3, &entry, &key).await != Some((WRITES - 1) as u8) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(during < before + 180, "from {before} to {during} MiB");
    });
}
