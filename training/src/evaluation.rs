//! The one document every judgement of a model ends with.

use crate::{bootstrap::Intervals, curve::Curves};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Named figures, in the order of their names.
pub type Metrics = BTreeMap<String, Metric>;

/// Figures of single units (files, machines, series, drives) by the unit's name. A figure is either a number, whose mean
/// over the units is looked at, or a group of `sum` and `of`, whose sums over the units are divided: an F1 score is
/// `sum` 2·TP, `of` 2·TP + FP + FN. See [`crate::ratio`].
pub type Units = BTreeMap<String, Metrics>;

/// One figure, or a group of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// A figure.
    Number(f64),
    /// Figures that belong together, such as those of one file.
    Group(Metrics),
}

impl From<f64> for Metric {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// A figure of one unit that is a quotient: see [`Units`].
pub fn ratio(sum: f64, of: f64) -> Metric {
    Metric::Group(Metrics::from([("sum".into(), sum.into()), ("of".into(), of.into())]))
}

/// A model judged on the rows of one data set, beside its baselines on the same rows.
///
/// What a lesson has no figures for it leaves empty: `..Evaluation::default()`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the model does.
    pub task: String,
    /// The set's folder.
    pub dataset: String,
    /// The model's figures.
    pub metrics: Metrics,
    /// The same figures of what people would otherwise use, by its name.
    pub baselines: BTreeMap<String, Metrics>,
    /// Rows judged.
    pub n: u64,
    /// Time of the judgement, s.
    pub seconds: f64,
    /// Rows judged in a second.
    pub rows_per_s: f64,
    /// Most memory the process has held, MiB.
    pub peak_rss_mib: f64,
    /// Figures that are no numbers on these rows, such as a share of nothing; they are left out above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undefined: Vec<String>,
    /// The model's figures of each unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: Units,
    /// The baselines' figures of the same units, by the baseline's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baseline_units: BTreeMap<String, Units>,
    /// Curves for the report, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub curves: Curves,
    /// How far the model's figures lie above those of each baseline; from `units`, by [`crate::judge`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: Intervals,
}

impl Evaluation {
    /// The figures of each unit; where a lesson gave none, the groups of a group that all hold the same numbers, such as
    /// `traces.{file}`.
    pub fn units(&self) -> Units {
        if self.units.is_empty() { nested(&self.metrics) } else { self.units.clone() }
    }

    /// The same of each baseline.
    pub fn baseline_units(&self) -> BTreeMap<String, Units> {
        if !self.baseline_units.is_empty() {
            return self.baseline_units.clone();
        }
        let nested = self.baselines.iter().map(|(name, metrics)| (name.clone(), nested(metrics)));
        nested.filter(|(_, units)| !units.is_empty()).collect()
    }
}

/// All figures by their names; those of groups with the group's name and a dot before theirs.
pub fn flat(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (name, metric) in metrics {
        match metric {
            Metric::Number(value) => {
                all.insert(name.clone(), *value);
            }
            Metric::Group(group) => {
                all.extend(
                    flat(group).into_iter().map(|(below, v)| (format!("{name}.{below}"), v)),
                );
            }
        }
    }
    all
}

/// The groups inside a figure's group, where all that it holds are groups of numbers.
fn nested(metrics: &Metrics) -> Units {
    let groups = metrics.iter().filter_map(|(_, metric)| match metric {
        Metric::Group(group) if !group.is_empty() => Some(group),
        _ => None,
    });
    for group in groups {
        let units: Units = group
            .iter()
            .filter_map(|(unit, metric)| match metric {
                Metric::Group(inner) => Some((unit.clone(), inner.clone())),
                Metric::Number(_) => None,
            })
            .collect();
        if units.len() == group.len() {
            return units;
        }
    }
    Units::new()
}

/// Whether less of a figure is better. Names are those of the documents; what is not known is better when higher.
pub fn lower_is_better(metric: &str) -> bool {
    const LOWER: [&str; 14] = [
        "mase",
        "smape",
        "mae",
        "rmse",
        "brier",
        "ece",
        "pinball",
        "error",
        "gap",
        "latency",
        "false_alerts",
        "fpr",
        "issued_per_request",
        "width",
    ];
    let name = metric.rsplit('.').next().unwrap_or(metric);
    LOWER.iter().any(|lower| name == *lower || name.starts_with(&format!("{lower}_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_before_is_read_and_written_as_it_was() {
        let old = r#"{"task":"forecast","dataset":"m4","metrics":{"mase":0.7},"baselines":{"naive":{"mase":1.2}},
                      "n":48,"seconds":1.0,"rows_per_s":48.0,"peak_rss_mib":9.5}"#;
        let read: Evaluation = serde_json::from_str(old).expect("the fields of before");
        let written = serde_json::to_value(&read).expect("numbers are finite");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(old).expect("JSON"));
    }

    #[test]
    fn groups_of_groups_stand_for_units() {
        let trace = |ratio: f64| Metric::Group(Metrics::from([("hit_ratio".into(), ratio.into())]));
        let traces = Metrics::from([("a".into(), trace(0.4)), ("b".into(), trace(0.5))]);
        let metrics = Metrics::from([
            ("mean".into(), 0.45.into()),
            ("traces".into(), Metric::Group(traces.clone())),
        ]);
        let document = Evaluation { metrics, ..Evaluation::default() };
        assert_eq!(document.units().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(document.units()["b"]["hit_ratio"], 0.5.into());
        assert!(document.baseline_units().is_empty());
    }

    #[test]
    fn errors_are_better_when_lower_and_scores_when_higher() {
        assert!(
            lower_is_better("mase") && lower_is_better("a.b.smape") && lower_is_better("mae_h")
        );
        assert!(!lower_is_better("nab_standard") && !lower_is_better("latencies"));
    }
}
