//! The one document every judgement of a model ends with.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Named figures, in the order of their names.
pub type Metrics = BTreeMap<String, Metric>;

/// One figure, or a group of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// A figure.
    Number(f64),
    /// Figures that belong together, such as those of one file.
    Group(Metrics),
}

impl From<f64> for Metric {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// A model judged on the rows of one data set, beside its baselines on the same rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the model does.
    pub task: String,
    /// The set's folder.
    pub dataset: String,
    /// The model's figures.
    pub metrics: Metrics,
    /// The same figures of what people would otherwise use, by its name.
    pub baselines: BTreeMap<String, Metrics>,
    /// Rows judged.
    pub n: u64,
    /// Time of the judgement, s.
    pub seconds: f64,
    /// Rows judged in a second.
    pub rows_per_s: f64,
    /// Most memory the process has held, MiB.
    pub peak_rss_mib: f64,
}
