//! Starts nodes in this process and talks to them over gRPC.

// Every test binary is compiled with its own copy and uses a part of it.
#![allow(dead_code)]

use isobar_api::{
    ApiError, DirectiveId, NodeId, Region, ShardEntry, ShardId, TableId, Term,
    directive::{Refusal, Step, StepEvent, StepOrder, StepResult},
    proto::{
        self, CreateTableRequest, ExecuteStepRequest, GetOp, KvItem, KvRequest, Mutation,
        ReadLevel, ReadOptions, RowVersion, ShardMapRequest, WriteOp, WriteResult,
        kv_client::KvClient, kv_item::Op, kv_result, node_client::NodeClient,
    },
    rtt::RttMatrix,
    table::{AckLevel, TableInfo, TableRule, TableSpec},
};
use isobar_node::{NodeConfig, NodeService};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const WITHIN: Duration = Duration::from_secs(30);

/// Nodes in this process.
pub struct Cluster {
    /// Term that steps are sent with.
    pub term: Term,
    dir: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    wan: RttMatrix,
    running: BTreeMap<NodeId, RunningNode>,
    cluster_id: String,
    sequence: u64,
}

/// A node in a runtime of its own: when that ends, everything of the node is gone, its locks too.
struct RunningNode {
    stop: CancellationToken,
    thread: JoinHandle<Result<(), ApiError>>,
}

fn start_node(config: NodeConfig) -> RunningNode {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let ended =
            runtime.block_on(async move { NodeService::start(config).await?.run(stopped).await });
        runtime.shutdown_timeout(Duration::from_secs(5));
        ended
    });
    RunningNode { stop, thread }
}

/// A put as the wire has it.
pub fn put_op(key: &[u8], value: &[u8], expected: Option<RowVersion>) -> Mutation {
    Mutation {
        key: key.to_vec().into(),
        value: Some(value.to_vec().into()),
        expected,
        schema_version: 0,
    }
}

/// A linearizable get as the wire has it.
pub fn get_op(key: &[u8]) -> Op {
    let read = ReadOptions { level: ReadLevel::Linearizable.into(), staleness_ms: 0 };
    Op::Get(GetOp { keys: vec![key.to_vec().into()], read: Some(read) })
}

/// A write as the wire has it.
pub fn write_op(client: [u8; 16], sequence: u64, mutations: Vec<Mutation>) -> Op {
    let client_id = client.to_vec().into();
    Op::Write(WriteOp { client_id, sequence, first_unacknowledged: 1, mutations })
}

/// A port that is free for TCP and UDP.
fn free_address() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = tcp.local_addr().expect("bound");
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

impl Cluster {
    /// Founds a cluster of `count` nodes, all in regions of their own names.
    pub async fn start(count: usize) -> Self {
        Self::start_apart(count, RttMatrix::default()).await
    }

