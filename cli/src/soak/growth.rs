//! Whether a figure that was sampled for a long time grows: a line through the samples that outliers do not bend.

use serde::Serialize;

/// Samples used at most, evenly chosen: the slopes of all pairs are looked at.
const POINTS_MAX: usize = 400;

/// A sample: when, seconds since the start, and what.
pub(super) type Point = (f64, f64);

/// What was found for one figure of one process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Growth {
    /// Median of the samples.
    pub(super) median: f64,
    /// The slope times the length of the samples: what was added over them.
    pub(super) gained: f64,
    /// What may be added.
    pub(super) gained_max: f64,
}

impl Growth {
    /// Judges samples: at most `share` of the median, or `least` where that is more.
    pub(super) fn of(points: &[Point], share: f64, least: f64) -> Self {
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let length = points.last().map_or(0.0, |last| last.0 - points[0].0);
        let median = median(values).unwrap_or(0.0);
        let gained = slope(points) * length;
        Self { median, gained, gained_max: least.max(share * median) }
    }

    pub(super) fn is_flat(&self) -> bool {
        self.gained <= self.gained_max
    }
}

/// The median of the slopes between all pairs of samples, per second: the Theil–Sen estimator (Theil 1950; Sen, JASA 63,
/// 1968). Up to 29 % of the samples may be anything at all. Zero for fewer than two samples.
fn slope(points: &[Point]) -> f64 {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let points: Vec<Point> = points.iter().step_by(step).copied().collect();
    let mut slopes = Vec::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let later = points[at + 1..].iter().filter(|(later_x, _)| later_x > x);
        slopes.extend(later.map(|(later_x, later_y)| (later_y - y) / (later_x - x)));
    }
    median(slopes).unwrap_or(0.0)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: usize, value: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..count).map(|at| at as f64 * 5.0).map(|t| (t, value(t))).collect()
    }

    #[test]
    fn a_leak_is_found_under_noise_and_outliers_and_a_plateau_is_flat() {
        let noise = |t: f64| if (t as u64 / 5).is_multiple_of(2) { 3.0 } else { -3.0 };
        let leak = samples(360, |t| 100.0 + 0.02 * t + noise(t));
        let found = Growth::of(&leak, 0.1, 16.0);
        assert!((found.gained - 35.9).abs() < 1.0 && !found.is_flat(), "{found:?}");
        let flat = Growth::of(&samples(360, |t| 100.0 + noise(t)), 0.1, 16.0);
        assert!(flat.gained.abs() < 1.0 && flat.is_flat(), "{flat:?}");
        // A fifth of all samples far up, at the end: a mean would take it for growth.
        let spikes = samples(360, |t| if t > 1_440.0 { 900.0 } else { 100.0 });
        assert!(Growth::of(&spikes, 0.1, 16.0).is_flat());
    }

    #[test]
    fn little_or_nothing_says_nothing() {
        assert_eq!((slope(&[]), slope(&[(0.0, 5.0)])), (0.0, 0.0));
        assert_eq!(slope(&[(1.0, 5.0), (1.0, 9.0)]), 0.0);
        assert!(Growth::of(&[], 0.1, 16.0).is_flat());
    }

    #[test]
    fn long_series_are_thinned_out() {
        let found = Growth::of(&samples(20_000, |t| 50.0 + t), 0.1, 16.0);
        assert!((found.gained - 99_995.0).abs() < 1.0, "{found:?}");
    }
}
