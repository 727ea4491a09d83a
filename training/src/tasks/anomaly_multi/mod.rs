//! The lesson `anomaly-multi`: unusual states of machines with many signals.
//!
//! A set is a folder of machines, each with a `train` and a `test` part. A machine's detector is fitted to its own
//! train part and scores its test part step by step; what is *learned* from the set is the one setting for all
//! machines. It is chosen on every second machine (in the order of names) by AUC-PR and checked on the others.

mod judged;

use super::{Lesson, Trained};
use crate::drift::Sample;
use crate::{Error, Evaluation, Feature, Metrics, Progress, Result, Signature};
use isobar_datasets::{machine_names, read_machine};
use isobar_models::multivariate::{DriftGate, Settings};
use judged::{Judged, judge_machine};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) struct AnomalyMulti;

impl Lesson for AnomalyMulti {
    fn train(&self, data: &[PathBuf], _: u64, progress: &mut dyn Progress) -> Result<Trained> {
        let machines = machines_of(data)?;
        if machines.is_empty() {
            return Err(Error::Unsuitable("no folder of machines was given".into()));
        }
        let (settings, figures) = choose(&machines, progress)?;
        let first = read_machine(&machines[0].0, &machines[0].1)?;
        let feature =
            |name: &String| Feature { name: name.clone(), kind: "f64".into(), unit: String::new() };
        let parameters = serde_json::to_value(&settings)
            .map_err(|e| Error::Unsuitable(format!("settings cannot be written: {e}")))?;
        Ok(Trained {
            parameters,
            signature: Signature { features: first.signals.iter().map(feature).collect() },
            card: card(&settings, machines.len()),
            metrics: figures,
            ..Trained::default()
        })
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let settings: Settings = serde_json::from_value(parameters.clone())
            .map_err(|e| Error::Unsuitable(format!("these parameters are no settings: {e}")))?;
        settings.check().map_err(|e| Error::Unsuitable(e.to_string()))?;
        let names = machine_names(data)?;
        let (mut model, mut others) = (Judged::default(), BTreeMap::<String, Judged>::new());
        for (done, name) in names.iter().enumerate() {
            progress.step(done as u64, names.len() as u64, name);
            let machine = read_machine(data, name)?;
            model.add(name, judge_machine(&machine, &settings)?);
            for (baseline, found) in judged::baselines(&machine)? {
                others.entry(baseline).or_default().add(name, found);
            }
        }
        progress.step(names.len() as u64, names.len() as u64, "");
        let metrics = model.metrics().ok_or_else(|| {
            Error::Unsuitable("no machine has both a labelled fault and usual steps".into())
        })?;
        let baseline_units =
            others.iter().map(|(name, found)| (name.clone(), found.units())).collect();
        let baselines =
            others.into_iter().filter_map(|(name, found)| Some((name, found.metrics()?))).collect();
        Ok(Evaluation {
            task: super::Task::AnomalyMulti.name().into(),
            dataset: data.display().to_string(),
            metrics,
            baselines,
            n: model.steps(),
            units: model.units(),
            baseline_units,
            ..Evaluation::default()
        })
    }

    /// The signals of the train parts, some rows of each machine.
    fn features(
        &self,
        data: &[PathBuf],
        rows_max: usize,
        progress: &mut dyn Progress,
    ) -> Result<Sample> {
        let mut sample = Sample::new();
        let machines = machines_of(data)?;
        let share = (rows_max / machines.len().max(1)).max(1);
        for (done, (folder, name)) in machines.iter().enumerate() {
            progress.step(done as u64, machines.len() as u64, "sampling features");
            let machine = read_machine(folder, name)?;
            let width = machine.signals.len();
            let stride = (machine.train.len() / width).div_ceil(share).max(1);
            for row in machine.train.chunks_exact(width).step_by(stride) {
                for (signal, value) in machine.signals.iter().zip(row) {
                    sample.entry(signal.clone()).or_default().push(*value);
                }
            }
        }
        Ok(sample)
    }

    /// The files count steps, they have no times.
    fn window(&self, _: &Path) -> Result<Option<(String, String)>> {
        Ok(None)
    }
}

fn machines_of(data: &[PathBuf]) -> Result<Vec<(PathBuf, String)>> {
    let mut machines = Vec::new();
    for folder in data {
        machines.extend(machine_names(folder)?.into_iter().map(|name| (folder.clone(), name)));
    }
    Ok(machines)
}

