//! What can be learned. Each task is one module with one [`Lesson`]; nothing else knows the tasks apart.

mod anomaly;
mod anomaly_multi;
mod characterize;
mod forecast;
mod hazard;
mod prefetch;

use crate::{
    Curves, Evaluation, Metrics, Progress, Result, Signature, drift::Sample, serve::RowModel,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
            Self::Prefetch => &prefetch::Prefetch,
            Self::Anomaly => &anomaly::Anomaly,
            Self::AnomalyMulti => &anomaly_multi::AnomalyMulti,
            Self::Characterize => &characterize::Characterize,
            Self::Hazard => &hazard::Hazard,
            Self::Forecast => &forecast::Forecast,
        }
    }
}

/// A trained model before it is packed. What a lesson does not have it leaves empty: `..Trained::default()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trained {
    /// All that the model needs to be applied: what `evaluate` gets back.
    pub parameters: serde_json::Value,
    /// What the model reads.
    pub signature: Signature,
    /// Figures on the part of the training data that was kept back to judge by; empty where none was.
    pub metrics: Metrics,
    /// For the model card: intended use, data window, split, limits; Markdown.
    pub card: String,
    /// Curves on the same rows as `metrics`; `reliability` becomes the package's calibration plot.
    pub curves: Curves,
    /// The model as ONNX, where it can be said so.
    pub onnx: Option<Vec<u8>>,
}

/// What weighs how much in a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// A feature, a member or a rule.
    pub name: String,
    /// Its weight; what it means is in `of`.
    pub weight: f64,
    /// What the weight is, such as `gain` or `weight in the combination`.
    pub of: String,
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

    /// Values of the features on a sample of rows, for the drift reference of a package and for `isobar model drift`.
    ///
    /// Unless a lesson says otherwise, the numeric columns of the sets' files as they are.
    fn features(
        &self,
        data: &[PathBuf],
        rows_max: usize,
        progress: &mut dyn Progress,
    ) -> Result<Sample> {
        let mut sample = Sample::new();
        for (done, folder) in data.iter().enumerate() {
            progress.step(done as u64, data.len() as u64, "sampling features");
            let share = rows_max / data.len();
            for (name, sampled) in isobar_datasets::sample_columns(folder, share)?.columns {
                sample.entry(name).or_default().extend(sampled.values);
            }
        }
        Ok(sample)
    }

    /// First and last time of a set, as its files write them; none where they do not say.
    fn window(&self, data: &Path) -> Result<Option<(String, String)>> {
        Ok(isobar_datasets::sample_columns(data, 2)?.window)
    }

    /// The models of a package that answer single rows of features, by the kind of rows; none where a task has no such.
    fn row_models(
        &self,
        _parameters: &serde_json::Value,
    ) -> Result<BTreeMap<String, Box<dyn RowModel>>> {
        Ok(BTreeMap::new())
    }

    /// What weighs how much, the heaviest first; empty where a model cannot say.
    fn reasons(&self, _parameters: &serde_json::Value) -> Result<Vec<Reason>> {
        Ok(Vec::new())
    }
}
