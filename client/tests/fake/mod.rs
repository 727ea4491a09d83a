//! A cluster of in-process nodes that answer as told: enough of the protocol to test the client.
#![allow(dead_code)] // each test file uses another part

mod service;

use isobar_api::{
    ApiError, Epoch, ErrorCode, KeyRange, NodeId, Region, Replica, ReplicaId, ReplicaRole,
    ShardEntry, ShardId, TableId, proto,
    table::{AckLevel, TableInfo, TableRule, TableSpec, TableState},
};
use proto::{kv_server::KvServer, node_server::NodeServer};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

/// One request as a node saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub node: NodeId,
    pub items: usize,
    /// (client id, sequence, first unacknowledged) of the writes.
    pub writes: Vec<(Vec<u8>, u64, u64)>,
}

#[derive(Default)]
pub struct State {
    pub cluster_id: String,
    /// What is true.
    pub shards: Vec<ShardEntry>,
    /// What `GetShardMap` says; the truth where `None`.
    pub published: Option<Vec<ShardEntry>>,
    /// The same for single nodes.
    pub published_by: BTreeMap<NodeId, Vec<ShardEntry>>,
    pub members: Vec<proto::Member>,
    pub rows: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    pub answers: BTreeMap<(Vec<u8>, u64), proto::WriteResult>,
    pub clock: u64,
    pub seen: Vec<Seen>,
    pub map_requests: u64,
    /// Nodes that fail every request as a broken connection would.
    pub down: BTreeSet<NodeId>,
    /// Writes that are still to be applied and then lose their answer.
    pub lose_answers: u32,
    /// Followers serve linearizable reads by asking the leader, and say so.
    pub followers_read: bool,
    /// Nodes that refuse every bounded read.
    pub stale_nodes: BTreeSet<NodeId>,
    /// Reads of more keys than this have an answer that is too large.
    pub answer_keys_max: Option<usize>,
    /// Shards that never answer in time, as without a quorum.
    pub stuck: BTreeSet<u64>,
    /// Items that are still to be refused for overload.
    pub overloads: u32,
    /// When a refused caller is asked to come again, milliseconds; zero stands for 10.
    pub overload_retry_ms: u64,
    /// How long a node works on a request.
    pub work: Duration,
}

#[derive(Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    pub seeds: Vec<String>,
}

pub const TABLE: TableId = TableId(1);

pub fn region(name: &str) -> Region {
    Region::new(name).expect("legal")
}

pub fn entry(
    shard: u64,
    start: &str,
    end: &str,
    shape: u64,
    nodes: &[u64],
    leader: u64,
) -> ShardEntry {
    let replica = |&n: &u64| Replica {
        replica_id: ReplicaId(n),
        node_id: NodeId(n),
        role: ReplicaRole::Voter,
    };
    ShardEntry {
        shard_id: ShardId(shard),
        table_id: TABLE,
        range: KeyRange { start: start.into(), end: end.into() },
        epoch: Epoch { shape, membership: 1 },
        replicas: nodes.iter().map(replica).collect(),
        leader: Some(NodeId(leader)).filter(|n| n.0 != 0),
        term: leader,
    }
}

