//! What can be learned. Each task is one module with one [`Lesson`]; nothing else knows the tasks apart.

mod forecast;
mod unmade;

use crate::{Evaluation, Metrics, Progress, Result, Signature};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a model is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Unusual values of one signal, as they come.
    Anomaly,
    /// Unusual states of a machine with many signals.
    AnomalyMulti,
    /// Failures of disks and machines.
    Hazard,
    /// Arrivals in the next minutes to days.
    Forecast,
    /// What is read next.
    Prefetch,
    /// The kind of workload.
    Characterize,
}

impl Task {
    /// All of them, by name.
    pub const ALL: [Self; 6] = [
        Self::Anomaly,
        Self::AnomalyMulti,
        Self::Hazard,
        Self::Forecast,
        Self::Prefetch,
        Self::Characterize,
    ];

    /// Its name on the command line and in packages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::AnomalyMulti => "anomaly-multi",
            Self::Hazard => "hazard",
            Self::Forecast => "forecast",
            Self::Prefetch => "prefetch",
            Self::Characterize => "characterize",
        }
    }

    /// The task of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// How it is trained and judged.
    pub fn lesson(self) -> &'static dyn Lesson {
        match self {
            Self::Forecast => &forecast::Forecast,
            _ => &unmade::Unmade,
        }
    }
}

/// A trained model before it is packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// All that the model needs to be applied: what `evaluate` gets back.
    pub parameters: serde_json::Value,
    /// What the model reads.
    pub signature: Signature,
    /// Figures on the part of the training data that was kept back to judge by; empty where none was.
    pub metrics: Metrics,
    /// For the model card: intended use, data window, split, limits; Markdown.
    pub card: String,
}

/// How one task is trained and judged.
pub trait Lesson: Sync {
    /// Fits a model to the training part of the sets. The same data and seed give the same model.
    fn train(&self, data: &[PathBuf], seed: u64, progress: &mut dyn Progress) -> Result<Trained>;

    /// Judges a model on the test part of one set, beside its baselines on the same rows. The caller fills in
    /// `seconds`, `rows_per_s` and `peak_rss_mib`.
    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation>;
}
