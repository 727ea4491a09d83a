//! An in-process node that speaks the real protocol: one shard, guards on epoch and term, and the
//! durable results that make repeats safe. It counts effects, so that a test can see one too many.

use crate::view::{ClusterView, NodeHealth, NodeView, ShardView};
use isobar_api::{
    DirectiveId, Epoch, KeyRange, NodeId, PlanId, Region, Replica, ReplicaId, ReplicaRole,
    ShardEntry, ShardId, TableId, Term,
    directive::{
        Budget, Directive, DirectiveKind, Refusal, Step, StepEvent, StepOrder, StepResult,
    },
    plan::Effect,
    proto::{self, node_server::Node},
    report::{Arrivals, LatencySummary, NodeLoad, NodeReport, ReplicaReport},
    table::{AckLevel, TableInfo, TableRule, TableSpec, TableState},
};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

/// What the fake does with the next order instead of carrying it out.
#[derive(Clone, Debug)]
pub(crate) enum Misbehaviour {
    /// Refuses.
    Refuse(Refusal),
    /// Carries it out and loses the answer.
    LoseAnswer,
    /// Accepts and never advances until it is aborted.
    Hang,
}

/// What the fake knows and did.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) entry: ShardEntry,
    pub(crate) results: BTreeMap<(u64, u32), StepResult>,
    /// Every effect, in order: directive, step index, step.
    pub(crate) effects: Vec<(u64, u32, Step)>,
    pub(crate) orders: u32,
    pub(crate) highest_term: Term,
    pub(crate) aborted: Vec<u64>,
    pub(crate) next: VecDeque<Misbehaviour>,
    /// Loses one report.
    pub(crate) skip_report: bool,
}

/// The fake node.
#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) address: String,
    node: NodeId,
    members: Arc<Mutex<Vec<proto::Member>>>,
}

impl FakeNode {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        let state = State {
            entry: entry(),
            results: BTreeMap::new(),
            effects: Vec::new(),
            orders: 0,
            highest_term: Term(0),
            aborted: Vec::new(),
            next: VecDeque::new(),
            skip_report: false,
        };
        Self::join(NodeId(1), Arc::new(Mutex::new(state)), Arc::default()).await
    }

    /// Starts four that share one shard and know each other.
    pub(crate) async fn start_cluster() -> Vec<Self> {
        let first = Self::start().await;
        let mut all = vec![first.clone()];
        for n in 2..=4 {
            all.push(Self::join(NodeId(n), first.state.clone(), first.members.clone()).await);
        }
        all
    }

    async fn join(
        node: NodeId,
        state: Arc<Mutex<State>>,
        members: Arc<Mutex<Vec<proto::Member>>>,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        members.lock().expect("no panic").push(proto::Member {
            node_id: node.0,
            address: address.clone(),
            region: region_of(node).to_string(),
            zone: "a".into(),
            alive: true,
            load_json: serde_json::to_vec(&NodeLoad::default()).expect("plain data").into(),
        });
        let node = Self { state, address, node, members };
        let service = proto::node_server::NodeServer::new(node.clone());
        let serve = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        node
    }

    /// What to do with the next orders.
    pub(crate) fn misbehave(&self, next: impl IntoIterator<Item = Misbehaviour>) {
        self.state.lock().expect("no panic").next.extend(next);
    }

    /// Steps that took effect, as text.
    pub(crate) fn effects(&self) -> Vec<String> {
        let state = self.state.lock().expect("no panic");
        state.effects.iter().map(|(_, index, step)| format!("{index}: {step}")).collect()
    }
}

impl State {
    /// The guards of a real node, in short.
    fn execute(&mut self, order: &StepOrder) -> Result<StepResult, Refusal> {
        if order.controller_term < self.highest_term {
            return Err(Refusal::StaleTerm {
                sent: order.controller_term,
                seen: self.highest_term,
            });
        }
        self.highest_term = order.controller_term;
        let key = (order.directive_id.0, order.step_index);
        if let Some(result) = self.results.get(&key) {
            return Ok(result.clone());
        }
        if order.expected_epoch != self.entry.epoch {
            let (expected, current) = (order.expected_epoch, self.entry.epoch);
            return Err(Refusal::EpochMoved { expected, current });
        }
        let already = crate::executor::undo::is_in_effect(&order.step, &self.entry);
        if !already {
            self.apply(&order.step);
            self.effects.push((key.0, key.1, order.step.clone()));
        }
        let result = StepResult {
            directive_id: order.directive_id,
            step_index: order.step_index,
            epoch_after: self.entry.epoch,
            new_shard: None,
            copied_bytes: 0,
            already,
        };
        self.results.insert(key, result.clone());
        Ok(result)
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::AddLearner { node } => {
                let replica_id = ReplicaId(self.entry.replicas.len() as u64 + 1);
                self.entry.replicas.push(Replica {
                    replica_id,
                    node_id: *node,
                    role: ReplicaRole::Learner,
                });
            }
            Step::Promote { node } => {
                let replica = self.entry.replicas.iter_mut().find(|r| r.node_id == *node);
                replica.expect("it was added").role = ReplicaRole::Voter;
            }
            Step::TransferLeader { node } => {
                self.entry.leader = Some(*node);
                self.entry.term += 1;
                return;
            }
            Step::RemoveReplica { node } => self.entry.replicas.retain(|r| r.node_id != *node),
            Step::Split { .. } | Step::Merge { .. } => self.entry.epoch.shape += 1,
        }
        self.entry.epoch.membership += 1;
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<proto::StepFrame, Status>> + Send>>;

fn frames(events: Vec<StepEvent>) -> Frames {
    Box::pin(tokio_stream::iter(events).map(|event| {
        let event_json = serde_json::to_vec(&event).expect("plain data").into();
        Ok(proto::StepFrame { event_json })
    }))
}

#[tonic::async_trait]
impl Node for FakeNode {
    type SubscribeReportsStream =
        Pin<Box<dyn Stream<Item = Result<proto::ReportFrame, Status>> + Send>>;
    type ExecuteStepStream = Frames;

