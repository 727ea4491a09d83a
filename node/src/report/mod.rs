//! What the node tells the controller, once a second: its load, and what each replica held, did and suffered.
//!
//! Meters are read once per interval, for all subscribers. Each subscription has its own numbers and begins with a
//! full report; between full ones only replicas with requests or changes are listed. A subscriber that is too slow
//! misses reports: it sees a gap in `sequence`, and the next report is full.

mod frame;
mod measure;
mod source;
#[cfg(test)]
mod tests;

use crate::{
    catalog::Catalog, directive::Directives, gossip::Gossip, kv::KvService, members::Members,
    registry::Registry, replica::Replica, shard::LocalReplica,
};
use frame::{Frame, Numbering, ReportState};
use futures::Stream;
use isobar_api::{
    NodeId, ShardId, TableId, Term,
    report::{NodeLoad, NodeReport, ReplicaReport},
};
use measure::Measure;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Between two reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// Reports that a subscriber may be behind before it misses some.
const FRAMES_MAX: usize = 8;

/// A replica that could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultedReplica {
    /// The shard.
    pub shard_id: ShardId,
    /// What the node has written down about it.
    pub local: LocalReplica,
    /// Why it could not be opened.
    pub why: String,
}

/// Where the reporter finds what it reports. Every call must be quick.
pub trait ReportSource: Send + Sync + 'static {
    /// The replicas in service.
    fn replicas(&self) -> Vec<Arc<Replica>>;

    /// The replicas that could not be opened.
    fn faulted(&self) -> Vec<FaultedReplica>;

    /// A table's name; empty while it is unknown.
    fn table_name(&self, table: TableId) -> String;

    /// The cluster; empty while the node is in none.
    fn cluster_id(&self) -> String;

    /// Highest controller term accepted.
    fn controller_term(&self) -> Term;

    /// Requests being worked on.
    fn in_flight(&self) -> u64;

    /// 99th percentile of one durable log flush, milliseconds.
    fn fsync_ms_p99(&self) -> f64;

    /// Is told the load of each interval: for gossip.
    fn measured(&self, load: &NodeLoad);
}

/// Makes the reports. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    inner: Arc<Inner>,
}

struct Inner {
    source: Arc<dyn ReportSource>,
    members: Members,
    started_unix_ms: u64,
    collected: Mutex<Collected>,
    frames: broadcast::Sender<Arc<Frame>>,
}

struct Collected {
    measure: Measure,
    state: ReportState,
}

impl Reporter {
    /// The reporter of a node; [`Self::run`] makes it work. The disk reported is the one of `data_dir`.
    pub fn new(
        registry: Registry,
        catalog: Catalog,
        kv: KvService,
        directives: Directives,
        gossip: Gossip,
        data_dir: PathBuf,
        started_unix_ms: u64,
    ) -> Self {
        let members = registry.transport().members().clone();
        let source = source::NodeSource { registry, catalog, kv, directives, gossip };
        Self::of(Arc::new(source), members, started_unix_ms, data_dir)
    }

    /// A reporter over any source.
    pub fn of(
        source: Arc<dyn ReportSource>,
        members: Members,
        started_unix_ms: u64,
        data_dir: PathBuf,
    ) -> Self {
        let collected =
            Collected { measure: Measure::new(data_dir), state: ReportState::default() };
        let (frames, _) = broadcast::channel(FRAMES_MAX);
        let collected = Mutex::new(collected);
        Self { inner: Arc::new(Inner { source, members, started_unix_ms, collected, frames }) }
    }

    /// Reports once a second until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut began = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            let length = now.duration_since(std::mem::replace(&mut began, now));
            let this = self.clone();
            // Sizes may be read from disk.
            let done = tokio::task::spawn_blocking(move || this.collect(unix_ms(), length)).await;
            if let Err(error) = done {
                tracing::error!(%error, "a report was not made");
            }
        }
    }

    /// Ends an interval of this length: takes every meter once and sends the report to all subscribers. Returns the
    /// full one, with sequence 0. [`Self::run`] calls it; nobody else should beside it.
    pub fn collect(&self, now_unix_ms: u64, length: Duration) -> NodeReport {
        let source = &*self.inner.source;
        let mut collected = self.collected();
        let (load, replicas) = collected.measure.interval(source, now_unix_ms, length);
        source.measured(&load);
        let head = self.head(now_unix_ms, length, load);
        let frame = collected.state.frame(head, replicas);
        let full = frame.full();
        // An error only says that nobody listens.
        let _ = self.inner.frames.send(Arc::new(frame));
        full
    }

    /// The reports from the next interval on. Ends with the reporter.
    pub fn subscribe(&self) -> impl Stream<Item = NodeReport> + Send + use<> {
        let begin = (self.inner.frames.subscribe(), Numbering::default());
        futures::stream::unfold(begin, |(mut frames, mut numbers)| async move {
            loop {
                match frames.recv().await {
                    Ok(frame) => {
                        let report = numbers.next(&frame);
                        return Some((report, (frames, numbers)));
                    }
                    Err(RecvError::Lagged(missed)) => numbers.missed(missed),
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }

    /// All replicas as they are now. Resets no meter: requests are those of the last whole interval.
    pub fn latest_replicas(&self) -> Vec<ReplicaReport> {
        self.collected().measure.reports(&*self.inner.source)
    }

    /// The load of the last interval.
    pub fn load(&self) -> NodeLoad {
        self.collected().measure.load()
    }

    /// When this process started: tells it from earlier ones.
    pub fn started_unix_ms(&self) -> u64 {
        self.inner.started_unix_ms
    }

    fn head(&self, at_unix_ms: u64, length: Duration, load: NodeLoad) -> NodeReport {
        let own = self.inner.members.own();
        let members = self.inner.members.all().into_iter();
        let alive = members.filter(|member| member.alive || member.node_id == own.node_id);
        NodeReport {
            cluster_id: self.inner.source.cluster_id(),
            node_id: own.node_id,
            region: own.region.clone(),
            zone: own.zone.clone(),
            address: own.address.clone(),
            incarnation: self.inner.started_unix_ms,
            sequence: 0,
            at_unix_ms,
            interval_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
            controller_term: self.inner.source.controller_term(),
            full: false,
            load,
            replicas: Vec::new(),
            gone: Vec::new(),
            alive: alive.map(|member| member.node_id).collect::<Vec<NodeId>>(),
        }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        // Every part is whole between two calls, whatever a panicking one left behind.
        self.inner.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
