//! Replicas of one node without peers.

use super::*;
use crate::{
    consensus::raft::shared_log::FlusherConfig,
    engine::{EngineRead, MemoryEngine},
    kv::KvService,
    members::Members,
    shard::{Command, SplitCommand},
};
use futures::FutureExt;
use isobar_api::{
    Merging, Region, Replica as Member, ReplicaRole,
    proto::{GetOp, KvItem, KvRequest, ReadLevel, ReadOptions, kv_item::Op, kv_result},
    report::{MemberInfo, NodeLoad},
    rtt::RttMatrix,
};
use std::time::Duration;

const NODE: NodeId = NodeId(1);

/// A member as gossip shows it.
pub(crate) fn member(node: u64, alive: bool) -> MemberInfo {
    MemberInfo {
        node_id: NodeId(node),
        address: format!("host-{node}:1"),
        region: Region::new("eu").unwrap(),
        zone: "a".into(),
        alive,
        load: NodeLoad::default(),
    }
}

/// A registry without replicas, over a new log.
pub(crate) fn registry_of(members: Members, state: &Arc<MemoryEngine>) -> Registry {
    registry_over(members, state, MemoryEngine::new())
}

/// The same with a given engine of the log.
pub(crate) fn registry_over(
    members: Members,
    state: &Arc<MemoryEngine>,
    log: MemoryEngine,
) -> Registry {
    let log = SharedLog::open(Arc::new(log), Some(state.clone()), FlusherConfig::default());
    let node = members.own().node_id;
    let (transport, timing) = (Transport::new(members), RaftTiming::default());
    let (root, clock) = (PathBuf::from("/"), WallClock::of_the_machine());
    Registry::new(node, state.clone(), log.unwrap(), transport, timing, root, clock)
}

fn empty_registry(state: &Arc<MemoryEngine>) -> Registry {
    registry_of(Members::new(member(NODE.0, true), RttMatrix::default()), state)
}

/// A shard of table 1.
pub(crate) fn descriptor(shard: u64, range: (&str, &str)) -> ShardDescriptor {
    ShardDescriptor {
        shard_id: ShardId(shard),
        table_id: TableId(1),
        range: KeyRange { start: range.0.into(), end: range.1.into() },
        shape: 1,
        merging: Merging::default(),
        next_replica_id: 2,
        rule: serde_json::from_str(r#"{"replicas":1,"replicas_max":3}"#).unwrap(),
    }
}

/// A shard of one replica, of all keys of table 1, that leads.
pub(crate) async fn leading(registry: &Registry, shard: u64) -> Arc<Replica> {
    lead(registry, descriptor(shard, ("", ""))).await
}

/// A shard of one replica that leads.
pub(crate) async fn lead(registry: &Registry, descriptor: ShardDescriptor) -> Arc<Replica> {
    let shard = descriptor.shard_id;
    let replica_id = ReplicaId(1);
    let node_id = registry.transport().members().own().node_id;
    let only = Member { replica_id, node_id, role: ReplicaRole::Voter };
    let seed = Seed { descriptor, replicas: vec![only] };
    assert!(registry.create_seeded(&seed, replica_id).await.unwrap());
    registry.elect_if_first(&seed, replica_id).await;
    let replica = registry.get(shard).unwrap();
    let wait = replica.raft.wait(Some(Duration::from_secs(30)));
    wait.current_leader(1, "the only replica leads").await.unwrap();
    replica
}

/// Cuts a shard at `m`; the right half becomes shard 6.
pub(crate) fn split_command() -> SplitCommand {
    SplitCommand {
        at_key: b"m".into(),
        child: ShardId(6),
        expected_shape: 1,
        directive_id: 1,
        step_index: 0,
    }
}

async fn split(registry: &Registry, parent: &Arc<Replica>) {
    parent.propose_alone(Command::Split(split_command())).await.unwrap();
    while registry.get(ShardId(6)).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn put_row(state: &MemoryEngine, key: &str, stored: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(Space::Data, keys::row(TableId(1), key.as_bytes()), stored);
    state.write(batch).unwrap();
}

fn has_row(state: &MemoryEngine, key: &str) -> bool {
    state.get(Space::Data, &keys::row(TableId(1), key.as_bytes())).unwrap().is_some()
}

fn damage() -> ApiError {
    ApiError::new(ErrorCode::Corruption, "a damaged block")
}

#[tokio::test]
async fn a_damaged_row_takes_its_replica_out_of_service_and_no_other() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    let parent = leading(&registry, 5).await;
    split(&registry, &parent).await;
    put_row(&state, "a", b"no row");
    let kv = KvService::new(NODE, registry.clone(), 8);
    let read = Some(ReadOptions { level: ReadLevel::Local.into(), staleness_ms: 0 });
    let op = Op::Get(GetOp { keys: vec![b"a".as_slice().into()], read });
    let epoch = Some(parent.state.epoch().into());
    let item = KvItem { shard_id: 5, epoch, op: Some(op) };
    let request = KvRequest { items: vec![item], ..KvRequest::default() };
    let code = async || match kv.execute_all(request.clone()).await.unwrap().remove(0).result {
        Some(kv_result::Result::Error(error)) => ApiError::from(error).code,
        other => panic!("{other:?}"),
    };

    assert_eq!(code().await, ErrorCode::Corruption);
    assert!(registry.get(ShardId(5)).is_none() && registry.get(ShardId(6)).is_some());
    let faulted = registry.faulted().remove(&ShardId(5)).expect("it is known as faulted");
    assert_eq!(
        (faulted.error.code, faulted.local.replica_id),
        (ErrorCode::Corruption, ReplicaId(1))
    );
    assert_eq!(faulted.local.end, b"m", "its range is the one after the split");
    assert_eq!(code().await, ErrorCode::ShardNotHere, "another replica is asked from now on");
    assert!(state.get(Space::Meta, &keys::node::replica(ShardId(5))).unwrap().is_some());
    let wait = parent.raft.wait(Some(Duration::from_secs(30)));
    let stopped = wait.metrics(|m| m.running_state.is_err(), "the group stops").await;
    assert!(stopped.is_ok() || parent.check_running().is_err());
}

#[tokio::test]
async fn removing_a_faulted_parent_leaves_the_rows_of_its_child() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    let parent = leading(&registry, 5).await;
    split(&registry, &parent).await;
    put_row(&state, "a", b"of the parent");
    put_row(&state, "x", b"of the child");

    registry.take_out(&parent, &damage());
    assert!(registry.retire(ShardId(5), ReplicaId(1)).await.unwrap());
    assert!(!has_row(&state, "a") && has_row(&state, "x"));
    assert!(registry.faulted().is_empty());
    assert!(!registry.retire(ShardId(5), ReplicaId(1)).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn a_faulted_parent_with_an_unreadable_descriptor_costs_its_child_nothing() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    let parent = leading(&registry, 5).await;
    split(&registry, &parent).await;
    put_row(&state, "x", b"of the child");
    registry.shutdown().await;

    let mut batch = WriteBatch::new();
    batch.put(Space::Meta, keys::descriptor(ShardId(5)), b"damaged");
    state.write(batch).unwrap();
    let registry = empty_registry(&state);
    registry.open_all().await.unwrap();
    let end = registry.faulted()[&ShardId(5)].local.range().end;
    assert_eq!(end, b"m", "the node's own note of the replica is narrowed by the split too");
    assert!(registry.retire(ShardId(5), ReplicaId(1)).await.unwrap());
    assert!(has_row(&state, "x"));
}

#[tokio::test]
async fn keys_of_a_faulted_replica_are_not_given_to_another() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    let replica = leading(&registry, 5).await;
    registry.take_out(&replica, &damage());
    let child = descriptor(6, ("m", ""));
    let refused = registry.create_empty(&child, ReplicaId(3)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused);
    assert!(refused.message.contains("holds some of these keys"), "{refused}");
    let other_table = ShardDescriptor { table_id: TableId(2), ..child.clone() };
    assert!(registry.create_empty(&other_table, ReplicaId(3)).await.unwrap());
    // Its own table counts, although it knows no descriptor yet.
    let third = descriptor(7, ("", "m"));
    let third = ShardDescriptor { table_id: TableId(2), ..third };
    assert!(registry.create_empty(&third, ReplicaId(3)).await.unwrap());
    let fourth = ShardDescriptor { shard_id: ShardId(8), ..third };
    let refused = registry.create_empty(&fourth, ReplicaId(1)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused);
}

