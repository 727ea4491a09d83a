//! What Isobar measures, and how it shows itself.
//!
//! Meters count on the hot path of a node ([`meter`]), windows turn what they reported into series ([`window`]),
//! features turn series into rows for models ([`features`]). Beside them stand traces and logs
//! ([`observability`], [`trace_context`]), metrics ([`metrics`]) and the operator's HTTP endpoints ([`http`]).

pub mod access_sample;
pub mod arrivals;
pub mod features;
pub mod hot_keys;
pub mod http;
pub mod latency;
pub mod meter;
pub mod metrics;
pub mod observability;
pub mod process;
mod seeded;
pub mod trace_context;
pub mod window;

pub use meter::{MeterConfig, ShardInterval, ShardMeter};
pub use metrics::Metrics;
pub use window::{Sample, WindowSeries};
