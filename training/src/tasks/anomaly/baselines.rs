//! What people would otherwise use.

use super::scored::Group;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const DAY_S: i64 = 86_400;
/// The published settings of the benchmark's `windowedGaussian`.
const GAUSSIAN_POINTS: usize = 6_400;
const GAUSSIAN_STEP: usize = 100;
/// The published threshold is 1 of scores rounded to twelve digits: a normal tail of 5e-13 is so many deviations.
const GAUSSIAN_DEVIATIONS: f64 = 7.130_506_848_171_325;
/// Residuals are divided by this quantile of the trailing ones.
const QUANTILE: f64 = 0.99;
const TRAILING_POINTS: usize = 2_000;
/// The quantile is found anew after so many points.
const QUANTILE_STEP: usize = 25;
const LEAST_POINTS: usize = 100;
const HOUR_RATE: f64 = 0.02;
const EWMA_RATE: f64 = 2.0 / 21.0;

/// A simple detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Baseline {
    /// Deviations from the mean of the last 6,400 points, as published with the benchmark: threshold and no grouping.
    WindowedGaussian,
    /// The same with one alert a day and a threshold chosen like the detector's.
    WindowedGaussianGrouped,
    /// Distance from the running mean of the hour of the day, by its trailing 99 % quantile; one alert a day.
    SeasonalResidual,
    /// Distance from the average of the last 20 points, by its trailing 99 % quantile; one alert a day.
    Ewma,
}

impl Baseline {
    pub(super) const ALL: [Self; 4] =
        [Self::WindowedGaussian, Self::WindowedGaussianGrouped, Self::SeasonalResidual, Self::Ewma];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WindowedGaussian => "windowed_gaussian",
            Self::WindowedGaussianGrouped => "windowed_gaussian_grouped",
            Self::SeasonalResidual => "seasonal_residual",
            Self::Ewma => "ewma",
        }
    }

    pub(super) fn grouping(self) -> Group {
        match self {
            Self::WindowedGaussian => Group::Points(1),
            _ => Group::Seconds(DAY_S),
        }
    }

    pub(super) fn published_threshold(self) -> Option<f64> {
        (self == Self::WindowedGaussian).then_some(GAUSSIAN_DEVIATIONS)
    }

    pub(super) fn scores(self, time_s: &[i64], values: &[f64]) -> Vec<f64> {
        match self {
            Self::WindowedGaussian | Self::WindowedGaussianGrouped => deviations(values),
            Self::SeasonalResidual => by_trailing_quantile(&seasonal(time_s, values)),
            Self::Ewma => by_trailing_quantile(&ewma(values)),
        }
    }
}

fn deviations(values: &[f64]) -> Vec<f64> {
    let mut window: VecDeque<f64> = VecDeque::new();
    // Around the first value, so that squares of a large level do not swallow its spread.
    let origin = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
    let (mut sum, mut squares) = (0.0, 0.0);
    let (mut mean, mut deviation) = (0.0, 1.0);
    let mut waiting = Vec::new();
    let mut scores = Vec::with_capacity(values.len());
    for &value in values {
        let value = value - origin;
        let score = (value - mean).abs() / deviation;
        scores.push(if window.is_empty() || !score.is_finite() { 0.0 } else { score });
        if !value.is_finite() {
            continue;
        }
        waiting.push(value);
        if window.len() >= GAUSSIAN_POINTS && waiting.len() < GAUSSIAN_STEP {
            continue;
        }
        for new in waiting.drain(..) {
            window.push_back(new);
            (sum, squares) = (sum + new, squares + new * new);
        }
        while window.len() > GAUSSIAN_POINTS {
            let old = window.pop_front().expect("longer than a constant");
            (sum, squares) = (sum - old, squares - old * old);
        }
        let count = window.len() as f64;
        mean = sum / count;
        deviation = (squares / count - mean * mean).max(0.0).sqrt();
        if deviation == 0.0 {
            deviation = 1e-6;
        }
    }
    scores
}

fn seasonal(time_s: &[i64], values: &[f64]) -> Vec<f64> {
    let mut means = [0.0; 24];
    let mut seen = [0.0_f64; 24];
    let mut residual = |(time_s, value): (&i64, &f64)| {
        if !value.is_finite() {
            return 0.0;
        }
        let hour = (time_s.rem_euclid(DAY_S) / 3_600) as usize;
        let residual = if seen[hour] > 0.0 { (value - means[hour]).abs() } else { 0.0 };
        seen[hour] += 1.0;
        means[hour] += (1.0 / seen[hour]).max(HOUR_RATE) * (value - means[hour]);
        residual
    };
    time_s.iter().zip(values).map(&mut residual).collect()
}

fn ewma(values: &[f64]) -> Vec<f64> {
    let mut mean = None;
    let mut residual = |value: &f64| {
        if !value.is_finite() {
            return 0.0;
        }
        let before = mean.unwrap_or(*value);
        mean = Some(before + EWMA_RATE * (value - before));
        (value - before).abs()
    };
    values.iter().map(&mut residual).collect()
}

fn by_trailing_quantile(residuals: &[f64]) -> Vec<f64> {
    let mut quantile = 0.0;
    let mut sorted = Vec::with_capacity(TRAILING_POINTS);
    let mut scores = Vec::with_capacity(residuals.len());
    for (at, residual) in residuals.iter().enumerate() {
        if at >= LEAST_POINTS && at % QUANTILE_STEP == 0 {
            sorted.clear();
            sorted.extend_from_slice(&residuals[at.saturating_sub(TRAILING_POINTS)..at]);
            let rank = ((sorted.len() - 1) as f64 * QUANTILE) as usize;
            quantile = *sorted.select_nth_unstable_by(rank, f64::total_cmp).1;
        }
        let score = residual / quantile;
        scores.push(if quantile > 0.0 && score.is_finite() { score } else { 0.0 });
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sees_what_it_is_for() {
        let time_s: Vec<i64> = (0..288 * 10).map(|i| i * 300).collect();
        let wave = |i: usize| 50.0 + 20.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        let mut values: Vec<f64> =
            (0..288 * 10).map(|i| wave(i) + (i * 7919 % 101) as f64 / 101.0).collect();
        let at = 288 * 8 + 20;
        values[at] = wave(at + 144);
        for baseline in [Baseline::SeasonalResidual, Baseline::Ewma] {
            let scores = baseline.scores(&time_s, &values);
            let most = (288 * 4..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            assert_eq!(most, Some(at), "{}", baseline.name());
        }
        values[at] = 5_000.0;
        let scores = Baseline::WindowedGaussian.scores(&time_s, &values);
        assert!(scores[at] > GAUSSIAN_DEVIATIONS);
        assert!(scores[500..at].iter().all(|score| *score < 3.0));
    }

    #[test]
    fn constant_empty_and_no_numbers_give_zeros() {
        for baseline in Baseline::ALL {
            assert!(baseline.scores(&[], &[]).is_empty());
            for value in [7.0, f64::NAN, 1e308] {
                let time_s: Vec<i64> = (0..500).collect();
                let scores = baseline.scores(&time_s, &[value; 500]);
                assert!(scores.iter().all(|score| *score == 0.0), "{} {value}", baseline.name());
            }
        }
    }
}
