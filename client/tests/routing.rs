//! Where requests go, and where they go next when that fails.

mod fake;

use fake::{Cluster, entry, region};
use isobar_api::{ErrorCode, KeyRange, Version, rtt::RttMatrix};
use isobar_client::{Client, ClientConfig, Mutation, ReadLevel, TableHandle, WanEmulation};
use std::time::{Duration, Instant};

async fn open(cluster: &Cluster, config: ClientConfig) -> TableHandle {
    let config = ClientConfig { seeds: cluster.seeds.clone(), ..config };
    let client = Client::connect(config).await.expect("the fake answers");
    client.table("orders").await.expect("the fake has it")
}

fn fast() -> ClientConfig {
    ClientConfig { request_timeout_ms: 5_000, attempt_timeout_ms: 300, ..ClientConfig::default() }
}

fn distances() -> RttMatrix {
    let mut rtt = RttMatrix::default();
    for (a, b, ms) in [("eu", "us", 80.0), ("eu", "ap", 160.0), ("us", "ap", 120.0)] {
        rtt.set(&region(a), &region(b), ms);
    }
    rtt
}

#[tokio::test]
async fn rows_come_back_across_shards() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    cluster.split();
    let orders = open(&cluster, fast()).await;
    for key in ["a", "b", "n", "z"] {
        orders.put(key, format!("v-{key}")).await.expect("stored");
    }
    let rows = orders.multi_get(&["z", "nope", "a"], ReadLevel::Linearizable).await.expect("read");
    let values: Vec<_> = rows.iter().map(|r| r.as_ref().map(|r| r.value.as_ref())).collect();
    assert_eq!(values, [Some(&b"v-z"[..]), None, Some(b"v-a")]);

    let page = orders.scan(&KeyRange::all(), 3, ReadLevel::Local).await.expect("scanned");
    let keys: Vec<_> = page.rows.iter().map(|r| r.key.as_ref()).collect();
    assert_eq!(keys, [&b"a"[..], b"b", b"n"]);
    let rest = KeyRange { start: page.resume.expect("one is left"), end: vec![] };
    let page = orders.scan(&rest, 3, ReadLevel::Local).await.expect("scanned");
    assert_eq!((page.rows.len(), page.resume), (1, None));

    orders.delete("a").await.expect("deleted");
    assert_eq!(orders.get(b"a", ReadLevel::Linearizable).await.expect("read"), None);
}

#[tokio::test]
async fn a_stale_map_is_corrected_by_the_error_alone() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    cluster.split();
    let asked = cluster.state().map_requests;
    orders.put("z", "1").await.expect("routed again");
    assert!(orders.get(b"z", ReadLevel::Linearizable).await.expect("read").is_some());
    assert_eq!(orders.shard_of(b"z").expect("known").shard_id.0, 2);
    assert_eq!(cluster.state().map_requests, asked, "no map was fetched");
}

#[tokio::test]
async fn a_multi_get_over_a_split_is_regrouped() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    for key in ["a", "z"] {
        orders.put(key, key).await.expect("stored");
    }
    cluster.split();
    let rows = orders.multi_get(&["z", "a"], ReadLevel::Linearizable).await.expect("read");
    assert!(rows[0].as_ref().is_some_and(|r| r.value == "z"));
    assert!(rows[1].as_ref().is_some_and(|r| r.value == "a"));
}

#[tokio::test]
async fn a_not_leader_hint_is_followed() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    let asked = cluster.state().map_requests;
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 3)];
    orders.put("k", "v").await.expect("the hint names node 3");
    assert_eq!((cluster.requests_to(1), cluster.requests_to(2), cluster.requests_to(3)), (1, 0, 1));
    assert_eq!(cluster.state().map_requests, asked);
}

#[tokio::test]
async fn a_read_that_took_a_detour_teaches_the_way() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    orders.put("k", "v").await.expect("node 1 leads");
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 3)];
    cluster.state().followers_read = true;
    cluster.clear_seen();
    for _ in 0..3 {
        let row = orders.get(b"k", ReadLevel::Linearizable).await.expect("read");
        assert!(row.is_some());
    }
    assert_eq!((cluster.requests_to(1), cluster.requests_to(3)), (1, 2));
}

#[tokio::test]
async fn a_dead_leader_is_replaced_by_asking_the_others() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    cluster.state().down.insert(isobar_api::NodeId(1));
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 2)];
    orders.put("k", "v").await.expect("node 2 leads now");
    assert!(orders.get(b"k", ReadLevel::Linearizable).await.expect("read").is_some());
}

#[tokio::test]
async fn a_leaderless_shard_is_retried_until_it_has_a_leader() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, fast()).await;
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 0)];
    let writing = tokio::spawn({
        let orders = orders.clone();
        async move { orders.put("k", "v").await }
    });
    while cluster.state().seen.len() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 2)];
    writing.await.expect("no panic").expect("written once there is a leader");
}

#[tokio::test]
async fn a_shard_that_stays_leaderless_is_reported_as_unavailable() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 0)];
    let orders = open(&cluster, fast()).await.with_timeout_ms(150);
    let error = orders.put("k", "v").await.expect_err("nobody leads");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
}

#[tokio::test]
async fn local_reads_go_to_the_closest_replica_and_fall_back() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let config = ClientConfig { region: Some(region("us")), rtt: distances(), ..fast() };
    let orders = open(&cluster, config).await;
    orders.put("k", "v").await.expect("stored");
    cluster.clear_seen();
    for _ in 0..3 {
        orders.get(b"k", ReadLevel::Local).await.expect("read");
    }
    assert_eq!(cluster.requests_to(2), 3);
    cluster.state().down.insert(isobar_api::NodeId(2));
    assert!(orders.get(b"k", ReadLevel::Local).await.expect("the next closest").is_some());
    assert_eq!((cluster.requests_to(1), cluster.requests_to(3)), (1, 0), "eu is closer than ap");
}

