//! The reporter, over a source without running groups and over real ones.

use super::*;
use crate::{
    engine::{Engine, MemoryEngine, Space, WriteBatch},
    registry::tests::{descriptor, leading, member, registry_of},
    shard::keys,
};
use futures::StreamExt;
use isobar_api::{Region, ReplicaId, ShardDescriptor, rtt::RttMatrix};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
struct Source {
    faulted: Mutex<Vec<FaultedReplica>>,
    registry: Option<Registry>,
    told: AtomicU64,
}

impl ReportSource for Source {
    fn replicas(&self) -> Vec<Arc<Replica>> {
        self.registry.as_ref().map(Registry::all).unwrap_or_default()
    }
    fn faulted(&self) -> Vec<FaultedReplica> {
        self.faulted.lock().unwrap().clone()
    }
    fn table_name(&self, table: TableId) -> String {
        format!("table-{table}")
    }
    fn cluster_id(&self) -> String {
        "c-1".into()
    }
    fn controller_term(&self) -> Term {
        Term(4)
    }
    fn in_flight(&self) -> u64 {
        12
    }
    fn fsync_ms_p99(&self) -> f64 {
        2.5
    }
    fn measured(&self, load: &NodeLoad) {
        assert_eq!(load.replicas as usize, self.faulted().len() + self.replicas().len());
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

fn faulted(shard: u64) -> FaultedReplica {
    let local = LocalReplica {
        replica_id: ReplicaId(2),
        table_id: TableId(3),
        start: b"a".into(),
        end: b"b".into(),
    };
    FaultedReplica { shard_id: ShardId(shard), local, why: "bad checksum".into() }
}

fn members() -> Members {
    let members = Members::new(member(2, true), RttMatrix::default());
    let others = [(NodeId(1), member(1, true)), (NodeId(3), member(3, false))];
    members.update(others.into_iter().collect());
    members
}

fn reporter(source: &Arc<Source>, data_dir: PathBuf) -> Reporter {
    Reporter::of(source.clone(), members(), 77, data_dir)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_report_tells_of_node_and_faulted_replicas() {
    let temp = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::default());
    source.faulted.lock().unwrap().push(faulted(9));
    let reporter = reporter(&source, temp.path().into());
    let report = reporter.collect(5_000, SECOND);
    assert_eq!((report.node_id, report.incarnation, report.at_unix_ms), (NodeId(2), 77, 5_000));
    assert_eq!((report.cluster_id.as_str(), report.controller_term), ("c-1", Term(4)));
    assert_eq!(report.alive, [NodeId(1), NodeId(2)]);
    assert_eq!((report.full, report.interval_ms), (true, 1_000));
    let load = &report.load;
    assert_eq!((load.in_flight, load.fsync_ms_p99), (12, 2.5));
    assert_eq!((load.replicas, load.leaders, load.requests_per_s), (1, 0, 0.0));
    assert!(load.rss_bytes > 0 && load.disk_total_bytes >= load.disk_free_bytes);
    assert!(load.disk_total_bytes > 0);
    let [replica] = report.replicas.as_slice() else { panic!("{report:?}") };
    assert_eq!(replica.fault.as_deref(), Some("bad checksum"));
    assert_eq!((replica.shard.shard_id, replica.replica_id), (ShardId(9), ReplicaId(2)));
    assert_eq!((replica.table.as_str(), replica.shard.table_id), ("table-t3", TableId(3)));
    assert_eq!(reporter.latest_replicas(), report.replicas);
    assert_eq!(reporter.load(), report.load);
    assert_eq!(source.told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn every_subscriber_gets_its_own_numbers_and_sees_what_goes() {
    let temp = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::default());
    *source.faulted.lock().unwrap() = vec![faulted(1), faulted(2)];
    let reporter = reporter(&source, temp.path().into());
    let mut early = Box::pin(reporter.subscribe());
    reporter.collect(1_000, SECOND);
    let mut late = Box::pin(reporter.subscribe());
    source.faulted.lock().unwrap().remove(0);
    reporter.collect(2_000, SECOND);

    let first = early.next().await.unwrap();
    assert_eq!((first.sequence, first.full, first.replicas.len()), (1, true, 2));
    let second = early.next().await.unwrap();
    assert_eq!((second.sequence, second.full, second.replicas.len()), (2, false, 0));
    assert_eq!(second.gone, [ShardId(1)]);
    let first = late.next().await.unwrap();
    assert_eq!((first.sequence, first.full, first.replicas.len()), (1, true, 1));
    drop(reporter);
    assert_eq!(early.next().await, None);
}

#[tokio::test]
async fn a_slow_subscriber_sees_a_gap_and_then_everything() {
    let temp = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::default());
    source.faulted.lock().unwrap().push(faulted(1));
    let reporter = reporter(&source, temp.path().into());
    let mut slow = Box::pin(reporter.subscribe());
    reporter.collect(1_000, SECOND);
    assert_eq!(slow.next().await.unwrap().sequence, 1);
    let behind = FRAMES_MAX as u64 + 5;
    for tick in 2..2 + behind {
        reporter.collect(tick * 1_000, SECOND);
    }
    let next = slow.next().await.unwrap();
    assert_eq!((next.sequence, next.full), (7, true), "2 to 6 are lost");
    assert_eq!(next.at_unix_ms, 7_000);
    assert_eq!(slow.next().await.unwrap().sequence, 8);
}

#[tokio::test]
async fn it_reports_by_itself_until_shutdown() {
    let source = Arc::new(Source::default());
    let reporter = reporter(&source, PathBuf::from("/no/such/place"));
    let mut reports = Box::pin(reporter.subscribe());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (reporter, shutdown) = (reporter.clone(), shutdown.clone());
        async move { reporter.run(shutdown).await }
    });
    for sequence in 1..=2 {
        let report = reports.next().await.unwrap();
        assert_eq!((report.sequence, report.load.disk_total_bytes), (sequence, 0));
    }
    shutdown.cancel();
    running.await.unwrap();
}

