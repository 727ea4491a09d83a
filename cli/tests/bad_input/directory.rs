//! Data directories that are somebody else's.

use crate::{
    check_rows, open_table, put_rows,
    support::{
        cluster::{Cluster, Plan},
        process::free_address,
        refused,
    },
    wait,
};
use isobar_api::NodeId;
use std::{fs, path::Path};

const N1: NodeId = NodeId(1);
const N3: NodeId = NodeId(3);

/// Every file with its contents: "nothing was written" is to be seen.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("readable")));
        }
    }
    found.sort();
    found
}

#[test]
fn another_nodes_a_locked_and_a_newer_directory_are_refused_and_left_alone() {
    let mut cluster = Cluster::start(Plan::nodes(&["eu"]));
    wait(async {
        cluster.create_table("orders", 1, &[]).await;
        put_rows(&open_table(&cluster).await, 0..5).await;
    });
    let config = cluster.folder().join("n1.toml");
    let config = config.to_str().expect("text");
    let elsewhere = free_address().to_string();
    let start = |more: &[&str]| {
        refused(["node", "--config", config, "--listen", &elsewhere].iter().chain(more))
    };
    let said = start(&[]);
    assert!(
        said.contains("error ISO-3006: ") && said.contains("in use by another process"),
        "{said}"
    );

    cluster.stop_node(N1);
    let before = contents(&cluster.data_dir(N1));
    let said = start(&["--node-id", "2"]);
    assert!(
        said.contains("error ISO-3004: ") && said.contains("belongs to n1, not to n2"),
        "{said}"
    );
    assert!(contents(&cluster.data_dir(N1)) == before, "a refused start has changed the directory");

    let identity = cluster.data_dir(N1).join("node.json");
    let text = fs::read_to_string(&identity).expect("an identity");
    assert!(text.contains("\"format\": 4"), "{text}");
    for format in [3, 5] {
        fs::write(&identity, text.replace("\"format\": 4", &format!("\"format\": {format}")))
            .expect("room");
        let before = contents(&cluster.data_dir(N1));
        let said = start(&[]);
        let why = format!("has format {format}; this is 4");
        assert!(said.contains("error ISO-3005: ") && said.contains(&why), "{said}");
        let after = contents(&cluster.data_dir(N1));
        assert!(after == before, "a refused start has changed the directory");
    }

    fs::write(&identity, "{").expect("room");
    let said = start(&[]);
    assert!(said.contains("error ISO-3001: ") && said.contains("node.json is damaged"), "{said}");

    fs::write(&identity, text).expect("room");
    cluster.start_all();
    wait(async { check_rows(&open_table(&cluster).await, 5).await });
}

#[test]
fn a_directory_of_another_cluster_is_refused_and_the_cluster_goes_on() {
    let mut theirs = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    wait(async { theirs.create_table("orders", 3, &[]).await });
    for node in theirs.node_ids() {
        theirs.stop_node(node);
    }
    let mut ours = Cluster::start(Plan::nodes(&["eu", "us", "asia"]));
    wait(async {
        ours.create_table("orders", 3, &[]).await;
        put_rows(&open_table(&ours).await, 0..20).await;
    });
    ours.stop_node(N3);
    let (place, kept) = (ours.data_dir(N3), ours.folder().join("kept"));
    fs::rename(&place, &kept).expect("moved away");
    fs::rename(theirs.data_dir(N3), &place).expect("moved here");
    ours.start_node(N3);
    assert!(!ours.node(N3).wait().success());
    let said = ours.node(N3).said();
    assert!(said.contains("error ISO-3004: ") && said.contains("another cluster"), "{said}");
    wait(async {
        let table = open_table(&ours).await;
        put_rows(&table, 20..25).await;
        check_rows(&table, 25).await;
    });

    ours.kill_node(N3);
    fs::remove_dir_all(&place).expect("removed");
    fs::rename(&kept, &place).expect("back again");
    ours.start_all();
    wait(async { check_rows(&open_table(&ours).await, 25).await });
}