    async fn execute_step(
        &self,
        request: Request<proto::ExecuteStepRequest>,
    ) -> Result<Response<Self::ExecuteStepStream>, Status> {
        let order: StepOrder =
            serde_json::from_slice(&request.into_inner().order_json).expect("an order");
        let mut state = self.state.lock().expect("no panic");
        state.orders += 1;
        let accepted = StepEvent::Accepted;
        let stream = match state.next.pop_front() {
            Some(Misbehaviour::Refuse(refusal)) => frames(vec![StepEvent::Refused { refusal }]),
            Some(Misbehaviour::LoseAnswer) => {
                let _ = state.execute(&order);
                frames(vec![accepted])
            }
            Some(Misbehaviour::Hang) => {
                Box::pin(frames(vec![accepted]).chain(tokio_stream::pending()))
            }
            None => match state.execute(&order) {
                Ok(result) => {
                    let advance = StepEvent::Progress { done: 1, total: 1 };
                    frames(vec![accepted, advance, StepEvent::Done(result)])
                }
                Err(refusal) => frames(vec![StepEvent::Refused { refusal }]),
            },
        };
        Ok(Response::new(stream))
    }

    async fn abort_step(
        &self,
        request: Request<proto::AbortStepRequest>,
    ) -> Result<Response<proto::AbortStepResponse>, Status> {
        let id = request.into_inner().directive_id;
        self.state.lock().expect("no panic").aborted.push(id);
        Ok(Response::new(proto::AbortStepResponse { was_running: true }))
    }

    async fn get_shard_map(
        &self,
        _: Request<proto::ShardMapRequest>,
    ) -> Result<Response<proto::ShardMapResponse>, Status> {
        let entry = self.state.lock().expect("no panic").entry.clone();
        Ok(Response::new(proto::ShardMapResponse {
            cluster_id: "test".into(),
            shards: vec![proto::ShardEntry::from(&entry)],
            members: self.members.lock().expect("no panic").clone(),
            tables_json: serde_json::to_vec(&[table()]).expect("plain data").into(),
        }))
    }
    async fn create_table(
        &self,
        _: Request<proto::CreateTableRequest>,
    ) -> Result<Response<proto::CreateTableResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
    async fn list_tables(
        &self,
        _: Request<proto::ListTablesRequest>,
    ) -> Result<Response<proto::ListTablesResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
    async fn subscribe_reports(
        &self,
        _: Request<proto::SubscribeReportsRequest>,
    ) -> Result<Response<Self::SubscribeReportsStream>, Status> {
        let node = self.clone();
        let mut sequence = 0;
        let pause = std::time::Duration::from_millis(REPORT_EVERY_MS);
        let ticks = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(pause));
        Ok(Response::new(Box::pin(ticks.map(move |_| {
            sequence += 1;
            sequence +=
                u64::from(std::mem::take(&mut node.state.lock().expect("no panic").skip_report));
            let report = serde_json::to_vec(&node.report(sequence)).expect("plain data");
            Ok(proto::ReportFrame { report_json: report.into() })
        }))))
    }
}

/// How often the fake reports; a real node does once a second.
const REPORT_EVERY_MS: u64 = 200;

