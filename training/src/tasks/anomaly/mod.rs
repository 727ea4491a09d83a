//! Unusual values of one signal: the detector's threshold is chosen on marked windows, its figures are the benchmark's.

mod baselines;
mod card;
mod points;
mod scored;
#[cfg(test)]
mod tests;
mod threshold;
mod windows;

use super::{Lesson, Trained};
use crate::{Error, Evaluation, Feature, Progress, Result, Signature, Task};
use baselines::Baseline;
use isobar_datasets::{LabelledSeries, Marks, read_labelled_series};
use isobar_models::anomaly::Settings;
use scored::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Alerts for each series and day, without looking at labels: the thresholds are told for each.
const BUDGETS_PER_DAY: [f64; 4] = [0.05, 0.1, 0.2, 0.5];
/// Where nothing is marked, the threshold is that of this budget.
const UNMARKED_BUDGET_PER_DAY: f64 = 0.2;
/// Of series with marked points, this part comes first and is trained on.
const TRAINED_PART: f64 = 0.6;

/// A trained detector: one set of numbers for all series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    settings: Settings,
    /// Thresholds by alerts for each series and day.
    budgets: BTreeMap<String, f64>,
    /// Thresholds of what the detector is compared with.
    baselines: BTreeMap<Baseline, f64>,
}

impl Parameters {
    fn parse(value: &serde_json::Value) -> Result<Self> {
        let unsuitable =
            |what: String| Error::Unsuitable(format!("the model's parameters: {what}"));
        let parameters: Self =
            serde_json::from_value(value.clone()).map_err(|error| unsuitable(error.to_string()))?;
        parameters.settings.check().map_err(|error| unsuitable(error.to_string()))?;
        Ok(parameters)
    }
}

pub(super) struct Anomaly;

impl Lesson for Anomaly {
    fn train(&self, data: &[PathBuf], _: u64, progress: &mut dyn Progress) -> Result<Trained> {
        let mut series = Vec::new();
        for folder in data {
            series.extend(read_labelled_series(folder)?.into_iter().map(trained_part));
        }
        let marked = |series: &LabelledSeries| matches!(series.marks, Marks::Windows(_));
        // A corpus with marked windows decides by them alone.
        if series.iter().any(marked) {
            series.retain(marked);
        }
        if series.is_empty() {
            return Err(Error::Unsuitable("no folder of data was given".into()));
        }
        let windows = series.iter().any(marked);
        let settings = if windows { Settings::default() } else { Settings::for_points() };
        let method = Method::Detector(settings);
        let total = 1 + Baseline::ALL.len() as u64;
        progress.step(0, total, "detector");
        let scored = scored::from_several_starts(&series, method)?;
        let candidates = threshold::candidates(&scored);
        let sweep = threshold::Sweep::new(&scored, &candidates, method.grouping());
        let budget = |per_day| sweep.within_budget(per_day);
        let budgets: BTreeMap<String, f64> = BUDGETS_PER_DAY
            .iter()
            .map(|&per_day| (format!("{per_day}"), budget(per_day)))
            .collect();
        let threshold = if windows { sweep.best() } else { budget(UNMARKED_BUDGET_PER_DAY) };
        let mut baselines = BTreeMap::new();
        for (done, baseline) in Baseline::ALL.into_iter().enumerate() {
            progress.step(1 + done as u64, total, baseline.name());
            baselines.insert(baseline, threshold_of(&series, baseline, windows)?);
        }
        let settings = Settings { threshold, ..settings };
        let parameters = Parameters { settings, budgets, baselines };
        let metrics = if windows { threshold::metrics(&sweep, threshold) } else { BTreeMap::new() };
        let card = card::card(&series, &parameters, &metrics);
        let parameters = serde_json::to_value(parameters)
            .map_err(|error| Error::Unsuitable(format!("a threshold is no number: {error}")))?;
        progress.step(total, total, "done");
        Ok(Trained { parameters, signature: signature(), metrics, card, ..Trained::default() })
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let parameters = Parameters::parse(parameters)?;
        let series = read_labelled_series(data)?;
        let windows = matches!(series[0].marks, Marks::Windows(_));
        let methods = std::iter::once((None, Method::Detector(parameters.settings)))
            .chain(parameters.baselines.keys().map(|b| (Some(*b), Method::Baseline(*b))));
        let total = 1 + parameters.baselines.len() as u64;
        let (mut metrics, mut baselines) = (BTreeMap::new(), BTreeMap::new());
        let mut n = 0;
        for (done, (baseline, method)) in methods.enumerate() {
            let name = baseline.map_or("detector", Baseline::name);
            progress.step(done as u64, total, name);
            let scored = scored::whole(&series, method)?;
            let threshold = match baseline {
                Some(baseline) => parameters.baselines[&baseline],
                None => parameters.settings.threshold,
            };
            let (mut figures, rows) = if windows {
                windows::figures(&scored, threshold, method.grouping())
            } else {
                points::figures(&series, &scored, threshold, method.grouping())
            };
            if let Some(baseline) = baseline {
                baselines.insert(baseline.name().to_owned(), figures);
                continue;
            }
            if windows {
                let budgets = windows::budgets(&scored, &parameters.budgets, method.grouping());
                figures.insert("budgets".into(), budgets);
            }
            (metrics, n) = (figures, rows);
        }
        progress.step(total, total, "done");
        Ok(Evaluation {
            task: Task::Anomaly.name().into(),
            dataset: data.display().to_string(),
            metrics,
            baselines,
            n,
            ..Evaluation::default()
        })
    }
}

fn threshold_of(series: &[LabelledSeries], baseline: Baseline, windows: bool) -> Result<f64> {
    if let Some(published) = baseline.published_threshold() {
        return Ok(published);
    }
    let method = Method::Baseline(baseline);
    let scored = scored::from_several_starts(series, method)?;
    let candidates = threshold::candidates(&scored);
    let sweep = threshold::Sweep::new(&scored, &candidates, method.grouping());
    Ok(if windows { sweep.best() } else { sweep.within_budget(UNMARKED_BUDGET_PER_DAY) })
}

/// A series with marked points ends where its test part begins, and its labels are not used.
fn trained_part(series: LabelledSeries) -> LabelledSeries {
    match series.marks {
        Marks::Windows(_) => series,
        Marks::Points(_) => {
            let length = test_begins(series.values.len());
            let LabelledSeries { name, mut time_s, mut values, .. } = series;
            time_s.truncate(length);
            values.truncate(length);
            LabelledSeries { name, time_s, values, marks: Marks::Points(vec![false; length]) }
        }
    }
}

fn test_begins(points: usize) -> usize {
    (points as f64 * TRAINED_PART) as usize
}

fn signature() -> Signature {
    let feature = |name: &str, kind: &str, unit: &str| Feature {
        name: name.into(),
        kind: kind.into(),
        unit: unit.into(),
    };
    Signature { features: vec![feature("time_s", "i64", "s"), feature("value", "f64", "")] }
}
