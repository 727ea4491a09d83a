//! The service over the replicas of one node.

use super::*;
use crate::{
    engine::{Engine, MemoryDisk, MemoryEngine, WriteBatch},
    members::Members,
    registry::tests::{
        descriptor, lead, leading, member, registry_of, registry_over, split_command,
    },
    shard::row::Row as StoredRow,
};
use isobar_api::{Epoch, TableId, proto::Mutation as WireMutation, rtt::RttMatrix};
use openraft::async_runtime::WatchReceiver;

#[tokio::test]
async fn an_answer_that_fits_into_no_message_is_given_up_while_it_is_read() {
    let state = Arc::new(MemoryEngine::new());
    let registry = registry_of(Members::new(member(1, true), RttMatrix::default()), &state);
    let epoch = Some(leading(&registry, 5).await.state.epoch().into());
    let row = StoredRow::encode(Version { hlc: 1, origin: NodeId(1) }, 0, &vec![7; 1 << 20]);
    let mut batch = WriteBatch::new();
    batch.put(Space::Data, keys::row(TableId(1), b"k"), row);
    state.write(batch).unwrap();
    let kv = KvService::new(NodeId(1), registry, 100);
    let ask = async |keys: usize, items: usize| {
        let read = ReadOptions { level: ReadLevel::Local.into(), staleness_ms: 0 };
        let op = Op::Get(GetOp { keys: vec![b"k".as_slice().into(); keys], read: Some(read) });
        let item = KvItem { shard_id: 5, epoch, op: Some(op) };
        let items = vec![item; items];
        kv.execute_all(KvRequest { items, deadline_ms: 0, client_region: String::new() }).await
    };
    assert_eq!(ask(5, 3).await.unwrap().len(), 3);
    for (keys, items) in [(1_000, 1), (1, 17), (6, 3)] {
        let status = ask(keys, items).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{keys} keys in {items} items");
    }
}

fn write_of(key: &'static [u8], sequence: u64) -> KvRequest {
    let mutation =
        WireMutation { key: key.into(), value: Some(b"v".as_slice().into()), ..Default::default() };
    let op = Op::Write(WriteOp {
        client_id: vec![1; 16].into(),
        sequence,
        first_unacknowledged: 1,
        mutations: vec![mutation],
    });
    let epoch = Some(Epoch { shape: 1, membership: 0 }.into());
    let item = KvItem { shard_id: 5, epoch, op: Some(op) };
    KvRequest { items: vec![item], deadline_ms: 30_000, client_region: String::new() }
}

/// The leader alone acknowledges; a write behind a split in the log is outside the shard once both are applied.
#[tokio::test]
async fn a_write_behind_a_split_is_not_acknowledged_before_it_is_known_to_be_inside() {
    let (state, disk) = (Arc::new(MemoryEngine::new()), MemoryDisk::new());
    let log = disk.open();
    let members = Members::new(member(1, true), RttMatrix::default());
    let registry = registry_over(members, &state, log);
    let mut descriptor = descriptor(5, ("", ""));
    descriptor.rule.ack = AckLevel::Leader;
    let replica = lead(&registry, descriptor).await;
    let kv = KvService::new(NodeId(1), registry, 100);
    let before = kv.execute_all(write_of(b"x", 1)).await.unwrap();
    assert!(matches!(before[0].result, Some(kv_result::Result::Write(_))), "{before:?}");

    disk.hold_syncs(true);
    let last = || replica.raft.metrics().borrow_watched().last_log_index;
    let logged = last();
    let splitting = tokio::spawn({
        let replica = replica.clone();
        async move { replica.propose_split(split_command()).await }
    });
    while last() == logged {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let logged = last();
    let writing = tokio::spawn(async move { kv.execute_all(write_of(b"x", 2)).await });
    while last() == logged {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    disk.hold_syncs(false);
    splitting.await.unwrap().unwrap();
    let answer = writing.await.unwrap().unwrap().remove(0).result;
    let Some(kv_result::Result::Error(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(ApiError::from(error).code, ErrorCode::StaleEpoch);
}
