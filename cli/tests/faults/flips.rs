//! Single bits that change on the disk of a node that is down: in any file, at any place.
//!
//! The node whose files change is one of the two that hold the last writes; the third has slept through them. So if
//! damage made it forget quietly what it acknowledged, it and the sleeper would be a majority without these writes.

use crate::{
    setting,
    support::{
        cluster::{Cluster, Plan},
        leader::make_leader,
        wait,
    },
};
use isobar_api::{ApiError, NodeId};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use isobar_node::config::EngineKind;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    fs,
    path::{Path, PathBuf},
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const ROWS: usize = 120;

fn row(number: usize) -> (String, String) {
    (format!("k{number:05}"), format!("{number}:{}", "v".repeat(900)))
}

async fn open(cluster: &Cluster, timeout_ms: u64) -> Result<TableHandle, ApiError> {
    let config = ClientConfig {
        request_timeout_ms: timeout_ms,
        ..ClientConfig::with_seeds(cluster.addresses().iter().map(ToString::to_string))
    };
    Client::connect(config).await?.table("orders").await
}

async fn put_rows(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    let table = open(cluster, 30_000).await.expect("the table is there");
    for number in numbers {
        let (key, value) = row(number);
        table.put(key, value).await.expect("acknowledged");
    }
}

/// Every file below a folder with its size, in order; what holds no data is left out.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        let length = fs::metadata(&path).expect("it is there").len();
        if path.is_dir() {
            found.extend(files(&path));
        } else if length > 0
            && path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                !name.starts_with("LOG") && name != "LOCK"
            })
        {
            found.push((path, length));
        }
    }
    found.sort();
    found
}

/// The kind of a file: its ending, or the name of those that are there once.
fn kind(path: &Path) -> String {
    let name = path.file_name().expect("a file").to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
    let kind = match path.extension() {
        Some(ending) => ending.to_string_lossy().into_owned(),
        None => name.split('-').next().expect("a word").to_owned(),
    };
    format!("{folder}/{kind}")
}

/// Flips one bit. Every other turn it is in a log or table file or in redb's one file; each kind of file has its turn. Returns where.
fn flip(dir: &Path, turn: u64, rng: &mut StdRng) -> String {
    let files = files(dir);
    let mut kinds: Vec<String> = files.iter().map(|(path, _)| kind(path)).collect();
    kinds.sort();
    kinds.dedup();
    let holds_rows =
        |kind: &String| ["/seg", "/log", "/sst", "/redb"].iter().any(|end| kind.ends_with(end));
    let (rows, rest): (Vec<_>, Vec<_>) = kinds.into_iter().partition(holds_rows);
    let kinds = if turn.is_multiple_of(2) { rows } else { rest };
    let chosen = &kinds[(turn / 2) as usize % kinds.len()];
    let of_kind: Vec<&(PathBuf, u64)> =
        files.iter().filter(|(path, _)| kind(path) == *chosen).collect();
    let (path, _) = of_kind.choose(rng).expect("one of the kind");
    let mut bytes = fs::read(path).expect("readable");
    // Room that is made beforehand is zeros: a bit there means nothing.
    let length =
        bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1) as u64;
    // Half of them at the end, where a log has what was written last and a table file has its directory.
    let from = if rng.random_bool(0.5) { length.saturating_sub(300) } else { 0 };
    let (at, bit) = (rng.random_range(from..length), rng.random_range(0..8));
    bytes[at as usize] ^= 1 << bit;
    fs::write(path, bytes).expect("writable");
    format!("{} byte {at} of {length}, bit {bit}", path.strip_prefix(dir).expect("below").display())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("room");
    for entry in fs::read_dir(from).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target)
        } else {
            fs::copy(&path, &target).expect("room");
        }
    }
}

/// What is there after damage without the node that has everything: rows as they were acknowledged, or an error.
async fn check_two(cluster: &Cluster) -> (usize, usize) {
    // Long enough for two starts and an election; without a quorum nothing ever comes.
    let Ok(table) = open(cluster, 6_000).await else { return (0, 1) };
    let (mut right, mut errors) = (0, 0);
    for number in [0, ROWS / 2, ROWS - 2, ROWS - 1] {
        let (key, value) = row(number);
        match table.get(key.as_bytes(), ReadLevel::Linearizable).await {
            Ok(found) => {
                let found = found.map(|row| row.value);
                assert_eq!(found, Some(value.into()), "{key} was acknowledged");
                right += 1;
            }
            Err(_) => {
                errors += 1;
                break;
            }
        }
    }
    (right, errors)
}

