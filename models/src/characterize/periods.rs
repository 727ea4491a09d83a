//! The seasons of a series, found strictly: none in noise, however slow it is.

use super::spectrum::lines;
use crate::season::{autocorrelation, likeness, near, without_trend};

/// Longer series are thinned to means of so many blocks first: bounds the cost.
const BLOCKS_MAX: usize = 4096;
/// Lines of the spectrum that are followed up.
const LINES_MAX: usize = 6;
/// A line may be a harmonic of a season so many times as long.
const MULTIPLES_MAX: usize = 12;
/// Among lengths nearly as good as the best one the shortest is the season.
const NEARLY: f64 = 0.9;
/// A season must lift the autocorrelation at its length this far above chance.
const LIKENESS_MIN: f64 = 0.05;
/// A part of a season is one itself where it resembles its neighbours this much; an overtone does less.
const INNER_MIN: f64 = 0.5;

/// How strictly seasons are looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeasonConfig {
    /// Probability of seeing a line in a series that has none.
    pub alpha: f64,
    /// So many seasons must have been seen.
    pub cycles_min: usize,
    /// Seasons looked for, strongest first.
    pub seasons_max: usize,
}

impl Default for SeasonConfig {
    fn default() -> Self {
        Self { alpha: 0.01, cycles_min: 3, seasons_max: 3 }
    }
}

/// Lengths of the seasons in steps, strongest first; values that are not finite count as the one before.
///
/// The whitened periodogram must show a line; then that length, its neighbours and its multiples are compared by how much their seasons resemble
/// each other after slower movement was taken out (the confirmation by autocorrelation). A season found is taken out
/// before the next is looked for.
pub fn seasons(history: &[f64], config: SeasonConfig) -> Vec<usize> {
    let mut values = filled(history);
    let block = values.len().div_ceil(BLOCKS_MAX).max(1);
    let mut found: Vec<usize> = Vec::new();
    for _ in 0..config.seasons_max {
        let thin: Vec<f64> =
            values.chunks_exact(block).map(|c| c.iter().sum::<f64>() / block as f64).collect();
        let Some(period) = strongest(&thin, config) else { break };
        let period = if block == 1 { period } else { refined(&values, period * block, block) };
        // The same again, or a multiple, is what was left over.
        if found.iter().any(|&known| period.abs_diff(known) <= 2 * near(known)) {
            break;
        }
        found.push(period);
        // A week's course holds the day's: what comes again within it is a season of its own.
        let within = inner(&values, period).filter(|_| found.len() < config.seasons_max);
        found.extend(within);
        without_season(&mut values, period);
    }
    found
}

fn filled(history: &[f64]) -> Vec<f64> {
    let mut last = history.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    history
        .iter()
        .map(|&v| {
            last = if v.is_finite() { v } else { last };
            last
        })
        .collect()
}

fn strongest(values: &[f64], config: SeasonConfig) -> Option<usize> {
    let longest = values.len() / config.cycles_min.max(2);
    let mut lengths = Vec::new();
    for line in lines(values, config.alpha, config.cycles_min.max(1)).iter().take(LINES_MAX) {
        let exact = values.len() as f64 / line.cycles as f64;
        for multiple in 1..=MULTIPLES_MAX {
            let center = exact * multiple as f64;
            // A bin is as wide as the step to the next number of cycles.
            let reach = (exact / line.cycles as f64 * multiple as f64 / 2.0).ceil() as usize + 1;
            let middle = center.round() as usize;
            lengths.extend(middle.saturating_sub(reach).max(2)..=middle + reach);
        }
    }
    lengths.sort_unstable();
    lengths.dedup();
    let believed: Vec<(usize, f64)> = lengths
        .into_iter()
        .filter(|&period| period <= longest)
        .filter_map(|period| Some((period, likeness(&quick(values, period), period)?)))
        .filter(|(_, l)| l.mean >= LIKENESS_MIN && l.sigmas >= 3.0)
        .map(|(period, l)| (period, l.mean))
        .collect();
    let best = believed.iter().map(|&(_, mean)| mean).reduce(f64::max)?;
    let &(shortest, _) = believed.iter().find(|&&(_, mean)| mean >= NEARLY * best)?;
    let reach = shortest + 2 * near(shortest);
    let around = believed.iter().filter(|&&(period, _)| (shortest..=reach).contains(&period));
    around.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|&(period, _)| period)
}

/// The series without movement slower than two seasons: minus the mean over two seasons around each value.
fn quick(values: &[f64], period: usize) -> Vec<f64> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    sums.push(0.0);
    for v in values {
        sums.push(sums[sums.len() - 1] + v);
    }
    let flat = |(at, v): (usize, &f64)| {
        let (low, high) = (at.saturating_sub(period), (at + period).min(values.len()));
        v - (sums[high] - sums[low]) / (high - low) as f64
    };
    values.iter().enumerate().map(flat).collect()
}

