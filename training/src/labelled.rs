//! Judging a model on a table of features with what came: for models of other tools, and ours beside them on the same rows.

use crate::{
    Curve, Error, Evaluation, Metrics, Result, Shape, curve::reliability, package::Package,
    ranking::average_precision, serve::Serving,
};
use isobar_models::onnx::{Column, ColumnValues};
use std::{path::Path, time::Instant};

const RELIABILITY_BINS: usize = 20;

/// What is asked of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labelled<'a> {
    /// The table, CSV with a header.
    pub table: &'a Path,
    /// The column that says what came: 0 or 1, true or false; empty where it is not known.
    pub label: &'a str,
    /// Which rows, where a package has models for several kinds.
    pub kind: Option<&'a str>,
    /// The answer that is judged; the first probability, or the last number, where none is named.
    pub answer: Option<&'a str>,
}

/// Judges the model of a package; rows whose label is empty are passed over. Beside it stands what is had without a model:
/// the share of positives for every row.
pub fn judge(package: &Package, asked: &Labelled) -> Result<Evaluation> {
    let begun = Instant::now();
    let mut serving = Serving::open(package, asked.kind, asked.table, Some(asked.label))?;
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    while let Some(answers) = serving.next_answers()? {
        let column = answer(&answers.columns, asked.answer)?;
        for (row, text) in answers.copied.iter().enumerate() {
            let Some(label) = outcome(text, asked)? else { continue };
            let score = number(column, row).filter(|score| score.is_finite()).ok_or_else(|| {
                Error::Unsuitable(format!("{}: no answer to row {row}", column.name))
            })?;
            scores.push(score);
            labels.push(label);
        }
    }
    let positives = labels.iter().filter(|label| **label).count();
    if positives == 0 || positives == labels.len() {
        let what = format!("of {} rows {positives} are positive: nothing to judge", labels.len());
        return Err(Error::Unsuitable(what));
    }
    let share = positives as f64 / labels.len() as f64;
    let constant = vec![share; labels.len()];
    let seconds = begun.elapsed().as_secs_f64();
    let mut evaluation = Evaluation {
        task: package.manifest.task.name().to_owned(),
        dataset: asked.table.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        metrics: metrics(&scores, &labels),
        baselines: [("base_rate".to_owned(), metrics(&constant, &labels))].into(),
        n: labels.len() as u64,
        seconds,
        rows_per_s: labels.len() as f64 / seconds.max(1e-9),
        peak_rss_mib: crate::judge::peak_rss_mib(),
        ..Evaluation::default()
    };
    if is_probability(&scores) {
        let points = reliability(&scores, &labels, RELIABILITY_BINS);
        let curve = Curve::new(Shape::Reliability, "probability said", "share that came")
            .with("the model", points);
        evaluation.curves.insert("reliability".to_owned(), curve);
    }
    Ok(evaluation)
}

fn answer<'a>(columns: &'a [Column], wanted: Option<&str>) -> Result<&'a Column> {
    let numeric =
        |column: &&Column| matches!(column.values, ColumnValues::F32(_) | ColumnValues::F64(_));
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let found = match wanted {
        Some(name) => columns.iter().filter(numeric).find(|column| column.name == name),
        None => {
            let first = columns.iter().find(|column| column.name.starts_with("probability_"));
            first.or_else(|| columns.iter().rfind(numeric))
        }
    };
    found.ok_or_else(|| {
        let wanted = wanted.unwrap_or("a number");
        Error::Unsuitable(format!("the model does not answer {wanted}; it answers {names:?}"))
    })
}

fn number(column: &Column, row: usize) -> Option<f64> {
    match &column.values {
        ColumnValues::F32(values) => Some(f64::from(values[row])),
        ColumnValues::F64(values) => Some(values[row]),
        _ => None,
    }
}

