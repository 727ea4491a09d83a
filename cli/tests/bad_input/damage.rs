//! Bytes that changed on disk.

use crate::{
    check_rows, open_table, put_rows,
    support::{
        cluster::{Cluster, Plan},
        leader::make_leader,
    },
    wait,
};
use isobar_api::NodeId;
use std::{fs, path::Path};

const ROWS: usize = 60;

/// Changes bytes in the middle of what is written in every file of a folder that has the ending (room that is made
/// beforehand is zeros). Returns how many files that were.
fn damage(dir: &Path, ending: &str) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|found| found != ending) {
            continue;
        }
        let mut bytes = fs::read(&path).expect("readable");
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if written < 200 {
            continue;
        }
        let middle = written / 2;
        bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).expect("writable");
        damaged += 1;
    }
    damaged
}

/// A cluster with rows, and the node that leads them stopped.
fn cluster_without_its_leader() -> (Cluster, NodeId) {
    let mut cluster = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    let leader = wait(async {
        cluster.create_table("orders", 3, &[]).await;
        put_rows(&open_table(&cluster).await, 0..ROWS).await;
        cluster.shards("orders").await[0].leader.expect("shards() waits for it")
    });
    cluster.stop_node(leader);
    (cluster, leader)
}

/// Changes a byte in the first block, where the rows are, of the largest table file: nothing reads that at a start.
fn damage_rows(dir: &Path) {
    let files = fs::read_dir(dir)
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").path());
    let tables = files.filter(|path| path.extension().is_some_and(|found| found == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()));
    let path = largest.expect("the rows are in a file");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[100] ^= 0x55;
    fs::write(&path, bytes).expect("writable");
}

fn assert_serves(cluster: &Cluster) {
    wait(async {
        let table = open_table(cluster).await;
        put_rows(&table, ROWS..ROWS + 5).await;
        check_rows(&table, ROWS + 5).await;
    });
}

#[test]
fn a_damaged_log_record_is_named_and_others_serve() {
    let (mut cluster, node) = cluster_without_its_leader();
    assert!(damage(&cluster.data_dir(node).join("log"), "seg") > 0, "the log is in no file");
    cluster.start_node(node);
    assert!(!cluster.node(node).wait().success(), "{}", cluster.node(node).said());
    let said = cluster.node(node).said();
    assert!(said.contains("error ISO-3001: "), "{said}");
    assert!(said.contains("next: the replica is stopped; drain or replace it"), "{said}");
    assert_serves(&cluster);
}

#[test]
fn a_damaged_table_file_is_named_and_others_serve() {
    let (mut cluster, node) = cluster_without_its_leader();
    // What the log of the engine holds becomes table files at the next start.
    cluster.start_node(node);
    cluster.node(node).wait_ready();
    cluster.stop_node(node);
    assert!(damage(&cluster.data_dir(node).join("state"), "sst") > 0, "the rows are in no file");
    cluster.start_node(node);
    assert_serves(&cluster);
    // At its start, or when something reads that place.
    crate::support::wait_until("a line about the damage", || {
        wait(async {
            let table = open_table(&cluster).await;
            let _ = table.get(b"k00000", isobar_client::ReadLevel::Local).await;
        });
        cluster.node(node).said().contains("ISO-3001")
    });
    let said = cluster.node(node).said();
    println!(
        "a damaged table file: {}",
        said.lines().find(|line| line.contains("ISO-3001")).expect("just seen")
    );
    assert_serves(&cluster);
}

#[test]
fn damaged_rows_of_a_leader_are_read_from_another_replica() {
    let (mut cluster, node) = cluster_without_its_leader();
    cluster.start_node(node);
    cluster.node(node).wait_ready();
    cluster.stop_node(node);
    damage_rows(&cluster.data_dir(node).join("state"));
    cluster.start_node(node);
    cluster.node(node).wait_ready();
    wait(make_leader(&cluster, "orders", node));
    assert_serves(&cluster);
    let said = cluster.node(node).said();
    let line = said.lines().find(|line| line.contains("ISO-3001"));
    println!("damaged rows: {}", line.expect("the log says what is damaged"));
    assert!(cluster.node(node).is_running(), "other shards of the node go on");
}
