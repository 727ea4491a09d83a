//! The binary as a user meets it: help, errors, exit codes, `isobar up`.

mod support;
#[path = "program/up.rs"]
mod up;

use std::net::TcpListener;
use support::{isobar, program, text};

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn help_names_every_noun() {
    let output = isobar(["--help"]);
    assert!(output.status.success());
    let expected = "\
Commands:
  demo         Show the whole thing at work: five nodes, three regions, a controller that learns
  up           Start three durable nodes and a controller on this machine
  node         Run one storage node
  controller   Run one controller
  kv           Read and write rows
  table        Create and show tables
  shard        Show shards: ranges, replicas, leaders
  node-list    List the nodes and their load
  node-drain   Empty a node, or show how far that has come
  plan         Show, explain and decide what the controller plans
  pause        Freeze a scope: nothing new starts there
  resume       Lift a freeze
  mode         Show or change how much the controller does by itself
  policy       Show or replace the controller's policy
  config       Show and check configuration
  dataset      List, describe and fetch public data sets
  model        Train models on data sets, judge, compare and register them
  bench        Time reads, writes and planning on this machine
  soak         Load and faults for an hour: nothing may be lost, nothing may grow
  completions  Print a completion script for a shell
";
    let help = text(&output.stdout);
    assert!(help.contains(expected), "{help}");
    for option in ["--connect", "--controller", "--config", "-o, --output", "--plain", "--timeout"]
    {
        assert!(help.contains(option), "{option} is missing from:\n{help}");
    }
}

#[test]
fn misuse_exits_with_two_and_says_what_was_meant() {
    let output = isobar(["kv", "gett", "orders", "k"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("'get'"), "{}", text(&output.stderr));
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_a_next_step() {
    let address = nobody();
    let output = isobar(["kv", "get", "orders", "k", "--connect", &address, "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "talk does not belong on stdout");
    let error = text(&output.stderr);
    assert!(error.starts_with(&format!("error ISO-5003: no answer from {address}: ")), "{error}");
    assert!(error.contains("\n  next: check that it runs: `isobar up`"), "{error}");
    assert!(!error.contains('\x1b'), "no colour without a terminal");
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let address = nobody();
    let output = isobar(["plan", "list", "--controller", &address, "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.starts_with("error ISO-5003: no controller answers at "), "{error}");
}

#[test]
fn bad_addresses_keys_and_versions_are_refused_before_anything_is_sent() {
    let refused = |args: &[&str], code: &str| {
        let output = isobar(args);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        let error = text(&output.stderr);
        assert!(error.contains(code), "{args:?}: {error}");
    };
    refused(&["node-list", "--connect", "localhost"], "error ISO-5002: `localhost`");
    refused(&["node-list", "--connect", "localhost:99999"], "error ISO-5002");
    refused(&["node-list", "--timeout", "0"], "error ISO-5001: --timeout (client.timeout_ms) must");
    refused(&["mode", "--timeout", "1h"], "must be 1ms to 5m 0s");
    refused(&["plan", "list", "--limit", "501"], "1..=500");
    refused(&["kv", "get", "t", "\\z"], "error ISO-1001: a backslash");
    refused(&["kv", "cas", "t", "k", "v", "--expect", "1.2"], "is not a row version");
    refused(&["table", "create", "Orders"], "error ISO-1001: `Orders` is not a table name");
    refused(&["table", "create", "t", "--replicas", "0"], "replicas must be 1 to 9");
    refused(&["node", "--listen", "127.0.0.1:99999"], "invalid");
    refused(&["dataset", "describe", "nope"], "nope");
    refused(
        &["kv", "put", "t", "k", "--value-file", "no/such/file"],
        "error ISO-5004: no/such/file",
    );
}

#[test]
fn an_empty_variable_is_none() {
    let mut command = program();
    for name in ["ISOBAR_CONNECT", "ISOBAR_CONTROLLER", "ISOBAR_CONFIG"] {
        command.env(name, "");
    }
    let output = command.args(["config", "show"]).output().expect("it runs");
    let shown = text(&output.stdout);
    assert!(shown.contains("connect = [\"127.0.0.1:7411\"]"), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("controller = \"127.0.0.1:7420\""), "{shown}");
}

#[test]
fn policy_errors_do_not_look_like_differences() {
    let output = isobar(["policy", "set", "no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(3));
    let output = isobar(["policy", "show", "--controller", &nobody(), "--timeout", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn configuration_is_checked_and_shown() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("isobar.toml");
    let file = path.to_str().expect("text");
    std::fs::write(&path, "[node]\nlisen = \"127.0.0.1:1\"\n").expect("room");
    let output = isobar(["config", "check", file]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "error ISO-5001: {file}: there is no key `node.lisen`; did you mean `node.listen`?\n  \
         next: `isobar config show` prints every key with its default\n"
    );
    assert_eq!(text(&output.stderr), expected);

    std::fs::write(&path, "[node]\nzone = \"b\"\n").expect("room");
    let output = isobar(["config", "check", file]);
    assert_eq!(text(&output.stdout), format!("{file} is right\n"));
    let output = isobar(["config", "show", "--config", file, "-o", "json", "--timeout", "3s"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(shown["node"]["zone"], "b");
    assert_eq!(shown["client"]["timeout_ms"], 3_000);
    let output = isobar(["config", "show", "--config", "no/such/file"]);
    assert!(text(&output.stderr).starts_with("error ISO-5004: no/such/file: "));
}

#[test]
fn data_sets_are_listed_as_text_and_as_json() {
    let output = isobar(["dataset", "list"]);
    assert!(text(&output.stdout).starts_with("NAME "), "{}", text(&output.stdout));
    let output = isobar(["dataset", "list", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert!(list.as_array().is_some_and(|sets| !sets.is_empty()));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = isobar(["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("node-drain"), "{shell}");
    }
}
