//! Prometheus metrics, named `isobar_<name>_<unit>[_total]` in base units.
//!
//! A shard id is never a label: ten thousand shards times ten metrics would cost the scraper more than the cluster.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter, family, gauge, histogram},
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Label sets per family; further ones are counted under `other`.
const LABEL_SETS_MAX: usize = 256;
const LABELS_FORBIDDEN: &[&str] = &["shard", "shard_id", "key", "directive", "directive_id"];

/// A value that only grows.
pub type Counter = counter::Counter;
/// A value that goes up and down.
pub type Gauge = gauge::Gauge<f64, AtomicU64>;
/// A distribution.
pub type Histogram = histogram::Histogram;
type Labels = Vec<(&'static str, String)>;

/// Base unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// A plain count.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Ratio,
}

/// Why a metric was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// Not snake case, or with a prefix, unit or suffix that is added anyway.
    #[error("`{0}` is not a metric name: snake case without `isobar_`, unit and `_total`")]
    BadName(String),
    /// Registered before.
    #[error("the metric `{0}` is registered already")]
    Duplicate(String),
    /// A label with a value per shard, key or directive.
    #[error("`{0}` must not be a metric label: it has no bound")]
    UnboundedLabel(&'static str),
}

/// The metrics of one process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    registry: Registry,
    names: BTreeSet<String>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("names", &self.lock().names).finish()
    }
}

impl Metrics {
    /// A registry whose metrics all carry `constant` labels, for instance `node="n3"`.
    pub fn new(constant: &[(&'static str, &str)]) -> Self {
        let labels = constant.iter().map(|&(k, v)| (k.into(), v.to_owned().into()));
        let registry = Registry::with_prefix_and_labels("isobar", labels);
        Self { inner: Arc::new(Mutex::new(Inner { registry, names: BTreeSet::new() })) }
    }

    /// Registers a counter, shown as `isobar_<name>_<unit>_total`.
    pub fn counter(
        &self,
        name: &str,
        unit: MetricUnit,
        what: &str,
    ) -> Result<Counter, MetricsError> {
        let metric = Counter::default();
        self.register(name, unit, what, metric.clone())?;
        Ok(metric)
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, unit: MetricUnit, what: &str) -> Result<Gauge, MetricsError> {
        let metric = Gauge::default();
        self.register(name, unit, what, metric.clone())?;
        Ok(metric)
    }

    /// Registers a histogram with upper bounds in the base unit, ascending.
    pub fn histogram(
        &self,
        name: &str,
        unit: MetricUnit,
        what: &str,
        bounds: &[f64],
    ) -> Result<Histogram, MetricsError> {
        let metric = Histogram::new(bounds.iter().copied());
        self.register(name, unit, what, metric.clone())?;
        Ok(metric)
    }

    /// Registers a counter with labels of few values each.
    pub fn counters(
        &self,
        name: &str,
        unit: MetricUnit,
        what: &str,
        labels: &'static [&'static str],
    ) -> Result<Counters, MetricsError> {
        let family = Family::new(labels, Counter::default)?;
        self.register(name, unit, what, family.metrics.clone())?;
        Ok(Counters(family))
    }

    /// Registers a gauge with labels of few values each.
    pub fn gauges(
        &self,
        name: &str,
        unit: MetricUnit,
        what: &str,
        labels: &'static [&'static str],
    ) -> Result<Gauges, MetricsError> {
        let family = Family::new(labels, Gauge::default)?;
        self.register(name, unit, what, family.metrics.clone())?;
        Ok(Gauges(family))
    }