impl FakeNode {
    /// Twenty reads from `us` per report arrive at the leader.
    fn report(&self, sequence: u64) -> NodeReport {
        let state = self.state.lock().expect("no panic");
        let held = state.entry.replica_on(self.node).copied();
        let is_leader = state.entry.leader == Some(self.node);
        let arrivals = is_leader.then(|| Arrivals {
            region: Some(region_of(NodeId(4))),
            reads: 20,
            writes: 1,
            scans: 0,
        });
        let replica = held.map(|replica| ReplicaReport {
            shard: state.entry.clone(),
            table: "orders".into(),
            replica_id: replica.replica_id,
            is_leader,
            last_log_index: 7,
            applied_index: 7,
            matched: state.entry.replicas.iter().map(|r| (r.replica_id, 7)).collect(),
            size_bytes: 1_000,
            arrivals: arrivals.into_iter().collect(),
            latency: LatencySummary::default(),
            hot_keys: vec![],
            access_octiles: vec![],
            fault: None,
        });
        NodeReport {
            cluster_id: "test".into(),
            node_id: self.node,
            region: region_of(self.node),
            zone: "a".into(),
            address: self.address.clone(),
            incarnation: 1,
            sequence,
            at_unix_ms: 0,
            interval_ms: REPORT_EVERY_MS,
            controller_term: state.highest_term,
            full: true,
            load: NodeLoad {
                disk_free_bytes: 1 << 40,
                disk_total_bytes: 1 << 41,
                replicas: u32::from(held.is_some()),
                ..NodeLoad::default()
            },
            replicas: replica.into_iter().collect(),
            gone: vec![],
            alive: (1..=4).map(NodeId).collect(),
        }
    }
}

/// The table of shard 1: three replicas, anywhere.
fn table() -> TableInfo {
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 5, ack: AckLevel::Majority };
    TableInfo {
        table_id: TableId(1),
        spec: TableSpec { name: "orders".into(), rule, split_keys: vec![], placed_like: None },
        state: TableState::Ready,
        first_shards: vec![ShardId(1)],
    }
}

/// Node 4 is in `us`, the others are in `eu`.
fn region_of(node: NodeId) -> Region {
    Region::new(if node.0 == 4 { "us" } else { "eu" }).expect("legal")
}

/// Shard 1 of table `orders`, led by node 1, voters on 1, 2 and 3.
pub(crate) fn entry() -> ShardEntry {
    let voter =
        |n| Replica { replica_id: ReplicaId(n), node_id: NodeId(n), role: ReplicaRole::Voter };
    ShardEntry {
        shard_id: ShardId(1),
        table_id: TableId(1),
        range: KeyRange::all(),
        epoch: Epoch { shape: 1, membership: 10 },
        replicas: (1..=3).map(voter).collect(),
        leader: Some(NodeId(1)),
        term: 1,
    }
}

/// Four nodes, three in `eu` and the fourth in `us`, all at the same address; shard 1 as above.
pub(crate) fn view(address: &[&str]) -> ClusterView {
    let address = address.first().copied().unwrap_or("127.0.0.1:1");
    let node = |n: u64| {
        let view = NodeView {
            node_id: NodeId(n),
            address: address.into(),
            region: region_of(NodeId(n)),
            zone: "a".into(),
            health: NodeHealth::Alive,
            reported_unix_ms: Some(100_000),
            load: NodeLoad::default(),
        };
        (NodeId(n), view)
    };
    let shard = ShardView {
        entry: entry(),
        table: "orders".into(),
        reported_unix_ms: Some(100_000),
        changed_unix_ms: 0,
        windows: 10,
        arrivals: BTreeMap::new(),
        size_bytes: 1_000,
        hot_keys: vec![],
        access_octiles: vec![],
        behind: BTreeMap::new(),
        faults: BTreeMap::new(),
    };
    ClusterView {
        at_unix_ms: 100_000,
        cluster_id: "test".into(),
        nodes: (1..=4).map(node).collect(),
        shards: BTreeMap::from([(ShardId(1), shard)]),
        tables: BTreeMap::new(),
    }
}

/// Moves shard 1's replica and leadership from one node to another.
pub(crate) fn move_directive(from: u64, to: u64) -> Directive {
    let (from, to) = (NodeId(from), NodeId(to));
    let moved = |a, b| {
        vec![
            Step::AddLearner { node: a },
            Step::Promote { node: a },
            Step::TransferLeader { node: a },
            Step::RemoveReplica { node: b },
        ]
    };
    Directive {
        id: DirectiveId(0),
        plan_id: PlanId(0),
        kind: DirectiveKind::MoveReplica,
        controller_term: Term(0),
        shard: ShardId(1),
        table: "orders".into(),
        expected_epoch: entry().epoch,
        policy_version: 1,
        model_version: "baseline".into(),
        steps: moved(to, from),
        undo: moved(from, to),
        budget: Budget { copy_bytes: 1 << 30, p99_rise_ms: 10.0, stall_ms: 2_000 },
        priority: 1,
        not_before_unix_ms: 0,
        expires_at_unix_ms: u64::MAX / 4,
        reason: "readers are in us".into(),
        predicted: Effect {
            metric: "read_rtt_ms_mean".into(),
            before: 80.0,
            after: 1.0,
            ..Effect::default()
        },
    }
}