    /// The same with links between the regions as slow as a matrix says.
    pub async fn start_apart(count: usize, wan: RttMatrix) -> Self {
        let addresses: Vec<SocketAddr> = (0..count).map(|_| free_address()).collect();
        let mut cluster = Self {
            term: Term(1),
            dir: tempfile::tempdir().expect("a temporary directory"),
            addresses,
            wan,
            running: BTreeMap::new(),
            cluster_id: String::new(),
            sequence: 0,
        };
        for node in 1..=count as u64 {
            cluster.restart(NodeId(node)).await;
        }
        let began = Instant::now();
        while cluster.cluster_id.is_empty() || cluster.entries().await.is_empty() {
            assert!(began.elapsed() < WITHIN, "the cluster was not founded in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
            cluster.cluster_id = cluster.map().await.cluster_id;
        }
        cluster
    }

    fn config(&self, node: NodeId) -> NodeConfig {
        let at = node.0 as usize - 1;
        NodeConfig {
            node_id: node,
            listen: self.addresses[at],
            data_dir: self.data_dir(node),
            region: Region::new(format!("region-{}", node.0 % 3)).expect("legal"),
            seeds: self.addresses.iter().map(ToString::to_string).collect(),
            founders: (1..=self.addresses.len() as u64).map(NodeId).collect(),
            disk_reserve_bytes: 0,
            wan: self.wan.clone(),
            ..NodeConfig::default()
        }
    }

    /// Where a node's data lies.
    pub fn data_dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    /// Starts a node (again).
    pub async fn restart(&mut self, node: NodeId) {
        self.running.insert(node, start_node(self.config(node)));
    }

    /// Stops a node.
    pub async fn stop(&mut self, node: NodeId) {
        let node = self.running.remove(&node).expect("it runs");
        node.stop.cancel();
        let ended = tokio::task::spawn_blocking(move || node.thread.join());
        ended.await.expect("no panic").expect("no panic").expect("a clean stop");
    }

    /// A new connection to a node.
    pub fn channel(&self, node: NodeId) -> Channel {
        let address = self.addresses[node.0 as usize - 1];
        Channel::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
    }

    fn any(&self) -> NodeId {
        *self.running.keys().next().expect("a running node")
    }

    /// The map of the first node that has tables to show; empty while none has.
    async fn map(&self) -> proto::ShardMapResponse {
        let mut best = proto::ShardMapResponse::default();
        for &node in self.running.keys() {
            let mut client = NodeClient::new(self.channel(node));
            if let Ok(map) = client.get_shard_map(ShardMapRequest { table: String::new() }).await {
                let map = map.into_inner();
                if map.shards.len() >= best.shards.len()
                    && map.tables_json.len() >= best.tables_json.len()
                {
                    best = map;
                }
            }
        }
        best
    }

    /// Waits until a running node believes another one to be dead.
    pub async fn seen_dead(&self, by: NodeId, dead: NodeId) {
        let began = Instant::now();
        let mut client = NodeClient::new(self.channel(by));
        loop {
            let map = client.get_shard_map(ShardMapRequest::default()).await.expect("it runs");
            let members = map.into_inner().members;
            if members.iter().any(|member| member.node_id == dead.0 && !member.alive) {
                return;
            }
            assert!(began.elapsed() < WITHIN, "{dead} is not seen dead in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Every shard that is known.
    pub async fn entries(&self) -> Vec<ShardEntry> {
        self.map().await.shards.into_iter().map(ShardEntry::from).collect()
    }

    /// Creates a table.
    pub async fn create_table(&mut self, name: &str, replicas: u8) {
        let rule = TableRule {
            regions: vec![],
            replicas,
            replicas_max: replicas + 2,
            ack: AckLevel::Majority,
        };
        self.create_table_with(name, rule, &[]).await;
    }

    /// Creates a table with a rule of its own, cut at keys from the start.
    pub async fn create_table_with(&mut self, name: &str, rule: TableRule, split_keys: &[&str]) {
        let split_keys = split_keys.iter().map(ToString::to_string).collect();
        let spec = TableSpec { name: name.into(), rule, split_keys, placed_like: None };
        let spec_json = serde_json::to_vec(&spec).expect("plain data").into();
        let mut node = NodeClient::new(self.channel(self.any()));
        node.create_table(CreateTableRequest { spec_json }).await.expect("the table is made");
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The region of a node.
    pub fn region(&self, node: NodeId) -> Region {
        self.config(node).region
    }

    async fn table_id(&self, name: &str) -> TableId {
        let began = Instant::now();
        loop {
            let tables = self.map().await.tables_json;
            let tables: Vec<TableInfo> = serde_json::from_slice(&tables).unwrap_or_default();
            if let Some(table) = tables.into_iter().find(|t| t.spec.name == name) {
                return table.table_id;
            }
            assert!(began.elapsed() < WITHIN, "the table {name} is not known in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The shards of a table, once each has a leader.
    pub async fn shards(&self, table: &str) -> Vec<ShardEntry> {
        let table = self.table_id(table).await;
        let began = Instant::now();
        loop {
            let mut of_table = self.entries().await;
            of_table.retain(|e| e.table_id == table);
            if !of_table.is_empty() && of_table.iter().all(|e| e.leader.is_some()) {
                return of_table;
            }
            assert!(began.elapsed() < WITHIN, "no leader in time: {of_table:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A shard as its leader sees it.
    pub async fn led_entry(&self, shard: ShardId) -> ShardEntry {
        let began = Instant::now();
        loop {
            for &node in self.running.keys() {
                let mut client = NodeClient::new(self.channel(node));
                let Ok(status) = client.get_status(proto::GetStatusRequest {}).await else {
                    continue;
                };
                let status: isobar_api::report::NodeStatus =
                    serde_json::from_slice(&status.into_inner().status_json).expect("a status");
                let found = status.replicas.into_iter().find(|r| r.shard.shard_id == shard);
                if let Some(found) = found.filter(|r| r.shard.leader == Some(node)) {
                    return found.shard;
                }
            }
            assert!(began.elapsed() < WITHIN, "{shard} has no leader in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn route(&self, table: &str, key: &[u8]) -> ShardEntry {
        let shards = self.shards(table).await;
        shards.into_iter().find(|e| e.range.contains(key)).expect("the shards tile the table")
    }

    /// One item at the shard's leader; routed again while it moves.
    async fn execute(
        &self,
        table: &str,
        key: &[u8],
        op: Op,
    ) -> Result<kv_result::Result, ApiError> {
        let began = Instant::now();
        loop {
            let entry = self.route(table, key).await;
            let node = entry.leader.expect("shards() waits for leaders");
            let error = match self.execute_on(node, &entry, op.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let moving =
                error.code.as_str().starts_with("ISO-2") || error.code.as_str() == "ISO-5003";
            if !moving || began.elapsed() > WITHIN {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One item, once, at a node.
    pub async fn execute_on(
        &self,
        node: NodeId,
        entry: &ShardEntry,
        op: Op,
    ) -> Result<kv_result::Result, ApiError> {
        let epoch = Some(entry.epoch.into());
        let item = KvItem { shard_id: entry.shard_id.0, epoch, op: Some(op) };
        let request = KvRequest {
            items: vec![item],
            deadline_ms: 3_000,
            client_region: "eu".into(),
            first_item: 0,
        };
        let answer = async {
            let mut answers =
                KvClient::new(self.channel(node)).execute(request).await?.into_inner();
            Ok(answers.message().await?.expect("a message for the item"))
        };
        let answer = answer.await.map_err(|status| ApiError::from_status(&status));
        match answer?.results.remove(0).result.expect("a result") {
            kv_result::Result::Error(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }

    /// Sends a write.
    pub async fn write(
        &self,
        table: &str,
        client: [u8; 16],
        sequence: u64,
        mutations: Vec<Mutation>,
    ) -> Result<WriteResult, ApiError> {
        let key = mutations.first().map(|m| m.key.to_vec()).unwrap_or_default();
        let op = write_op(client, sequence, mutations);
        match self.execute(table, &key, op).await? {
            kv_result::Result::Write(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    /// Puts a row.
    pub async fn put(&mut self, table: &str, key: &[u8], value: &[u8]) {
        self.sequence += 1;
        let written =
            self.write(table, [9; 16], self.sequence, vec![put_op(key, value, None)]).await;
        assert!(written.expect("the put is answered").applied);
    }

    /// Reads a row, linearizable.
    pub async fn get(&self, table: &str, key: &[u8]) -> Option<Vec<u8>> {
        match self.execute(table, key, get_op(key)).await.expect("the get is answered") {
            kv_result::Result::Get(mut found) => found.rows.remove(0).value.map(|v| v.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// Every row written by `put` of `k000…` is there.
    pub async fn check_rows(&self, table: &str, count: usize) {
        for i in 0..count {
            let found = self.get(table, format!("k{i:03}").as_bytes()).await;
            assert_eq!(found, Some(format!("v{i}").into_bytes()), "k{i:03}");
        }
    }

    /// Has a shard's leader carry out a step, as the controller would.
    pub async fn step(
        &self,
        at: &ShardEntry,
        directive: u64,
        index: u32,
        step: Step,
    ) -> Result<StepResult, Refusal> {
        let order = StepOrder {
            directive_id: DirectiveId(directive),
            step_index: index,
            controller_term: self.term,
            cluster_id: self.cluster_id.clone(),
            shard: at.shard_id,
            expected_epoch: at.epoch,
            step,
            expires_at_unix_ms: u64::MAX,
            reason: "a test".into(),
        };
        self.send(at.shard_id, serde_json::to_vec(&order).expect("plain data")).await
    }

    /// Sends any bytes as an order to the shard's leader.
    pub async fn send(&self, shard: ShardId, order_json: Vec<u8>) -> Result<StepResult, Refusal> {
        let node = self.led_entry(shard).await.leader.expect("led_entry waits for it");
        send_to(self.channel(node), order_json).await
    }
}

/// Sends any bytes as an order to a node, and waits for the end of its answer.
pub async fn send_to(node: Channel, order_json: Vec<u8>) -> Result<StepResult, Refusal> {
    let request = ExecuteStepRequest { order_json: order_json.into(), traceparent: String::new() };
    let events = NodeClient::new(node).execute_step(request).await;
    let mut events = events.expect("the call is taken").into_inner();
    while let Some(frame) = events.message().await.expect("the stream goes on") {
        match serde_json::from_slice(&frame.event_json).expect("an event") {
            StepEvent::Done(result) => return Ok(result),
            StepEvent::Refused { refusal } => return Err(refusal),
            StepEvent::Accepted | StepEvent::Progress { .. } => {}
        }
    }
    panic!("the stream ended without a result");
}
