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
use futures::StreamExt;
use isobar_api::proto::{KvRequest, KvResponse};
use isobar_api::{Epoch, TableId, proto::Mutation as WireMutation, rtt::RttMatrix};
use openraft::async_runtime::WatchReceiver;
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let items = |keys: usize, items: usize| {
        let read = ReadOptions { level: ReadLevel::Local.into(), staleness_ms: 0 };
        let op = Op::Get(GetOp { keys: vec![b"k".as_slice().into(); keys], read: Some(read) });
        vec![KvItem { shard_id: 5, epoch, op: Some(op) }; items]
    };
    let ask = async |keys, count| {
        let items = items(keys, count);
        let request = KvRequest { items, ..KvRequest::default() };
        kv.execute_all(request).await.unwrap()
    };
    for keys in [16, 1_000] {
        let Some(kv_result::Result::Error(error)) = ask(keys, 1).await.remove(0).result else {
            panic!("{keys} keys fit")
        };
        assert_eq!(ApiError::from(error).code, ErrorCode::BatchSize);
    }
    let whole = ask(15, 1).await.remove(0).result;
    assert!(matches!(whole, Some(kv_result::Result::Get(got)) if got.rows.len() == 15));

    // Items of two requests that together fill several messages.
    let request = |first_item, items| KvRequest { items, first_item, ..KvRequest::default() };
    let requests = [request(100, items(9, 3)), request(u64::MAX, items(1, 2))];
    let messages: Vec<KvResponse> =
        kv.execute(futures::stream::iter(requests)).map(Result::unwrap).collect().await;
    assert!(messages.iter().all(|message| message.encoded_len() <= limits::MESSAGE_BYTES_MAX));
    let mut numbers: Vec<u64> =
        messages.iter().flat_map(|message| &message.results).map(|result| result.item).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 100, 101, 102, u64::MAX]);
}

