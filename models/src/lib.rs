//! What Isobar predicts. Pure: no I/O, no clock, no global randomness; the same input gives the same output.
//!
//! [`forecast`] holds the models, `season` finds their period, [`champion`] backtests them and chooses one per
//! series, [`book`] does so for thousands of series at a bounded cost per tick.

pub mod book;
pub mod champion;
pub mod forecast;
pub mod placement;
mod season;

pub use book::{BookConfig, ForecastBook, SeriesForecast};
pub use champion::{Champion, ChampionConfig, Score, choose};
pub use forecast::{Forecaster, Interval};
