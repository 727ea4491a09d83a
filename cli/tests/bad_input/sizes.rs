//! Keys and values beyond the limits, through the command line.

use crate::{
    support::{
        cluster::{Cluster, Plan},
        refused,
    },
    wait,
};
use isobar_api::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

#[test]
fn oversized_keys_and_values_are_refused_and_the_limits_themselves_are_taken() {
    let cluster = Cluster::start(Plan::nodes(&["eu"]));
    wait(cluster.create_table("orders", 1, &[]));
    let path = |name: &str| cluster.folder().join(name).to_str().expect("text").to_owned();
    let (fits, big) = (path("fits"), path("big"));
    std::fs::write(&fits, vec![b'v'; VALUE_BYTES_MAX]).expect("room");
    std::fs::write(&big, vec![b'v'; VALUE_BYTES_MAX + 1]).expect("room");
    let long = "k".repeat(KEY_BYTES_MAX);

    let put = |args: &[&str]| refused(cluster.command(&[&["kv", "put", "orders"], args].concat()));
    let said = put(&[&format!("{long}k"), "v"]);
    assert!(said.contains("error ISO-1002: ") && said.contains("4097 bytes"), "{said}");
    let said = put(&["", "v"]);
    assert!(said.contains("error ISO-1002: "), "{said}");
    let said = put(&["k", "--value-file", &big]);
    assert!(said.contains("error ISO-1003: ") && said.contains("1048577"), "{said}");
    let said = refused(cluster.command(&["kv", "put", "nope", "k", "v"]));
    assert!(said.contains("error ISO-1006: "), "{said}");

    cluster.run(&["kv", "put", "orders", &long, "--value-file", &fits]);
    assert_eq!(cluster.run(&["kv", "get", "orders", &long]).len(), VALUE_BYTES_MAX);
    let rows = cluster.run(&["kv", "scan", "orders", "-o", "json", "--limit", "2"]);
    assert_eq!(rows.matches("\"version\"").count(), 1, "what was refused left nothing");
}
