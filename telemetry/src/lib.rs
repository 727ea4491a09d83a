//! What Isobar measures, and how it shows itself.
//!
//! Meters count on the hot path of a node ([`meter`]), windows turn what they reported into series ([`window`]),
//! features turn series into rows for models ([`features`]). Beside them stand traces and logs
//! ([`observability`], [`trace_context`]), metrics ([`metrics`]) and the operator's HTTP endpoints ([`http`]).

mod access_sample;
mod arrivals;
pub mod features;
mod hot_keys;
pub mod http;
mod latency;
pub mod meter;
pub mod metrics;
pub mod observability;
pub mod process;
mod seeded;
pub mod trace_context;
pub mod window;

pub use meter::{ShardInterval, ShardMeter};
pub use metrics::Metrics;
pub use window::{Sample, WindowSeries};
