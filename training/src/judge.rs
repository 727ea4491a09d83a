//! Judging a package, timed.

use crate::{Evaluation, Metric, Metrics, Progress, Result, Units, bootstrap, package};
use std::{fs, path::Path, time::Instant};

/// Seed of the intervals: the same figures always have the same ones.
const INTERVAL_SEED: u64 = 1;

/// Judges a package on the test part of a data set.
pub fn judge(folder: &Path, data: &Path, progress: &mut dyn Progress) -> Result<Evaluation> {
    let package = package::read(folder)?;
    let begun = Instant::now();
    let lesson = package.manifest.task.lesson();
    let mut evaluation = lesson.evaluate(&package.parameters, data, progress)?;
    evaluation.seconds = begun.elapsed().as_secs_f64();
    evaluation.rows_per_s = evaluation.n as f64 / evaluation.seconds.max(1e-9);
    evaluation.peak_rss_mib = peak_rss_mib();
    let undefined = &mut evaluation.undefined;
    drop_undefined(&mut evaluation.metrics, "the model", undefined);
    for (name, metrics) in &mut evaluation.baselines {
        drop_undefined(metrics, name, undefined);
    }
    evaluation.curves =
        evaluation.curves.into_iter().map(|(name, curve)| (name, curve.finite())).collect();
    let units = evaluation.units();
    for (baseline, theirs) in evaluation.baseline_units() {
        compare(&mut evaluation, &baseline, &units, &theirs);
    }
    Ok(evaluation)
}

/// Adds the other side's figures and the intervals against them; both sides must have been judged on the same data.
pub fn set_beside(evaluation: &mut Evaluation, name: &str, other: &Evaluation) {
    evaluation.baselines.insert(name.to_owned(), other.metrics.clone());
    let (ours, theirs) = (evaluation.units(), other.units());
    if !theirs.is_empty() {
        // Given once, the units of all sides are given: those that follow from the groups too.
        evaluation.baseline_units = evaluation.baseline_units();
        evaluation.baseline_units.insert(name.to_owned(), theirs.clone());
    }
    compare(evaluation, name, &ours, &theirs);
}

/// Takes out what is no number, and says so: JSON would make it nothing without a word.
fn drop_undefined(metrics: &mut Metrics, whose: &str, undefined: &mut Vec<String>) {
    metrics.retain(|name, metric| match metric {
        Metric::Number(value) if !value.is_finite() => {
            undefined.push(format!("{name} of {whose}"));
            false
        }
        Metric::Number(_) => true,
        Metric::Group(group) => {
            drop_undefined(group, &format!("{name}, {whose}"), undefined);
            true
        }
    });
}

fn compare(evaluation: &mut Evaluation, name: &str, ours: &Units, theirs: &Units) {
    let intervals = bootstrap::paired(ours, theirs, INTERVAL_SEED);
    if !intervals.is_empty() {
        evaluation.intervals.insert(name.to_owned(), intervals);
    }
}

/// 0 where the system does not say.
pub(crate) fn peak_rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(values: [f64; 3]) -> Evaluation {
        let units = values.iter().zip(["a", "b", "c"]);
        let units =
            units.map(|(v, unit)| (unit.to_owned(), Metrics::from([("mase".into(), (*v).into())])));
        Evaluation {
            units: units.collect(),
            metrics: [("mase".into(), 1.0.into())].into(),
            ..Evaluation::default()
        }
    }

    #[test]
    fn another_side_brings_its_figures_and_intervals() {
        let mut ours = judged([0.5, 0.6, 0.7]);
        set_beside(&mut ours, "champion", &judged([0.6, 0.7, 0.8]));
        assert_eq!(ours.baselines["champion"]["mase"], 1.0.into());
        let interval = &ours.intervals["champion"]["mase"];
        assert!((interval.difference + 0.1).abs() < 1e-12 && interval.sign() == -1, "{interval:?}");
        set_beside(&mut ours, "rule", &Evaluation::default());
        assert!(!ours.intervals.contains_key("rule"), "no units, no interval");
    }

    #[test]
    fn what_is_no_number_is_taken_out_and_named() {
        let inner = Metrics::from([("x".into(), f64::INFINITY.into()), ("y".into(), 1.0.into())]);
        let mut metrics =
            Metrics::from([("auc".into(), f64::NAN.into()), ("t".into(), Metric::Group(inner))]);
        let mut undefined = Vec::new();
        drop_undefined(&mut metrics, "rule", &mut undefined);
        assert_eq!(undefined, ["auc of rule", "x of t, rule"]);
        assert_eq!(metrics.len(), 1);
    }
}