#[tokio::test]
async fn a_removal_goes_on_without_its_caller_and_a_stopped_node_makes_nothing() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    leading(&registry, 5).await;
    let asked = registry.retire(ShardId(5), ReplicaId(1)).now_or_never();
    assert!(asked.is_none(), "the caller has gone before the end");
    let tombstone = keys::node::tombstone(ShardId(5));
    for _ in 0..6_000 {
        if state.get(Space::Meta, &tombstone).unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    registry.shutdown().await;
    let again = registry.create_empty(&descriptor(5, ("", "")), ReplicaId(1)).await;
    assert_eq!(again.unwrap_err().code, ErrorCode::Unavailable);
    let registry = empty_registry(&state);
    let again = registry.create_empty(&descriptor(5, ("", "")), ReplicaId(1)).await;
    assert!(again.unwrap_err().message.contains("was removed from this node"));
}

/// Who was told to stop may still be applying: what is deleted before that is done could come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_waits_for_who_holds_the_rows() {
    let state = Arc::new(MemoryEngine::new());
    let registry = empty_registry(&state);
    let replica = leading(&registry, 5).await;
    put_row(&state, "a", b"a row");
    let (hold, held) = std::sync::mpsc::channel();
    let (let_go, wait) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let rows = replica.state.hold_rows().expect("they are whole");
        hold.send(()).expect("the test waits");
        wait.recv().expect("the test goes on");
        drop(rows);
    });
    held.recv().expect("it holds them");
    let retiring = tokio::spawn({
        let registry = registry.clone();
        async move { registry.retire(ShardId(5), ReplicaId(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(has_row(&state, "a") && !retiring.is_finished(), "somebody still applies");
    let_go.send(()).expect("the holder waits");
    holder.join().expect("no panic");
    assert!(retiring.await.unwrap().unwrap());
    assert!(!has_row(&state, "a"));
}

/// A crash may come between the removal of a replica's state and that of its log.
#[tokio::test]
async fn a_new_replica_does_not_begin_with_the_log_of_one_before_it() {
    let (state, disk) = (Arc::new(MemoryEngine::new()), crate::engine::MemoryDisk::new());
    let members = || Members::new(member(NODE.0, true), RttMatrix::default());
    let registry = registry_over(members(), &state, disk.open());
    let replica = leading(&registry, 5).await;
    for _ in 0..5 {
        replica.propose(Command::AllocateReplica).await.unwrap();
    }
    registry.shutdown().await;
    registry.log().close();
    drop((replica, registry));
    let registry = registry_over(members(), &Arc::new(MemoryEngine::new()), disk.open());
    assert!(registry.create_empty(&descriptor(5, ("", "")), ReplicaId(9)).await.unwrap());
    let metrics = registry.get(ShardId(5)).expect("it runs").raft.metrics();
    use openraft::async_runtime::WatchReceiver;
    assert_eq!(metrics.borrow_watched().last_log_index, None, "it waits for its leader");
}
