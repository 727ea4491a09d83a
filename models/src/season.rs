//! Whether a series has a season, and of which length.
//!
//! Autocorrelation proposes lengths; a length is believed only if the seasons resemble each other far more than
//! chance explains, so that white noise has no season.

/// Seasons that must have been seen: two alike may be chance.
const SEASONS_MIN: usize = 3;
/// Longest lag that autocorrelation is computed for; longer seasons must be given as candidates.
const LAG_MAX: usize = 512;
/// Values that autocorrelation looks at: bounds the cost.
const VALUES_MAX: usize = 2_048;
/// Peaks of the autocorrelation that are examined.
const PEAKS_MAX: usize = 8;
/// Standard deviations above chance. High, because hundreds of lags compete.
const SIGMAS_MIN: f64 = 4.5;
/// Mean correlation between seasons: below, a season explains too little to be worth a parameter.
const LIKENESS_MIN: f64 = 0.15;
/// Seasons compared with each other at most.
const SEASONS_MAX: usize = 16;
/// Among lengths nearly as good as the best one the shortest is the season, the others are multiples of it.
const NEARLY: f64 = 0.9;

/// The season of a series in steps, `None` if it has none. `given` are lengths to examine besides those that
/// autocorrelation proposes (a day, a week).
pub fn find_period(history: &[f64], given: &[usize]) -> Option<usize> {
    let recent = &history[history.len().saturating_sub(VALUES_MAX)..];
    let mut lengths = given.to_vec();
    for peak in peaks(&autocorrelation(&without_trend(recent))) {
        // Noise moves a peak by a step or two, and may hide it so that only its double stands out.
        for length in [peak, peak / 2, peak / 3] {
            lengths.extend(length.saturating_sub(near(length))..=length + near(length));
        }
    }
    lengths.sort_unstable();
    lengths.dedup();
    let believed: Vec<(usize, f64)> = lengths
        .into_iter()
        .filter_map(|period| Some((period, likeness(history, period)?)))
        .filter(|(_, l)| l.mean >= LIKENESS_MIN && l.sigmas >= SIGMAS_MIN)
        .map(|(period, l)| (period, l.mean))
        .collect();
    let best = believed.iter().map(|&(_, mean)| mean).reduce(f64::max)?;
    let &(shortest, _) = believed.iter().find(|&&(_, mean)| mean >= NEARLY * best)?;
    // Its neighbours are nearly as good, too: the season is the best of them.
    let around = believed
        .iter()
        .filter(|&&(period, _)| (shortest..=shortest + 2 * near(shortest)).contains(&period));
    around.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|&(period, _)| period)
}

/// How far off the length of a season noise may show a peak.
pub(crate) fn near(length: usize) -> usize {
    1 + length / 64
}

pub(crate) struct Likeness {
    /// Mean correlation between any two seasons.
    pub(crate) mean: f64,
    /// How far that is above chance.
    pub(crate) sigmas: f64,
}

/// How much the last seasons of this length resemble each other, each taken around its own mean, after the trend
/// over all of them was taken out (a trend per season would take most of a plain wave with it).
pub(crate) fn likeness(history: &[f64], period: usize) -> Option<Likeness> {
    let seasons = history.len().checked_div(period)?.min(SEASONS_MAX);
    if period < 2 || seasons < SEASONS_MIN {
        return None;
    }
    let recent = &history[history.len() - seasons * period..];
    let flat: Vec<Vec<f64>> =
        without_trend(recent).chunks_exact(period).map(without_mean).collect();
    let squares: f64 = flat.iter().flatten().map(|v| v * v).sum();
    if squares <= 1e-18 * recent.iter().map(|v| v * v).sum::<f64>() {
        return None;
    }
    let course: Vec<f64> =
        (0..period).map(|slot| flat.iter().map(|season| season[slot]).sum::<f64>()).collect();
    // Σ over pairs of products = (|Σ|² − Σ|·|²) / 2, all pairs at once.
    let pairs = course.iter().map(|v| v * v).sum::<f64>() - squares;
    let n = seasons as f64;
    let mean = pairs / ((n - 1.0) * squares);
    // Chance is judged by what is left after the season; values that hang together count for fewer.
    let rest: Vec<f64> = flat
        .iter()
        .flat_map(|season| season.iter().zip(&course).map(|(v, sum)| v - sum / n))
        .collect();
    let persistence = lag_one(&rest).clamp(0.0, 0.99);
    let free = ((period as f64 - 1.0) * (1.0 - persistence) / (1.0 + persistence)).max(1.0);
    Some(Likeness { mean, sigmas: mean * (free * n * (n - 1.0) / 2.0).sqrt() })
}

