//! The offline workshop: trains a model of `isobar-models` on data sets, judges it beside its baselines, and packs it.
//!
//! [`Task`] names what can be learned, one module of `tasks` each. [`Evaluation`] is the document every judgement ends
//! with, [`package`] the folder a model travels in, [`drift`], [`bootstrap`] and [`split`] the arithmetic of comparing, and
//! [`report`] the pages for people. This crate reads files and clocks; the models themselves do not.

pub mod bootstrap;
mod curve;
pub mod drift;
mod error;
mod evaluation;
pub mod evidence;
pub mod features;
mod forecast_metrics;
pub mod interchange;
mod judge;
pub mod labelled;
pub mod mlflow;
mod nab;
pub mod package;
mod progress;
mod random;
pub mod ranking;
pub mod report;
pub mod serve;
pub mod split;
pub mod survey;
mod tasks;

pub use curve::{Curve, Curves, Series, Shape, reliability};
pub use error::{Error, Result};
pub use evaluation::{Evaluation, Metric, Metrics, Units, flat, lower_is_better, ratio};
pub use judge::{judge, set_beside};
pub use package::{Feature, Signature};
pub use progress::{Progress, Silent};
pub use tasks::{Lesson, Reason, Task, Trained};
