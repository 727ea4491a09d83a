//! Fitting the model of one kind of set.

use super::rows::{Kind, Rows, hash};
use super::rules::rules;
use super::score::{Said, weighted_auc_pr};
use super::shown::weighted_reliability;
use crate::random::mixed;
use crate::{Error, Result};
use isobar_models::boost::{Binned, BoostConfig, BoostError, Booster, Loss};
use isobar_models::hazard::threshold_of_costs;
use isobar_models::hazard::{GroupRates, HazardModel, Horizon, Isotonic, Recalibration};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Rows that trees are fitted to at most: of more, some of each class stand for the others with their weight.
const ROWS_MAX: usize = 300_000;

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
    /// On the same units: probability said, share that failed.
    pub(super) reliability: Vec<[f64; 2]>,
}

/// What is known of a kind before any data.
pub(super) struct Settings {
    pub(super) boost: BoostConfig,
    /// Units are dealt into so many parts, so often. For each part there is a member that has not seen it: what it says
    /// there is what calibration is fitted to. Horizons behind the first are dealt once.
    pub(super) folds: u64,
    pub(super) rounds: u64,
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
        // Scores are no better with more, and fits are slower.
        max_bins: 64,
        row_fraction: 0.7,
        feature_fraction: 0.5,
        ..BoostConfig::of(Loss::Logistic)
    };
    let (boost, (folds, rounds), missed_cost, recalibrated) = match kind {
        Kind::Machines => {
            let boost = BoostConfig { trees: 150, max_leaves: 24, l2: 1.0, max_bins: 255, ..base };
            (boost, (3, 1), 1.0, false)
        }
        Kind::DriveDays => {
            let boost = BoostConfig { trees: 120, max_leaves: 6, min_child_hessian: 0.5, ..base };
            (boost, (5, 2), 10.0, false)
        }
        Kind::DriveSpans | Kind::DriveRecords => {
            (BoostConfig { trees: 250, ..base }, (4, 1), 10.0, false)
        }
        Kind::Outages | Kind::UpDown | Kind::GpuLives => {
            (BoostConfig { min_child_hessian: 10.0, ..base }, (3, 1), 3.0, true)
        }
    };
    Settings { boost, folds, rounds, missed_cost, recalibrated }
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
    let (mut seen_auc_pr, mut count, mut honest) = (0.0, (0, 0), Vec::new());
    for (at, horizon_h) in kind.horizons_h().into_iter().enumerate() {
        told(&format!("{}: within {horizon_h} h", kind.name()));
        let (rows, labels) = thinned(rows.labelled(horizon_h), ROWS_MAX);
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
        let rounds = if at == 0 { settings.rounds } else { 1 };
        let (horizon, held_out) = fit_horizon(&rows, &labels, &settings, rounds, seed, horizon_h)?;
        if at == 0 {
            count = (rows.len() as u64, failing as u64);
            seen_auc_pr = weighted_auc_pr(&held_out, &labels, &rows.weights);
            let probability = |&score: &f64| horizon.calibration.at(score);
            let said: Vec<f64> = held_out.iter().map(probability).collect();
            honest = weighted_reliability(&said, &labels, &rows.weights);
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
        reliability: honest,
    })
}

/// At most about so many rows: half of them may be failing ones, all where they are fewer. What is left out is not
/// chosen by time or unit; what is kept gets its weight.
fn thinned((rows, labels): (Rows, Vec<bool>), rows_max: usize) -> (Rows, Vec<bool>) {
    let failing = labels.iter().filter(|label| **label).count();
    let one_failing_in = failing.div_ceil(rows_max / 2).max(1);
    let left = rows_max - failing / one_failing_in;
    let one_other_in = (labels.len() - failing).div_ceil(left).max(1);
    let share = |row: usize| if labels[row] { one_failing_in } else { one_other_in };
    let kept: Vec<usize> =
        (0..labels.len()).filter(|&row| mixed(row as u64) % share(row) as u64 == 0).collect();
    let mut thin = rows.only(&kept);
    for (weight, &row) in thin.weights.iter_mut().zip(&kept) {
        *weight *= share(row) as f64;
    }
    (thin, kept.into_iter().map(|row| labels[row]).collect())
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
    rounds: u64,
    seed: u64,
    hours: f64,
) -> Result<(Horizon, Vec<f64>)> {
    let table = rows.table().ok_or_else(|| Error::Unsuitable("no rows to learn from".into()))?;
    let binned = Binned::new(&table, settings.boost.max_bins).map_err(bad)?;
    let targets: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
    let monotone: Vec<i8> = rows.names.iter().map(|(_, direction)| *direction).collect();
    let mut held_out = vec![0.0; rows.len()];
    let mut members = Vec::new();
    for round in 0..rounds {
        let dealt = seed.wrapping_mul(1_000).wrapping_add(round);
        let parts: Vec<u64> =
            rows.unit_names.iter().map(|name| hash(name, dealt) % settings.folds).collect();
        for part in 0..settings.folds {
            let unseen = |row: usize| parts[rows.units[row] as usize] == part;
            let weights: Vec<f64> = (0..rows.len())
                .map(|row| if unseen(row) { 0.0 } else { rows.weights[row] })
                .collect();
            let seed = dealt.wrapping_mul(1_000).wrapping_add(part);
            let config = BoostConfig { seed, monotone: monotone.clone(), ..settings.boost.clone() };
            let (member, scores) =
                Booster::fit_binned(&binned, &targets, Some(&weights), &config).map_err(bad)?;
            for row in (0..rows.len()).filter(|&row| unseen(row)) {
                held_out[row] += scores[row] / rounds as f64;
            }
            members.push(member);
        }
    }
    let calibration = calibrate(&held_out, labels, &rows.weights);
    let raise = threshold_of_costs(settings.missed_cost, 1.0);
    Ok((Horizon { hours, members, calibration, raise, clear: raise / 2.0 }, held_out))
}

impl Fitted {
    /// By feature: its share in what the splits for the first horizon gained in training.
    pub(super) fn gain_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.features.len()];
        for member in &self.model.horizons()[0].members {
            let whole = member.gains().iter().sum::<f64>().max(f64::MIN_POSITIVE);
            for (share, gain) in shares.iter_mut().zip(member.gains()) {
                *share += gain / whole / self.model.horizons()[0].members.len() as f64;
            }
        }
        shares
    }

    /// What the model says of rows with known outcomes, in the order of time where it is recalibrated.
    pub(super) fn say(&self, kind: Kind, rows: &Rows, labels: &[bool]) -> Said {
        let horizon = &self.model.horizons()[0];
        let mut values = Vec::new();
        let scores = (0..rows.len()).map(|row| {
            rows.row_into(row, &mut values);
            horizon.score(&values)
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
