//! One node, whose peers say what a test has them say.

use super::*;
use crate::{
    config::RaftTiming,
    consensus::raft::shared_log::{FlusherConfig, SharedLog},
    engine::{EngineRead, MemoryEngine, Space},
    members::Members,
    merge::{MergeAnswer, MergeCall},
    registry::tests::{descriptor, lead, leading, member},
    shard::{Mutation, WriteCommand, keys},
    transport::{Message, Outgoing, PeerNetwork, Transport, TransportError},
    wall_clock::WallClock,
};
use bytes::Bytes;
use isobar_api::{
    ApiError, Epoch, ErrorCode, Replica as Member, ReplicaRole,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, KvRequest, KvResult, MergeRequest,
        MergeResponse, ReadIndexRequest, ReadIndexResponse, RetireReplicaRequest,
        RetireReplicaResponse,
    },
    rtt::RttMatrix,
};
use std::sync::Mutex;

const SHARD: ShardId = ShardId(5);
const OTHER: NodeId = NodeId(2);
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const NOW_UNIX_MS: u64 = 400 * DAY_MS;

/// Answers questions for a read index, and whether a shard is over; nothing else gets through.
#[derive(Default)]
struct Peers {
    refusal: Mutex<Option<ApiError>>,
    ended: Mutex<BTreeMap<NodeId, MergeAnswer>>,
}

fn cut<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::Unreachable, "cut"))
}

#[async_trait::async_trait]
impl PeerNetwork for Peers {
    async fn call(&self, node: NodeId, _: Message, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Timeout { node })
    }

    async fn send_snapshot(
        &self,
        node: NodeId,
        _: Outgoing,
        _: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Timeout { node })
    }

    async fn ensure_replica(
        &self,
        _: NodeId,
        _: EnsureReplicaRequest,
        _: Duration,
    ) -> Result<EnsureReplicaResponse, ApiError> {
        cut()
    }

    async fn read_index(
        &self,
        node: NodeId,
        _: ReadIndexRequest,
        _: Duration,
    ) -> Result<ReadIndexResponse, ApiError> {
        assert_eq!(node, OTHER, "the leader that gossip knows");
        self.refusal.lock().unwrap().clone().map_or_else(cut, Err)
    }

    async fn merge(
        &self,
        node: NodeId,
        request: MergeRequest,
        _: Duration,
    ) -> Result<MergeResponse, ApiError> {
        let call = serde_json::from_slice(&request.call_json).unwrap();
        assert_eq!(MergeCall::Ended { right: SHARD }, call);
        let Some(answer) = self.ended.lock().unwrap().get(&node).cloned() else { return cut() };
        let answer_json = serde_json::to_vec(&answer).unwrap().into();
        Ok(MergeResponse { answer_json })
    }

    async fn retire_replica(
        &self,
        _: NodeId,
        _: RetireReplicaRequest,
        _: Duration,
    ) -> Result<RetireReplicaResponse, ApiError> {
        cut()
    }

    async fn execute(
        &self,
        _: NodeId,
        _: KvRequest,
        _: Duration,
    ) -> Result<Vec<KvResult>, ApiError> {
        cut()
    }
}

struct Rig {
    state: Arc<MemoryEngine>,
    caretaker: Caretaker,
    peers: Arc<Peers>,
    told: Arc<Mutex<Vec<Vec<ShardEntry>>>>,
}

fn rig() -> Rig {
    let members = Members::new(member(1, true), RttMatrix::default());
    members.update([1, 2].map(|node| (NodeId(node), member(node, true))).into());
    let peers = Arc::new(Peers::default());
    let state = Arc::new(MemoryEngine::new());
    let log = Arc::new(MemoryEngine::new());
    let log = SharedLog::open(log, Some(state.clone()), FlusherConfig::default()).unwrap();
    let transport = Transport::over(members, peers.clone());
    let clock = WallClock::simulated(|| NOW_UNIX_MS);
    let timing = RaftTiming::default();
    let registry =
        Registry::new(NodeId(1), state.clone(), log, transport, timing, "/".into(), clock);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let tell_led = Box::new(move |led| tell.lock().unwrap().push(led));
    let caretaker = Caretaker { registry, tell_led, hints: ShardHints::default() };
    Rig { state, caretaker, peers, told }
}

