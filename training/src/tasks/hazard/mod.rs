//! Failures of disks and machines: a model for each kind of set, judged on later time and, where the set says so, on
//! machines it has not seen.

mod card;
mod disks;
mod events;
mod fit;
mod machines;
mod nodes;
mod rows;
mod rules;
mod score;
mod serve;
mod shown;
#[cfg(test)]
mod tests;

use super::{Lesson, Reason, Trained};
use crate::serve::RowModel;
use crate::{Curve, Error, Evaluation, Metric, Progress, Result, Shape};
use fit::Fitted;
use isobar_datasets::{FailureSet, read_failures};
use isobar_models::hazard::GroupRates;
use rows::{Kind, Part, Rows};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) struct Hazard;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    seed: u64,
    /// By the name of the kind of set.
    kinds: BTreeMap<String, Fitted>,
}

/// The kinds of rows that a set gives; the first is the one that is judged.
fn kinds(set: &FailureSet) -> &'static [Kind] {
    match set {
        FailureSet::Machines(_) => &[Kind::Machines],
        FailureSet::DriveDays(_) => &[Kind::DriveDays],
        FailureSet::DriveSpans(_) => &[Kind::DriveSpans, Kind::DriveRecords],
        FailureSet::Outages(_) => &[Kind::Outages],
        FailureSet::UpDown(_) => &[Kind::UpDown],
        FailureSet::GpuLives(_) => &[Kind::GpuLives],
    }
}

/// `fitted` is the model that will be asked: its rates and its machines count.
fn rows_of(
    set: &FailureSet,
    kind: Kind,
    part: Part,
    seed: u64,
    fitted: Option<&Fitted>,
) -> (Rows, GroupRates) {
    let rates = fitted.map(|fitted| &fitted.rates);
    let trained = fitted.map(|fitted| fitted.trained_units.clone()).unwrap_or_default();
    let plain = |rows| (rows, GroupRates::default());
    match set {
        FailureSet::Machines(events) => plain(machines::rows(events, part, seed, &trained)),
        FailureSet::DriveDays(days) => disks::day_rows(days, part, rates),
        FailureSet::DriveSpans(spans) => disks::span_rows(spans, kind, part, rates),
        FailureSet::Outages(outages) => plain(nodes::outage_rows(outages, part)),
        FailureSet::UpDown(intervals) => plain(nodes::up_down_rows(intervals, part)),
        FailureSet::GpuLives(lives) => plain(nodes::life_rows(lives, part)),
    }
}

impl Lesson for Hazard {
    fn train(&self, data: &[PathBuf], seed: u64, progress: &mut dyn Progress) -> Result<Trained> {
        let mut fitted = BTreeMap::new();
        for (at, folder) in data.iter().enumerate() {
            let (done, total) = (at as u64, data.len() as u64);
            let mut told = |what: &str| progress.step(done, total, what);
            told(&format!("reading {}", folder.display()));
            let set = read_failures(folder)?;
            for &kind in kinds(&set) {
                let (rows, rates) = rows_of(&set, kind, Part::Train, seed, None);
                let mut model = fit::fit(kind, &rows, rates, seed, &mut told)?;
                if let FailureSet::Machines(events) = &set {
                    model.trained_units = machines::trained(events, seed);
                }
                if fitted.insert(kind.name().to_owned(), model).is_some() {
                    let what = format!("two of the folders are of the kind {}", kind.name());
                    return Err(Error::Unsuitable(what));
                }
            }
        }
        if fitted.is_empty() {
            return Err(Error::Unsuitable("no folder to train on".into()));
        }
        // One file holds one model.
        let onnx = match fitted.len() {
            1 => fitted.values().next().and_then(serve::onnx),
            _ => None,
        };
        let trained = Trained {
            signature: card::signature(&fitted),
            metrics: card::metrics(&fitted),
            card: card::card(&fitted, seed),
            curves: [("reliability".into(), honesty(&fitted))].into(),
            onnx,
            ..Trained::default()
        };
        let parameters = serde_json::to_value(Parameters { seed, kinds: fitted })
            .expect("names are text and numbers finite");
        Ok(Trained { parameters, ..trained })
    }

