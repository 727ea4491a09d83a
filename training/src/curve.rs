//! Named series of points that a lesson gives to the report.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Curves by name. The report knows `precision_recall`, `reliability`, `lead_h`, `hit_ratio_by_cache_size`,
/// `forecast.{series}` and `error_over_time` and puts them in this order; others follow by name.
pub type Curves = BTreeMap<String, Curve>;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Lines through the points.
    #[default]
    Lines,
    /// Lines that keep their height until the next point, as precision over recall does.
    Steps,
    /// Bars, one a point.
    Bars,
    /// Points beside the diagonal from 0 to 1: what was predicted, what came true.
    Reliability,
}

/// One diagram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// How it is drawn.
    pub shape: Shape,
    /// What the horizontal axis shows, with its unit.
    pub x: String,
    /// What the vertical axis shows, with its unit.
    pub y: String,
    /// Whether the horizontal axis is logarithmic, as for sizes of caches.
    #[serde(default)]
    pub log_x: bool,
    /// The series: the model's first, then the baselines'.
    pub series: Vec<Series>,
}

/// Points in the order in which they are joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Points x, y; a point that is not finite is a gap.
    pub points: Vec<[f64; 2]>,
    /// Upper ends of intervals whose lower ends are the points' y; empty: a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upper: Vec<f64>,
}

impl Curve {
    /// A diagram without series.
    pub fn new(shape: Shape, x: &str, y: &str) -> Self {
        Self { shape, x: x.into(), y: y.into(), ..Self::default() }
    }

    /// With one more line, row of bars or set of points.
    pub fn with(mut self, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        let points = points.into_iter().collect();
        self.series.push(Series { name: name.into(), points, upper: Vec::new() });
        self
    }

    /// With one more band of intervals: x, lower end, upper end.
    pub fn with_band(mut self, name: &str, ends: impl IntoIterator<Item = [f64; 3]>) -> Self {
        let (points, upper) = ends.into_iter().map(|[x, low, high]| ([x, low], high)).unzip();
        self.series.push(Series { name: name.into(), points, upper });
        self
    }

    /// Without points that JSON cannot hold.
    pub(crate) fn finite(mut self) -> Self {
        for series in &mut self.series {
            let upper = std::mem::take(&mut series.upper);
            let is_band = !upper.is_empty();
            let ends = upper.into_iter().map(Some).chain(std::iter::repeat(None));
            let kept =
                std::mem::take(&mut series.points).into_iter().zip(ends).filter(|(p, end)| {
                    p.iter().all(|v| v.is_finite())
                        && end.is_none_or(f64::is_finite)
                        && (!is_band || end.is_some())
                });
            let (points, upper): (Vec<_>, Vec<_>) = kept.unzip();
            series.points = points;
            series.upper = upper.into_iter().flatten().collect();
        }
        self
    }
}

/// Probabilities and outcomes as a reliability curve of `bins` bins with equally many rows each: mean probability, share that
/// came true. Empty where nothing is finite.
pub fn reliability(probabilities: &[f64], outcomes: &[bool], bins: usize) -> Vec<[f64; 2]> {
    let pairs = probabilities.iter().copied().zip(outcomes.iter().copied());
    let mut pairs: Vec<(f64, bool)> = pairs.filter(|(p, _)| p.is_finite()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bins = bins.clamp(1, pairs.len().max(1));
    let bounds = (0..bins).map(|bin| (bin * pairs.len() / bins, (bin + 1) * pairs.len() / bins));
    let rows = bounds.map(|(from, to)| &pairs[from..to]).filter(|rows| !rows.is_empty());
    rows.map(|rows| {
        let n = rows.len() as f64;
        let came_true = rows.iter().filter(|(_, outcome)| *outcome).count() as f64;
        [rows.iter().map(|(p, _)| p).sum::<f64>() / n, came_true / n]
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_left_out() {
        let curve = Curve::new(Shape::Lines, "h", "1/s")
            .with("line", [[0.0, 1.0], [1.0, f64::NAN], [2.0, 3.0]])
            .with_band("90 %", [[0.0, 1.0, 2.0], [1.0, 1.0, f64::INFINITY]])
            .finite();
        assert_eq!(curve.series[0].points, [[0.0, 1.0], [2.0, 3.0]]);
        assert_eq!((curve.series[1].points.len(), &curve.series[1].upper[..]), (1, &[2.0][..]));
        let short =
            Series { name: "cut".into(), points: vec![[0.0, 1.0], [1.0, 1.0]], upper: vec![2.0] };
        let curve = Curve { series: vec![short], ..Curve::default() }.finite();
        assert_eq!(curve.series[0].points.len(), 1, "a band with too few ends is cut");
    }

    #[test]
    fn reliability_is_the_share_that_came_true() {
        let probabilities: Vec<f64> = (0..100).map(|i| if i < 50 { 0.2 } else { 0.8 }).collect();
        let outcomes: Vec<bool> = (0..100).map(|i| i % 5 == 0 || (i >= 50 && i % 5 != 1)).collect();
        let bins = reliability(&probabilities, &outcomes, 2);
        for ([p, share], wanted) in bins.iter().zip([0.2, 0.8]) {
            assert!((p - wanted).abs() < 1e-12 && (share - wanted).abs() < 1e-12, "{bins:?}");
        }
        assert_eq!(bins.len(), 2);
        assert!(reliability(&[f64::NAN], &[true], 10).is_empty());
        assert!(reliability(&[], &[], 10).is_empty());
    }
}
