//! Three nodes in this process, over links that can be cut.

use super::*;
use crate::{
    catalog::ClusterAdmission,
    config::RaftTiming,
    consensus::raft::shared_log::{FlusherConfig, SharedLog},
    engine::MemoryEngine,
    members::Members,
    registry::tests::member,
    shard::{Command, Seed},
    transport::{Message, Outgoing, PeerNetwork, Transport, TransportError, server::PeerServer},
    wall_clock::WallClock,
};
use bytes::Bytes;
use isobar_api::{
    ApiError, ErrorCode, KeyRange, Replica as Member, ReplicaId, ReplicaRole, ShardDescriptor,
    ShardId, TableId,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, KvRequest, KvResult, RaftFrame,
        ReadIndexRequest, ReadIndexResponse, RetireReplicaRequest, RetireReplicaResponse,
    },
    rtt::RttMatrix,
};
use openraft::async_runtime::WatchReceiver;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

const WITHIN: Duration = Duration::from_secs(60);
const AFTER_MS: u64 = 1_500;

/// The links. Nothing passes between two nodes whose link is cut.
#[derive(Default)]
struct Net {
    servers: Mutex<BTreeMap<NodeId, PeerServer>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    consensus_messages: AtomicU64,
}

struct Wire {
    own: NodeId,
    net: Arc<Net>,
}

impl Wire {
    fn server(&self, node: NodeId) -> Option<PeerServer> {
        let cut = self.net.cut.lock().unwrap();
        let apart = cut.contains(&(self.own, node)) || cut.contains(&(node, self.own));
        self.net.servers.lock().unwrap().get(&node).filter(|_| !apart).cloned()
    }
}

fn absent<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::Unreachable, "cut"))
}

#[async_trait::async_trait]
impl PeerNetwork for Wire {
    async fn call(
        &self,
        node: NodeId,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if !matches!(message.kind, FrameKind::Ping | FrameKind::Sleep | FrameKind::Rouse) {
            self.net.consensus_messages.fetch_add(1, Ordering::SeqCst);
        }
        let Some(server) = self.server(node) else {
            return Err(TransportError::Unreachable { node, why: "cut".into() });
        };
        let frame = RaftFrame {
            id: 1,
            shard_id: message.shard.0,
            from_replica: message.from_replica,
            to_replica: message.to_replica,
            kind: message.kind as u32,
            payload: message.payload.into(),
            from_node: self.own.0,
        };
        let answer = tokio::time::timeout(timeout, server.answer(frame)).await;
        let answer = answer.map_err(|_| TransportError::Timeout { node })?;
        match (self.server(node), FrameKind::from_wire(answer.kind)) {
            (Some(_), Some(FrameKind::Answer)) => Ok(answer.payload),
            (Some(_), Some(FrameKind::UnknownReplica)) => {
                Err(TransportError::UnknownReplica { node })
            }
            _ => Err(TransportError::Failed { node, why: "no answer".into() }),
        }
    }

    async fn send_snapshot(
        &self,
        node: NodeId,
        _: Outgoing,
        _: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Unreachable { node, why: "not here".into() })
    }

    async fn ensure_replica(
        &self,
        _: NodeId,
        _: EnsureReplicaRequest,
        _: Duration,
    ) -> Result<EnsureReplicaResponse, ApiError> {
        absent()
    }

    async fn read_index(
        &self,
        node: NodeId,
        request: ReadIndexRequest,
        _: Duration,
    ) -> Result<ReadIndexResponse, ApiError> {
        match self.server(node) {
            Some(server) => server.confirm_read(request).await,
            None => absent(),
        }
    }

    async fn retire_replica(
        &self,
        _: NodeId,
        _: RetireReplicaRequest,
        _: Duration,
    ) -> Result<RetireReplicaResponse, ApiError> {
        absent()
    }

    async fn execute(
        &self,
        _: NodeId,
        _: KvRequest,
        _: Duration,
    ) -> Result<Vec<KvResult>, ApiError> {
        absent()
    }
}

struct Running {
    registry: Registry,
    stop: CancellationToken,
}

/// Three nodes, each with a replica of every shard.
struct Trio {
    net: Arc<Net>,
    engines: BTreeMap<NodeId, (Arc<MemoryEngine>, Arc<MemoryEngine>)>,
    running: BTreeMap<NodeId, Running>,
    shards: u64,
    starts: u64,
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=3).map(NodeId)
}

