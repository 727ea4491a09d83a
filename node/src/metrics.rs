//! The node's Prometheus metrics. No shard is ever a label.

use crate::{
    consensus::raft::shared_log::SharedLog, kv::KvService, registry::Registry, report::Reporter,
};
use isobar_telemetry::{
    Metrics,
    metrics::{Counter, Gauge, MetricUnit, MetricsError},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

struct NodeMetrics {
    requests: Counter,
    refused: Counter,
    in_flight: Gauge,
    replicas: Gauge,
    leaders: Gauge,
    cpu: Gauge,
    rss: Gauge,
    disk_free: Gauge,
    syncs: Counter,
    sync_p99: Gauge,
    replayed: Gauge,
}

impl NodeMetrics {
    fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        use MetricUnit::{Bytes, None, Seconds};
        Ok(Self {
            requests: metrics.counter("kv_items", None, "items of clients answered")?,
            refused: metrics.counter("kv_items_refused", None, "items refused for overload")?,
            in_flight: metrics.gauge("kv_items_in_flight", None, "items being worked on")?,
            replicas: metrics.gauge("replicas", None, "replicas held")?,
            leaders: metrics.gauge("replicas_leading", None, "replicas that lead")?,
            cpu: metrics.gauge("process_cpu_cores", None, "cores used in the last second")?,
            rss: metrics.gauge("process_resident", Bytes, "resident memory")?,
            disk_free: metrics.gauge("disk_free", Bytes, "free space on the data disk")?,
            syncs: metrics.counter("log_syncs", None, "durable flushes of the shared log")?,
            sync_p99: metrics.gauge(
                "log_sync_p99",
                Seconds,
                "99th percentile of a durable flush",
            )?,
            replayed: metrics.gauge(
                "log_entries_replayed",
                None,
                "entries that the rows were behind at the start",
            )?,
        })
    }
}

/// Copies the parts' own counts into the registry once a second.
pub(crate) async fn run(
    metrics: Metrics,
    kv: KvService,
    log: SharedLog,
    registry: Registry,
    reporter: Reporter,
    shutdown: CancellationToken,
) {
    let registered = match NodeMetrics::register(&metrics) {
        Ok(registered) => registered,
        Err(error) => {
            tracing::error!(%error, "metrics are off");
            return;
        }
    };
    registered.replayed.set(registry.entries_replayed() as f64);
    let (mut requests, mut refused, mut syncs) = (0, 0, 0);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let totals = kv.totals();
        registered.requests.inc_by(totals.0 - requests);
        registered.refused.inc_by(totals.1 - refused);
        (requests, refused) = totals;
        registered.in_flight.set(kv.in_flight() as f64);
        let load = reporter.load();
        registered.replicas.set(f64::from(load.replicas));
        registered.leaders.set(f64::from(load.leaders));
        registered.cpu.set(load.cpu_cores);
        registered.rss.set(load.rss_bytes as f64);
        registered.disk_free.set(load.disk_free_bytes as f64);
        let stats = log.stats();
        registered.syncs.inc_by(stats.syncs.saturating_sub(syncs));
        syncs = stats.syncs;
        registered.sync_p99.set(stats.sync_us_p99 as f64 / 1e6);
    }
}
