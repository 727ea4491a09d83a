//! What Isobar predicts. Pure: no I/O, no clock, no global randomness; the same input gives the same output.
//!
//! [`forecast`] holds the forecasting models, `season` finds their period, [`champion`] backtests them and chooses one
//! per series, [`book`] does so for thousands of series at a bounded cost per tick. [`anomaly`] sees unusual values of
//! one signal, [`multivariate`] unusual states of machines with many, [`hazard`] failures to come, [`characterize`] what
//! kind of workload a shard has. [`prefetch`] is a cache that fetches before it is asked, [`placement`] says where
//! replicas and leaders should be. [`boost`] grows the trees of the learned models.

pub mod anomaly;
pub mod book;
pub mod boost;
pub mod champion;
pub mod characterize;
pub mod forecast;
pub mod hazard;
mod linfa_adapter;
pub mod multivariate;
pub mod onnx;
pub mod placement;
pub mod prefetch;
mod season;

pub use book::{BookConfig, ForecastBook, SeriesForecast};
pub use champion::{Champion, ChampionConfig, Score, choose};
pub use forecast::{Forecaster, Interval};
