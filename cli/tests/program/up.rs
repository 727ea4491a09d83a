//! `isobar up` as a user has it: real processes under one folder, used through the command line, stopped and started again.

use crate::support::{
    assert_no_panic_in_logs, isobar,
    process::{Process, is_ready, tail},
    program, refused, text, wait_until,
};
use isobar_cli::processes::{check_free, free_addresses};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs::OpenOptions, path::Path, time::Duration};

struct Up {
    process: Process,
    connect: String,
    controller: String,
}

impl Up {
    fn start(folder: &Path, base_port: u16) -> Self {
        let address =
            |offset: u16| std::net::SocketAddr::from(([127, 0, 0, 1], base_port + offset));
        let data = folder.join("data");
        let args = [
            "up".into(),
            "--data-dir".into(),
            data.into(),
            "--base-port".into(),
            base_port.to_string().into(),
        ];
        let log = folder.join("up.log");
        let process = Process::start_alone(&args, &log, address(0));
        let mut up = Self {
            process,
            connect: format!("{},{},{}", address(0), address(1), address(2)),
            controller: address(9).to_string(),
        };
        wait_until("a cluster that is ready", || {
            assert!(up.process.is_running(), "it ended: {}", tail(&log));
            [0, 1, 2, 9].iter().all(|offset| is_ready(address(*offset)))
        });
        up
    }

    fn command(&self, args: &[&str]) -> std::process::Output {
        let more = ["--connect", &self.connect, "--controller", &self.controller];
        isobar(args.iter().chain(&more))
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Ctrl-C, as a terminal sends it.
    fn interrupt(mut self) -> String {
        self.process.signal(Signal::SIGINT);
        assert!(self.process.wait().success(), "{}", self.process.said());
        self.process.said()
    }
}

/// Nodes on base … base + 2, the controller on base + 9.
fn base_port() -> u16 {
    loop {
        let all = free_addresses(10).expect("free ports");
        if all[9].port() == all[0].port() + 9 {
            return all[0].port();
        }
    }
}

#[test]
fn a_cluster_is_used_stopped_and_started_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = base_port();
    let up = Up::start(folder.path(), base);

    up.run(&["table", "create", "orders", "--replicas", "3", "--ack", "majority"]);
    for (key, value) in [("apple", "red"), ("pear", "green"), ("plum", "blue")] {
        up.run(&["kv", "put", "orders", key, value]);
    }
    assert_eq!(up.run(&["kv", "get", "orders", "pear"]), "green");
    if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
        let mut get = program();
        get.args(["kv", "get", "orders", "pear", "--connect", &up.connect]).stdout(full);
        assert_eq!(get.status().expect("it runs").code(), Some(1), "what is cut off is no success");
    }
    up.run(&["kv", "delete", "orders", "pear"]);
    let gone = up.command(&["kv", "get", "orders", "pear"]);
    assert_eq!((gone.status.code(), text(&gone.stdout).as_str()), (Some(1), ""));
    check_contents(&up);
    let plans = up.run(&["plan", "list", "-o", "json"]);
    assert!(serde_json::from_str::<Vec<serde_json::Value>>(&plans).is_ok(), "{plans}");

    let said = up.interrupt();
    assert!(said.contains("stopped; `isobar up` starts the same cluster again"), "{said}");
    let ports = [base, base + 1, base + 2, base + 9];
    let still_used =
        ports.iter().filter(|port| check_free(([127, 0, 0, 1], **port).into()).is_err());
    assert_eq!(still_used.count(), 0, "a process was left behind");

    let up = Up::start(folder.path(), base);
    check_contents(&up);
    up.run(&["kv", "put", "orders", "pear", "yellow"]);
    assert_eq!(up.run(&["kv", "get", "orders", "pear"]), "yellow");
    up.interrupt();
    assert_no_panic_in_logs(&folder.path().join("data/logs"));
    assert_no_panic_in_logs(folder.path());
}

fn check_contents(up: &Up) {
    let rows = up.run(&["kv", "scan", "orders", "-o", "json"]);
    let (apple, plum) = (rows.find("\"red\""), rows.find("\"blue\""));
    assert!(apple.is_some() && apple < plum && !rows.contains("green"), "{rows}");
    let shards = up.run(&["shard", "list", "--table", "orders", "-o", "json"]);
    let shards: serde_json::Value = serde_json::from_str(&shards).expect("one document");
    let shards = shards.as_array().expect("a list");
    assert_eq!(shards.len(), 1);
    assert_eq!(shards[0]["replicas"].as_array().map(Vec::len), Some(3), "{shards:?}");
    assert!(shards[0]["leader"].is_number(), "{shards:?}");
}

#[test]
fn a_second_cluster_on_the_same_ports_is_refused_and_the_first_one_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = base_port();
    let up = Up::start(folder.path(), base);
    let other = folder.path().join("other");
    let said = refused([
        "up",
        "--data-dir",
        other.to_str().expect("text"),
        "--base-port",
        &base.to_string(),
    ]);
    assert!(said.contains("error ISO-5002"), "{said}");
    up.run(&["table", "create", "t"]);
    up.run(&["kv", "put", "t", "k", "v"]);
    assert!(!other.join("node-1.toml").exists(), "it does not remember ports it could not have");
    interrupt_twice(up);
    assert_no_panic_in_logs(&folder.path().join("data/logs"));
}

/// A node that does not stop is waited for, until Ctrl-C comes again. Nothing is left behind even then.
fn interrupt_twice(mut up: Up) {
    let said = up.process.said();
    let line = said.lines().find(|line| line.starts_with("node-1 ")).expect("it was announced");
    let mut words = line.split_whitespace().skip_while(|word| *word != "pid");
    let id = words.nth(1).and_then(|word| word.parse().ok()).expect("a process id");
    let stuck = Pid::from_raw(id);
    kill(stuck, Signal::SIGSTOP).expect("it runs");
    up.process.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(up.process.is_running(), "it waits for the node that does not stop");
    up.process.signal(Signal::SIGINT);
    assert_eq!(up.process.wait().code(), Some(130));
    kill(stuck, Signal::SIGCONT).expect("it is still there");
    wait_until("the end of the nodes", || {
        up.connect.split(',').all(|address| check_free(address.parse().expect("own text")).is_ok())
    });
}