pub(crate) fn lag_one(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|v| v * v).sum();
    let products: f64 = values.windows(2).map(|w| w[0] * w[1]).sum();
    if squares > 0.0 { products / squares } else { 0.0 }
}

fn without_mean(values: &[f64]) -> Vec<f64> {
    let mean = crate::forecast::mean(values);
    values.iter().map(|v| v - mean).collect()
}

pub(crate) fn without_trend(values: &[f64]) -> Vec<f64> {
    let flat = without_mean(values);
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let (xy, xx) = flat.iter().enumerate().fold((0.0, 0.0), |(xy, xx), (i, v)| {
        let x = i as f64 - middle;
        (xy + x * v, xx + x * x)
    });
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    flat.iter().enumerate().map(|(i, v)| v - slope * (i as f64 - middle)).collect()
}

/// Autocorrelation per lag; index 0 is lag 0.
pub(crate) fn autocorrelation(flat: &[f64]) -> Vec<f64> {
    let squares: f64 = flat.iter().map(|v| v * v).sum();
    let lags = (flat.len() / SEASONS_MIN + 1).min(LAG_MAX);
    if squares <= 0.0 {
        return Vec::new();
    }
    (0..=lags.min(flat.len().saturating_sub(1)))
        .map(|lag| flat.iter().zip(&flat[lag..]).map(|(a, b)| a * b).sum::<f64>() / squares)
        .collect()
}

/// Lags with a local maximum above zero, highest first, a bounded number. Only behind the first lag without
/// likeness: before it lie neighbours, which resemble each other in any slow series.
fn peaks(acf: &[f64]) -> Vec<usize> {
    let Some(first) = acf.iter().position(|&r| r <= 0.0) else {
        return Vec::new();
    };
    let mut peaks: Vec<usize> = (first.max(2)..acf.len().saturating_sub(1))
        .filter(|&lag| acf[lag] > 0.0 && acf[lag] > acf[lag - 1] && acf[lag] >= acf[lag + 1])
        .collect();
    peaks.sort_by(|&a, &b| acf[b].total_cmp(&acf[a]).then(a.cmp(&b)));
    peaks.truncate(PEAKS_MAX);
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::{ar_noise, white_noise};
    use std::f64::consts::TAU;

    fn wave(n: usize, period: f64, noise: f64, seed: u64) -> Vec<f64> {
        white_noise(seed)
            .take(n)
            .enumerate()
            .map(|(i, e)| 50.0 + 10.0 * (i as f64 / period * TAU).sin() + noise * e)
            .collect()
    }

    /// The share of seeds of noise in which a season is seen.
    fn false_share(n: usize, make: impl Fn(u64) -> Vec<f64>) -> f64 {
        let false_finds =
            (0..400).filter(|&seed| find_period(&make(seed), &[n / 4, n / 8]).is_some());
        false_finds.count() as f64 / 400.0
    }

    #[test]
    fn noise_has_no_season() {
        for n in [30, 64, 200, 600] {
            let white = false_share(n, |seed| white_noise(seed).take(n).collect());
            assert!(white <= 0.05, "white noise of {n}: {white}");
            let red = false_share(n, |seed| ar_noise(seed, 0.8).take(n).collect());
            assert!(red <= 0.05, "red noise of {n}: {red}");
        }
    }

    #[test]
    fn seasons_are_found_through_noise_and_trend() {
        for (period, n) in [(7.0, 70), (24.0, 240), (60.0, 300), (288.0, 1_024)] {
            for seed in 0..10 {
                let mut history = wave(n, period, 5.0, seed);
                history.iter_mut().enumerate().for_each(|(i, v)| *v += i as f64 * 0.02);
                let found = find_period(&history, &[]).unwrap_or(0) as f64;
                assert!(
                    (found - period).abs() <= 0.03 * period,
                    "{found} for {period}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn long_seasons_are_found_where_they_are_given() {
        let history = wave(1_440 * 4, 1_440.0, 8.0, 3);
        assert_eq!(find_period(&history, &[1_440]), Some(1_440));
    }

    #[test]
    fn degenerate_series_have_none() {
        assert_eq!(find_period(&[], &[0, 1, 7]), None);
        assert_eq!(find_period(&[4.0; 500], &[24]), None);
        let ramp: Vec<f64> = (0..500).map(f64::from).collect();
        assert_eq!(find_period(&ramp, &[24]), None);
    }
}
