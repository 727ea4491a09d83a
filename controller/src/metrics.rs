//! What `/metrics` shows of the controller. No label grows with shards or directives.

use isobar_telemetry::metrics::{
    Counter, Gauge, Gauges, Histogram, LATENCY_BOUNDS_S, MetricUnit, Metrics, MetricsError,
};

/// The controller's figures.
#[derive(Clone)]
pub(crate) struct ControllerMetrics {
    /// The registry, for rendering.
    pub(crate) registry: Metrics,
    /// Directives by state.
    pub(crate) directives: Gauges,
    /// Time to make and check one plan.
    pub(crate) plan: Histogram,
    /// Plans stored.
    pub(crate) plans_stored: Counter,
    /// Reports taken in.
    pub(crate) reports: Counter,
    /// Reports lost.
    pub(crate) report_gaps: Counter,
    /// Age of the oldest report of a node that is not dead.
    pub(crate) oldest_report_age: Gauge,
    /// Nodes by health.
    pub(crate) nodes: Gauges,
    /// Shards in the view.
    pub(crate) shards: Gauge,
    /// 1 while this controller holds the lease.
    pub(crate) lease_held: Gauge,
    /// Its term; 0 while it does not lead.
    pub(crate) term: Gauge,
    /// Ticks that failed.
    pub(crate) tick_errors: Counter,
}

impl ControllerMetrics {
    /// Registers everything.
    pub(crate) fn new() -> Result<Self, MetricsError> {
        let registry = Metrics::new(&[]);
        let none = MetricUnit::None;
        let r = &registry;
        Ok(Self {
            directives: r.gauges(
                "controller_directives",
                none,
                "Directives by state",
                &["state"],
            )?,
            plan: r.histogram(
                "controller_plan",
                MetricUnit::Seconds,
                "Time to make and check one plan",
                LATENCY_BOUNDS_S,
            )?,
            plans_stored: r.counter("controller_plans_stored", none, "Plans journaled")?,
            reports: r.counter("controller_reports", none, "Node reports taken in")?,
            report_gaps: r.counter(
                "controller_report_gaps",
                none,
                "Node reports lost on the way",
            )?,
            oldest_report_age: r.gauge(
                "controller_oldest_report_age",
                MetricUnit::Seconds,
                "Age of the oldest report of a node that is not dead",
            )?,
            nodes: r.gauges("controller_nodes", none, "Nodes by health", &["health"])?,
            shards: r.gauge("controller_shards", none, "Shards in the view")?,
            lease_held: r.gauge(
                "controller_lease_held",
                none,
                "1 while this controller holds the lease",
            )?,
            term: r.gauge(
                "controller_term",
                none,
                "Term of this controller, 0 while it does not lead",
            )?,
            tick_errors: r.counter("controller_tick_errors", none, "Ticks that failed")?,
            registry,
        })
    }
}