/// What a caller does not take is not worked on, and what it asks for meanwhile is not read.
#[tokio::test]
async fn a_caller_that_takes_no_answers_is_not_read_from() {
    let state = Arc::new(MemoryEngine::new());
    let registry = registry_of(Members::new(member(1, true), RttMatrix::default()), &state);
    let kv = KvService::new(NodeId(1), registry, 100);
    let read = Arc::new(AtomicUsize::new(0));
    let requests = futures::stream::repeat_with({
        let read = read.clone();
        move || {
            read.fetch_add(1, Ordering::Relaxed);
            KvRequest { items: vec![KvItem::default(); 100], ..KvRequest::default() }
        }
    });
    let mut answers = std::pin::pin!(kv.execute(requests));
    answers.next().await.unwrap().unwrap();
    let once = read.load(Ordering::Relaxed);
    assert!(once <= limits::REQUEST_ITEMS_MAX / 100 + 1, "{once} requests read");
    tokio::task::yield_now().await;
    assert_eq!(read.load(Ordering::Relaxed), once);
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
    KvRequest {
        items: vec![item],
        deadline_ms: 30_000,
        client_region: String::new(),
        first_item: 0,
    }
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
        async move { replica.propose_alone(crate::shard::Command::Split(split_command())).await }
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

/// A request of so many writes of one client, each with a key of its own; sequences count on from `first`.
fn writes_of(client: u8, first: u64, count: u64) -> KvRequest {
    let item = |sequence: u64| {
        let mut item = write_of(b"w", sequence).items.remove(0);
        if let Some(Op::Write(op)) = &mut item.op {
            op.client_id = vec![client; 16].into();
            op.first_unacknowledged = first;
        }
        item
    };
    let items = (first..first + count).map(item).collect();
    KvRequest { items, ..write_of(b"w", 1) }
}

fn refused(results: &[isobar_api::proto::KvResult]) -> usize {
    let overloaded = |result: &&isobar_api::proto::KvResult| match &result.result {
        Some(kv_result::Result::Error(error)) => {
            let error = ApiError::from(error.clone());
            assert_eq!(error.code, ErrorCode::Overloaded, "{error}");
            assert!(error.retry_after_ms > 0, "{error}");
            true
        }
        _ => false,
    };
    results.iter().filter(overloaded).count()
}

/// While the disk takes nothing, writes beyond the bound are refused at once, reads are served, a caller with less than
/// its share gets in, and what was taken is done when the disk goes on.
#[tokio::test]
async fn a_disk_that_stands_still_bounds_writes_and_stops_no_reads() {
    let (state, disk) = (Arc::new(MemoryEngine::new()), MemoryDisk::new());
    let registry =
        registry_over(Members::new(member(1, true), RttMatrix::default()), &state, disk.open());
    let replica = leading(&registry, 5).await;
    let kv = KvService::new(NodeId(1), registry, 40);
    kv.execute_all(write_of(b"w", 1)).await.unwrap();
    disk.hold_syncs(true);
    let mut greedy = Box::pin(kv.execute(futures::stream::iter([writes_of(2, 1, 200)])));
    let first = greedy.next().await.unwrap().unwrap();
    assert_eq!((first.results.len(), refused(&first.results)), (170, 170), "30 are taken");
    let rest = tokio::spawn(greedy.collect::<Vec<_>>());
    while kv.admission().items(Class::Write) < 30 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let modest = tokio::spawn({
        let kv = kv.clone();
        async move { kv.execute_all(writes_of(3, 1, 5)).await.unwrap() }
    });
    while kv.admission().items(Class::Write) < 35 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for level in [ReadLevel::Linearizable, ReadLevel::Local] {
        let read = ReadOptions { level: level.into(), staleness_ms: 0 };
        let op = Op::Get(GetOp { keys: vec![b"w".as_slice().into()], read: Some(read) });
        let epoch = Some(replica.state.epoch().into());
        let items = vec![KvItem { shard_id: 5, epoch, op: Some(op) }];
        let request = KvRequest { items, deadline_ms: 10_000, ..KvRequest::default() };
        let answer = kv.execute_all(request).await.unwrap().remove(0).result;
        assert!(matches!(answer, Some(kv_result::Result::Get(_))), "{level:?}: {answer:?}");
    }
    let waiting = replica.writes.depth();
    assert!(waiting.writes <= 35 && waiting.bytes < 35 * 200, "{waiting:?}");
    disk.hold_syncs(false);
    let messages = rest.await.unwrap();
    let results: Vec<_> =
        messages.into_iter().flat_map(|message| message.unwrap().results).collect();
    assert_eq!((results.len(), refused(&results)), (30, 0));
    assert_eq!(refused(&modest.await.unwrap()), 0);
    assert_eq!((kv.in_flight(), kv.admission().bytes()), (0, 0));
    assert_eq!(kv.admission().refused(), [0, 170, 0, 0]);
}

/// A caller that stops taking answers in the middle of its writes takes no room from the others.
#[tokio::test]
async fn a_caller_that_takes_no_answers_stops_nobody() {
    let state = Arc::new(MemoryEngine::new());
    let registry = registry_of(Members::new(member(1, true), RttMatrix::default()), &state);
    leading(&registry, 5).await;
    let kv = KvService::new(NodeId(1), registry, 40);
    let mut slow = Vec::new();
    for client in 10..15 {
        let requests = futures::stream::iter([writes_of(client, 1, 100)]);
        let mut stream = Box::pin(kv.execute(requests));
        stream.next().await.unwrap().unwrap();
        slow.push(stream);
    }
    assert_eq!((kv.in_flight(), kv.admission().bytes()), (0, 0));
    let results = kv.execute_all(writes_of(1, 1, 30)).await.unwrap();
    assert_eq!((results.len(), refused(&results)), (30, 0));
    for stream in slow {
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.iter().all(Result::is_ok));
    }
}

/// What is remembered of a client is bounded by how many requests it may have open.
#[tokio::test]
async fn a_client_with_more_open_writes_than_its_window_is_refused() {
    let state = Arc::new(MemoryEngine::new());
    let registry = registry_of(Members::new(member(1, true), RttMatrix::default()), &state);
    leading(&registry, 5).await;
    let kv = KvService::new(NodeId(1), registry, 100);
    let within = kv.execute_all(write_of(b"k", 1 + limits::CLIENT_WINDOW_MAX)).await.unwrap();
    assert!(matches!(within[0].result, Some(kv_result::Result::Write(_))), "{within:?}");
    let beyond = kv.execute_all(write_of(b"k", 2 + limits::CLIENT_WINDOW_MAX)).await.unwrap();
    let Some(kv_result::Result::Error(error)) = &beyond[0].result else { panic!("{beyond:?}") };
    assert_eq!(ApiError::from(error.clone()).code, ErrorCode::InvalidArgument);
}
