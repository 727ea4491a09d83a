//! The only feature code: what models see of a series, the same online and offline.

use serde::{Deserialize, Serialize};

/// Name and unit of one feature. Names never change meaning; a new meaning gets a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Stable name, unit last.
    pub name: &'static str,
    /// Unit as a person reads it.
    pub unit: &'static str,
}

const fn spec(name: &'static str, unit: &'static str) -> FeatureSpec {
    FeatureSpec { name, unit }
}

/// Every feature, in the order of [`FeatureRow::values`].
pub const FEATURES: &[FeatureSpec] = &[
    spec("lag_1_per_s", "1/s"),
    spec("lag_2_per_s", "1/s"),
    spec("lag_3_per_s", "1/s"),
    spec("mean_5_per_s", "1/s"),
    spec("mean_15_per_s", "1/s"),
    spec("mean_60_per_s", "1/s"),
    spec("max_60_per_s", "1/s"),
    spec("deviation_60_per_s", "1/s"),
    spec("trend_15_per_s_per_window", "1/s per window"),
    spec("observed_60_share", "share"),
    spec("day_sin", "share"),
    spec("day_cos", "share"),
    spec("weekday_share", "share of the week"),
];

/// One row: what was known at the end of one window. `None` means unknown, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// [`schema_hash`] of the code that made it.
    pub schema: u64,
    /// End of the newest window, Unix seconds.
    pub at_unix_s: u64,
    /// Values in the order of [`FEATURES`].
    pub values: Vec<Option<f64>>,
}

impl FeatureRow {
    /// Value of a feature by name; `None` where it is unknown, or there is no such feature.
    pub fn get(&self, name: &str) -> Option<f64> {
        let index = FEATURES.iter().position(|f| f.name == name)?;
        self.values.get(index).copied().flatten()
    }
}

/// Identifies names, units and order; a model made for another schema must refuse the row.
pub fn schema_hash() -> u64 {
    let text = FEATURES.iter().flat_map(|f| [f.name, "\u{1f}", f.unit, "\u{1e}"]);
    text.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The row at the end of `windows` (oldest first, rates per second).
///
/// `at_unix_s` is the end of the newest window.
pub fn feature_row(windows: &[Option<f64>], at_unix_s: u64) -> FeatureRow {
    let lag =
        |n: usize| windows.len().checked_sub(n).and_then(|i| windows.get(i).copied().flatten());
    let last_60 = Recent::of(windows, 60);
    let day = (at_unix_s % 86_400) as f64 / 86_400.0 * std::f64::consts::TAU;
    // 1970-01-01 was a Thursday: shifted so that a week begins on Monday.
    let week = ((at_unix_s + 3 * 86_400) % 604_800) as f64 / 604_800.0;
    let values = vec![
        lag(1),
        lag(2),
        lag(3),
        Recent::of(windows, 5).mean(),
        Recent::of(windows, 15).mean(),
        last_60.mean(),
        last_60.known().reduce(f64::max),
        last_60.deviation(),
        Recent::of(windows, 15).slope(),
        Some(last_60.known().count() as f64 / last_60.0.len().max(1) as f64),
        Some(day.sin()),
        Some(day.cos()),
        Some(week),
    ];
    FeatureRow { schema: schema_hash(), at_unix_s, values }
}

/// Fills gaps by straight lines between neighbours and by the nearest value at the ends.
///
/// `None` where nothing is known or more than `gap_share_max` of the windows are gaps: then it would be invention.
pub fn filled(windows: &[Option<f64>], gap_share_max: f64) -> Option<Vec<f64>> {
    let known: Vec<(usize, f64)> =
        windows.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))).collect();
    let (&(first, first_value), &(last, last_value)) = (known.first()?, known.last()?);
    let gaps = windows.len() - known.len();
    if gaps as f64 > gap_share_max * windows.len() as f64 {
        return None;
    }
    let mut values = vec![first_value; windows.len()];
    for pair in known.windows(2) {
        let ((i, a), (j, b)) = (pair[0], pair[1]);
        for (step, value) in values[i..j].iter_mut().enumerate() {
            *value = a + (b - a) * step as f64 / (j - i) as f64;
        }
    }
    values[last..].fill(last_value);
    values[..first].fill(first_value);
    Some(values)
}

