//! Writes are applied once, whatever is lost; small requests travel together.

mod fake;

use fake::{Cluster, entry};
use isobar_api::{ErrorCode, KeyRange, NodeId, ShardEntry};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

async fn open(cluster: &Cluster) -> TableHandle {
    let config = ClientConfig {
        seeds: cluster.seeds.clone(),
        request_timeout_ms: 5_000,
        attempt_timeout_ms: 200,
        ..ClientConfig::default()
    };
    let client = Client::connect(config).await.expect("the fake answers");
    client.table("orders").await.expect("the fake has it")
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_repeated_under_its_sequence_and_applied_once() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    cluster.state().lose_answers = 2;
    let outcome = orders
        .compare_and_set("k", isobar_api::Version::ABSENT, Some("v".into()))
        .await
        .expect("repeated");
    assert!(outcome.applied && outcome.repeated);
    let state = cluster.state();
    let sequences: Vec<_> = state.seen.iter().flat_map(|s| &s.writes).map(|w| w.1).collect();
    assert_eq!(sequences, [1, 1, 1]);
    assert_eq!(state.clock, 1, "applied once");
}

#[tokio::test]
async fn a_node_that_hangs_costs_one_attempt_and_the_sequence_stays() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    cluster.state().work = Duration::from_secs(60);
    let writing = tokio::spawn({
        let orders = orders.clone();
        async move { orders.put("k", "v").await }
    });
    while cluster.state().seen.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.state().work = Duration::ZERO;
    writing.await.expect("no panic").expect("the second attempt");
    let state = cluster.state();
    let writes: BTreeSet<_> = state.seen.iter().flat_map(|s| s.writes.clone()).collect();
    assert_eq!(writes.len(), 1, "one client id, one sequence: {writes:?}");
    assert!(state.seen.len() >= 2);
}

#[tokio::test]
async fn who_waits_on_a_stream_that_breaks_need_not_wait_for_the_timeout() {
    let cluster = Cluster::start(&["eu"]).await;
    let config = ClientConfig {
        seeds: cluster.seeds.clone(),
        request_timeout_ms: 60_000,
        attempt_timeout_ms: 20_000,
        ..ClientConfig::default()
    };
    let client = Client::connect(config).await.expect("the fake answers");
    let orders = client.table("orders").await.expect("the fake has it");
    cluster.state().lose_answers = 1;
    let began = Instant::now();
    orders.put("k", "v").await.expect("the second attempt");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_write_without_any_answer_says_that_it_may_have_been_applied() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await.with_timeout_ms(150);
    cluster.state().lose_answers = u32::MAX;
    let error = orders.put("k", "v").await.expect_err("never answered");
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
    assert!(error.message.contains("may or may not"), "{error}");
}

#[tokio::test]
async fn answered_writes_may_be_forgotten_and_clients_have_ids_of_their_own() {
    let cluster = Cluster::start(&["eu"]).await;
    let (one, two) = (open(&cluster).await, open(&cluster).await);
    for _ in 0..3 {
        one.put("k", "v").await.expect("stored");
    }
    two.put("k", "v").await.expect("stored");
    let state = cluster.state();
    let writes: Vec<_> = state.seen.iter().flat_map(|s| s.writes.clone()).collect();
    let numbers: Vec<_> = writes.iter().map(|w| (w.1, w.2)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2), (3, 3), (1, 1)]);
    assert!(writes.iter().all(|w| w.0.len() == 16));
    assert_ne!(writes[0].0, writes[3].0);
}

#[tokio::test]
async fn concurrent_requests_share_messages_and_a_lonely_one_leaves_at_once() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    cluster.state().work = Duration::from_millis(30);
    let reads: Vec<_> = (0..200)
        .map(|i| {
            let orders = orders.clone();
            tokio::spawn(
                async move { orders.get(format!("k{i}").as_bytes(), ReadLevel::Local).await },
            )
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.expect("no panic").expect("read"), None);
    }
    let (requests, items) = {
        let state = cluster.state();
        (state.seen.len(), state.seen.iter().map(|s| s.items).sum::<usize>())
    };
    assert_eq!(items, 200);
    assert!(requests <= 20, "{requests} requests for 200 reads");

    cluster.clear_seen();
    orders.get(b"k", ReadLevel::Local).await.expect("read");
    assert_eq!(cluster.state().seen.len(), 1);
}

#[tokio::test]
async fn a_long_way_does_not_make_requests_wait_for_one_another() {
    let cluster = Cluster::start(&["eu"]).await;
    let config = ClientConfig::with_seeds(cluster.seeds.clone());
    let client = Client::connect(config).await.expect("the fake answers");
    let orders = client.table("orders").await.expect("the fake has it");
    let work = Duration::from_millis(400);
    cluster.state().work = work;
    let read = |key: String| {
        let orders = orders.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            orders.get(key.as_bytes(), ReadLevel::Local).await.expect("read");
            began.elapsed()
        })
    };
    let mut reads = Vec::new();
    for i in 0..20 {
        reads.push(read(format!("k{i}")));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for read in reads {
        let took = read.await.expect("no panic");
        assert!(took < work * 3 / 2, "{took:?} for one round trip of {work:?}");
    }
}

#[tokio::test]
async fn reads_do_not_wait_behind_writes() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await.with_timeout_ms(60_000);
    cluster.state().work = Duration::from_secs(3_600);
    let writes: Vec<_> = (0..64)
        .map(|i| {
            let orders = orders.clone();
            tokio::spawn(async move { orders.put(format!("k{i}"), "v").await })
        })
        .collect();
    while cluster.state().seen.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.state().work = Duration::ZERO;
    assert_eq!(orders.get(b"other", ReadLevel::Local).await.expect("own lane"), None);
    writes.iter().for_each(|w| w.abort());
}