/// The best length within a block of a rough one.
fn refined(values: &[f64], rough: usize, block: usize) -> usize {
    let likely = |period: usize| likeness(&quick(values, period), period).map_or(0.0, |l| l.mean);
    (rough.saturating_sub(block).max(2)..=rough + block)
        .map(|period| (period, likely(period)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        .map_or(rough, |(period, _)| period)
}

/// The longest part of a season that comes again and again within it.
fn inner(values: &[f64], period: usize) -> Option<usize> {
    let parts = (2..=MULTIPLES_MAX).filter(|part| period.is_multiple_of(*part));
    parts.map(|part| period / part).find(|&length| {
        likeness(&quick(values, length), length).is_some_and(|l| l.mean >= INNER_MIN)
    })
}

fn without_season(values: &mut [f64], period: usize) {
    let flat = quick(values, period);
    let (mut sums, mut counts) = (vec![0.0; period], vec![0.0; period]);
    for (at, v) in flat.iter().enumerate() {
        sums[at % period] += v;
        counts[at % period] += 1.0;
    }
    for (at, v) in values.iter_mut().enumerate() {
        *v -= sums[at % period] / f64::max(counts[at % period], 1.0);
    }
}

/// The simple rule that the above is compared with: the highest peak of the autocorrelation after its first zero, if above
/// twice its standard error on white noise.
pub fn autocorrelation_period(history: &[f64]) -> Option<usize> {
    let acf = autocorrelation(&without_trend(&filled(history)));
    let first = acf.iter().position(|&r| r <= 0.0)?;
    let best = (first.max(2)..acf.len()).max_by(|&a, &b| acf[a].total_cmp(&acf[b]))?;
    (acf[best] > 2.0 / (history.len() as f64).sqrt()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;
    use std::f64::consts::TAU;

    fn walk(n: usize, seed: u64) -> Vec<f64> {
        let mut at = 0.0;
        let step = |e| {
            at += e;
            at
        };
        white_noise(seed).take(n).map(step).collect()
    }

    #[test]
    fn noise_and_random_walks_have_no_season() {
        let config = SeasonConfig::default();
        for n in [200, 700] {
            let white = (0..400)
                .filter(|&s| {
                    !seasons(&white_noise(s).take(n).collect::<Vec<_>>(), config).is_empty()
                })
                .count();
            let walks = (0..400).filter(|&s| !seasons(&walk(n, s), config).is_empty()).count();
            assert!(white <= 4 && walks <= 4, "{white} and {walks} of 400 with {n} values");
        }
    }

    #[test]
    fn planted_seasons_are_found_in_noise_trend_and_on_a_walk() {
        let (mut right, mut all) = (0, 0);
        for (period, n) in [(7, 140), (24, 360), (60, 600), (144, 1008)] {
            for seed in 0..15 {
                let drift = walk(n, seed + 50);
                let plain: Vec<f64> = white_noise(seed)
                    .take(n)
                    .enumerate()
                    .map(|(i, e)| {
                        3.0 * (TAU * i as f64 / f64::from(period)).sin() + 2.0 * e + 0.01 * i as f64
                    })
                    .collect();
                let walked: Vec<f64> = plain.iter().zip(&drift).map(|(v, w)| v + 0.2 * w).collect();
                for series in [plain, walked] {
                    let found = seasons(&series, SeasonConfig::default());
                    let near = |&p: &usize| {
                        (p as f64 - f64::from(period)).abs() <= 1.0 + 0.02 * f64::from(period)
                    };
                    right += usize::from(found.first().is_some_and(near));
                    all += 1;
                }
            }
        }
        assert!(right * 100 >= all * 95, "{right} of {all}");
    }

    #[test]
    fn a_day_and_a_week_are_both_found() {
        let series: Vec<f64> = white_noise(4)
            .take(24 * 7 * 8)
            .enumerate()
            .map(|(i, e)| {
                let day = if i % 24 == 3 { 12.0 } else { 0.0 };
                day + if (i / 24) % 7 >= 5 { -5.0 } else { 0.0 } + e
            })
            .collect();
        let mut found = seasons(&series, SeasonConfig::default());
        found.sort_unstable();
        assert_eq!(found, [24, 168]);
    }

    #[test]
    fn degenerate_series_have_none() {
        let none = |values: &[f64]| seasons(values, SeasonConfig::default()).is_empty();
        assert!(none(&[]) && none(&[1.0; 3]) && none(&[4.0; 500]));
        assert!(none(&[f64::NAN; 200]));
        assert!(none(&(0..500).map(f64::from).collect::<Vec<_>>()));
    }
}