/// The newest windows of a series.
struct Recent<'a>(&'a [Option<f64>]);

impl<'a> Recent<'a> {
    fn of(windows: &'a [Option<f64>], n: usize) -> Self {
        Self(&windows[windows.len().saturating_sub(n)..])
    }

    fn known(&self) -> impl Iterator<Item = f64> {
        self.0.iter().flatten().copied()
    }

    fn mean(&self) -> Option<f64> {
        let n = self.known().count();
        (n > 0).then(|| self.known().sum::<f64>() / n as f64)
    }

    fn deviation(&self) -> Option<f64> {
        let (mean, n) = (self.mean()?, self.known().count() as f64);
        Some((self.known().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    /// Least-squares slope per window.
    fn slope(&self) -> Option<f64> {
        let points: Vec<(f64, f64)> =
            self.0.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i as f64, v))).collect();
        let n = points.len() as f64;
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
        let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
        let xx: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
        let xy: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        (points.len() >= 3).then(|| xy / xx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ramp_has_its_lags_mean_and_slope() {
        let windows: Vec<_> = (0..100).map(|i| Some(f64::from(i) * 2.0)).collect();
        let row = feature_row(&windows, 3 * 86_400 + 21_600);
        let expect = |name: &str, value: f64| {
            let got = row.get(name).unwrap();
            assert!((got - value).abs() < 1e-9, "{name}: {got}, not {value}");
        };
        expect("lag_1_per_s", 198.0);
        expect("lag_3_per_s", 194.0);
        expect("mean_5_per_s", 194.0);
        expect("max_60_per_s", 198.0);
        expect("trend_15_per_s_per_window", 2.0);
        expect("observed_60_share", 1.0);
        expect("day_sin", 1.0);
        // Sunday 1970-01-04, 06:00: six and a quarter days of the week have passed.
        expect("weekday_share", 6.25 / 7.0);
    }

    #[test]
    fn gaps_are_unknown_not_zero() {
        let row = feature_row(&[Some(4.0), None], 60);
        assert_eq!(row.get("lag_1_per_s"), None);
        assert_eq!(row.get("lag_2_per_s"), Some(4.0));
        assert_eq!(row.get("mean_5_per_s"), Some(4.0));
        assert_eq!(row.get("trend_15_per_s_per_window"), None);
        assert_eq!(row.get("observed_60_share"), Some(0.5));
        assert_eq!(feature_row(&[], 0).get("mean_5_per_s"), None);
    }

    /// A model on disk names this hash. If it changes, say so in the change log and retrain.
    #[test]
    fn the_schema_is_the_published_one() {
        assert_eq!(schema_hash(), SCHEMA_PUBLISHED, "{:#x}", schema_hash());
        let names: std::collections::BTreeSet<_> = FEATURES.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), FEATURES.len());
        assert_eq!(feature_row(&[], 0).values.len(), FEATURES.len());
    }
    const SCHEMA_PUBLISHED: u64 = 0x6a6b_710b_b418_6e04;

    #[test]
    fn filling_interpolates_and_refuses_to_invent() {
        let windows = [None, Some(1.0), None, None, Some(4.0), None];
        assert_eq!(filled(&windows, 0.7), Some(vec![1.0, 1.0, 2.0, 3.0, 4.0, 4.0]));
        assert_eq!(filled(&windows, 0.5), None);
        assert_eq!(filled(&[None, None], 1.0), None);
        assert_eq!(filled(&[], 1.0), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_known_values_stay(
            windows in prop::collection::vec(prop::option::of(0.0..1e9_f64), 0..130),
            at in 0_u64..1 << 40,
        ) {
            let row = feature_row(&windows, at);
            prop_assert!(row.values.iter().flatten().all(|v| v.is_finite()));
            if let Some(full) = filled(&windows, 1.0) {
                for (value, window) in full.iter().zip(&windows) {
                    prop_assert!(window.is_none_or(|w| w == *value));
                }
            }
        }
    }
}