/// With all three again every row is there, whatever the damaged node does.
async fn check_all(cluster: &Cluster) {
    cluster.shards("orders").await;
    let table = open(cluster, 30_000).await.expect("the table is there");
    let keys: Vec<String> = (0..ROWS).map(|number| row(number).0).collect();
    let rows = table.multi_get(&keys, ReadLevel::Linearizable).await.expect("two of three serve");
    for (number, found) in rows.into_iter().enumerate() {
        let (key, value) = row(number);
        assert_eq!(found.map(|row| row.value), Some(value.into()), "{key} was acknowledged");
    }
}

/// A cluster at rest: `n1` and `n2` have every row, `n3` only the first half; `n1` was killed, so that its last writes are
/// only in its logs. A copy of the folders is kept.
fn prepare(engine: EngineKind) -> (Cluster, tempfile::TempDir) {
    let engines = vec![engine; 3];
    let mut cluster = Cluster::start(Plan { engines, ..Plan::nodes(&["eu", "us", "asia"]) });
    wait(async {
        cluster.create_table("orders", 3, &[]).await;
        put_rows(&cluster, 0..ROWS / 2).await;
        make_leader(&cluster, "orders", N1).await;
    });
    // A start makes table files of what the logs hold.
    for node in cluster.node_ids() {
        cluster.stop_node(node);
    }
    cluster.start_all();
    wait(make_leader(&cluster, "orders", N1));
    cluster.stop_node(N3);
    wait(put_rows(&cluster, ROWS / 2..ROWS));
    cluster.kill_node(N1);
    cluster.stop_node(N2);
    let kept = tempfile::tempdir().expect("a folder");
    for node in cluster.node_ids() {
        copy(&cluster.data_dir(node), &kept.path().join(node.to_string()));
    }
    (cluster, kept)
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    flip_bits(EngineKind::Rocksdb, setting("ISOBAR_FAULT_FLIPS", 6));
}

#[test]
fn a_flipped_bit_anywhere_on_redb_is_noticed_or_harmless() {
    flip_bits(EngineKind::Redb, setting("ISOBAR_FAULT_FLIPS", 3));
}

fn flip_bits(engine: EngineKind, flips: u64) {
    let (mut cluster, kept) = prepare(engine);
    let (mut refused, mut silent, mut served) = (0, 0, 0);
    for seed in 0..flips {
        let mut rng = StdRng::seed_from_u64(setting("ISOBAR_FAULT_SEED", 1) << 32 | seed);
        for node in cluster.node_ids() {
            fs::remove_dir_all(cluster.data_dir(node)).expect("it is there");
            copy(&kept.path().join(node.to_string()), &cluster.data_dir(node));
        }
        // Only what it says of this damage.
        fs::write(cluster.log(N1), "").expect("writable");
        let place = flip(&cluster.data_dir(N1), seed, &mut rng);
        cluster.start_node(N1);
        cluster.start_node(N3);
        let (right, errors) = wait(check_two(&cluster));
        let runs = cluster.node(N1).is_running();
        cluster.start_node(N2);
        wait(check_all(&cluster));
        let said = cluster.node(N1).said();
        let code = said.lines().find(|line| line.trim_start().starts_with("error ISO-3"));
        assert!(runs || code.is_some(), "{place}: n1 ended without a code: {said}");
        let state = if runs { "n1 runs" } else { "n1 refused to start" };
        println!("{place}: {state}, {right} rows read without n2, {errors} errors");
        match (runs, errors) {
            (false, _) => refused += 1,
            (true, 0) => served += 1,
            (true, _) => silent += 1,
        }
        for node in cluster.node_ids() {
            cluster.kill_node(node);
        }
    }
    println!(
        "bit flips on {engine}: {refused} refused at the start, {silent} with the shard out of service, {served} served all rows"
    );
}
