//! One threshold for all series, chosen as the benchmark does: the one with the best score on the corpus.

use super::scored::{Group, Scored};
use crate::nab::{Outcome, Totals, judge, probation_points};
use crate::{Metric, Metrics};
use std::collections::{BTreeMap, BTreeSet};

/// Thresholds are tried at ranks of the pooled scores that grow by this factor.
const RANK_GROWTH: f64 = 1.05;
/// Only the highest scores of each series can be thresholds.
const HIGHEST_PART: usize = 20;
/// The score of a threshold is averaged over so many on each side: the middle of a plateau, not the luckiest point.
const NEIGHBOURS: usize = 3;

/// Thresholds worth trying, falling.
pub(super) fn candidates(scored: &[Scored]) -> Vec<f64> {
    let mut pool = Vec::new();
    for series in scored {
        let mut scores = series.scores[probation_points(series.scores.len())..].to_vec();
        scores.retain(|score| *score > 0.0);
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(scores.len().div_ceil(HIGHEST_PART));
        pool.extend(scores);
    }
    pool.sort_by(|a, b| b.total_cmp(a));
    let mut thresholds: Vec<f64> = Vec::new();
    let mut rank = 1.0;
    while (rank as usize) <= pool.len() {
        let threshold = pool[rank as usize - 1];
        if thresholds.last().is_none_or(|last| threshold < *last) {
            thresholds.push(threshold);
        }
        rank = (rank * RANK_GROWTH).max(rank + 1.0);
    }
    // Nothing was ever unusual: whatever is will be above this.
    if thresholds.is_empty() { vec![1.0] } else { thresholds }
}

/// What each threshold does to each series.
pub(super) struct Sweep<'a> {
    scored: &'a [Scored],
    thresholds: &'a [f64],
    /// By threshold, then by series.
    outcomes: Vec<Vec<Outcome>>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(scored: &'a [Scored], thresholds: &'a [f64], group: Group) -> Self {
        let outcomes = thresholds.iter().map(|threshold| {
            let outcome = |series: &Scored| {
                let alerts = series.alerts(*threshold, group);
                judge(series.scores.len(), &series.windows, &alerts)
            };
            scored.iter().map(outcome).collect()
        });
        Self { scored, thresholds, outcomes: outcomes.collect() }
    }

    /// The threshold with the best score of the standard profile.
    pub(super) fn best(&self) -> f64 {
        self.thresholds[self.best_of(|_| true)]
    }

    fn best_of(&self, of: impl Fn(&Scored) -> bool) -> usize {
        let scores: Vec<f64> =
            (0..self.thresholds.len()).map(|at| self.totals(at, &of).standard()).collect();
        let smooth = |at: usize| {
            let near =
                &scores[at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS + 1).min(scores.len())];
            near.iter().sum::<f64>() / near.len() as f64
        };
        // Of equals the highest threshold, which alerts least.
        (0..scores.len()).rev().max_by(|a, b| smooth(*a).total_cmp(&smooth(*b))).unwrap_or(0)
    }

    fn totals(&self, threshold: usize, of: impl Fn(&Scored) -> bool) -> Totals {
        let mut totals = Totals::default();
        for (series, outcome) in self.scored.iter().zip(&self.outcomes[threshold]) {
            if of(series) {
                totals.add(outcome);
            }
        }
        totals
    }

    /// The lowest threshold with at most so many alerts for each series and day. Labels are not used.
    pub(super) fn within_budget(&self, per_day: f64) -> f64 {
        let days: f64 = self.scored.iter().map(Scored::days).sum();
        let alerts = |at: usize| self.totals(at, |_| true).alerts;
        let within = (0..self.thresholds.len()).take_while(|at| alerts(*at) <= per_day * days);
        self.thresholds[within.last().unwrap_or(0)]
    }

    /// Each part of the corpus judged with the threshold chosen on the others. Parts are the groups of series, or single
    /// series where there is one group.
    fn cross_validated(&self) -> Totals {
        let groups: BTreeSet<&str> = self.scored.iter().map(|s| s.group.as_str()).collect();
        let part = |series: &Scored| match groups.len() {
            0 | 1 => series.series.to_string(),
            _ => series.group.clone(),
        };
        let parts: BTreeSet<String> = self.scored.iter().map(part).collect();
        let mut totals = Totals::default();
        for held in &parts {
            let threshold = self.best_of(|series| part(series) != *held);
            for (series, outcome) in self.scored.iter().zip(&self.outcomes[threshold]) {
                if part(series) == *held {
                    totals.add(outcome);
                }
            }
        }
        totals
    }
}

/// Figures on the corpus that the threshold was chosen on, and with it chosen on other parts of it.
pub(super) fn metrics(sweep: &Sweep<'_>, threshold: f64) -> Metrics {
    let at = sweep.thresholds.iter().position(|other| *other == threshold).unwrap_or(0);
    let scores = |totals: &Totals| {
        BTreeMap::from([
            ("nab_standard".to_owned(), Metric::from(totals.standard())),
            ("nab_low_fp".to_owned(), Metric::from(totals.low_fp())),
            ("nab_low_fn".to_owned(), Metric::from(totals.low_fn())),
        ])
    };
    BTreeMap::from([
        ("in_sample".to_owned(), Metric::Group(scores(&sweep.totals(at, |_| true)))),
        ("cross_validated".to_owned(), Metric::Group(scores(&sweep.cross_validated()))),
    ])
}
