//! A cluster of real processes in a temporary folder.

use super::{
    assert_no_panic_in_logs, isobar,
    process::{Process, free_address, tail},
    text,
};
use isobar_api::{
    NodeId, Region, ShardEntry,
    policy::Mode,
    rtt::RttMatrix,
    table::{AckLevel, TableRule, TableSpec},
};
use isobar_cli::processes::{controller_toml, node_toml};
use isobar_client::{Client, ClientConfig};
use isobar_controller::ControllerConfig;
use isobar_node::{NodeConfig, config::EngineKind};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Log lines of openraft are many and say nothing that these tests look for.
const LOG: &str = "\n[telemetry]\nlog_filter = \"info,openraft=warn\"\n";

/// What a cluster is made of.
pub struct Plan {
    /// The region of each node.
    pub regions: Vec<&'static str>,
    /// The controller's policy, if there is to be one; in mode `act`.
    pub policy: Option<String>,
    /// Where all of them send their traces, if anywhere.
    pub otlp_endpoint: Option<String>,
    /// What nodes advertise instead of where they listen; empty: where they listen.
    pub advertised: Vec<SocketAddr>,
    /// The storage engine of each node; empty: the usual one.
    pub engines: Vec<EngineKind>,
    /// What nodes find in their environment.
    pub node_env: Vec<(String, String)>,
    /// Whether a panic in some log fails the test.
    pub no_panic: bool,
}

impl Plan {
    /// Nodes in these regions, no controller.
    pub fn nodes(regions: &[&'static str]) -> Self {
        Self {
            regions: regions.to_vec(),
            policy: None,
            otlp_endpoint: None,
            advertised: Vec::new(),
            engines: Vec::new(),
            node_env: Vec::new(),
            no_panic: true,
        }
    }
}

/// Running processes and their folder.
pub struct Cluster {
    /// `n1.toml`, `n1/`, `n1.log` and so on.
    dir: tempfile::TempDir,
    plan: Plan,
    addresses: Vec<SocketAddr>,
    controller_address: SocketAddr,
    nodes: Vec<Option<Process>>,
    controller: Option<Process>,
}

impl Cluster {
    /// Writes the configuration; starts nothing.
    pub fn prepare(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let addresses: Vec<SocketAddr> = plan.regions.iter().map(|_| free_address()).collect();
        let cluster = Self {
            dir,
            addresses,
            controller_address: free_address(),
            nodes: plan.regions.iter().map(|_| None).collect(),
            controller: None,
            plan,
        };
        let endpoint = cluster.plan.otlp_endpoint.as_ref();
        let endpoint = endpoint.map(|at| format!("otlp_endpoint = '{at}'\n")).unwrap_or_default();
        let telemetry = format!("{LOG}{endpoint}");
        for node in cluster.node_ids() {
            let file = node_toml(&cluster.node_config(node)).expect("plain data");
            cluster.write(&format!("{node}.toml"), &(file + &telemetry));
        }
        if let Some(policy) = &cluster.plan.policy {
            cluster.write("policy.toml", policy);
            let file = controller_toml(&cluster.controller_config()).expect("plain data");
            cluster.write("controller.toml", &(file + &telemetry));
        }
        cluster
    }

    /// Starts all and waits until they are ready.
    pub fn start(plan: Plan) -> Self {
        let mut cluster = Self::prepare(plan);
        cluster.start_all();
        cluster
    }

    fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.dir.path().join(name), contents).expect("room");
    }

    fn node_config(&self, node: NodeId) -> NodeConfig {
        let at = node.0 as usize - 1;
        let advertised = &self.plan.advertised;
        let seeds = if advertised.is_empty() { &self.addresses } else { advertised };
        NodeConfig {
            node_id: node,
            listen: self.addresses[at],
            advertise: advertised.get(at).map(ToString::to_string).unwrap_or_default(),
            data_dir: self.data_dir(node),
            region: Region::new(self.plan.regions[at]).expect("a legal name"),
            zone: format!("z{at}"),
            seeds: seeds.iter().map(ToString::to_string).collect(),
            founders: self.node_ids(),
            disk_reserve_bytes: 0,
            engine: self.plan.engines.get(at).copied().unwrap_or_default(),
            ..NodeConfig::default()
        }
    }

    fn controller_config(&self) -> ControllerConfig {
        let mut rtt = RttMatrix::default();
        for a in &self.plan.regions {
            for b in &self.plan.regions {
                let region = |name: &str| Region::new(name).expect("a legal name");
                rtt.set(&region(a), &region(b), if a == b { 1.0 } else { 80.0 });
            }
        }
        ControllerConfig {
            listen: self.controller_address,
            data_dir: self.dir.path().join("controller"),
            connect: self.addresses.iter().map(ToString::to_string).collect(),
            mode: Mode::Act,
            policy: Some(self.dir.path().join("policy.toml")),
            rtt,
            tick_ms: 500,
            lease_ms: 2_000,
            ..ControllerConfig::default()
        }
    }

    /// All nodes.
    pub fn node_ids(&self) -> Vec<NodeId> {
        (1..=self.plan.regions.len() as u64).map(NodeId).collect()
    }

    /// Where a node's data lies.
    pub fn data_dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    /// A node's log.
    pub fn log(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("{node}.log"))
    }

    /// Where a node serves.
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.addresses[node.0 as usize - 1]
    }

    /// Where all nodes serve, `n1` first.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The nodes' addresses as commands take them.
    pub fn connect(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(",")
    }

    /// Starts everything that does not run, and waits until it is ready.
    pub fn start_all(&mut self) {
        for node in self.node_ids() {
            if self.nodes[node.0 as usize - 1].is_none() {
                self.start_node(node);
            }
        }
        if self.plan.policy.is_some() && self.controller.is_none() {
            self.start_controller();
        }
        for node in self.node_ids() {
            self.node(node).wait_ready();
        }
        if let Some(controller) = &mut self.controller {
            controller.wait_ready();
        }
    }

    /// Starts a node; it may end early.
    pub fn start_node(&mut self, node: NodeId) {
        let process = self.launch("node", &node.to_string(), self.address(node));
        self.nodes[node.0 as usize - 1] = Some(process);
    }

    /// Starts the controller.
    pub fn start_controller(&mut self) {
        self.controller = Some(self.launch("controller", "controller", self.controller_address));
    }

    fn launch(&self, command: &str, name: &str, address: SocketAddr) -> Process {
        let config = self.dir.path().join(format!("{name}.toml"));
        let log = self.dir.path().join(format!("{name}.log"));
        let env = if command == "node" { &self.plan.node_env[..] } else { &[] };
        Process::start(&[command.into(), "--config".into(), config.into()], &log, address, env)
    }

    /// A running node's process.
    pub fn node(&mut self, node: NodeId) -> &mut Process {
        self.nodes[node.0 as usize - 1].as_mut().expect("it was started")
    }

    /// `kill -9` of a node.
    pub fn kill_node(&mut self, node: NodeId) {
        self.nodes[node.0 as usize - 1].take().expect("it was started").kill();
    }

    /// Stops a node in order.
    pub fn stop_node(&mut self, node: NodeId) {
        let mut process = self.nodes[node.0 as usize - 1].take().expect("it was started");
        assert!(process.stop().success(), "{}", tail(&self.log(node)));
    }

    /// `kill -9` of the controller.
    pub fn kill_controller(&mut self) {
        self.controller.take().expect("it was started").kill();
    }

    /// `kill -9` of everything: all signals are sent before the first process is waited for.
    pub fn kill_all(&mut self) {
        let running = || self.nodes.iter().flatten().chain(&self.controller);
        for process in running() {
            process.signal(nix::sys::signal::Signal::SIGKILL);
        }
        self.nodes.iter_mut().for_each(|node| *node = None);
        self.controller = None;
    }

    /// A client of the cluster.
    pub async fn client(&self) -> Client {
        let config = ClientConfig {
            request_timeout_ms: 30_000,
            ..ClientConfig::with_seeds(self.addresses.iter().map(ToString::to_string))
        };
        Client::connect(config).await.expect("the cluster answers")
    }

    /// Creates a table that may lie everywhere.
    pub async fn create_table(&self, name: &str, replicas: u8, split_keys: &[&str]) {
        self.create_table_acked(name, replicas, AckLevel::Majority, split_keys).await;
    }

    /// The same with an acknowledgement level.
    pub async fn create_table_acked(
        &self,
        name: &str,
        replicas: u8,
        ack: AckLevel,
        split_keys: &[&str],
    ) {
        let rule = TableRule { regions: vec![], replicas, replicas_max: replicas + 1, ack };
        let split_keys = split_keys.iter().map(ToString::to_string).collect();
        let spec = TableSpec { name: name.into(), rule, split_keys, placed_like: None };
        self.client().await.create_table(&spec).await.expect("the table is made");
    }

    /// The shards of a table, once each has a leader.
    pub async fn shards(&self, table: &str) -> Vec<ShardEntry> {
        let client = self.client().await;
        let id = client.table(table).await.expect("the table is there").info().table_id;
        for _ in 0..600 {
            let mut shards = client.shard_map().await.expect("a map");
            shards.retain(|shard| shard.table_id == id);
            if !shards.is_empty() && shards.iter().all(|shard| shard.leader.is_some()) {
                return shards;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("some shard of {table} never has a leader");
    }

    /// Runs a command against this cluster; it must succeed. Returns its stdout.
    pub fn run(&self, args: &[&str]) -> String {
        let output = isobar(self.command(args));
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Arguments of a command with the addresses of this cluster.
    pub fn command(&self, args: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = args.iter().map(ToString::to_string).collect();
        let controller = self.controller_address.to_string();
        all.extend(["--connect".into(), self.connect(), "--controller".into(), controller]);
        all
    }

    /// The folder with the logs.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.node_ids() {
                eprintln!("--- the end of {node}'s log:\n{}", tail(&self.log(node)));
            }
            eprintln!(
                "--- the end of the controller's log:\n{}",
                tail(&self.folder().join("controller.log"))
            );
            if std::env::var_os("ISOBAR_KEEP").is_some() {
                self.dir.disable_cleanup(true);
                eprintln!("--- kept: {}", self.dir.path().display());
            }
        } else if self.plan.no_panic {
            assert_no_panic_in_logs(self.dir.path());
        }
    }
}
