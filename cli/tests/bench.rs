//! `isobar bench kv`, `overload` and `restart` as a user meets them: real servers, figures for each, nothing left behind.

use std::{
    path::Path,
    process::{Command, Output},
};

fn bench(args: &[&str], folder: &Path) -> Output {
    start(&[&["bench", "kv", "--keys", "200", "--clients", "8"], args].concat(), folder)
}

fn start(args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    command.args(args);
    command.env("TMPDIR", folder).output().expect("the binary was just built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs it and returns the document in the last line of stdout.
fn measure(args: &[&str]) -> serde_json::Value {
    document(|folder| bench(&[args, &["--seconds", "1", "-o", "json"]].concat(), folder))
}

fn document(run: impl FnOnce(&Path) -> Output) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = run(folder.path());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    let left = std::fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(left, 0, "files are left behind");
    assert!(!running_in(folder.path()), "a process is left behind");
    serde_json::from_str(out.lines().last().expect("a line")).expect("one document")
}

/// Whether any process was started with this folder.
fn running_in(folder: &Path) -> bool {
    let folder = folder.to_str().expect("text");
    let all = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let mut lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(folder))
}

fn expect_figures(document: &serde_json::Value, systems: &[&str], works: &[&str]) {
    for system in systems {
        for work in works {
            let figures = &document["systems"][system][work];
            for name in ["ops_per_s", "p50_ms", "p99_ms", "p999_ms", "cpu_s_per_mop", "rss_mib"] {
                let value = figures[name].as_f64();
                assert!(value.is_some_and(|v| v > 0.0), "{system} {work} {name}: {figures}");
            }
            assert_eq!(figures["errors"], 0, "{system} {work}: {figures}");
        }
    }
    for floor in
        ["append_4_kib_fdatasync", "rocksdb_group_commit", "redb_group_commit", "grpc_echo"]
    {
        assert!(
            document["floors"][floor]["ops_per_s"].as_f64().is_some_and(|v| v > 0.0),
            "{floor}"
        );
    }
}

#[test]
fn our_own_servers_are_measured_closed_and_open() {
    let works = "write,ycsb-e,ycsb-f";
    let document = measure(&["--work", works, "--rounds", "1", "--shards", "4"]);
    expect_figures(&document, &["isobar", "isobar-own"], &["write", "ycsb-e", "ycsb-f"]);
    assert_eq!(document["load"]["rate_per_s"], serde_json::Value::Null);
    let document = measure(&["--work", "read", "--connections", "shared", "--rate", "200"]);
    expect_figures(&document, &["isobar"], &["read"]);
    let per_s = document["systems"]["isobar"]["read"]["ops_per_s"].as_f64().expect("a number");
    assert!((50.0..300.0).contains(&per_s), "200 come per second, not {per_s}");
}

#[test]
fn load_beyond_the_peak_is_answered_or_refused_and_nothing_else() {
    let mut args =
        vec!["bench", "overload", "--work", "write", "--loads", "0.5,20", "--keys", "200"];
    args.extend(["--seconds", "1", "--rounds", "1", "-o", "json"]);
    let document = document(|folder| start(&args, folder));
    let write = &document["works"]["write"];
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let found_per_s = number(&write["found_per_s"]["median"]);
    assert!(found_per_s > 0.0, "{write}");
    assert!(number(&write["peak_per_s"]["median"]) >= found_per_s, "{write}");
    assert!(number(&write["closed_peak_per_s"]["median"]) > 0.0, "{write}");
    for (load, times) in write["loads"].as_array().expect("two").iter().zip([0.5, 20.0]) {
        assert_eq!(number(&load["load"]), times);
        let offered = number(&load["offered_per_s"]) / found_per_s;
        assert!((0.5 * times..1.5 * times).contains(&offered), "{offered} at {times}: {load}");
        assert_eq!(load["errors"], 0, "{load}");
        assert!(number(&load["goodput_per_s"]) > 0.0, "{load}");
        assert!(number(&load["p999_ms"]) >= number(&load["p50_ms"]), "{load}");
    }
    let high = &write["loads"][1];
    assert!(number(&high["refused_per_s"]) + number(&high["unsent"]) > 0.0, "{high}");
    assert!(number(&high["p999_to_half"]["median"]) > 0.0, "{high}");
}

/// Needs `etcd` and `redis-server`; run with `--ignored`.
#[test]
#[ignore = "needs etcd-server and redis-server"]
fn peers_are_measured_side_by_side() {
    let document = measure(&["--against", "etcd,redis", "--rounds", "1"]);
    let peers = ["etcd", "etcd-own", "redis", "redis-own", "redis-wait", "redis-wait-own"];
    expect_figures(&document, &peers, &["write", "read"]);
    for peer in peers {
        for work in ["write", "read"] {
            let ratio = &document["ratio"][peer][work];
            assert!(ratio["median"].as_f64().is_some_and(|r| r > 0.0), "{peer} {work}: {ratio}");
        }
    }
}

#[test]
fn a_peer_that_is_not_installed_is_named_with_what_to_install() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    let args = ["bench", "kv", "--against", "etcd"];
    let output = command.args(args).env("PATH", folder.path()).output().expect("it was just built");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error ISO-5006: the program `etcd` is not installed"), "{error}");
    assert!(error.contains("apt-get install etcd-server redis-server"), "{error}");
}

#[test]
fn nonsense_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = start(&["bench", "overload", "--loads", "0.5,0"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    for args in [
        ["--work", "ycsb-z"],
        ["--against", "oracle"],
        ["--clients", "0"],
        ["--rate", "0"],
        ["--value-bytes", "2000000"],
        ["--connections", "none"],
        ["--engine", "memory"],
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(bench(&args, folder.path()).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn starts_are_timed_behind_each_history() {
    let args = ["bench", "restart", "--keys", "300", "--histories", "3,1", "--rounds", "1"];
    let more = ["--nodes", "1", "--shards", "2", "--engine", "redb", "--checkpoint-entries", "100"];
    let all = [&args[..], &more, &["-o", "json"]].concat();
    let document = document(|folder| start(&all, folder));
    let histories = document["histories"].as_array().expect("a list");
    let times: Vec<_> = histories.iter().map(|history| history["times"].as_u64()).collect();
    assert_eq!(times, [Some(1), Some(3)]);
    for history in histories {
        for name in ["writes", "log_bytes", "state_bytes"] {
            assert!(history[name].as_u64().is_some_and(|value| value > 0), "{name}: {history}");
        }
        let of = |name: &str| history[name]["median"].as_f64().expect("a number");
        // Not all 900 writes: what a checkpoint made durable is not done again.
        assert!(of("entries_replayed") < 500.0, "{history}");
        assert!(0.0 < of("ready_ms") && of("ready_ms") <= of("served_ms"), "{history}");
    }
}
