//! One machine judged, and machines put together.

use crate::ranking::{average_precision, descending, hits_at, vus_pr};
use crate::{Error, Metrics, Result};
use isobar_datasets::Machine;
use isobar_models::multivariate::{Detector, Settings};

/// The buffer of VUS-PR, steps; TSB-AD's figures for these sets have it.
const WINDOW_STEPS: usize = 100;
/// An operator looks at so many signals first.
const NAMED: usize = 3;

/// What was found on one machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    auc_pr: Option<f64>,
    vus_pr: Option<f64>,
    /// For each labelled cause, see [`hits_at`].
    hits: Vec<f64>,
    /// For each, whether any named signal was at fault.
    any: Vec<f64>,
    steps: u64,
}

/// The machines of a set, judged by one method.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    machines: Vec<Found>,
    each: Metrics,
}

impl Judged {
    pub(super) fn add(&mut self, name: &str, found: Found) {
        if let Some(area) = found.auc_pr {
            self.each.insert(name.into(), area.into());
        }
        self.machines.push(found);
    }

    pub(super) fn steps(&self) -> u64 {
        self.machines.iter().map(|found| found.steps).sum()
    }

    /// Means over the machines that have a labelled fault; hits over all labelled causes. `None` without any fault.
    pub(super) fn metrics(&self) -> Option<Metrics> {
        let mut metrics = Metrics::new();
        metrics
            .insert("auc_pr".into(), mean(self.machines.iter().filter_map(|f| f.auc_pr))?.into());
        metrics
            .insert("vus_pr".into(), mean(self.machines.iter().filter_map(|f| f.vus_pr))?.into());
        let hits = |of: fn(&Found) -> &Vec<f64>| mean(self.machines.iter().flat_map(of).copied());
        if let (Some(strict), Some(any)) = (hits(|f| &f.hits), hits(|f| &f.any)) {
            metrics.insert("hit_at_3".into(), strict.into());
            metrics.insert("any_hit_at_3".into(), any.into());
        }
        metrics.insert("machines".into(), crate::Metric::Group(self.each.clone()));
        Some(metrics)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Fits to the train part, reads the test part in order.
pub(super) fn judge_machine(machine: &Machine, settings: &Settings) -> Result<Found> {
    let signals = machine.signals.len();
    let mut detector = fit(machine, settings)?;
    let mut blame = vec![vec![0.0; signals]; machine.causes.len()];
    let mut scores = Vec::with_capacity(machine.labels.len());
    for (step, row) in machine.test.chunks_exact(signals).enumerate() {
        let reading = detector.observe(row).map_err(|e| Error::Unsuitable(e.to_string()))?;
        scores.push(reading.score);
        for (cause, sums) in machine.causes.iter().zip(&mut blame) {
            if (cause.start..cause.end).contains(&step) {
                sums.iter_mut().zip(detector.contributions()).for_each(|(sum, c)| *sum += c);
            }
        }
    }
    Ok(found(machine, &scores, &blame))
}

/// The mean area over labelled machines, for choosing settings.
pub(super) fn mean_auc_pr(machines: &[Machine], settings: &Settings) -> Result<f64> {
    let mut sum = 0.0;
    for machine in machines {
        let mut detector = fit(machine, settings)?;
        let rows = machine.test.chunks_exact(machine.signals.len());
        let scores: std::result::Result<Vec<f64>, _> =
            rows.map(|row| detector.observe(row).map(|reading| reading.score)).collect();
        let scores = scores.map_err(|e| Error::Unsuitable(e.to_string()))?;
        sum += average_precision(&machine.labels, &scores).unwrap_or(0.0);
    }
    Ok(sum / machines.len().max(1) as f64)
}

fn fit(machine: &Machine, settings: &Settings) -> Result<Detector> {
    Detector::fit(&machine.train, machine.signals.len(), settings)
        .map_err(|e| Error::Unsuitable(format!("{}: {e}", machine.name)))
}

fn found(machine: &Machine, scores: &[f64], blame: &[Vec<f64>]) -> Found {
    let mut found = Found {
        auc_pr: average_precision(&machine.labels, scores),
        vus_pr: vus_pr(&machine.labels, scores, WINDOW_STEPS),
        steps: scores.len() as u64,
        ..Found::default()
    };
    for (cause, sums) in machine.causes.iter().zip(blame) {
        if let Some(hits) = hits_at(NAMED, &descending(sums), &cause.signals) {
            found.hits.push(hits);
            found.any.push(f64::from(u8::from(hits > 0.0)));
        }
    }
    found
}

/// What people would otherwise use, on the same rows: `z_l2` is the Euclidean norm of plain z-scores, `z_max` the
/// largest of them, `pca_t2_q` principal components (90 % of the variance) without views and smoothing, and
/// `pca_t2_q_smoothed` the same over ten steps.
pub(super) fn baselines(machine: &Machine) -> Result<Vec<(String, Found)>> {
    let plain = Settings {
        half_lives_steps: vec![0.0],
        variance_shares: vec![0.9],
        floor: 1e-4,
        smoothing_steps: vec![1],
        drift: None,
    };
    let smoothed = Settings { smoothing_steps: vec![10], ..plain.clone() };
    let mut all = vec![
        ("pca_t2_q".to_owned(), judge_machine(machine, &plain)?),
        ("pca_t2_q_smoothed".to_owned(), judge_machine(machine, &smoothed)?),
    ];
    all.extend(by_z(machine, plain.floor));
    Ok(all)
}

fn by_z(machine: &Machine, floor: f64) -> [(String, Found); 2] {
    let signals = machine.signals.len();
    let of = |signal: usize| {
        let values =
            || machine.train.iter().skip(signal).step_by(signals).filter(|v| v.is_finite());
        let count = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        (mean, variance.sqrt().max(floor))
    };
    let places: Vec<(f64, f64)> = (0..signals).map(of).collect();
    let (mut norms, mut highest) = (Vec::new(), Vec::new());
    let mut blame = vec![vec![0.0; signals]; machine.causes.len()];
    let mut squares = vec![0.0; signals];
    for (step, row) in machine.test.chunks_exact(signals).enumerate() {
        for ((square, v), (mean, deviation)) in squares.iter_mut().zip(row).zip(&places) {
            let z = (v - mean) / deviation;
            *square = if z.is_finite() { z * z } else { 0.0 };
        }
        norms.push(squares.iter().sum::<f64>());
        highest.push(squares.iter().copied().fold(0.0, f64::max));
        for (cause, sums) in machine.causes.iter().zip(&mut blame) {
            if (cause.start..cause.end).contains(&step) {
                sums.iter_mut().zip(&squares).for_each(|(sum, square)| *sum += square);
            }
        }
    }
    [
        ("z_l2".to_owned(), found(machine, &norms, &blame)),
        ("z_max".to_owned(), found(machine, &highest, &blame)),
    ]
}
