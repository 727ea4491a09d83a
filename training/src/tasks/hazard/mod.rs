//! Failures of disks and machines: a model for each kind of set, judged on later time and, where the set says so, on
//! machines it has not seen.

mod disks;
mod fit;
mod machines;
mod nodes;
mod rows;
mod rules;
mod score;
mod serve;

use super::{Lesson, Trained};
use crate::package::Feature;
use crate::serve::RowModel;
use crate::{Error, Evaluation, Metric, Metrics, Progress, Result, Signature};
use fit::Fitted;
use isobar_datasets::{FailureSet, read_failures};
use isobar_models::hazard::GroupRates;
use rows::{Kind, Part, Rows};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
        let (signature, metrics, card) =
            (signature(&fitted), metrics(&fitted), card(&fitted, seed));
        // One file holds one model.
        let onnx = match fitted.len() {
            1 => fitted.values().next().and_then(serve::onnx),
            _ => None,
        };
        let parameters = serde_json::to_value(Parameters { seed, kinds: fitted })
            .expect("names are text and numbers finite");
        Ok(Trained { parameters, signature, metrics, card, onnx, ..Trained::default() })
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
        let parameters = Parameters::deserialize(parameters)
            .map_err(|e| Error::Unsuitable(format!("the parameters are no hazard model: {e}")))?;
        progress.step(0, 2, "reading");
        let set = read_failures(data)?;
        let mut judged: Option<Evaluation> = None;
        for &kind in kinds(&set) {
            progress.step(1, 2, kind.name());
            let fitted = parameters.kinds.get(kind.name()).ok_or_else(|| {
                Error::Unsuitable(format!("the model was not trained on {}", kind.name()))
            })?;
            let (n, metrics, baselines) = judge_kind(&set, kind, parameters.seed, fitted)?;
            match &mut judged {
                None => judged = Some(document(data, n, metrics, baselines)),
                Some(first) => {
                    first.metrics.insert(kind.name().into(), Metric::Group(metrics));
                    for (name, metrics) in baselines {
                        let beside = first.baselines.entry(name).or_default();
                        beside.insert(kind.name().into(), Metric::Group(metrics));
                    }
                }
            }
        }
        Ok(judged.expect("each set has a kind"))
    }
}

type Judged = (u64, Metrics, BTreeMap<String, Metrics>);

fn judge_kind(set: &FailureSet, kind: Kind, seed: u64, fitted: &Fitted) -> Result<Judged> {
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
    let metrics = score::judge(&rows, &labels, &said, horizon_h);
    let mut baselines = BTreeMap::new();
    for rule in rules::rules(kind) {
        let said = fitted.say_by_rule(rule.name, rule.scores(&rows));
        baselines.insert(rule.name.to_owned(), score::judge(&rows, &labels, &said, horizon_h));
    }
    Ok((rows.len() as u64, metrics, baselines))
}

fn document(
    data: &Path,
    n: u64,
    metrics: Metrics,
    baselines: BTreeMap<String, Metrics>,
) -> Evaluation {
    let dataset = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let task = super::Task::Hazard.name().into();
    Evaluation { task, dataset, metrics, baselines, n, ..Evaluation::default() }
}

fn signature(fitted: &BTreeMap<String, Fitted>) -> Signature {
    let of_kind = |(kind, fitted): (&String, &Fitted)| -> Vec<Feature> {
        let feature = |name: &String| Feature {
            name: format!("{kind}.{name}"),
            kind: "f32".into(),
            unit: if name.ends_with("_h") { "h".into() } else { String::new() },
        };
        fitted.features.iter().map(feature).collect()
    };
    Signature { features: fitted.iter().flat_map(of_kind).collect() }
}

fn metrics(fitted: &BTreeMap<String, Fitted>) -> Metrics {
    let of_kind = |(kind, fitted): (&String, &Fitted)| {
        let figures = Metrics::from([
            ("auc_pr_unseen_units_of_training".into(), fitted.seen_auc_pr.into()),
            ("rows".into(), (fitted.rows as f64).into()),
            ("failing_rows".into(), (fitted.failing_rows as f64).into()),
        ]);
        (kind.clone(), Metric::Group(figures))
    };
    fitted.iter().map(of_kind).collect()
}

fn card(fitted: &BTreeMap<String, Fitted>, seed: u64) -> String {
    let mut card = String::from("# Failures of disks and machines\n\n");
    card += "Says with which probability a unit fails within each horizon, to rank units and to raise alerts. Not a ";
    card += "guarantee for any one unit; many failures announce nothing.\n\n";
    card += &format!("Seed {seed}. Trained on what the sets' READMEs call training, split by time");
    card += " (and, for `machines`, by machine).\n\n| kind | rows | failing | horizons, h |\n| --- | --- | --- | --- |\n";
    for (kind, fitted) in fitted {
        let hours: Vec<String> =
            fitted.model.horizons().iter().map(|h| h.hours.to_string()).collect();
        let (rows, failing) = (fitted.rows, fitted.failing_rows);
        card += &format!("| {kind} | {rows} | {failing} | {} |\n", hours.join(", "));
    }
    let machines: BTreeSet<&str> =
        fitted.values().flat_map(|f| f.trained_units.iter().map(String::as_str)).collect();
    if !machines.is_empty() {
        card += &format!(
            "\n{} machines were trained on; a judgement is about others.\n",
            machines.len()
        );
    }
    card
}
