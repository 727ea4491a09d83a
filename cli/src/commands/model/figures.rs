//! Figures and intervals as tables.

use crate::screen::table;
use isobar_training::{
    Evaluation, Metrics,
    bootstrap::{Intervals, UNITS_FEW},
    flat, lower_is_better,
};

/// Lines of figures shown; -o json has them all.
const LINES_MAX: usize = 200;

/// Names and values of all figures; those of groups with the group's name before theirs.
pub(super) fn figures(metrics: &Metrics) -> Vec<(String, String)> {
    flat(metrics).into_iter().map(|(name, value)| (name, format!("{value:.4}"))).collect()
}

/// One line a figure: the model's, then each baseline's.
pub(super) fn beside_baselines(evaluation: &Evaluation) -> String {
    let mut lines = Vec::new();
    let ours = figures(&evaluation.metrics).into_iter();
    lines.extend(ours.map(|(name, value)| [name, "the model".to_owned(), value]));
    for (baseline, metrics) in &evaluation.baselines {
        let theirs = figures(metrics).into_iter();
        lines.extend(theirs.map(|(name, value)| [name, baseline.clone(), value]));
    }
    lines.sort_by(|a, b| a[0].cmp(&b[0]));
    let left = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    let more = if left > 0 { format!("{left} more lines: -o json\n") } else { String::new() };
    format!(
        "{} on {}: {} rows in {:.1} s\n{}{more}\n{}",
        evaluation.task,
        evaluation.dataset,
        evaluation.n,
        evaluation.seconds,
        table(["metric", "of", "value"], &[2], lines),
        differences(&evaluation.intervals)
    )
}

/// One line an interval; where there is none, why.
pub(super) fn differences(intervals: &Intervals) -> String {
    if intervals.is_empty() {
        return "no intervals: the task gives no figures of at least two units on both sides\n"
            .into();
    }
    let mut few = false;
    let lines =
        intervals.iter().flat_map(|(side, all)| all.iter().map(move |(name, i)| (side, name, i)));
    let lines: Vec<[String; 6]> = lines
        .map(|(side, name, interval)| {
            few |= interval.units < UNITS_FEW as u64;
            let verdict = match (interval.sign(), lower_is_better(name)) {
                (0, _) => "not told apart",
                (1, false) | (-1, true) => "better",
                _ => "worse",
            };
            [
                name.clone(),
                side.clone(),
                format!("{:+.4}", interval.difference),
                format!("{:+.4} to {:+.4}", interval.low, interval.high),
                interval.units.to_string(),
                verdict.to_owned(),
            ]
        })
        .collect();
    let header = ["metric", "against", "difference", "95 % interval", "units", "so it is"];
    let note = if few { "fewer than 10 units: the intervals are too narrow\n" } else { "" };
    format!("{}{note}", table(header, &[2, 3, 4], lines))
}