#[tokio::test]
async fn a_replica_on_a_closed_port_is_passed_over() {
    let cluster = Cluster::start(&["eu", "us"]).await;
    cluster.add_dead_member(3, "ap").await;
    cluster.state().shards = vec![entry(1, "", "", 1, &[1, 2, 3], 1)];
    let orders = open(&cluster, ClientConfig { region: Some(region("ap")), ..fast() }).await;
    assert_eq!(orders.get(b"k", ReadLevel::Local).await.expect("another answers"), None);
}

#[tokio::test]
async fn a_replica_that_is_too_stale_is_passed_over() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let orders = open(&cluster, ClientConfig { region: Some(region("us")), ..fast() }).await;
    orders.put("k", "v").await.expect("stored");
    cluster.state().stale_nodes.insert(isobar_api::NodeId(2));
    let row = orders.get(b"k", ReadLevel::Bounded(10)).await.expect("another replica");
    assert!(row.is_some() && cluster.requests_to(2) == 1);
}

#[tokio::test]
async fn a_batch_over_two_shards_is_refused_before_it_is_sent() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    cluster.split();
    let orders = open(&cluster, fast()).await;
    let batch = [Mutation::put("a", "1"), Mutation::put("z", "2")];
    let error = orders.batch(&batch).await.expect_err("two shards");
    assert_eq!(error.code, ErrorCode::CrossShard);
    assert!(cluster.state().seen.is_empty());
    let batch = [Mutation::put("a", "1"), Mutation::put("b", "2")];
    assert!(orders.batch(&batch).await.expect("one shard").applied);
}

#[tokio::test]
async fn emulated_distance_delays_only_other_regions_and_nobody_behind() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    let wan = WanEmulation { rtt: distances() };
    let config = ClientConfig { region: Some(region("us")), wan: Some(wan), ..fast() };
    let orders = open(&cluster, config).await;
    let started = Instant::now();
    let far: Vec<_> = (0..100)
        .map(|i| {
            let orders = orders.clone();
            tokio::spawn(async move { orders.put(format!("k{i}"), "v").await })
        })
        .collect();
    for write in far {
        write.await.expect("no panic").expect("stored");
    }
    assert!(started.elapsed() >= Duration::from_millis(80), "us to eu and back takes 80 ms");
    // Had they waited in line, each would have had a request of its own.
    assert!(cluster.requests_to(1) < 50, "{} requests", cluster.requests_to(1));
    cluster.clear_seen();
    assert!(orders.get(b"k1", ReadLevel::Local).await.expect("read").is_some());
    assert_eq!(cluster.requests_to(2), 1, "the own region is closest");
}

#[tokio::test]
async fn compare_and_set_tells_the_version_it_met() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster, fast()).await;
    let first =
        orders.compare_and_set("k", Version::ABSENT, Some("1".into())).await.expect("asked");
    assert!(first.applied);
    let again =
        orders.compare_and_set("k", Version::ABSENT, Some("2".into())).await.expect("asked");
    assert!(!again.applied);
    assert_eq!(again.current, [first.version]);
    let next = orders.compare_and_set("k", first.version, None).await.expect("asked");
    assert!(next.applied);
}

#[tokio::test]
async fn a_cluster_that_took_over_the_address_is_left_alone() {
    let cluster = Cluster::start(&["eu"]).await;
    let orders = open(&cluster, fast()).await.with_timeout_ms(150);
    orders.put("k", "mine").await.expect("stored");
    cluster.state().cluster_id = "another".into();
    let error = orders.put("k", "not theirs").await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert_eq!(cluster.state().rows[&b"k"[..]].0, b"mine");
}

#[tokio::test]
async fn unknown_tables_and_silent_seeds_have_their_codes() {
    let cluster = Cluster::start(&["eu"]).await;
    let client =
        Client::connect(ClientConfig::with_seeds(cluster.seeds.clone())).await.expect("up");
    let error = client.table("nope").await.expect_err("no such table");
    assert_eq!(error.code, ErrorCode::NoSuchTable);
    assert_eq!(client.create_table(&fake::table().spec).await.expect("equal"), fake::table());
    let mut other = fake::table().spec;
    other.rule.replicas = 1;
    let error = client.create_table(&other).await.expect_err("another spec");
    assert_eq!(error.code, ErrorCode::TableExists);

    let silent = Cluster::start(&[]).await;
    silent.add_dead_member(1, "eu").await;
    let address = silent.state().members[0].address.clone();
    let config = ClientConfig { request_timeout_ms: 200, ..ClientConfig::with_seeds([address]) };
    let error = Client::connect(config).await.expect_err("nobody listens");
    assert_eq!(error.code, ErrorCode::Unreachable);
}

#[tokio::test]
async fn an_operators_map_is_complete_whoever_knows_what() {
    let cluster = Cluster::start(&["eu", "us", "ap"]).await;
    cluster.split();
    let shards = cluster.state().shards.clone();
    let knows = |part: &[usize]| part.iter().map(|i| shards[*i].clone()).collect();
    cluster.state().published_by = [(1, knows(&[])), (2, knows(&[0])), (3, knows(&[1]))]
        .into_iter()
        .map(|(node, part)| (isobar_api::NodeId(node), part))
        .collect();
    let seeds = cluster.seeds.clone();
    let client = Client::connect(ClientConfig::with_seeds(seeds)).await.expect("up");
    assert_eq!(client.shard_map().await.expect("all asked"), shards);
}