    fn row_models(
        &self,
        parameters: &serde_json::Value,
    ) -> Result<BTreeMap<String, Box<dyn RowModel>>> {
        let parameters = Parameters::deserialize(parameters)
            .map_err(|e| Error::Unsuitable(format!("the parameters are no hazard model: {e}")))?;
        let rows =
            |fitted| serve::HazardRows::new(fitted).map(|m| Box::new(m) as Box<dyn RowModel>);
        parameters.kinds.into_iter().map(|(kind, fitted)| Ok((kind, rows(fitted)?))).collect()
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let parameters = read_parameters(parameters)?;
        progress.step(0, 2, "reading");
        let set = read_failures(data)?;
        let mut judged: Option<Evaluation> = None;
        for &kind in kinds(&set) {
            progress.step(1, 2, kind.name());
            let fitted = parameters.kinds.get(kind.name()).ok_or_else(|| {
                Error::Unsuitable(format!("the model was not trained on {}", kind.name()))
            })?;
            let found = judge_kind(&set, kind, parameters.seed, fitted)?;
            match &mut judged {
                None => judged = Some(found),
                Some(first) => beside(first, kind, found),
            }
        }
        let judged = judged.expect("each set has a kind");
        let dataset = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Evaluation { dataset, ..judged })
    }

    /// For each kind of set the share of each feature in what the splits for the first horizon gained.
    fn reasons(&self, parameters: &serde_json::Value) -> Result<Vec<Reason>> {
        let parameters = read_parameters(parameters)?;
        let mut reasons = Vec::new();
        for (kind, fitted) in &parameters.kinds {
            for (name, weight) in fitted.features.iter().zip(fitted.gain_shares()) {
                reasons.push(Reason {
                    name: format!("{kind}.{name}"),
                    weight,
                    of: "share of the gain".into(),
                });
            }
        }
        reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.name.cmp(&b.name)));
        Ok(reasons)
    }
}

fn read_parameters(parameters: &serde_json::Value) -> Result<Parameters> {
    Parameters::deserialize(parameters)
        .map_err(|e| Error::Unsuitable(format!("the parameters are no hazard model: {e}")))
}

/// Probabilities and what came, on units of the training part that the trees had not seen.
fn honesty(fitted: &BTreeMap<String, Fitted>) -> Curve {
    let curve = Curve::new(Shape::Reliability, "probability said", "share that failed");
    fitted.iter().fold(curve, |curve, (kind, fitted)| curve.with(kind, fitted.reliability.clone()))
}

/// Adds a second kind of rows of the same set under its name.
fn beside(first: &mut Evaluation, kind: Kind, found: Evaluation) {
    first.metrics.insert(kind.name().into(), Metric::Group(found.metrics));
    for (name, metrics) in found.baselines {
        let baseline = first.baselines.entry(name).or_default();
        baseline.insert(kind.name().into(), Metric::Group(metrics));
    }
    for (name, curve) in found.curves {
        first.curves.insert(format!("{name}.{}", kind.name()), curve);
    }
}

/// Judges the model of one kind of rows; the caller knows what the set is called.
fn judge_kind(set: &FailureSet, kind: Kind, seed: u64, fitted: &Fitted) -> Result<Evaluation> {
    let (rows, _) = rows_of(set, kind, Part::Test, seed, Some(fitted));
    let names = rows.names.iter().map(|(name, _)| name);
    if !names.eq(&fitted.features) || fitted.model.features() != rows.names.len() {
        let what = "the model was trained on other features than this program makes";
        return Err(Error::Unsuitable(what.into()));
    }
    let horizon_h = fitted.model.horizons()[0].hours;
    let (rows, labels) = rows.labelled(horizon_h);
    if !labels.iter().any(|label| *label) {
        let what =
            format!("{}: no failure in the {} rows of the test part", kind.name(), rows.len());
        return Err(Error::Unsuitable(what));
    }
    let said = fitted.say(kind, &rows, &labels);
    let by_rule = rules::rules(kind)
        .into_iter()
        .map(|rule| (rule.name, fitted.say_by_rule(rule.name, rule.scores(&rows))))
        .collect::<Vec<_>>();
    let mut sides = vec![("model", &said)];
    sides.extend(by_rule.iter().map(|(name, said)| (*name, said)));
    let mut evaluation = Evaluation {
        task: super::Task::Hazard.name().into(),
        n: rows.len() as u64,
        metrics: score::judge(&rows, &labels, &said, horizon_h),
        units: shown::units(&rows, &labels, &said, horizon_h),
        curves: shown::curves(&rows, &labels, &sides, horizon_h),
        ..Evaluation::default()
    };
    for (name, said) in &by_rule {
        let name = || (*name).to_owned();
        evaluation.baselines.insert(name(), score::judge(&rows, &labels, said, horizon_h));
        let units = shown::units(&rows, &labels, said, horizon_h);
        evaluation.baseline_units.insert(name(), units);
    }
    Ok(evaluation)
}
