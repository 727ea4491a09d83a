//! Curves for the report, and figures of single units for paired intervals.

use super::events::{Events, events};
use super::rows::{Rows, hash};
use super::score::{Said, squared};
use crate::ranking::descending;
use crate::{Curve, Curves, Metrics, Shape, Units, ratio, reliability};
use std::collections::BTreeMap;

/// Points of a curve at most.
const POINTS_MAX: usize = 200;
const RELIABILITY_BINS: usize = 20;
const LEAD_BINS: usize = 12;
/// Where there are more units than this they are dealt into so many groups by a hash of their names: a group depends on
/// no other either, and a fleet of 60,000 drives need not be written out.
const UNITS_MAX: usize = 300;
const GROUPS: u64 = 256;

/// What was said by each side, the model first.
pub(super) type Sides<'a> = [(&'a str, &'a Said)];

/// Precision over recall, reliability, and how many failures were announced how long before.
pub(super) fn curves(rows: &Rows, labels: &[bool], sides: &Sides<'_>, horizon_h: f64) -> Curves {
    let mut precision = Curve::new(Shape::Steps, "recall", "precision");
    let mut honest = Curve::new(Shape::Reliability, "probability said", "share that failed");
    let mut leads =
        Curve::new(Shape::Bars, "first alert before the failure, h", "share of failures");
    for (name, said) in sides {
        precision = precision.with(name, precision_recall(&said.scores, labels));
        honest = honest.with(name, reliability(&said.probabilities, labels, RELIABILITY_BINS));
        leads = leads.with(name, lead_bars(&events(rows, said, horizon_h), horizon_h));
    }
    [("precision_recall", precision), ("reliability", honest), ("lead_h", leads)]
        .map(|(name, curve)| (name.to_owned(), curve))
        .into()
}

/// Probability said and share that failed, in bins of about equal weight, where rows stand for several.
pub(super) fn weighted_reliability(
    said: &[f64],
    labels: &[bool],
    weights: &[f64],
) -> Vec<[f64; 2]> {
    let room = weights.iter().sum::<f64>() / RELIABILITY_BINS as f64;
    let (mut points, mut bin) = (Vec::new(), [0.0; 3]);
    let mut order = descending(said);
    order.reverse();
    for (at, &row) in order.iter().enumerate() {
        let failed = f64::from(u8::from(labels[row]));
        for (sum, value) in bin.iter_mut().zip([1.0, said[row], failed]) {
            *sum += weights[row] * value;
        }
        if bin[0] >= room || at + 1 == order.len() {
            points.push([bin[1] / bin[0], bin[2] / bin[0]]);
            bin = [0.0; 3];
        }
    }
    points
}

/// Points recall, precision: one for each further share of the failures that is found.
fn precision_recall(scores: &[f64], labels: &[bool]) -> Vec<[f64; 2]> {
    let total = labels.iter().filter(|label| **label).count() as f64;
    let (mut hits, mut points) = (0.0, Vec::<[f64; 2]>::new());
    let order = descending(scores);
    for (at, &row) in order.iter().enumerate() {
        hits += f64::from(u8::from(labels[row]));
        let tied = order.get(at + 1).is_some_and(|&next| scores[next] == scores[row]);
        let reached = points.last().map_or(0.0, |point| point[0]);
        if !tied && hits / total > reached && hits / total >= reached + 1.0 / POINTS_MAX as f64 {
            points.push([hits / total, hits / (at + 1) as f64]);
        }
    }
    points
}

fn lead_bars(by_unit: &[Events], horizon_h: f64) -> Vec<[f64; 2]> {
    let all = Events::sum(by_unit);
    let width_h = horizon_h / LEAD_BINS as f64;
    let mut counts = [0.0; LEAD_BINS];
    for lead_h in &all.leads_h {
        let bin = (lead_h / width_h) as usize;
        counts[bin.min(LEAD_BINS - 1)] += 1.0;
    }
    let bar = |(bin, count): (usize, f64)| {
        [(bin as f64 + 0.5) * width_h, count / all.count().max(1) as f64]
    };
    counts.into_iter().enumerate().map(bar).collect()
}

/// Sums of one unit, or of a group of them.
#[derive(Clone, Copy, Default)]
struct Sums {
    rows: f64,
    hits: f64,
    alarms: f64,
    failing: f64,
    squares: f64,
    found: f64,
    events: f64,
    false_alerts: f64,
    years: f64,
}

