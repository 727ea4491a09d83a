//! The offline workshop: trains a model of `isobar-models` on data sets, judges it beside its baselines, and packs it.
//!
//! [`Task`] names what can be learned, one module of `tasks` each. [`Evaluation`] is the document every judgement ends
//! with, [`package`] the folder a model travels in. This crate reads files and clocks; the models themselves do not.

mod error;
mod evaluation;
mod forecast_metrics;
mod judge;
pub mod package;
mod progress;
mod tasks;

pub use error::{Error, Result};
pub use evaluation::{Evaluation, Metric, Metrics};
pub use judge::judge;
pub use package::{Feature, Signature};
pub use progress::{Progress, Silent};
pub use tasks::{Lesson, Task, Trained};
