//! Figures on series with marked windows.

use super::scored::{Group, Scored};
use crate::nab::{Totals, judge};
use crate::{Metric, Metrics};
use std::collections::BTreeMap;

fn totals(scored: &[Scored], threshold: f64, group: Group) -> Totals {
    let mut totals = Totals::default();
    for series in scored {
        let alerts = series.alerts(threshold, group);
        totals.add(&judge(series.scores.len(), &series.windows, &alerts));
    }
    totals
}

fn days(scored: &[Scored]) -> f64 {
    // A corpus of moments has no days to count by.
    scored.iter().map(Scored::days).sum::<f64>().max(1.0 / 24.0)
}

/// The benchmark's scores, false alerts for each series and day, the part of the windows found; and the points read.
pub(super) fn figures(scored: &[Scored], threshold: f64, group: Group) -> (Metrics, u64) {
    let totals = totals(scored, threshold, group);
    let figures = BTreeMap::from([
        ("nab_standard".to_owned(), Metric::from(totals.standard())),
        ("nab_low_fp".to_owned(), Metric::from(totals.low_fp())),
        ("nab_low_fn".to_owned(), Metric::from(totals.low_fn())),
        ("window_recall".to_owned(), Metric::from(totals.recall())),
        ("false_alerts_per_day".to_owned(), Metric::from(totals.false_alerts / days(scored))),
    ]);
    (figures, scored.iter().map(|series| series.scores.len() as u64).sum())
}

/// For each budget of alerts what its threshold gives.
pub(super) fn budgets(scored: &[Scored], budgets: &BTreeMap<String, f64>, group: Group) -> Metric {
    let of = |threshold: f64| {
        let totals = totals(scored, threshold, group);
        Metric::Group(BTreeMap::from([
            ("alerts_per_day".to_owned(), Metric::from(totals.alerts / days(scored))),
            ("false_alerts_per_day".to_owned(), Metric::from(totals.false_alerts / days(scored))),
            ("window_recall".to_owned(), Metric::from(totals.recall())),
        ]))
    };
    Metric::Group(
        budgets.iter().map(|(budget, threshold)| (budget.clone(), of(*threshold))).collect(),
    )
}
