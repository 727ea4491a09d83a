//! Drift: how far the values that a model reads have moved from those it was trained on.
//!
//! The reference is a histogram of each feature with equally many rows a bin. The population stability index sums
//! (q − p)·ln(q / p) over ten bins (Siddiqi, Credit Risk Scorecards, 2006: below 0.1 steady, above 0.25 moved); the
//! Kolmogorov–Smirnov statistic is the largest gap between the distributions at the edges of the bins, so a lower bound of
//! the exact one. Its p-values hold for independent rows; rows of one series are not, so the verdict goes by the index. They
//! are adjusted for the number of features (Benjamini and Hochberg, 1995).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bins of a reference.
const BINS: usize = 40;
/// Bins of the index.
const INDEX_BINS: usize = 10;
/// Below: steady.
pub const STEADY_BELOW: f64 = 0.1;
/// Above: drifted.
pub const DRIFTED_ABOVE: f64 = 0.25;
/// Features of a reference read from a file.
const FEATURES_MAX: usize = 10_000;
/// Fewer rows than this say nothing.
const ROWS_MIN: u64 = 20;

/// Sampled values by feature; what is unknown is NaN.
pub type Sample = BTreeMap<String, Vec<f64>>;

/// How the values of one feature were spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Upper ends of all bins but the last, rising; a value on an edge is below it.
    pub edges: Vec<f64>,
    /// Rows a bin, one more than edges.
    pub counts: Vec<u64>,
    /// Rows without a value.
    pub missing: u64,
}

/// Histograms by feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// One histogram a feature.
    pub features: BTreeMap<String, Histogram>,
}

/// What the index says of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it was.
    Steady,
    /// To be watched.
    Moved,
    /// To be trained again.
    Drifted,
    /// Too few rows, or none.
    Unknown,
}

impl Verdict {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Moved => "moved",
            Self::Drifted => "drifted",
            Self::Unknown => "unknown",
        }
    }
}

/// One feature compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    /// Its name.
    pub feature: String,
    /// Population stability index, missing values as one more bin.
    pub psi: f64,
    /// Kolmogorov–Smirnov statistic at the edges of the bins.
    pub ks: f64,
    /// Its p-value, adjusted for the number of features.
    pub ks_p: f64,
    /// Share of rows without a value in the reference.
    pub missing_before: f64,
    /// The same now.
    pub missing_now: f64,
    /// Rows in the reference.
    pub rows_before: u64,
    /// Rows now.
    pub rows_now: u64,
    /// What follows.
    pub verdict: Verdict,
}

/// All features compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The most moved first.
    pub features: Vec<FeatureDrift>,
    /// Features of the reference that the data do not have.
    pub absent: Vec<String>,
    /// Columns that the reference does not know.
    pub unknown: Vec<String>,
}

impl Drift {
    /// Features that drifted or are gone.
    pub fn drifted(&self) -> usize {
        let drifted = self.features.iter().filter(|f| f.verdict == Verdict::Drifted).count();
        drifted + self.absent.len()
    }
}

impl Histogram {
    /// Equally many rows a bin, as far as equal values allow.
    pub fn of(values: &[f64]) -> Self {
        let mut known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        known.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = (1..BINS)
            .filter_map(|bin| known.get((bin * known.len() / BINS).checked_sub(1)?).copied())
            .collect();
        // −0.0 and 0.0 are one edge.
        edges.dedup_by(|a, b| a == b);
        let mut histogram = Self { counts: vec![0; edges.len() + 1], edges, missing: 0 };
        histogram.fill(values);
        histogram
    }

    /// The same bins with other values.
    fn again(&self, values: &[f64]) -> Self {
        let counts = vec![0; self.edges.len() + 1];
        let mut other = Self { edges: self.edges.clone(), counts, missing: 0 };
        other.fill(values);
        other
    }

    fn fill(&mut self, values: &[f64]) {
        for value in values {
            if value.is_finite() {
                self.counts[self.edges.partition_point(|edge| edge < value)] += 1;
            } else {
                self.missing += 1;
            }
        }
    }

