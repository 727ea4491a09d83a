//! Figures of a judgement. No bare accuracy: where failures are rare, a constant answer has nearly all of it.

use super::events::{Events, events};
use super::rows::Rows;
use crate::Metrics;
use crate::ranking::{average_precision, descending};
use std::collections::BTreeMap;

/// What a model, or a rule, says of rows.
pub(super) struct Said {
    /// To rank by.
    pub(super) scores: Vec<f64>,
    pub(super) probabilities: Vec<f64>,
    pub(super) raise: f64,
    pub(super) clear: f64,
}

/// All figures, on rows with known outcomes.
pub(super) fn judge(rows: &Rows, labels: &[bool], said: &Said, horizon_h: f64) -> Metrics {
    let mut metrics = Metrics::new();
    let mut put = |name: &str, figure: Option<f64>| {
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            metrics.insert(name.into(), figure.into());
        }
    };
    put("auc_pr", average_precision(labels, &said.scores));
    put("auc_roc", auc_roc(&said.scores, labels));
    put("ece", Some(ece(&said.probabilities, labels)));
    put("brier", Some(brier(&said.probabilities, labels)));
    let count = |which: &dyn Fn(bool, bool) -> bool| {
        let pairs = said.probabilities.iter().zip(labels);
        pairs.filter(|(p, failed)| which(**p >= said.raise, **failed)).count() as f64
    };
    let hits = count(&|alarm, failed| alarm && failed);
    let alarms = count(&|alarm, _| alarm);
    let failures = count(&|_, failed| failed);
    put("precision", (alarms > 0.0).then(|| hits / alarms));
    put("recall", (failures > 0.0).then(|| hits / failures));
    put("f1", (alarms + failures > 0.0).then(|| 2.0 * hits / (alarms + failures)));
    put("base_rate", Some(failures / rows.len().max(1) as f64));
    for (name, share) in [("lift_at_1_percent", 0.01), ("lift_at_10_percent", 0.1)] {
        put(name, lift(&said.scores, labels, share));
    }
    for (name, share) in [("drive_recall_at_far_0.001", 0.001), ("drive_recall_at_far_0.01", 0.01)]
    {
        put(name, unit_recall(rows, labels, &said.scores, share));
    }
    let events = Events::sum(&events(rows, said, horizon_h));
    put("event_recall", events.recall());
    put("lead_median_h", events.lead_median_h());
    put("events", Some(events.count() as f64));
    put("false_alerts_per_unit_year", events.false_alerts_per_unit_year());
    metrics
}

/// Average precision where rows stand for several; rows of one score as they come, 0 without any failure.
pub(super) fn weighted_auc_pr(scores: &[f64], labels: &[bool], weights: &[f64]) -> f64 {
    let total: f64 = labels.iter().zip(weights).filter(|(label, _)| **label).map(|(_, w)| w).sum();
    let (mut hits, mut seen, mut area) = (0.0, 0.0, 0.0);
    for row in descending(scores) {
        seen += weights[row];
        if labels[row] {
            hits += weights[row];
            area += weights[row] * hits / seen;
        }
    }
    if total > 0.0 { area / total } else { 0.0 }
}

/// Chance that a row with a failure stands above one without, equals half. `None` with one class only.
fn auc_roc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let order = descending(scores);
    let total = labels.iter().filter(|label| **label).count() as f64;
    let without = labels.len() as f64 - total;
    let (mut area, mut above, mut at) = (0.0, 0.0, 0);
    while at < order.len() {
        let same = order[at..].iter().take_while(|&&row| scores[row] == scores[order[at]]).count();
        let hits = order[at..at + same].iter().filter(|&&row| labels[row]).count() as f64;
        let others = same as f64 - hits;
        area += others * (above + hits / 2.0);
        above += hits;
        at += same;
    }
    (total > 0.0 && without > 0.0).then(|| area / (total * without))
}