fn write_at(client: u8, sequence: u64, unix_ms: u64) -> Command {
    let mutation = Mutation {
        key: vec![client],
        value: Some(b"v".to_vec()),
        expected: None,
        schema_version: 0,
    };
    let write = WriteCommand {
        client_id: [client; 16],
        sequence,
        first_unacknowledged: 1,
        hlc: unix_ms << 16,
        origin: 1,
        mutations: vec![mutation],
    };
    Command::Write(vec![write].into())
}

#[tokio::test]
async fn only_clients_that_were_silent_for_long_are_forgotten() {
    let rig = rig();
    let replica = leading(&rig.caretaker.registry, SHARD.0).await;
    let clients = || -> Vec<u8> {
        let (from, to) = keys::session_records(SHARD);
        let scan = crate::engine::Scan::range(from, Some(to));
        let rows = rig.state.scan(Space::Sessions, &scan).unwrap().rows;
        rows.iter().map(|(key, _)| *key.last().expect("not empty")).collect()
    };
    let (long, short) = (limits::SESSION_TTL_MS + 1, limits::SESSION_TTL_MS - 60_000);
    // The fourth began long ago and has written since.
    for (client, sequence, silent_ms) in
        [(1, 1, long), (2, 1, short), (3, 1, 0), (4, 1, long), (4, 2, 0)]
    {
        replica.propose(write_at(client, sequence, NOW_UNIX_MS - silent_ms)).await.unwrap();
    }
    assert_eq!(clients(), [1, 2, 3, 4]);
    rig.caretaker.expire_sessions().await;
    assert_eq!(clients(), [2, 3, 4]);
}

/// What gossip says of the shard: led elsewhere, by these replicas, with a later membership.
fn heard(rig: &Rig, epoch: Epoch, replicas: &[u64]) {
    let member =
        |id: &u64| Member { replica_id: ReplicaId(*id), node_id: OTHER, role: ReplicaRole::Voter };
    rig.caretaker.hints.merge(ShardEntry {
        shard_id: SHARD,
        table_id: isobar_api::TableId(1),
        range: isobar_api::KeyRange::all(),
        epoch,
        replicas: replicas.iter().map(member).collect(),
        leader: Some(OTHER),
        term: 9,
    });
}

/// As if it had been in doubt for long enough.
fn in_doubt() -> BTreeMap<ShardId, Instant> {
    let since = Instant::now().checked_sub(LEADERLESS_FOR + Duration::from_secs(1));
    BTreeMap::from([(SHARD, since.expect("the machine runs for longer"))])
}

/// It leads its group of one, so it believes in its leader for ever: only gossip says that the others went on.
#[tokio::test]
async fn a_replica_that_was_left_out_goes_once_its_leader_says_so() {
    let rig = rig();
    let replica = leading(&rig.caretaker.registry, SHARD.0).await;
    let later = Epoch { membership: replica.state.epoch().membership + 7, ..replica.state.epoch() };
    let here = || rig.caretaker.registry.get(SHARD).is_some();
    let listed =
        vec![Member { replica_id: ReplicaId(4), node_id: OTHER, role: ReplicaRole::Voter }];
    let entry = ShardEntry { epoch: later, replicas: listed, ..replica.entry().unwrap() };
    let removed = ApiError::new(ErrorCode::Refused, "no member").with_shards(vec![entry]);

    // Listed, or an older membership: nothing is asked.
    *rig.peers.refusal.lock().unwrap() = Some(removed.clone());
    heard(&rig, later, &[1, 4]);
    rig.caretaker.retire_removed(&mut in_doubt()).await;
    assert!(here(), "it is a member");
    let later = Epoch { membership: later.membership + 1, ..later };
    heard(&rig, later, &[4]);
    // A moment's doubt is not enough, and neither is any other answer than the leader's word.
    rig.caretaker.retire_removed(&mut BTreeMap::new()).await;
    assert!(here(), "it has been left out for a moment only");
    for other in [None, Some(ApiError::new(ErrorCode::Refused, "a stranger"))] {
        *rig.peers.refusal.lock().unwrap() = other;
        rig.caretaker.retire_removed(&mut in_doubt()).await;
        assert!(here(), "nobody has said that it was removed");
    }
    *rig.peers.refusal.lock().unwrap() = Some(removed);
    rig.caretaker.retire_removed(&mut in_doubt()).await;
    assert!(!here(), "its leader has said so");
}

