//! Features cut into bins of about equal count: one byte a value.

use super::{BoostError, Columns};

/// Rows that cuts are computed from.
const MAX_SAMPLE_ROWS: usize = 200_000;
/// The bin of missing values.
pub(super) const MISSING: u8 = 0;

/// A table cut into bins once, for one fit or several ([`super::Booster::fit_binned`]). By row: a row's bytes lie
/// together, as building a histogram reads them.
#[derive(Clone, Debug)]
pub struct Binned {
    features: usize,
    bytes: Vec<u8>,
    /// By feature: bin `i + 1` holds the values up to `cuts[i]` that are above the cut before. The last bin has no cut.
    cuts: Vec<Vec<f32>>,
}

impl Binned {
    /// Cuts each column into at most `max_bins` bins (2 to 255) of about equal count, and one for missing values.
    pub fn new(columns: &Columns, max_bins: usize) -> Result<Self, BoostError> {
        if !(2..=255).contains(&max_bins) {
            return Err(BoostError::Config("max_bins: 2 to 255"));
        }
        let (rows, features) = (columns.rows(), columns.features());
        let cuts: Vec<Vec<f32>> =
            (0..features).map(|f| cuts_of(columns.column(f), max_bins)).collect();
        let mut bytes = vec![MISSING; rows * features];
        for (feature, cuts) in cuts.iter().enumerate() {
            let places = bytes.iter_mut().skip(feature).step_by(features);
            for (place, &value) in places.zip(columns.column(feature)) {
                if !value.is_nan() {
                    *place = 1 + cuts.partition_point(|&cut| cut < value) as u8;
                }
            }
        }
        Ok(Self { features, bytes, cuts })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.features
    }

    /// Features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The bins of one row.
    pub(super) fn row(&self, row: u32) -> &[u8] {
        let begin = row as usize * self.features;
        &self.bytes[begin..begin + self.features]
    }

    pub(super) fn bin(&self, row: u32, feature: usize) -> u8 {
        self.bytes[row as usize * self.features + feature]
    }

    /// The last bin of a feature; 1 where it is constant.
    pub(super) fn last_bin(&self, feature: usize) -> u8 {
        1 + self.cuts[feature].len() as u8
    }

    /// Values up to this lie in the bins up to `bin`.
    pub(super) fn threshold(&self, feature: usize, bin: u8) -> f32 {
        let cut = (bin as usize).checked_sub(1).and_then(|at| self.cuts[feature].get(at));
        cut.copied().unwrap_or(f32::MAX)
    }
}

/// At most `max_bins - 1` cuts, ascending.
fn cuts_of(values: &[f32], max_bins: usize) -> Vec<f32> {
    let step = values.len().div_ceil(MAX_SAMPLE_ROWS);
    let mut sample: Vec<f32> =
        values.iter().step_by(step).copied().filter(|v| !v.is_nan()).collect();
    sample.sort_unstable_by(f32::total_cmp);
    let mut distinct: Vec<(f32, usize)> = Vec::new();
    for value in sample {
        match distinct.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => distinct.push((value, 1)),
        }
    }
    if distinct.len() <= max_bins {
        return distinct.windows(2).map(|pair| between(pair[0].0, pair[1].0)).collect();
    }
    merged_cuts(&distinct, max_bins)
}

/// Values more frequent than a bin's share get a bin of their own; the others share what is left.
fn merged_cuts(distinct: &[(f32, usize)], max_bins: usize) -> Vec<f32> {
    let total: usize = distinct.iter().map(|d| d.1).sum();
    let share = total as f64 / max_bins as f64;
    let heavy = |count: usize| count as f64 >= share;
    let heavies = distinct.iter().filter(|d| heavy(d.1)).count();
    let mut rest: usize = distinct.iter().filter(|d| !heavy(d.1)).map(|d| d.1).sum();
    let mut light_bins = max_bins.saturating_sub(heavies).max(1);
    let mut aim = rest as f64 / light_bins as f64;
    let (mut cuts, mut held) = (Vec::new(), 0);
    for pair in distinct.windows(2) {
        let ((value, count), (next, next_count)) = (pair[0], pair[1]);
        if !heavy(count) {
            held += count;
            rest -= count;
        }
        if !(heavy(count) || heavy(next_count) || held as f64 >= aim) {
            continue;
        }
        if cuts.len() + 1 == max_bins {
            break;
        }
        cuts.push(between(value, next));
        if held > 0 {
            light_bins = light_bins.saturating_sub(1).max(1);
            aim = rest as f64 / light_bins as f64;
            held = 0;
        }
    }
    cuts
}

/// A number that is at least `low` and below `high`.
fn between(low: f32, high: f32) -> f32 {
    let middle = low + (high - low) / 2.0;
    if middle >= low && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_get_a_bin_each_and_missing_ones_their_own() {
        let columns = Columns::new(vec![vec![3.0, f32::NAN, 1.0, 3.0, f32::INFINITY]]).unwrap();
        let binned = Binned::new(&columns, 255).unwrap();
        let bins: Vec<u8> = (0..5).map(|row| binned.bin(row, 0)).collect();
        assert_eq!(bins, [2, MISSING, 1, 2, 3]);
        assert_eq!((binned.threshold(0, 1), binned.last_bin(0)), (2.0, 3));
    }

    #[test]
    fn many_values_are_spread_evenly_beside_a_frequent_one() {
        let values: Vec<f32> =
            (0..20_000).map(|i| if i % 2 == 0 { 0.0 } else { i as f32 }).collect();
        let binned = Binned::new(&Columns::new(vec![values]).unwrap(), 64).unwrap();
        let mut counts = vec![0; 65];
        for row in 0..20_000 {
            counts[binned.bin(row, 0) as usize] += 1;
        }
        assert_eq!(counts[1], 10_000, "the frequent value is alone");
        let others: Vec<usize> = counts[2..].iter().copied().filter(|&c| c > 0).collect();
        assert!(others.len() >= 60, "{others:?}");
        assert!(others.iter().all(|&count| count < 260), "{others:?}");
    }

    #[test]
    fn a_threshold_tells_its_neighbours_apart() {
        for (low, high) in [(1.0f32, 1.0f32.next_up()), (f32::MIN, f32::MAX), (-0.0, 1e-45)] {
            let cut = between(low, high);
            assert!(low <= cut && cut < high, "{low} {cut} {high}");
        }
    }
}