#[tokio::test]
async fn a_stuck_shard_holds_up_no_other_shard_of_its_node() {
    let cluster = Cluster::start(&["eu"]).await;
    cluster.state().shards = vec![entry(1, "", "m", 1, &[1], 1), entry(2, "m", "", 1, &[1], 1)];
    let config = ClientConfig::with_seeds(cluster.seeds.clone());
    let client = Client::connect(config).await.expect("the fake answers");
    let orders = client.table("orders").await.expect("the fake has it");
    cluster.state().stuck.insert(2);
    let short = orders.clone().with_timeout_ms(600);
    for _ in 0..3 {
        // Together in one request: the first to ask takes both along.
        let healthy = async {
            let began = Instant::now();
            orders.put("a", "v").await.expect("stored");
            began.elapsed()
        };
        let (stuck, took) = tokio::join!(short.put("z", "v"), healthy);
        assert_eq!(stuck.expect_err("stuck").code, ErrorCode::DeadlineExceeded);
        assert!(took < Duration::from_millis(300), "{took:?} behind a stuck shard");
    }
    cluster.state().stuck.clear();
    orders.put("z", "v").await.expect("it answers again");
}

#[tokio::test]
async fn answers_that_do_not_fit_are_asked_for_in_parts() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    let keys: Vec<String> = (0..300).map(|i| format!("k{i:03}")).collect();
    for key in keys.iter().take(3) {
        orders.put(key.clone(), "v").await.expect("stored");
    }
    cluster.state().answer_keys_max = Some(40);
    let rows = orders.multi_get(&keys, ReadLevel::Local).await.expect("in parts");
    assert_eq!(rows.iter().flatten().count(), 3);
    cluster.state().answer_keys_max = Some(0);
    let error = orders.get(b"k", ReadLevel::Local).await.expect_err("one row is too large");
    assert_eq!(error.code, ErrorCode::BatchSize);
}

#[tokio::test]
async fn a_scan_ends_early_rather_than_fill_the_memory() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    let large = vec![7; 1 << 20];
    cluster.state().rows = (0..72).map(|key| (vec![key], (large.clone(), 1))).collect();
    // Each shard is a page: eight rows.
    let cut = |n: usize| if n == 32 { vec![] } else { vec![(8 * n) as u8] };
    cluster.state().shards = (0..32)
        .map(|n| {
            let range = KeyRange { start: if n == 0 { vec![] } else { cut(n) }, end: cut(n + 1) };
            ShardEntry { range, ..entry(n as u64 + 1, "", "", 2, &[1], 1) }
        })
        .collect();
    let page = orders.scan(&KeyRange::all(), 1_000, ReadLevel::Local).await.expect("scanned");
    assert_eq!((page.rows.len(), page.resume), (64, Some(vec![64])));
}

#[tokio::test]
async fn a_cluster_that_is_gone_fails_in_time_and_serves_again_when_back() {
    let cluster = Cluster::start(&["eu", "us"]).await;
    let orders = open(&cluster).await;
    cluster.state().down.extend([NodeId(1), NodeId(2)]);
    let short = orders.clone().with_timeout_ms(150);
    let error = short.get(b"k", ReadLevel::Local).await.expect_err("all down");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    cluster.state().down.clear();
    orders.put("k", "v").await.expect("back");
}

#[tokio::test]
async fn a_refusal_for_overload_is_waited_out_and_nothing_was_applied_twice() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    cluster.state().overloads = 2;
    cluster.state().overload_retry_ms = 700;
    let began = Instant::now();
    orders.put("k", "v").await.expect("the third attempt");
    assert!(began.elapsed() >= Duration::from_millis(1_400), "700 ms were asked for, twice");
    assert_eq!(cluster.state().seen.len(), 3);
}

/// Operations beyond the retry budget get the node's refusal, and most are refused without asking, so that what a node
/// refuses does not come back as load. When it takes everything again, everything is sent again.
#[tokio::test]
async fn a_node_that_refuses_everything_is_asked_less_often_than_there_are_operations() {
    const OPERATIONS: usize = 2_000;
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster).await;
    cluster.state().overloads = u32::MAX;
    let mut refused = 0;
    for _ in 0..OPERATIONS / 50 {
        let writes: Vec<_> = (0..50)
            .map(|_| {
                let orders = orders.clone();
                tokio::spawn(async move { orders.put("k", "v").await })
            })
            .collect();
        for write in writes {
            let error = write.await.expect("no panic").expect_err("refused");
            assert_eq!((error.code, error.retry_after_ms), (ErrorCode::Overloaded, 10), "{error}");
            refused += 1;
        }
    }
    let asked: usize = cluster.state().seen.iter().map(|seen| seen.items).sum();
    assert_eq!(refused, OPERATIONS);
    // A tenth always goes. At most: a hundred retries were saved, a tenth is earned.
    let most = OPERATIONS + 100 + OPERATIONS / 10;
    assert!((OPERATIONS / 10..=most).contains(&asked), "{asked} requests for {OPERATIONS}");
    cluster.state().overloads = 0;
    let mut in_a_row = 0;
    for _ in 0..50_000 {
        in_a_row = if orders.put("k", "v").await.is_ok() { in_a_row + 1 } else { 0 };
        if in_a_row == 100 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the node takes everything, and the client still refuses");
}