#[tokio::test]
async fn what_is_led_is_told_when_it_changes_and_taken_back_when_it_goes() {
    let rig = rig();
    let registry = &rig.caretaker.registry;
    let replica = lead(registry, descriptor(SHARD.0, ("", "m"))).await;
    let mut published = Published::default();
    let mut look = || rig.caretaker.publish(&registry.all(), &mut published);
    let last = || rig.told.lock().unwrap().last().cloned().unwrap_or_default();
    look();
    look();
    assert_eq!(rig.told.lock().unwrap().len(), 1, "nothing has changed");
    assert_eq!(last().iter().map(|entry| entry.shard_id).collect::<Vec<_>>(), [SHARD]);
    let before = replica.state.epoch();
    let cut = crate::shard::SplitCommand {
        at_key: b"c".to_vec(),
        child: ShardId(6),
        expected_shape: 1,
        directive_id: 1,
        step_index: 0,
    };
    replica.propose_alone(Command::Split(cut)).await.unwrap();
    look();
    let now = last().into_iter().find(|entry| entry.shard_id == SHARD).expect("still led");
    assert!(now.epoch.shape > before.shape && now.range.end == b"c");
    assert!(registry.retire(SHARD, ReplicaId(1)).await.unwrap());
    look();
    assert!(last().iter().all(|entry| entry.shard_id != SHARD), "it is gone");
}

/// One that led when it was cut off goes on believing in itself, and gossip may still name nodes that know nothing.
#[tokio::test]
async fn a_replica_whose_shard_is_over_goes_if_any_node_knows_that() {
    use MergeAnswer::{NotEnded, Subsumed};
    let rig = rig();
    leading(&rig.caretaker.registry, SHARD.0).await;
    let here = || rig.caretaker.registry.get(SHARD).is_some();
    // Two shards have its keys now, by gossip.
    for (shard, node, start, end) in [(8, 2, "", "m"), (9, 3, "m", "")] {
        rig.caretaker.hints.merge(ShardEntry {
            shard_id: ShardId(shard),
            table_id: isobar_api::TableId(1),
            range: isobar_api::KeyRange { start: start.into(), end: end.into() },
            epoch: Epoch { shape: 7, membership: 7 },
            replicas: Vec::new(),
            leader: Some(NodeId(node)),
            term: 9,
        });
    }
    for answers in [vec![], vec![(2, NotEnded)], vec![(2, NotEnded), (3, NotEnded)]] {
        let answers = answers.into_iter().map(|(node, answer)| (NodeId(node), answer));
        *rig.peers.ended.lock().unwrap() = answers.collect();
        rig.caretaker.retire_removed(&mut in_doubt()).await;
        assert!(here(), "nobody knows of its end");
    }
    rig.peers.ended.lock().unwrap().insert(NodeId(3), Subsumed);
    rig.caretaker.retire_removed(&mut BTreeMap::new()).await;
    assert!(here(), "it was in doubt for a moment only");
    rig.caretaker.retire_removed(&mut in_doubt()).await;
    assert!(!here(), "one knows");
}