/// What is tried: which views, how much variance is usual, how small a deviation matters, how long is smoothed.
fn candidates() -> Vec<Settings> {
    let views: [&[f64]; 4] = [
        &[0.0, 10.0],
        &[10.0, 60.0],
        &[0.0, 10.0, 60.0, 360.0],
        &[0.0, 3.0, 10.0, 30.0, 60.0, 360.0],
    ];
    let mut all = Vec::new();
    for half_lives in views {
        // All of the variance is the Mahalanobis distance: it sees a relation break whose parts are as usual.
        for shares in [&[0.9][..], &[0.99], &[0.9, 1.0]] {
            for floor in [0.001, 0.01] {
                for smoothing in [&[1, 10][..], &[1, 5, 30]] {
                    all.push(Settings {
                        half_lives_steps: half_lives.to_vec(),
                        variance_shares: shares.to_vec(),
                        floor,
                        smoothing_steps: smoothing.to_vec(),
                        drift: None,
                    });
                }
            }
        }
    }
    all
}

/// The drift gates that are tried on the best candidate.
const GATES: [DriftGate; 2] =
    [DriftGate { window_steps: 1440, sigmas: 3.0 }, DriftGate { window_steps: 2880, sigmas: 3.0 }];

/// The candidate with the highest mean AUC-PR on the machines at even places (with a single labelled machine, on that),
/// and what it reaches on the others.
fn choose(
    machines: &[(PathBuf, String)],
    progress: &mut dyn Progress,
) -> Result<(Settings, Metrics)> {
    let (mut chosen_on, mut checked_on) = (Vec::new(), Vec::new());
    for (place, (folder, name)) in machines.iter().enumerate() {
        let machine = read_machine(folder, name)?;
        if machine.labels.contains(&true) {
            if place % 2 == 0 { chosen_on.push(machine) } else { checked_on.push(machine) }
        }
    }
    if chosen_on.is_empty() {
        std::mem::swap(&mut chosen_on, &mut checked_on);
    }
    if chosen_on.is_empty() {
        return Err(Error::Unsuitable("no machine has a labelled fault to choose by".into()));
    }
    let plain = candidates();
    let total = (plain.len() + GATES.len()) as u64;
    let (mut best, mut highest) = (Settings::default(), f64::NEG_INFINITY);
    for (done, settings) in plain.into_iter().enumerate() {
        progress.step(done as u64, total, "settings");
        let area = judged::mean_auc_pr(&chosen_on, &settings)?;
        if area > highest {
            (best, highest) = (settings, area);
        }
    }
    // A gate only changes what looks at plain values: tried last, on the best.
    for gate in GATES {
        let settings = Settings { drift: Some(gate), ..best.clone() };
        let area = judged::mean_auc_pr(&chosen_on, &settings)?;
        if area > highest {
            (best, highest) = (settings, area);
        }
    }
    let mut figures = Metrics::new();
    figures.insert("auc_pr_chosen_on".into(), highest.into());
    figures.insert("machines_chosen_on".into(), (chosen_on.len() as f64).into());
    if !checked_on.is_empty() {
        figures.insert("auc_pr_checked_on".into(), judged::mean_auc_pr(&checked_on, &best)?.into());
        figures.insert("machines_checked_on".into(), (checked_on.len() as f64).into());
    }
    figures.insert("candidates".into(), (total as f64).into());
    Ok((best, figures))
}

fn card(settings: &Settings, machines: usize) -> String {
    format!(
        "# Unusual states of machines\n\n\
         Scores each step of a machine with many signals, and names the signals to blame.\n\n\
         - Method: PCA T² and Q on standardised signals in several views, logarithms added, smoothed causally.\n\
         - The package holds one setting for all machines. The detector of a machine is fitted to the `train` part of \
         that machine in the folder given, when it is judged; its `test` part is read once, in order.\n\
         - Chosen by AUC-PR (no point adjustment) on every second of {machines} machines in the order of names, and \
         checked on the others: see `metrics.json`.\n\
         - Views (half-lives in steps, 0 is the plain value): {:?}. Variance shares: {:?}. Floor: {}. Smoothing: {:?}. \
         Drift gate: {:?}.\n\
         - Limits: signals on a scale of about 0 to 1; the train part may hold faults, but few; p-values are taken \
         on the rows that were fitted.\n",
        settings.half_lives_steps,
        settings.variance_shares,
        settings.floor,
        settings.smoothing_steps,
        settings.drift,
    )
}

#[cfg(test)]
mod tests;
