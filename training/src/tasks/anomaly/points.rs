//! Figures on series with marked points, on the test part: the mean over the series.

use super::scored::{Group, Scored, days};
use super::test_begins;
use crate::{Metric, Metrics};
use isobar_datasets::{LabelledSeries, Marks};
use std::collections::BTreeMap;

/// Area under the precision-recall curve (average precision), the best F1 of any threshold, and what the model's own
/// threshold does to events, which are runs of marked points; and the points judged. Nothing is forgiven: a point is found
/// only where its own score is high.
pub(super) fn figures(
    series: &[LabelledSeries],
    scored: &[Scored],
    threshold: f64,
    group: Group,
) -> (Metrics, u64) {
    let mut sums = [0.0; 5];
    let (mut judged, mut rows) = (0.0, 0);
    for (series, scored) in series.iter().zip(scored) {
        let Marks::Points(labels) = &series.marks else { continue };
        let from = test_begins(labels.len());
        let labels = &labels[from..];
        rows += labels.len() as u64;
        // Where nothing is marked there is no precision to speak of.
        if !labels.contains(&true) {
            continue;
        }
        let alerts = scored.alerts(threshold, group);
        let alerts: Vec<usize> =
            alerts.iter().filter_map(|alert| alert.checked_sub(from)).collect();
        let events = events(labels);
        let held = |(first, last): &&(usize, usize)| {
            alerts.iter().any(|alert| (first..=last).contains(&alert))
        };
        let found = events.iter().filter(held).count() as f64 / events.len() as f64;
        let false_alerts = alerts.iter().filter(|alert| !labels[**alert]).count() as f64;
        let (auc_pr, best_f1) = precision_recall(&scored.scores[from..], labels);
        let share = labels.iter().filter(|label| **label).count() as f64 / labels.len() as f64;
        let per_day = false_alerts / days(&scored.time_s[from..]).max(1.0 / 24.0);
        for (sum, figure) in sums.iter_mut().zip([auc_pr, best_f1, found, per_day, share]) {
            *sum += figure;
        }
        judged += 1.0;
    }
    let names = ["auc_pr", "best_f1", "event_recall", "false_alerts_per_day", "anomaly_share"];
    let mean = |sum: f64| Metric::from(if judged > 0.0 { sum / judged } else { 0.0 });
    let figures: BTreeMap<String, Metric> =
        names.iter().zip(sums).map(|(name, sum)| ((*name).to_owned(), mean(sum))).collect();
    (figures, rows)
}

/// Runs of marked points: first and last.
fn events(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut events: Vec<(usize, usize)> = Vec::new();
    for at in (0..labels.len()).filter(|at| labels[*at]) {
        match events.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => events.push((at, at)),
        }
    }
    events
}

/// Average precision and best F1; points of one score are taken together.
fn precision_recall(scores: &[f64], labels: &[bool]) -> (f64, f64) {
    let positives = labels.iter().filter(|label| **label).count() as f64;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut taken, mut hits, mut area, mut best) = (0.0, 0.0, 0.0, 0.0_f64);
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let new = tied.iter().filter(|at| labels[**at]).count() as f64;
        taken += tied.len() as f64;
        hits += new;
        area += new / positives * hits / taken;
        best = best.max(2.0 * hits / (taken + positives));
    }
    (area, best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_as_elsewhere() {
        // sklearn.metrics.average_precision_score([0,0,1,1], [.1,.4,.35,.8]) = 0.8333…
        let (area, best) = precision_recall(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]);
        assert!((area - 5.0 / 6.0).abs() < 1e-12, "{area}");
        assert!((best - 0.8).abs() < 1e-12, "{best}");
        // A constant score knows nothing: precision is the share of positives.
        let (area, _) = precision_recall(&[0.0; 4], &[true, false, false, false]);
        assert!((area - 0.25).abs() < 1e-12, "{area}");
    }

    #[test]
    fn runs_are_events() {
        let labels = [true, true, false, true, false, false, true, true];
        assert_eq!(events(&labels), [(0, 1), (3, 3), (6, 7)]);
    }
}