/// Expected calibration error over ten bins of equal count (equal widths would put nearly all rows into one).
fn ece(probabilities: &[f64], labels: &[bool]) -> f64 {
    let order = descending(probabilities);
    let size = order.len().div_ceil(10).max(1);
    let gap = |bin: &[usize]| {
        let said: f64 = bin.iter().map(|&row| probabilities[row]).sum();
        let came = bin.iter().filter(|&&row| labels[row]).count() as f64;
        (said - came).abs()
    };
    order.chunks(size).map(gap).sum::<f64>() / order.len().max(1) as f64
}

/// Mean squared distance of a probability from what came.
fn brier(probabilities: &[f64], labels: &[bool]) -> f64 {
    let squares = probabilities.iter().zip(labels).map(|(p, &failed)| squared(*p, failed));
    squares.sum::<f64>() / labels.len().max(1) as f64
}

pub(super) fn squared(probability: f64, failed: bool) -> f64 {
    (probability - f64::from(u8::from(failed))).powi(2)
}

/// Failures among the first rows, against those among as many drawn blindly.
fn lift(scores: &[f64], labels: &[bool], share: f64) -> Option<f64> {
    let total = labels.iter().filter(|label| **label).count() as f64;
    let first = (scores.len() as f64 * share).ceil();
    let order = descending(scores);
    let hits = order.iter().take(first as usize).filter(|&&row| labels[row]).count() as f64;
    (total > 0.0 && first > 0.0).then(|| hits / total / (first / scores.len() as f64))
}

/// Share of the failing units whose highest score before the failure is above that of all but this share of the others.
fn unit_recall(rows: &Rows, labels: &[bool], scores: &[f64], share: f64) -> Option<f64> {
    let mut failing: BTreeMap<u32, f64> = BTreeMap::new();
    let mut healthy = failing.clone();
    for (row, &unit) in rows.units.iter().enumerate() {
        for (kind, counts) in [(&mut failing, labels[row]), (&mut healthy, true)] {
            if counts {
                let highest = kind.entry(unit).or_insert(f64::NEG_INFINITY);
                *highest = highest.max(scores[row]);
            }
        }
    }
    healthy.retain(|unit, _| !failing.contains_key(unit));
    let mut others: Vec<f64> = healthy.into_values().collect();
    others.sort_by(|a, b| b.total_cmp(a));
    // So many others may stand at or above the threshold; one more may not.
    let allowed = (others.len() as f64 * share).floor() as usize;
    let above = others.get(allowed).copied().unwrap_or(f64::NEG_INFINITY);
    let found = failing.values().filter(|&&score| score > above).count() as f64;
    (!failing.is_empty()).then(|| found / failing.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_scikit_learn() {
        // average_precision_score and roc_auc_score of scikit-learn 1.9 on the same ten rows.
        let scores = [0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.5, 0.3, 0.2, 0.1];
        let labels = [1, 0, 1, 0, 1, 0, 0, 0, 1, 0].map(|l| l == 1);
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-4, "{a:?} {b}");
        near(average_precision(&labels, &scores), 0.677_778);
        near(auc_roc(&scores, &labels), 0.6875);
        assert_eq!(average_precision(&[false; 10], &scores), None);
        near(lift(&scores, &labels, 0.1), 2.5);
    }

    #[test]
    fn a_constant_answer_earns_nothing() {
        let mut rows = Rows::new(vec![("x".into(), 0)], vec![String::new(); 1_000].into(), 1e9);
        for unit in 0..1_000 {
            rows.push(unit, 0.0, if unit < 10 { 5.0 } else { 1e6 }, 1.0, &[0.0]);
        }
        let labels: Vec<bool> = (0..1_000).map(|row| rows.label(row, 24.0).unwrap()).collect();
        let said = Said {
            scores: vec![0.0; 1_000],
            probabilities: vec![0.01; 1_000],
            raise: 0.5,
            clear: 0.2,
        };
        let metrics = judge(&rows, &labels, &said, 24.0);
        assert_eq!(metrics["auc_pr"], 0.01.into());
        assert_eq!(metrics["drive_recall_at_far_0.01"], 0.0.into());
        assert_eq!(
            (metrics["recall"].clone(), metrics["auc_roc"].clone()),
            (0.0.into(), 0.5.into())
        );
        assert!(!metrics.contains_key("accuracy") && !metrics.contains_key("precision"));
    }
}