    /// Everything, in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.lock().registry).expect("writing into a string cannot fail");
        text
    }

    fn register(
        &self,
        name: &str,
        unit: MetricUnit,
        what: &str,
        metric: impl prometheus_client::registry::Metric,
    ) -> Result<(), MetricsError> {
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let added_anyway = name.starts_with("isobar_")
            || ["_total", "_seconds", "_bytes", "_ratio", "_ms"].iter().any(|s| name.ends_with(s));
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !name.chars().all(snake) || added_anyway {
            return Err(MetricsError::BadName(name.into()));
        }
        let mut inner = self.lock();
        if !inner.names.insert(name.into()) {
            return Err(MetricsError::Duplicate(name.into()));
        }
        let unit = match unit {
            MetricUnit::None => {
                inner.registry.register(name, what, metric);
                return Ok(());
            }
            MetricUnit::Seconds => Unit::Seconds,
            MetricUnit::Bytes => Unit::Bytes,
            MetricUnit::Ratio => Unit::Other("ratio".into()),
        };
        inner.registry.register_with_unit(name, what, unit, metric);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Upper bounds for service times, seconds: 50 µs to 10 s.
pub const LATENCY_BOUNDS_S: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// Counters told apart by labels.
#[derive(Clone, Debug)]
pub struct Counters(Family<Counter>);

impl Counters {
    /// The counter with these label values, in the order given at registration. Keep it where it is hot.
    pub fn with(&self, values: &[&str]) -> Counter {
        self.0.with(values)
    }
}

/// Gauges told apart by labels.
#[derive(Clone, Debug)]
pub struct Gauges(Family<Gauge>);

impl Gauges {
    /// The gauge with these label values, in the order given at registration.
    pub fn with(&self, values: &[&str]) -> Gauge {
        self.0.with(values)
    }
}

#[derive(Clone, Debug)]
struct Family<M> {
    labels: &'static [&'static str],
    metrics: family::Family<Labels, M, fn() -> M>,
    known: Arc<Mutex<BTreeSet<Vec<String>>>>,
}

impl<M: Clone> Family<M> {
    fn new(labels: &'static [&'static str], make: fn() -> M) -> Result<Self, MetricsError> {
        if let Some(label) = labels.iter().find(|l| LABELS_FORBIDDEN.contains(l)) {
            return Err(MetricsError::UnboundedLabel(label));
        }
        let metrics = family::Family::new_with_constructor(make);
        Ok(Self { labels, metrics, known: Arc::default() })
    }

    fn with(&self, values: &[&str]) -> M {
        // Missing values are empty, extra ones are ignored: a slip in a label must not stop a node.
        let mut set: Vec<String> = (0..self.labels.len())
            .map(|i| values.get(i).copied().unwrap_or_default().to_owned())
            .collect();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.contains(&set) {
                if known.len() < LABEL_SETS_MAX {
                    known.insert(set.clone());
                } else {
                    set = vec!["other".into(); self.labels.len()];
                }
            }
        }
        let labels: Labels = self.labels.iter().copied().zip(set).collect();
        self.metrics.get_or_create(&labels).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_house_style() {
        let metrics = Metrics::new(&[("node", "n3")]);
        metrics.counter("requests", MetricUnit::None, "Requests answered").unwrap().inc_by(3);
        metrics.counter("sent", MetricUnit::Bytes, "Bytes sent").unwrap().inc_by(10);
        metrics.gauge("uptime", MetricUnit::Seconds, "Time since start").unwrap().set(1.5);
        let hist =
            metrics.histogram("flush", MetricUnit::Seconds, "Flush", LATENCY_BOUNDS_S).unwrap();
        hist.observe(0.002);
        let text = metrics.render();
        for line in [
            "isobar_requests_total{node=\"n3\"} 3",
            "isobar_sent_bytes_total{node=\"n3\"} 10",
            "isobar_uptime_seconds{node=\"n3\"} 1.5",
            "isobar_flush_seconds_bucket{node=\"n3\",le=\"0.0025\"} 1",
            "isobar_flush_seconds_count{node=\"n3\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
        }
    }

    #[test]
    fn bad_names_and_unbounded_labels_are_refused() {
        let metrics = Metrics::new(&[]);
        for bad in ["Requests", "isobar_x", "x_total", "wait_seconds", "wait_ms", "", "1x", "a-b"] {
            let refused = metrics.counter(bad, MetricUnit::None, "x").unwrap_err();
            assert_eq!(refused, MetricsError::BadName(bad.into()));
        }
        metrics.gauge("queue_depth", MetricUnit::None, "x").unwrap();
        let twice = metrics.counter("queue_depth", MetricUnit::None, "x").unwrap_err();
        assert_eq!(twice, MetricsError::Duplicate("queue_depth".into()));
        let shard = metrics.counters("moves", MetricUnit::None, "x", &["kind", "shard"]);
        assert_eq!(shard.unwrap_err(), MetricsError::UnboundedLabel("shard"));
    }

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::new(&[]);
        let counters = metrics.counters("reads", MetricUnit::None, "x", &["region"]).unwrap();
        for i in 0..400 {
            counters.with(&[&format!("r{i}")]).inc();
        }
        counters.with(&["r1"]).inc();
        let text = metrics.render();
        assert!(text.contains("isobar_reads_total{region=\"r1\"} 2"), "{text}");
        assert!(text.contains("isobar_reads_total{region=\"other\"} 144"));
        assert_eq!(text.lines().filter(|l| l.starts_with("isobar_reads_total")).count(), 257);
    }
}