impl Cluster {
    /// Starts one node per region; node ids count from 1. One shard with replicas everywhere, led by node 1.
    pub async fn start(regions: &[&str]) -> Self {
        let state = Arc::new(Mutex::new(State { cluster_id: "fake".into(), ..State::default() }));
        let mut seeds = Vec::new();
        for (i, name) in regions.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound").to_string();
            let node = NodeId(i as u64 + 1);
            let service = service::Node { node, state: state.clone() };
            let server = tonic::transport::Server::builder()
                .add_service(KvServer::new(service.clone()))
                .add_service(NodeServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(server);
            seeds.push(address.clone());
            lock(&state).members.push(member(node, &address, name));
        }
        let nodes: Vec<u64> = (1..=regions.len() as u64).collect();
        lock(&state).shards = vec![entry(1, "", "", 1, &nodes, 1)];
        Self { state, seeds }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Adds a member at an address where nobody listens.
    pub async fn add_dead_member(&self, node: u64, region: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        self.state().members.push(member(NodeId(node), &address, region));
    }

    /// Two shards, cut at `m`: s1 led by node 1, s2 by node 2.
    pub fn split(&self) {
        let mut state = self.state();
        let nodes: Vec<u64> = state.members.iter().map(|m| m.node_id).collect();
        state.shards = vec![entry(1, "", "m", 2, &nodes, 1), entry(2, "m", "", 2, &nodes, 2)];
    }

    pub fn requests_to(&self, node: u64) -> usize {
        self.state().seen.iter().filter(|seen| seen.node.0 == node).count()
    }

    pub fn clear_seen(&self) {
        self.state().seen.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics while it holds this lock")
}

fn member(node: NodeId, address: &str, region: &str) -> proto::Member {
    proto::Member {
        node_id: node.0,
        address: address.into(),
        region: region.into(),
        zone: "a".into(),
        alive: true,
        load_json: Default::default(),
    }
}

pub fn table() -> TableInfo {
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 5, ack: AckLevel::Majority };
    TableInfo {
        table_id: TABLE,
        spec: TableSpec { name: "orders".into(), rule, split_keys: vec![], placed_like: None },
        state: TableState::Ready,
        first_shards: vec![ShardId(1)],
    }
}

impl State {
    fn item(
        &mut self,
        node: NodeId,
        item: proto::KvItem,
    ) -> Result<proto::kv_result::Result, ApiError> {
        use proto::kv_item::Op;
        let refuse = |code, shards: &[ShardEntry]| {
            Err(ApiError::new(code, "fake").with_shards(shards.to_vec()))
        };
        if self.stuck.contains(&item.shard_id) {
            return refuse(ErrorCode::DeadlineExceeded, &[]);
        }
        if let Some(left) = self.overloads.checked_sub(1) {
            self.overloads = left;
            let retry_ms = if self.overload_retry_ms == 0 { 10 } else { self.overload_retry_ms };
            return Err(ApiError::new(ErrorCode::Overloaded, "fake").retry_after_ms(retry_ms));
        }
        let Some(entry) = self.shards.iter().find(|s| s.shard_id.0 == item.shard_id).cloned()
        else {
            return refuse(ErrorCode::ShardNotHere, &self.shards);
        };
        if entry.replica_on(node).is_none() {
            return refuse(ErrorCode::ShardNotHere, &self.shards);
        }
        if item.epoch.unwrap_or_default().shape != entry.epoch.shape {
            return refuse(ErrorCode::StaleEpoch, &self.shards);
        }
        let level = match &item.op {
            Some(Op::Get(op)) => op.read.unwrap_or_default().level(),
            Some(Op::Scan(op)) => op.read.unwrap_or_default().level(),
            _ => proto::ReadLevel::Linearizable,
        };
        let detour = level == proto::ReadLevel::Linearizable && entry.leader != Some(node);
        let is_get = matches!(&item.op, Some(Op::Get(_)));
        if let Some(Op::Get(op)) = &item.op
            && self.answer_keys_max.is_some_and(|max| op.keys.len() > max)
        {
            return refuse(ErrorCode::BatchSize, &[]);
        }
        if detour && !(is_get && self.followers_read) {
            return refuse(ErrorCode::NotLeader, &[entry]);
        }
        if level == proto::ReadLevel::Bounded && self.stale_nodes.contains(&node) {
            return refuse(ErrorCode::TooStale, &[]);
        }
        Ok(match item.op.expect("an operation") {
            Op::Get(op) => proto::kv_result::Result::Get(proto::GetResult {
                shard: detour.then(|| (&entry).into()),
                ..self.get(&op)
            }),
            Op::Scan(op) => proto::kv_result::Result::Scan(self.scan(&op)),
            Op::Write(op) => proto::kv_result::Result::Write(self.write(node, op)),
        })
    }

    fn get(&self, op: &proto::GetOp) -> proto::GetResult {
        let found = op.keys.iter().filter_map(|k| self.rows.get_key_value(&k[..]));
        proto::GetResult { rows: found.map(row).collect(), shard: None }
    }

    fn scan(&self, op: &proto::ScanOp) -> proto::ScanResult {
        let start = op.start.to_vec();
        let inside = |k: &[u8]| op.end.is_empty() || k < &op.end[..];
        let mut rows = self.rows.range(start..).take_while(|(k, _)| inside(k));
        let page = rows.by_ref().take(op.limit as usize).map(row).collect();
        let resume_key = rows.next().map(|(k, _)| k.clone().into());
        proto::ScanResult { rows: page, resume_key }
    }

    fn write(&mut self, node: NodeId, op: proto::WriteOp) -> proto::WriteResult {
        let id = (op.client_id.to_vec(), op.sequence);
        if let Some(answer) = self.answers.get(&id) {
            return proto::WriteResult { repeated_request: true, ..answer.clone() };
        }
        let current: Vec<u64> =
            op.mutations.iter().map(|m| self.rows.get(&m.key[..]).map_or(0, |r| r.1)).collect();
        let holds = op
            .mutations
            .iter()
            .zip(&current)
            .all(|(m, version)| m.expected.is_none_or(|expected| expected.hlc == *version));
        self.clock += u64::from(holds);
        for mutation in op.mutations.into_iter().filter(|_| holds) {
            match mutation.value {
                Some(value) => self.rows.insert(mutation.key.into(), (value.into(), self.clock)),
                None => self.rows.remove(&mutation.key[..]),
            };
        }
        let version = |hlc| proto::RowVersion { hlc, origin_node: node.0 };
        let answer = proto::WriteResult {
            applied: holds,
            version: Some(version(self.clock)),
            current: current.into_iter().filter(|_| !holds).map(version).collect(),
            repeated_request: false,
        };
        self.answers.insert(id, answer.clone());
        answer
    }
}

fn row((key, (value, hlc)): (&Vec<u8>, &(Vec<u8>, u64))) -> proto::Row {
    proto::Row {
        key: key.clone().into(),
        value: Some(value.clone().into()),
        version: Some(proto::RowVersion { hlc: *hlc, origin_node: 1 }),
        schema_version: 0,
    }
}