/// Figures of each unit of the rows, as quotients: precision, recall and F1 of rows at the threshold, recall of events,
/// false alerts in a unit-year, Brier score.
pub(super) fn units(rows: &Rows, labels: &[bool], said: &Said, horizon_h: f64) -> Units {
    let name = |unit: u32| {
        let name = &rows.unit_names[unit as usize];
        if rows.unit_names.len() <= UNITS_MAX {
            return name.clone();
        }
        format!("group {:03}", hash(name, 0) % GROUPS)
    };
    let mut by_name: BTreeMap<String, Sums> = BTreeMap::new();
    let mut by_unit: BTreeMap<u32, Sums> = BTreeMap::new();
    for (row, &failed) in labels.iter().enumerate() {
        let sums = by_unit.entry(rows.units[row]).or_default();
        let one = |holds: bool| f64::from(u8::from(holds));
        let alarm = said.probabilities[row] >= said.raise;
        sums.rows += 1.0;
        sums.hits += one(alarm && failed);
        sums.alarms += one(alarm);
        sums.failing += one(failed);
        sums.squares += squared(said.probabilities[row], failed);
    }
    for event in events(rows, said, horizon_h) {
        let sums = by_unit.entry(event.unit).or_default();
        sums.found += event.leads_h.len() as f64;
        sums.events += event.count() as f64;
        sums.false_alerts += event.false_alerts as f64;
        sums.years += event.watched_h / super::events::YEAR_H;
    }
    for (unit, sums) in by_unit {
        by_name.entry(name(unit)).or_default().add(&sums);
    }
    by_name.into_iter().map(|(name, sums)| (name, sums.metrics())).collect()
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.hits += other.hits;
        self.alarms += other.alarms;
        self.failing += other.failing;
        self.squares += other.squares;
        self.found += other.found;
        self.events += other.events;
        self.false_alerts += other.false_alerts;
        self.years += other.years;
    }

    fn metrics(self) -> Metrics {
        let figures = [
            ("precision", ratio(self.hits, self.alarms)),
            ("recall", ratio(self.hits, self.failing)),
            ("f1", ratio(2.0 * self.hits, self.alarms + self.failing)),
            ("brier", ratio(self.squares, self.rows)),
            ("event_recall", ratio(self.found, self.events)),
            ("false_alerts_per_unit_year", ratio(self.false_alerts, self.years)),
        ];
        figures.map(|(name, figure)| (name.to_owned(), figure)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    fn three_rows() -> (Rows, Vec<bool>, Said) {
        let mut rows = Rows::new(vec![("x".into(), 0)], ["a".into(), "b".into()].into(), 100.0);
        rows.push(0, 0.0, 12.0, 1.0, &[0.0]);
        rows.push(0, 8.0, 12.0, 1.0, &[0.0]);
        rows.push(1, 0.0, f64::INFINITY, 1.0, &[0.0]);
        let p = vec![0.25, 0.75, 0.75];
        let said = Said { scores: vec![0.2, 0.9, 0.9], probabilities: p, raise: 0.5, clear: 0.4 };
        (rows, vec![true, true, false], said)
    }

    #[test]
    fn sums_of_the_units_are_the_figures_of_the_whole() {
        let (rows, labels, said) = three_rows();
        let units = units(&rows, &labels, &said, 24.0);
        assert_eq!(units.keys().collect::<Vec<_>>(), ["a", "b"]);
        let whole = super::super::score::judge(&rows, &labels, &said, 24.0);
        for figure in ["precision", "recall", "f1", "brier", "event_recall"] {
            let (mut sum, mut of) = (0.0, 0.0);
            for metrics in units.values() {
                let Metric::Group(parts) = &metrics[figure] else {
                    panic!("{figure} is a quotient")
                };
                let (Metric::Number(a), Metric::Number(b)) = (&parts["sum"], &parts["of"]) else {
                    panic!("{figure} has two numbers")
                };
                (sum, of) = (sum + a, of + b);
            }
            assert_eq!(whole[figure], (sum / of).into(), "{figure}");
        }
    }

    #[test]
    fn a_row_that_stands_for_several_weighs_as_many() {
        let said: Vec<f64> = (0..100).map(|row| f64::from(row) / 100.0).collect();
        let labels: Vec<bool> = (0..100).map(|row| row % 4 == 0).collect();
        // Failing rows stand for one, the others for three: a tenth fails, not a quarter.
        let weights: Vec<f64> =
            labels.iter().map(|failed| if *failed { 1.0 } else { 3.0 }).collect();
        let points = weighted_reliability(&said, &labels, &weights);
        assert!((15..=21).contains(&points.len()) && points.windows(2).all(|p| p[0][0] < p[1][0]));
        let mean = points.iter().map(|point| point[1]).sum::<f64>() / points.len() as f64;
        assert!((mean - 0.1).abs() < 0.02, "{mean}");
    }

    #[test]
    fn equal_scores_are_one_point_and_leads_are_shares_of_all_failures() {
        let (rows, labels, said) = three_rows();
        let curves = curves(&rows, &labels, &[("model", &said)], 24.0);
        let points = |name: &str| curves[name].series[0].points.clone();
        assert_eq!(points("precision_recall"), [[0.5, 0.5], [1.0, 2.0 / 3.0]]);
        // The alert stood 4 h before: the third bar of two hours each.
        let bars = points("lead_h");
        assert_eq!(bars.len(), LEAD_BINS);
        assert_eq!((bars[2], bars.iter().map(|bar| bar[1]).sum::<f64>()), ([5.0, 1.0], 1.0));
        assert_eq!(points("reliability").len(), 3);
    }
}