    fn known(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn rows(&self) -> u64 {
        self.known() + self.missing
    }

    fn check(&self, name: &str) -> Result<()> {
        let rising = self.edges.windows(2).all(|pair| pair[0] < pair[1]);
        let finite = self.edges.iter().all(|edge| edge.is_finite());
        let sane = self.counts.iter().chain([&self.missing]).all(|count| *count < 1 << 48);
        if rising
            && finite
            && sane
            && self.counts.len() == self.edges.len() + 1
            && self.edges.len() < 1_000
        {
            return Ok(());
        }
        Err(Error::Unsuitable(format!("the drift reference of `{name}` contradicts itself")))
    }

    /// Bins put together until each has its share of the reference, with the missing ones last.
    fn coarse(&self, now: &Self) -> Vec<(u64, u64)> {
        let share = self.known().div_ceil(INDEX_BINS as u64).max(1);
        let (mut bins, mut open) = (Vec::new(), (0, 0));
        for (before, now) in self.counts.iter().zip(&now.counts) {
            open = (open.0 + before, open.1 + now);
            if open.0 >= share {
                bins.push(std::mem::take(&mut open));
            }
        }
        if open != (0, 0) {
            bins.push(open);
        }
        bins.push((self.missing, now.missing));
        bins
    }
}

/// Half a row more in each bin, so that an empty one is not infinitely far.
fn index(bins: &[(u64, u64)]) -> f64 {
    let extra = 0.5 * bins.len() as f64;
    let total = |side: fn(&(u64, u64)) -> u64| bins.iter().map(side).sum::<u64>() as f64 + extra;
    let (before, now) = (total(|bin| bin.0), total(|bin| bin.1));
    let part = |bin: &(u64, u64)| {
        let (p, q) = ((bin.0 as f64 + 0.5) / before, (bin.1 as f64 + 0.5) / now);
        (q - p) * (q / p).ln()
    };
    bins.iter().map(part).sum()
}

fn kolmogorov_smirnov(before: &Histogram, now: &Histogram) -> (f64, f64) {
    let (n, m) = (before.known() as f64, now.known() as f64);
    let (mut below_before, mut below_now, mut largest) = (0.0, 0.0, 0.0_f64);
    for (b, c) in before.counts.iter().zip(&now.counts) {
        below_before += *b as f64 / n.max(1.0);
        below_now += *c as f64 / m.max(1.0);
        largest = largest.max((below_before - below_now).abs());
    }
    let root = (n * m / (n + m).max(1.0)).sqrt();
    (largest, kolmogorov((root + 0.12 + 0.11 / root.max(1e-9)) * largest))
}

/// The chance of a larger statistic (Stephens, 1970, as in Numerical Recipes, section 14.3).
fn kolmogorov(lambda: f64) -> f64 {
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: u32| {
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

impl Reference {
    /// The reference of a sample.
    pub fn of(sample: &Sample) -> Self {
        let histograms = sample.iter().map(|(name, values)| (name.clone(), Histogram::of(values)));
        Self { features: histograms.collect() }
    }

    /// Refuses one that no sample could have.
    pub fn check(&self) -> Result<()> {
        if self.features.len() > FEATURES_MAX {
            return Err(Error::Unsuitable(format!(
                "a drift reference has more than {FEATURES_MAX} features"
            )));
        }
        self.features.iter().try_for_each(|(name, histogram)| histogram.check(name))
    }

    /// How far a sample lies from it.
    pub fn compare(&self, sample: &Sample) -> Drift {
        let mut drift = Drift::default();
        for (name, before) in &self.features {
            let Some(values) = sample.get(name) else {
                drift.absent.push(name.clone());
                continue;
            };
            let now = before.again(values);
            let (ks, ks_p) = kolmogorov_smirnov(before, &now);
            let psi = index(&before.coarse(&now));
            let share = |h: &Histogram| h.missing as f64 / h.rows().max(1) as f64;
            let verdict = match psi {
                _ if before.rows() < ROWS_MIN || now.rows() < ROWS_MIN => Verdict::Unknown,
                psi if psi < STEADY_BELOW => Verdict::Steady,
                psi if psi <= DRIFTED_ABOVE => Verdict::Moved,
                _ => Verdict::Drifted,
            };
            drift.features.push(FeatureDrift {
                feature: name.clone(),
                psi,
                ks,
                ks_p,
                missing_before: share(before),
                missing_now: share(&now),
                rows_before: before.rows(),
                rows_now: now.rows(),
                verdict,
            });
        }
        let known = |name: &&String| !self.features.contains_key(*name);
        drift.unknown = sample.keys().filter(known).cloned().collect();
        adjust(&mut drift.features);
        drift.features.sort_by(|a, b| b.psi.total_cmp(&a.psi).then(a.feature.cmp(&b.feature)));
        drift
    }
}

/// Benjamini and Hochberg: the smallest false discovery rate at which each would be called.
fn adjust(features: &mut [FeatureDrift]) {
    features.sort_by(|a, b| b.ks_p.total_cmp(&a.ks_p));
    let n = features.len() as f64;
    let mut least = 1.0_f64;
    for (position, feature) in features.iter_mut().enumerate() {
        least = least.min(feature.ks_p * n / (n - position as f64));
        feature.ks_p = least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn even(n: usize, from: f64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..n).map(|_| from + random.unit()).collect()
    }

    fn one(values: Vec<f64>) -> Sample {
        Sample::from([("x".into(), values)])
    }

    #[test]
    fn the_same_distribution_is_steady_and_a_shifted_one_is_not() {
        let reference = Reference::of(&one(even(8_000, 0.0, 1)));
        let same = &reference.compare(&one(even(4_000, 0.0, 2))).features[0];
        assert_eq!(same.verdict, Verdict::Steady, "{same:?}");
        assert!(same.psi < 0.02 && same.ks < 0.04 && same.ks_p > 0.01, "{same:?}");
        // Shifted by a tenth of the range: the largest gap of two even distributions is the shift.
        let moved = &reference.compare(&one(even(4_000, 0.1, 3))).features[0];
        assert!((moved.ks - 0.1).abs() < 0.03 && moved.ks_p < 1e-6, "{moved:?}");
        let far = reference.compare(&one(even(4_000, 0.5, 4)));
        assert_eq!((far.features[0].verdict, far.drifted()), (Verdict::Drifted, 1));
    }

    /// Two bins by hand: 50/50 before, 75/25 now: 0.25·ln 1.5 + 0.25·ln 2.
    #[test]
    fn the_index_is_the_sum_that_it_is_defined_as() {
        let got = index(&[(50_000_000, 75_000_000), (50_000_000, 25_000_000)]);
        assert!((got - 0.25 * (1.5_f64.ln() + 2.0_f64.ln())).abs() < 1e-6, "{got}");
    }

    /// Published values of the Kolmogorov distribution: 1.3581 at 5 %, 1.6276 at 1 %.
    #[test]
    fn the_p_value_is_kolmogorovs() {
        assert!((kolmogorov(1.358_1) - 0.05).abs() < 1e-4);
        assert!((kolmogorov(1.627_6) - 0.01).abs() < 1e-4);
        assert!((kolmogorov(0.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn constant_missing_and_absent_features_have_an_answer() {
        let mut sample = one(vec![3.0; 100]);
        sample.insert("holes".into(), vec![f64::NAN; 100]);
        sample.insert("gone".into(), vec![1.0; 100]);
        let reference = Reference::of(&sample);
        let mut now = one(vec![3.0; 50]);
        now.insert("holes".into(), (0..50).map(f64::from).collect());
        now.insert("new".into(), vec![0.0]);
        let drift = reference.compare(&now);
        assert_eq!(
            (&drift.absent[..], &drift.unknown[..]),
            (&["gone".to_owned()][..], &["new".to_owned()][..])
        );
        let of = |name: &str| drift.features.iter().find(|f| f.feature == name).expect("there");
        assert_eq!(of("x").verdict, Verdict::Steady);
        assert_eq!(of("holes").verdict, Verdict::Drifted, "what was missing is there now");
        assert!(drift.features.iter().all(|f| f.psi.is_finite() && f.ks.is_finite()));
        let few = reference.compare(&one(vec![9.0; 3]));
        assert_eq!(few.features[0].verdict, Verdict::Unknown);
        assert!(Reference::of(&Sample::new()).compare(&now).features.is_empty());
    }

    #[test]
    fn hostile_references_are_refused() {
        let refused = |edges: &[f64], counts: &[u64]| {
            let histogram =
                Histogram { edges: edges.to_vec(), counts: counts.to_vec(), missing: 0 };
            Reference { features: [("x".into(), histogram)].into() }.check().is_err()
        };
        assert!(!refused(&[1.0, 2.0], &[1, 2, 3]));
        assert!(refused(&[2.0, 1.0], &[1, 2, 3]));
        assert!(refused(&[1.0], &[1, 2, 3]));
        assert!(refused(&[f64::NAN], &[1, 2]));
        assert!(refused(&[], &[u64::MAX]));
    }

    #[test]
    fn adjusted_p_values_are_benjamini_hochbergs() {
        let feature = |p: f64| FeatureDrift {
            feature: p.to_string(),
            psi: 0.0,
            ks: 0.0,
            ks_p: p,
            missing_before: 0.0,
            missing_now: 0.0,
            rows_before: 0,
            rows_now: 0,
            verdict: Verdict::Steady,
        };
        let mut all = [0.01, 0.04, 0.03, 0.5].map(feature);
        adjust(&mut all);
        let p = |name: &str| all.iter().find(|f| f.feature == name).expect("there").ks_p;
        // 0.01·4/1, min(0.03·4/2, 0.04·4/3), 0.04·4/3, 0.5.
        assert!((p("0.01") - 0.04).abs() < 1e-12 && (p("0.5") - 0.5).abs() < 1e-12);
        assert!((p("0.03") - 0.16 / 3.0).abs() < 1e-12 && (p("0.04") - 0.16 / 3.0).abs() < 1e-12);
    }
}
