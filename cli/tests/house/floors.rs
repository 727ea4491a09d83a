//! Imports between crates go only down, never sideways; and what must stay small stays small.

use crate::{expect_none, members, read, root};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// The floor of each crate. A crate may only use crates of lower floors.
const FLOORS: [(&str, u8); 12] = [
    // For tests only.
    ("isobar-fuzz", 0),
    ("isobar-api", 1),
    ("isobar-telemetry", 2),
    ("isobar-models", 3),
    ("isobar-datasets", 3),
    ("isobar-node", 4),
    ("isobar-controller", 4),
    ("isobar-client", 4),
    ("isobar-training", 5),
    ("isobar-sim", 6),
    ("isobar-benches", 6),
    // The one binary stands on everything, `isobar bench` included.
    ("isobar-cli", 7),
];

/// The only crates that may see both a node and a controller.
const SEES_BOTH: [&str; 3] = ["isobar-cli", "isobar-sim", "isobar-benches"];

/// What a crate must not use directly, besides what its floor forbids.
const BANNED: [(&str, &[&str]); 4] = [
    ("isobar-node", &["isobar-models", "isobar-datasets", "isobar-training", "polars", "sqlx"]),
    (
        "isobar-models",
        &["tokio", "tonic", "axum", "sqlx", "rocksdb", "ureq", "openraft", "chitchat"],
    ),
    ("isobar-client", &["rocksdb", "openraft", "sqlx", "chitchat"]),
    ("isobar-controller", &["rocksdb", "openraft", "chitchat"]),
];

/// What must not even be linked into an edge node through others.
const NOT_IN_NODE: [&str; 4] = ["polars", "polars-core", "sqlx", "isobar-models"];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(other, _)| *other == name).map(|(_, floor)| *floor)
}

/// All dependencies of a manifest: name and entry, whatever the section.
fn dependencies(manifest: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else {
            continue;
        };
        if key.ends_with("dependencies") {
            found.extend(table.iter().map(|(name, entry)| (name.clone(), entry.clone())));
        } else if key == "target" {
            found.extend(table.values().filter_map(Value::as_table).flat_map(dependencies));
        }
    }
    found
}

/// Everything that is wrong with one member's manifest.
fn check_manifest(text: &str) -> Vec<String> {
    let manifest: Table = text.parse().expect("valid TOML");
    let name = manifest["package"]["name"].as_str().expect("a name");
    let Some(own_floor) = floor(name) else {
        return vec![format!("{name}: has no floor; give it one in cli/tests/house/floors.rs")];
    };
    let mut findings = Vec::new();
    let mut note = |what: String| findings.push(format!("{name}: {what}"));
    let inherits = |table: Option<&Value>| {
        table.and_then(|t| t.get("workspace")) == Some(&Value::Boolean(true))
    };
    if !inherits(manifest.get("lints")) {
        note("does not take the workspace's lints".into());
    }
    let used = dependencies(&manifest);
    for (dependency, entry) in &used {
        if !inherits(Some(entry)) {
            note(format!("`{dependency}` is not `workspace = true`, so its version can drift"));
        }
        if dependency.starts_with("isobar-")
            && floor(dependency).is_none_or(|below| below >= own_floor)
        {
            note(format!("uses {dependency}, which is not below it"));
        }
    }
    let uses = |wanted: &str| used.iter().any(|(dependency, _)| dependency == wanted);
    if uses("isobar-node") && uses("isobar-controller") && !SEES_BOTH.contains(&name) {
        note("sees both node and controller".into());
    }
    for (_, banned) in BANNED.iter().filter(|(other, _)| *other == name) {
        banned.iter().filter(|b| uses(b)).for_each(|b| note(format!("must not use {b}")));
    }
    findings
}

/// Everything that a package of the lock file is built from, itself included.
fn linked_into(lock: &str, start: &str) -> BTreeSet<String> {
    let lock: Table = lock.parse().expect("valid TOML");
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let listed = package.get("dependencies").and_then(Value::as_array);
        let names = listed.into_iter().flatten().filter_map(Value::as_str);
        let name = package["name"].as_str().expect("a name");
        uses.entry(name).or_default().extend(names.filter_map(|n| n.split(' ').next()));
    }
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(name) = open.pop() {
        if seen.insert(name.to_owned()) {
            open.extend(uses.get(name).into_iter().flatten());
        }
    }
    seen
}

#[test]
fn imports_go_only_down() {
    let members = members();
    assert!(members.len() >= 9, "{members:?}");
    let findings: Vec<String> = members
        .iter()
        .flat_map(|m| check_manifest(&read(&root().join(m).join("Cargo.toml"))))
        .collect();
    expect_none(&findings);
}

#[test]
fn an_edge_node_is_small() {
    let linked = linked_into(&read(&root().join("Cargo.lock")), "isobar-node");
    assert!(linked.contains("openraft"), "the lock file was not understood: {linked:?}");
    let heavy: Vec<_> = NOT_IN_NODE.iter().filter(|name| linked.contains(**name)).collect();
    assert!(heavy.is_empty(), "a node links {heavy:?}");
}

#[test]
fn what_breaks_a_floor_is_found() {
    let manifest = |name: &str, rest: &str| {
        check_manifest(&format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}"))
    };
    let found = |findings: Vec<String>, wanted: &str| {
        assert!(findings.iter().any(|f| f.contains(wanted)), "{wanted}: {findings:?}");
    };
    found(manifest("isobar-client", "[dependencies]\nisobar-node.workspace = true"), "not below");
    found(
        manifest("isobar-api", "[dev-dependencies]\nisobar-telemetry.workspace = true"),
        "not below",
    );
    found(
        manifest("isobar-models", "[target.'cfg(unix)'.dependencies]\ntokio.workspace = true"),
        "must not use tokio",
    );
    found(
        manifest("isobar-node", "[build-dependencies]\npolars.workspace = true"),
        "must not use polars",
    );
    found(manifest("isobar-api", "[dependencies]\nserde = \"1\""), "drift");
    found(manifest("isobar-misc", ""), "no floor");
    let both = "[dependencies]\nisobar-node.workspace = true\nisobar-controller.workspace = true";
    found(manifest("isobar-training", both), "both");
    assert_eq!(manifest("isobar-cli", both), Vec::<String>::new());
    found(check_manifest("[package]\nname = \"isobar-api\""), "lints");
}

#[test]
fn what_is_linked_through_others_is_found() {
    let lock = "[[package]]\nname = \"a\"\ndependencies = [\"b 1.0\"]\n[[package]]\nname = \"b\"\ndependencies = [\"c\"]\n\
                [[package]]\nname = \"c\"\n[[package]]\nname = \"d\"";
    assert_eq!(linked_into(lock, "a").into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}