impl Trio {
    async fn start(shards: u64) -> Self {
        let engines = nodes().map(|node| (node, Default::default())).collect();
        let mut trio =
            Self { net: Arc::default(), engines, running: BTreeMap::new(), shards, starts: 0 };
        for node in nodes() {
            trio.start_node(node).await;
        }
        for shard in trio.shards() {
            let seed = seed(shard);
            for node in nodes() {
                let replica = ReplicaId(node.0);
                trio.running[&node].registry.create_seeded(&seed, replica).await.unwrap();
            }
            // Every node leads some.
            let first = NodeId(1 + shard.0 % 3);
            let _ = trio.replica(first, shard).raft.trigger().elect(false).await;
        }
        for shard in trio.shards() {
            trio.led(shard).await;
        }
        trio
    }

    async fn start_node(&mut self, node: NodeId) {
        self.starts += 1;
        let members = Members::new(member(node.0, true), RttMatrix::default());
        members.update(nodes().map(|node| (node, member(node.0, true))).collect());
        let wire = Arc::new(Wire { own: node, net: self.net.clone() });
        let transport = Transport::over(members.clone(), wire);
        let (state, log) = self.engines[&node].clone();
        let log = SharedLog::open(log, Some(state.clone()), FlusherConfig::default()).unwrap();
        let timing = RaftTiming::default();
        let (clock, root) = (WallClock::of_the_machine(), PathBuf::from("/"));
        let registry = Registry::new(node, state, log, transport, timing.clone(), root, clock);
        registry.open_all().await.unwrap();
        let admission = ClusterAdmission::of("c", registry.clone());
        let server = PeerServer::new(registry.clone(), members, admission, 0);
        self.net.servers.lock().unwrap().insert(node, server);
        let quiesce = Quiesce::new(registry.clone(), self.starts, AFTER_MS, timing.heartbeat_ms);
        let stop = CancellationToken::new();
        tokio::spawn(quiesce.run(stop.clone()));
        self.running.insert(node, Running { registry, stop });
    }

    async fn stop_node(&mut self, node: NodeId) {
        self.net.servers.lock().unwrap().remove(&node);
        let running = self.running.remove(&node).expect("it runs");
        running.stop.cancel();
        running.registry.shutdown().await;
    }

    fn cut(&self, a: NodeId, b: NodeId) {
        self.net.cut.lock().unwrap().insert((a, b));
    }

    fn heal(&self) {
        self.net.cut.lock().unwrap().clear();
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (1..=self.shards).map(ShardId)
    }

    fn replica(&self, node: NodeId, shard: ShardId) -> Arc<Replica> {
        self.running[&node].registry.get(shard).expect("every node has a replica")
    }

    fn replicas(&self, shard: ShardId) -> Vec<Arc<Replica>> {
        self.running.keys().map(|node| self.replica(*node, shard)).collect()
    }

    /// Node and term of the leader that all running replicas know of.
    fn lead(&self, shard: ShardId) -> Option<(NodeId, u64)> {
        let known: BTreeSet<_> = self
            .replicas(shard)
            .iter()
            .map(|replica| {
                let metrics = replica.raft.metrics();
                let metrics = metrics.borrow_watched();
                metrics.current_leader.map(|id| (NodeId(id), metrics.current_term))
            })
            .collect();
        let lead = known.first().copied().flatten().filter(|_| known.len() == 1)?;
        self.running.contains_key(&lead.0).then_some(lead)
    }

    async fn led(&self, shard: ShardId) -> (NodeId, u64) {
        self.until("a leader", || self.lead(shard).is_some()).await;
        self.lead(shard).expect("just seen")
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < WITHIN, "{what}: not in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn all_asleep(&self) -> bool {
        self.shards().all(|shard| self.replicas(shard).iter().all(|r| r.rest.number().is_some()))
    }

    fn all_awake(&self, shard: ShardId) -> bool {
        self.replicas(shard).iter().all(|r| r.rest.number().is_none())
    }

    async fn asleep(&self) {
        self.until("all sleep", || self.all_asleep()).await;
    }

    /// Writes through a node.
    async fn write(&self, node: NodeId, shard: ShardId) -> Result<(), ApiError> {
        self.replica(node, shard).propose_when_led(Command::AllocateReplica).await.map(|_| ())
    }