/// A registry with a shard of one replica, and a second replica that waits for its first snapshot.
async fn registry(state: &Arc<MemoryEngine>) -> Registry {
    let registry = registry_of(members(), state);
    leading(&registry, 5).await;
    let empty = ShardDescriptor { table_id: TableId(2), ..descriptor(6, ("", "")) };
    registry.create_empty(&empty, ReplicaId(4)).await.unwrap();
    registry
}

#[tokio::test]
async fn running_replicas_are_reported_with_their_requests_once() {
    let state = Arc::new(MemoryEngine::new());
    let registry = registry(&state).await;
    let source = Arc::new(Source { registry: Some(registry.clone()), ..Source::default() });
    let reporter = reporter(&source, PathBuf::from("/"));
    let mut reports = Box::pin(reporter.subscribe());
    let replica = registry.get(ShardId(5)).unwrap();
    let region = Region::new("eu").unwrap();
    replica.meter.record_read(b"k", Some(&region), 3, 100);

    let first = reporter.collect(100_000, SECOND * 2);
    let [leading, waiting] = first.replicas.as_slice() else { panic!("{first:?}") };
    assert!(leading.is_leader && leading.last_log_index >= 1);
    assert_eq!(leading.shard.leader, Some(NodeId(2)));
    assert_eq!((leading.arrivals.len(), leading.arrivals[0].reads), (1, 3));
    assert_eq!((leading.latency.count, leading.hot_keys.len()), (1, 1));
    assert_eq!((first.load.requests_per_s, first.load.leaders), (0.5, 1));
    assert_eq!((waiting.shard.shard_id, waiting.shard.table_id), (ShardId(6), TableId(2)));
    assert_eq!((waiting.replica_id, waiting.shard.epoch), (ReplicaId(4), Default::default()));
    assert!(!waiting.is_leader && waiting.fault.is_none());
    assert_eq!(reports.next().await.unwrap().replicas.len(), 2);
    let status = reporter.latest_replicas();
    assert_eq!(status[0].latency.count, 1, "asking for the status resets nothing");

    // Rows appear in the size when it is asked for again, ten seconds later.
    let mut batch = WriteBatch::new();
    batch.put(Space::Data, keys::row(TableId(1), b"k"), vec![0; 5_000]);
    state.write(batch).unwrap();
    let second = reporter.collect(105_000, SECOND);
    assert_eq!(second.replicas[0].latency.count, 0, "the meters were taken before");
    assert_eq!((second.replicas[0].size_bytes, second.load.requests_per_s), (0, 0.0));
    assert!(reports.next().await.unwrap().replicas.is_empty(), "nothing is new");
    assert!(reporter.collect(110_000, SECOND).replicas[0].size_bytes >= 5_000);

    registry.retire(ShardId(6), ReplicaId(4)).await.unwrap();
    reporter.collect(111_000, SECOND);
    assert!(reports.next().await.unwrap().gone.is_empty());
    assert_eq!(reports.next().await.unwrap().gone, [ShardId(6)]);
    registry.shutdown().await;
}