fn outcome(text: &str, asked: &Labelled) -> Result<Option<bool>> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "nan" => Ok(None),
        "0" | "0.0" | "false" => Ok(Some(false)),
        "1" | "1.0" | "true" => Ok(Some(true)),
        other => {
            let shown: String = other.chars().take(80).collect();
            let (table, label) = (asked.table.display(), asked.label);
            Err(Error::Unsuitable(format!("{table}: `{shown}` in `{label}` is neither 0 nor 1")))
        }
    }
}

fn is_probability(scores: &[f64]) -> bool {
    scores.iter().all(|score| (0.0..=1.0).contains(score))
}

/// No bare accuracy: where positives are rare, a constant answer has nearly all of it.
fn metrics(scores: &[f64], labels: &[bool]) -> Metrics {
    let target = |label: &bool| f64::from(u8::from(*label));
    let n = labels.len() as f64;
    let mut metrics = Metrics::from([
        ("base_rate".to_owned(), (labels.iter().map(target).sum::<f64>() / n).into()),
        ("auc_roc".to_owned(), auc_roc(scores, labels).into()),
    ]);
    if let Some(area) = average_precision(labels, scores) {
        metrics.insert("auc_pr".to_owned(), area.into());
    }
    if is_probability(scores) {
        let squares = scores.iter().zip(labels).map(|(p, label)| (p - target(label)).powi(2));
        metrics.insert("brier".to_owned(), (squares.sum::<f64>() / n).into());
        metrics.insert("ece".to_owned(), ece(scores, labels).into());
    }
    metrics
}

/// The chance that a positive row stands above another, equals half.
fn auc_roc(scores: &[f64], labels: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut below, mut area, mut positives) = (0.0, 0.0, 0.0);
    for same in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let hits = same.iter().filter(|&&row| labels[row]).count() as f64;
        let others = same.len() as f64 - hits;
        area += hits * (below + others / 2.0);
        below += others;
        positives += hits;
    }
    area / (positives * below)
}

/// Expected calibration error over ten bins of equal count.
fn ece(probabilities: &[f64], labels: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]).then(a.cmp(&b)));
    let gap = |bin: &[usize]| {
        let said: f64 = bin.iter().map(|&row| probabilities[row]).sum();
        (said - bin.iter().filter(|&&row| labels[row]).count() as f64).abs()
    };
    order.chunks(order.len().div_ceil(10).max(1)).map(gap).sum::<f64>() / labels.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_scikit_learn() {
        // roc_auc_score, average_precision_score and brier_score_loss of scikit-learn 1.9 on the same rows.
        let scores = [0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.5, 0.3, 0.2, 0.1];
        let labels = [1, 0, 1, 0, 1, 0, 0, 0, 1, 0].map(|label| label == 1);
        let metrics = metrics(&scores, &labels);
        let near = |name: &str, wanted: f64| {
            let crate::Metric::Number(found) = metrics[name] else { panic!("{name}") };
            assert!((found - wanted).abs() < 1e-6, "{name}: {found}");
        };
        near("auc_roc", 0.687_5);
        near("auc_pr", 0.677_777_8);
        near("brier", 0.258);
        near("base_rate", 0.4);
    }

    #[test]
    fn a_probability_is_judged_before_a_score_and_the_second_class_before_the_first() {
        let column = |name: &str| Column { name: name.into(), values: ColumnValues::F64(vec![]) };
        let label = Column { name: "label".into(), values: ColumnValues::I64(vec![]) };
        let ours = [column("score_24h"), column("probability_24h"), column("probability_168h")];
        let theirs = [label, column("probabilities_0"), column("probabilities_1")];
        assert_eq!(answer(&ours, None).expect("one").name, "probability_24h");
        assert_eq!(answer(&theirs, None).expect("one").name, "probabilities_1");
        assert_eq!(answer(&ours, Some("score_24h")).expect("one").name, "score_24h");
        assert!(answer(&theirs, Some("label")).is_err(), "a label ranks nothing");
    }
}
