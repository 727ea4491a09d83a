//! Fitting the model of one kind of set.

use super::rows::{Kind, Rows};
use super::rules::rules;
use super::score::Said;
use crate::{Error, Result};
use isobar_models::boost::{BoostConfig, BoostError, Booster, Loss};
use isobar_models::hazard::threshold_of_costs;
use isobar_models::hazard::{GroupRates, HazardModel, Horizon, Isotonic, Recalibration};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Units are dealt into so many parts; each part's scores come from trees that have not seen it.
const FOLDS: u32 = 3;

/// The model of one kind of set, as it is kept in the package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fitted {
    pub(super) features: Vec<String>,
    pub(super) model: HazardModel,
    /// By rule: from its score to a probability.
    pub(super) rules: BTreeMap<String, Isotonic>,
    pub(super) rates: GroupRates,
    /// The machines it was trained on, where others must stay unseen.
    pub(super) trained_units: BTreeSet<String>,
    /// The same on units of the training part that the trees had not seen.
    pub(super) seen_auc_pr: f64,
    pub(super) rows: u64,
    pub(super) failing_rows: u64,
}

/// What is known of a kind before any data.
pub(super) struct Settings {
    pub(super) boost: BoostConfig,
    /// Fits with different seeds for the first horizon; one for the others.
    pub(super) members: u64,
    /// What a missed failure costs in false alarms.
    pub(super) missed_cost: f64,
    /// Whether probabilities are shifted as outcomes become known.
    pub(super) recalibrated: bool,
}

pub(super) fn settings(kind: Kind) -> Settings {
    let base = BoostConfig {
        trees: 150,
        learning_rate: 0.05,
        max_leaves: 16,
        l2: 5.0,
        max_delta_step: 1.0,
        row_fraction: 0.7,
        feature_fraction: 0.5,
        ..BoostConfig::of(Loss::Logistic)
    };
    let (boost, members, missed_cost, recalibrated) = match kind {
        Kind::Machines => {
            let boost = BoostConfig { trees: 250, max_leaves: 24, l2: 1.0, ..base };
            (boost, 2, 1.0, false)
        }
        Kind::DriveDays => {
            let boost = BoostConfig { trees: 120, max_leaves: 6, min_child_hessian: 0.5, ..base };
            (boost, 5, 10.0, false)
        }
        Kind::DriveSpans | Kind::DriveRecords => {
            (BoostConfig { trees: 250, ..base }, 3, 10.0, false)
        }
        Kind::Outages | Kind::UpDown | Kind::GpuLives => {
            (BoostConfig { min_child_hessian: 10.0, ..base }, 2, 3.0, true)
        }
    };
    Settings { boost, members, missed_cost, recalibrated }
}

fn bad(error: BoostError) -> Error {
    Error::Unsuitable(error.to_string())
}

/// Fits all horizons and the rules' calibrations.
pub(super) fn fit(
    kind: Kind,
    rows: &Rows,
    rates: GroupRates,
    seed: u64,
    told: &mut dyn FnMut(&str),
) -> Result<Fitted> {
    let settings = settings(kind);
    let mut horizons = Vec::new();
    let mut rule_lines = BTreeMap::new();
    let (mut seen_auc_pr, mut count) = (0.0, (0, 0));
    for (at, horizon_h) in kind.horizons_h().into_iter().enumerate() {
        told(&format!("{}: within {horizon_h} h", kind.name()));
        let (rows, labels) = rows.labelled(horizon_h);
        let failing = labels.iter().filter(|label| **label).count();
        if failing == 0 || failing == labels.len() {
            if at > 0 {
                continue;
            }
            let what = format!(
                "{}: of {} rows {failing} fail: nothing to learn",
                kind.name(),
                labels.len()
            );
            return Err(Error::Unsuitable(what));
        }
        let members = if at == 0 { settings.members } else { 1 };
        let (horizon, held_out) = fit_horizon(&rows, &labels, &settings, members, seed, horizon_h)?;
        if at == 0 {
            count = (rows.len() as u64, failing as u64);
            seen_auc_pr = super::score::auc_pr(&held_out, &labels).unwrap_or(0.0);
            for rule in rules(kind) {
                let line = calibrate(&rule.scores(&rows), &labels, &rows.weights);
                rule_lines.insert(rule.name.to_owned(), line);
            }
        }
        horizons.push(horizon);
    }
    Ok(Fitted {
        features: rows.names.iter().map(|(name, _)| name.clone()).collect(),
        model: HazardModel::new(horizons).map_err(bad)?,
        rules: rule_lines,
        rates,
        trained_units: BTreeSet::new(),
        seen_auc_pr,
        rows: count.0,
        failing_rows: count.1,
    })
}

