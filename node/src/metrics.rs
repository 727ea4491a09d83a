//! The node's Prometheus metrics. No shard is ever a label.

use crate::{
    admission::{CLASSES, REASONS},
    kv::KvService,
    registry::Registry,
    report::Reporter,
};
use isobar_telemetry::{
    Metrics,
    metrics::{Counter, Counters, Gauge, Gauges, MetricUnit, MetricsError},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

struct NodeMetrics {
    requests: Counter,
    refused: Counters,
    in_flight: Gauges,
    in_flight_bytes: Gauge,
    queued: Gauge,
    queued_bytes: Gauge,
    queue_wait: Gauge,
    replicas: Gauge,
    leaders: Gauge,
    asleep: Gauge,
    cpu: Gauge,
    rss: Gauge,
    disk_free: Gauge,
    syncs: Counter,
    sync_p99: Gauge,
    tails: Gauge,
    replayed: Gauge,
}

impl NodeMetrics {
    fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        use MetricUnit::{Bytes, None, Seconds};
        Ok(Self {
            requests: metrics.counter("kv_items", None, "items of clients answered")?,
            refused: metrics.counters(
                "kv_items_refused",
                None,
                "items refused for overload",
                &["reason"],
            )?,
            in_flight: metrics.gauges(
                "kv_items_in_flight",
                None,
                "items being worked on",
                &["class"],
            )?,
            in_flight_bytes: metrics.gauge(
                "kv_in_flight",
                Bytes,
                "bytes of the requests being worked on",
            )?,
            queued: metrics.gauge("write_queue_depth", None, "writes that wait for a log")?,
            queued_bytes: metrics.gauge("write_queue", Bytes, "bytes of these writes")?,
            queue_wait: metrics.gauge(
                "write_queue_wait_max",
                Seconds,
                "longest wait of a write for its log entry to begin, in the last second",
            )?,
            replicas: metrics.gauge("replicas", None, "replicas held")?,
            leaders: metrics.gauge("replicas_leading", None, "replicas that lead")?,
            asleep: metrics.gauge("replicas_asleep", None, "replicas whose group sleeps")?,
            cpu: metrics.gauge("process_cpu_cores", None, "cores used in the last second")?,
            rss: metrics.gauge("process_resident", Bytes, "resident memory")?,
            disk_free: metrics.gauge("disk_free", Bytes, "free space on the data disk")?,
            syncs: metrics.counter("log_syncs", None, "durable flushes of the shared log")?,
            sync_p99: metrics.gauge(
                "log_sync_p99",
                Seconds,
                "99th percentile of a durable flush",
            )?,
            tails: metrics.gauge(
                "log_tails",
                Bytes,
                "newest log entries of all shards in memory, an estimate",
            )?,
            replayed: metrics.gauge(
                "log_entries_replayed",
                None,
                "entries that the rows were behind at the start",
            )?,
        })
    }

    /// The queues of all shards together.
    fn show_queues(&self, registry: &Registry) {
        let (mut writes, mut bytes, mut wait_max) = (0, 0, Duration::ZERO);
        for replica in registry.all() {
            let depth = replica.writes.depth();
            writes += depth.writes;
            bytes += depth.bytes;
            wait_max = wait_max.max(depth.wait_max);
        }
        self.queued.set(writes as f64);
        self.queued_bytes.set(bytes as f64);
        self.queue_wait.set(wait_max.as_secs_f64());
    }
}

/// Copies the parts' own counts into the registry once a second.
pub(crate) async fn run(
    metrics: Metrics,
    kv: KvService,
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
    let (mut requests, mut refused, mut syncs) = (0, [0; REASONS.len()], 0);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let admission = kv.admission();
        let (answered, refusals) = (admission.answered(), admission.refused());
        registered.requests.inc_by(answered - requests);
        for (reason, (now, before)) in REASONS.iter().zip(refusals.into_iter().zip(refused)) {
            registered.refused.with(&[reason]).inc_by(now - before);
        }
        (requests, refused) = (answered, refusals);
        for (class, name) in CLASSES {
            registered.in_flight.with(&[name]).set(admission.items(class) as f64);
        }
        registered.in_flight_bytes.set(admission.bytes() as f64);
        registered.show_queues(&registry);
        let load = reporter.load();
        registered.replicas.set(f64::from(load.replicas));
        registered.leaders.set(f64::from(load.leaders));
        registered.asleep.set(f64::from(crate::quiesce::asleep(&registry)));
        registered.cpu.set(load.cpu_cores);
        registered.rss.set(load.rss_bytes as f64);
        registered.disk_free.set(load.disk_free_bytes as f64);
        let stats = registry.log().stats();
        registered.syncs.inc_by(stats.syncs.saturating_sub(syncs));
        syncs = stats.syncs;
        registered.sync_p99.set(stats.sync_us_p99 as f64 / 1e6);
        registered.tails.set(stats.tails_bytes as f64);
    }
}