    /// Writes as a client does that tries every node until one takes it.
    async fn write_somewhere(&self, shard: ShardId) -> NodeId {
        let began = Instant::now();
        loop {
            for node in self.running.keys() {
                if self.write(*node, shard).await.is_ok() {
                    return *node;
                }
            }
            assert!(began.elapsed() < WITHIN, "no node takes a write");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn seed(shard: ShardId) -> Seed {
    let replicas = nodes().map(|node| Member {
        replica_id: ReplicaId(node.0),
        node_id: node,
        role: ReplicaRole::Voter,
    });
    let descriptor = ShardDescriptor {
        shard_id: shard,
        table_id: TableId(shard.0),
        range: KeyRange::all(),
        shape: 1,
        merging: Default::default(),
        next_replica_id: 4,
        rule: serde_json::from_str(r#"{"replicas":3,"replicas_max":5}"#).unwrap(),
    };
    Seed { descriptor, replicas: replicas.collect() }
}

fn other_than(node: NodeId) -> NodeId {
    nodes().find(|other| *other != node).expect("there are three")
}

const ONE: ShardId = ShardId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_group_falls_silent_and_every_kind_of_use_wakes_it_in_its_term() {
    let trio = Trio::start(1).await;
    let (leader, term) = trio.led(ONE).await;
    trio.asleep().await;
    let before = trio.net.consensus_messages.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = trio.net.consensus_messages.load(Ordering::SeqCst);
    assert_eq!((before, trio.all_asleep()), (after, true), "longer than any election timeout");

    trio.write(leader, ONE).await.unwrap();
    trio.until("a write wakes all", || trio.all_awake(ONE)).await;
    for read_at in [leader, other_than(leader)] {
        trio.asleep().await;
        let replica = trio.replica(read_at, ONE);
        replica.linearizable_barrier().await.unwrap();
        trio.until("a read wakes all", || trio.all_awake(ONE)).await;
    }
    trio.asleep().await;
    let refused = trio.write(other_than(leader), ONE).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotLeader);
    trio.until("a request at a follower wakes all", || trio.all_awake(ONE)).await;
    assert_eq!(trio.lead(ONE), Some((leader, term)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_that_wake_at_once_keep_their_leaders() {
    let trio = Trio::start(100).await;
    let before: Vec<_> = trio.shards().map(|shard| trio.lead(shard)).collect();
    trio.asleep().await;
    let writes = trio.shards().map(|shard| {
        let (node, _) = before[shard.0 as usize - 1].expect("a leader");
        trio.write(node, shard)
    });
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    trio.asleep().await;
    let after: Vec<_> = trio.shards().map(|shard| trio.lead(shard)).collect();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_with_a_member_that_does_not_answer_stays_awake() {
    let mut trio = Trio::start(1).await;
    let (leader, term) = trio.led(ONE).await;
    trio.stop_node(other_than(leader)).await;
    tokio::time::sleep(Duration::from_millis(3 * AFTER_MS)).await;
    trio.until("the others are awake", || trio.all_awake(ONE)).await;
    trio.write(leader, ONE).await.unwrap();
    assert_eq!(trio.lead(ONE), Some((leader, term)), "and in touch");
    trio.start_node(other_than(leader)).await;
    trio.asleep().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_followers_of_a_node_that_is_gone_elect_by_themselves() {
    let mut trio = Trio::start(30).await;
    trio.asleep().await;
    let before: Vec<_> = trio.shards().map(|shard| trio.lead(shard)).collect();
    let gone = NodeId(2);
    trio.stop_node(gone).await;
    for (shard, before) in trio.shards().zip(before) {
        let (node, term) = before.expect("a leader");
        let (now, term_now) = trio.led(shard).await;
        if node == gone {
            assert!(now != gone && term_now > term);
        } else {
            assert_eq!((now, term_now), (node, term), "the loss of a follower changes nothing");
        }
        trio.write(now, shard).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_deposes_nobody_and_its_own_shards_get_leaders() {
    let mut trio = Trio::start(30).await;
    trio.asleep().await;
    let before: Vec<_> = trio.shards().map(|shard| trio.lead(shard)).collect();
    let again = NodeId(3);
    trio.stop_node(again).await;
    trio.start_node(again).await;
    for (shard, before) in trio.shards().zip(before) {
        let (node, term) = before.expect("a leader");
        let now = trio.led(shard).await;
        if node == again {
            assert!(now.1 > term);
        } else {
            assert_eq!(now, (node, term), "{shard}");
        }
        trio.write(now.0, shard).await.unwrap();
    }
    trio.asleep().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_leader_that_was_deposed_serves_no_read_and_takes_no_write() {
    let trio = Trio::start(1).await;
    let (old, term) = trio.led(ONE).await;
    trio.asleep().await;
    nodes().filter(|node| *node != old).for_each(|node| trio.cut(old, node));
    let others: Vec<NodeId> = nodes().filter(|node| *node != old).collect();
    trio.until("the others elect", || {
        others.iter().any(|node| trio.replica(*node, ONE).is_leader())
    })
    .await;
    let new = *others.iter().find(|node| trio.replica(**node, ONE).is_leader()).expect("seen");
    trio.write(new, ONE).await.unwrap();

    let deposed = trio.replica(old, ONE);
    assert!(deposed.is_leader(), "it does not know yet");
    assert!(deposed.leader_barrier().await.is_err(), "nobody confirms it");
    assert!(deposed.propose(Command::AllocateReplica).await.is_err());
    trio.heal();
    let (leader, now) = trio.led(ONE).await;
    assert!(now > term && leader != old);
    deposed.linearizable_barrier().await.unwrap();
    let applied = |replica: &Replica| replica.raft.metrics().borrow_watched().last_applied;
    assert_eq!(applied(&deposed), applied(&trio.replica(leader, ONE)), "read through the leader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_alone_misses_the_leader_does_not_depose_it() {
    let trio = Trio::start(1).await;
    let (leader, term) = trio.led(ONE).await;
    trio.asleep().await;
    let apart = other_than(leader);
    trio.cut(leader, apart);
    trio.until("it wakes", || trio.replica(apart, ONE).rest.number().is_none()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    trio.write(leader, ONE).await.unwrap();
    trio.heal();
    assert_eq!(trio.led(ONE).await, (leader, term));
    trio.asleep().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_at_a_follower_brings_about_an_election_when_the_leader_is_gone() {
    let mut trio = Trio::start(1).await;
    let (leader, _) = trio.led(ONE).await;
    trio.asleep().await;
    trio.stop_node(leader).await;
    let taken_by = trio.write_somewhere(ONE).await;
    assert_ne!(taken_by, leader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_puts_nothing_to_sleep_lets_nobody_else_sleep() {
    let trio = Trio::start(1).await;
    let (leader, _) = trio.led(ONE).await;
    trio.asleep().await;
    let registry = &trio.running[&leader].registry;
    let of = |payload: Vec<u8>| answer_node(registry, Some(FrameKind::Sleep), &payload);
    assert!(of(b"no request".to_vec()).expect("for the node").is_err());
    let metrics = trio.replica(leader, ONE).raft.metrics();
    let last = metrics.borrow_watched().last_applied.expect("applied");
    let proposal = Proposal { shard: 1, leader: 9, follower: leader.0, term: 1, last };
    let request = SleepRequest { node: 9, incarnation: 1, proposals: vec![proposal] };
    let answer = of(encode(&request)).expect("for the node").expect("it decodes");
    let answer: SleepAnswer = crate::consensus::raft::types::decode(&answer).unwrap();
    assert_eq!(answer.asleep, [false], "a stranger is not followed");
    // Nor its leader, unless term and log are what it sees itself.
    let (follower, term) = (other_than(leader), trio.led(ONE).await.1);
    let registry = &trio.running[&follower].registry;
    let asleep = |term, last| {
        let (leader, follower) = (leader.0, follower.0);
        let proposals = vec![Proposal { shard: 1, leader, follower, term, last }];
        let request = encode(&SleepRequest { node: leader, incarnation: 1, proposals });
        let answer = answer_node(registry, Some(FrameKind::Sleep), &request).expect("for it");
        crate::consensus::raft::types::decode::<SleepAnswer>(&answer.unwrap()).unwrap().asleep[0]
    };
    let later = crate::consensus::raft::types::LogId::new_term_index(term, last.index() + 1);
    let seen = [asleep(term + 1, last), asleep(term, later), asleep(term, last)];
    assert_eq!(seen, [false, false, true]);

    let members = Members::new(member(1, true), RttMatrix::default());
    let other = crate::registry::tests::registry_of(members, &Arc::default());
    let refused = answer_node(&other, Some(FrameKind::Ping), &[]).expect("for the node");
    assert!(refused.is_err(), "its own groups never sleep, so nothing of it would wake them");
}
