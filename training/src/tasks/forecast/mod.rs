//! Arrivals in the next minutes to days: each series by the members that serve it best, with intervals.

mod drawn;
mod events;
mod hourly;
mod rolling;
mod sets;

use super::{Lesson, Trained};
use crate::{Error, Evaluation, Feature, Metrics, Progress, Result, Signature};
use hourly::HourlyModel;
use rolling::RollingModel;
use serde::{Deserialize, Serialize};
use sets::Set;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub(super) struct Forecast;

/// What a package holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// For many hourly series over two days.
    hourly: Option<HourlyModel>,
    /// For long series, by their step.
    rolling: BTreeMap<String, RollingModel>,
}

impl Lesson for Forecast {
    fn train(&self, data: &[PathBuf], seed: u64, progress: &mut dyn Progress) -> Result<Trained> {
        let (mut hours, mut long) = (Vec::new(), Vec::new());
        for folder in data {
            match sets::read(folder)? {
                Set::Hourly(more) => hours.extend(more),
                Set::Rolling(more) => long.extend(more),
            }
        }
        let mut metrics = Metrics::new();
        let mut hourly = None;
        if !hours.is_empty() {
            let (model, figures) = HourlyModel::train(&hours, seed, progress)?;
            (hourly, metrics) = (Some(model), figures);
        }
        let rolling = rolling::train(&long, seed, progress)?;
        let card =
            card(&hours.len(), &long.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), seed);
        let parameters = serde_json::to_value(Parameters { hourly, rolling });
        let parameters = parameters.map_err(|e| Error::Unsuitable(e.to_string()))?;
        Ok(Trained { parameters, signature: signature(), metrics, card, ..Trained::default() })
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let parameters = Parameters::deserialize(parameters);
        let parameters = parameters
            .map_err(|e| Error::Unsuitable(format!("the parameters of the forecast: {e}")))?;
        let judged = match sets::read(data)? {
            Set::Hourly(series) => {
                let untrained =
                    || Error::Unsuitable("the model was not trained on hourly series".into());
                let model = parameters.hourly.ok_or_else(untrained)?;
                model.check()?;
                model.judge(&series, progress)
            }
            Set::Rolling(series) => rolling::judge(&parameters.rolling, &series, progress),
        };
        let dataset = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy().into_owned();
        Ok(Evaluation { task: super::Task::Forecast.name().to_owned(), dataset, ..judged })
    }
}

fn signature() -> Signature {
    let feature = Feature { name: "arrivals".into(), kind: "f64".into(), unit: "1/step".into() };
    Signature { features: vec![feature] }
}

fn card(hourly: &usize, long: &[&str], seed: u64) -> String {
    format!(
        "# Model card: forecast\n\n\
         - Use: values of a series at even steps, the next minutes to days, with an interval that holds 90 %.\n\
         - Trained on: {hourly} hourly series (weights and intervals on their last 48 hours but those judged), and on the \
         training part of: {}. Seed {seed}.\n\
         - Split: hourly series are judged on the given test rows; counts by the second on the days after the first 75 %, \
         readings on those after the first two thirds, single arrivals on the last 30 % of the time.\n\
         - Members: naive, seasonal naive, median season, smoothing, MSTL with ETS, damped Holt-Winters, seasonal profile, \
         harmonic regression with lags (absolute and squared errors), boosted trees over all series.\n\
         - Limits: even steps and finite values; a season of one day; a series younger than two days has the plain members \
         only; intervals of the hourly series are as wide as errors were on the two days before, whatever changed since.\n",
        if long.is_empty() { "nothing".to_owned() } else { long.join(", ") }
    )
}
