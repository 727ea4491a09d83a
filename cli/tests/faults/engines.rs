//! One cluster on two storage engines.

use crate::support::{
    cluster::{Cluster, Plan},
    leader::make_leader,
    refused, wait,
};
use isobar_api::NodeId;
use isobar_client::ReadLevel;
use isobar_node::config::EngineKind::{Redb, Rocksdb};

const N1: NodeId = NodeId(1);
const N3: NodeId = NodeId(3);
const ROWS: usize = 250;

fn row(number: usize) -> (String, String) {
    (format!("k{number:05}"), format!("{number}:{}", "v".repeat(200)))
}

/// One after the other, so that each is a log entry.
async fn put_rows(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    let table = cluster.client().await.table("orders").await.expect("the table is there");
    for number in numbers {
        let (key, value) = row(number);
        table.put(key, value).await.expect("acknowledged");
    }
}

async fn check_rows(cluster: &Cluster, count: usize) {
    let table = cluster.client().await.table("orders").await.expect("the table is there");
    let keys: Vec<String> = (0..count).map(|number| row(number).0).collect();
    let rows = table.multi_get(&keys, ReadLevel::Linearizable).await.expect("it is served");
    for (number, found) in rows.into_iter().enumerate() {
        let (key, value) = row(number);
        assert_eq!(found.map(|row| row.value), Some(value.into()), "{key}");
    }
}

/// Writes while a node is away, which must catch up before it can lead, and then answers from its own rows.
fn catch_up_and_lead(cluster: &mut Cluster, sleeper: NodeId, numbers: std::ops::Range<usize>) {
    let end = numbers.end;
    cluster.stop_node(sleeper);
    wait(put_rows(cluster, numbers));
    cluster.start_node(sleeper);
    wait(make_leader(cluster, "orders", sleeper));
    wait(check_rows(cluster, end));
}

#[test]
fn nodes_of_one_cluster_may_have_different_engines_and_keep_their_own() {
    let mut cluster = Cluster::start(Plan {
        engines: vec![Rocksdb, Rocksdb, Redb],
        ..Plan::nodes(&["eu", "us", "asia"])
    });
    assert!(cluster.data_dir(N3).join("state/rows.redb").exists(), "n3 is on redb");
    wait(cluster.create_table("orders", 3, &[]));
    wait(make_leader(&cluster, "orders", N1));
    catch_up_and_lead(&mut cluster, N3, 0..ROWS);
    catch_up_and_lead(&mut cluster, N1, ROWS..2 * ROWS);

    cluster.kill_node(N3);
    let config = cluster.folder().join("n3.toml");
    let config = config.to_str().expect("a plain path");
    let said = refused(["node", "--config", config, "--engine", "rocksdb"]);
    assert!(said.contains("ISO-3004") && said.contains("redb"), "{said}");
    cluster.start_node(N3);
    wait(make_leader(&cluster, "orders", N3));
    wait(check_rows(&cluster, 2 * ROWS));
}