fn calibrate(scores: &[f64], labels: &[bool], weights: &[f64]) -> Isotonic {
    let rows = scores.iter().zip(labels).zip(weights);
    let rows = rows.map(|((&score, &label), &weight)| (score, f64::from(u8::from(label)), weight));
    Isotonic::fit(rows).expect("there are rows with weight")
}

/// The horizon, and for each row the score by trees that have not seen its unit.
fn fit_horizon(
    rows: &Rows,
    labels: &[bool],
    settings: &Settings,
    members: u64,
    seed: u64,
    hours: f64,
) -> Result<(Horizon, Vec<f64>)> {
    let monotone = rows.names.iter().map(|(_, direction)| *direction).collect();
    let config = |seed| BoostConfig { seed, monotone, ..settings.boost.clone() };
    let config: BoostConfig = config(seed);
    let mut held_out = vec![0.0; rows.len()];
    let fold = |row: usize| super::rows::hash(&rows.units[row].to_string(), seed) as u32 % FOLDS;
    for part in 0..FOLDS {
        let kept: Vec<usize> = (0..rows.len()).filter(|&row| fold(row) != part).collect();
        let fitted = fit_some(rows, labels, &kept, &config)?;
        let mut values = Vec::new();
        for row in (0..rows.len()).filter(|&row| fold(row) == part) {
            rows.row_into(row, &mut values);
            held_out[row] = fitted.score_row(&values);
        }
    }
    let all: Vec<usize> = (0..rows.len()).collect();
    let fit = |member| {
        let seed = seed.wrapping_mul(1_000).wrapping_add(member);
        fit_some(rows, labels, &all, &BoostConfig { seed, ..config.clone() })
    };
    let members = (0..members).map(fit).collect::<Result<Vec<Booster>>>()?;
    let calibration = calibrate(&held_out, labels, &rows.weights);
    let raise = threshold_of_costs(settings.missed_cost, 1.0);
    Ok((Horizon { hours, members, calibration, raise, clear: raise / 2.0 }, held_out))
}

fn fit_some(rows: &Rows, labels: &[bool], kept: &[usize], config: &BoostConfig) -> Result<Booster> {
    let part = rows.only(kept);
    let targets: Vec<f64> = kept.iter().map(|&row| f64::from(u8::from(labels[row]))).collect();
    let table =
        part.table().ok_or_else(|| Error::Unsuitable("too few rows to learn from".into()))?;
    Booster::fit(&table, &targets, Some(&part.weights), config).map_err(bad)
}

impl Fitted {
    /// What the model says of rows with known outcomes, in the order of time where it is recalibrated.
    pub(super) fn say(&self, kind: Kind, rows: &Rows, labels: &[bool]) -> Said {
        let horizon = &self.model.horizons()[0];
        let mut values = Vec::new();
        let scores = (0..rows.len()).map(|row| {
            rows.row_into(row, &mut values);
            self.model.scores(&values)[0]
        });
        let scores: Vec<f64> = scores.collect();
        let mut probabilities: Vec<f64> =
            scores.iter().map(|&score| horizon.calibration.at(score)).collect();
        if settings(kind).recalibrated {
            recalibrate(rows, labels, horizon.hours, &mut probabilities);
        }
        Said { scores, probabilities, raise: horizon.raise, clear: horizon.clear }
    }

    /// The same of a rule, calibrated on the same training rows.
    pub(super) fn say_by_rule(&self, name: &str, scores: Vec<f64>) -> Said {
        let horizon = &self.model.horizons()[0];
        let line = self.rules.get(name);
        let probability = |&score: &f64| line.map_or(0.0, |line| line.at(score));
        let probabilities = scores.iter().map(probability).collect();
        Said { scores, probabilities, raise: horizon.raise, clear: horizon.clear }
    }
}

/// Each outcome is used only once its horizon has passed.
fn recalibrate(rows: &Rows, labels: &[bool], horizon_h: f64, probabilities: &mut [f64]) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows.at_h[a].total_cmp(&rows.at_h[b]).then(a.cmp(&b)));
    let mut recalibration = Recalibration::new(60.0 * 24.0 + 2.0 * horizon_h, 2_000.0);
    let said = probabilities.to_vec();
    let mut due = 0;
    for &row in &order {
        let now_h = rows.at_h[row];
        while rows.at_h[order[due]] + horizon_h < now_h {
            let known = order[due];
            recalibration.learn(rows.at_h[known], said[known], labels[known]);
            due += 1;
        }
        probabilities[row] = recalibration.adjust(now_h, said[row]);
    }
}
