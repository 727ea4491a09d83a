//! Lines in a spectrum: frequencies with far more power than their neighbourhood.

use crate::season::{lag_one, without_trend};
use std::f64::consts::{LN_2, TAU};

/// Bins on each side that the noise is taken from, at least.
const NEAR_BINS: usize = 12;

/// A frequency that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// Cycles in the whole series.
    pub(super) cycles: usize,
    /// Power over that of the noise around it: exponential with mean 1 where there is no line.
    pub(super) strength: f64,
}

/// Lines that chance explains with a probability below `alpha` over all frequencies together, strongest first.
///
/// The trend is taken out and the series whitened by its lag-one autocorrelation, so that a slow series (up to a
/// random walk) has an even spectrum; the noise at a frequency is the median power around it. Cost: n² / 2 products.
pub(super) fn lines(values: &[f64], alpha: f64, cycles_min: usize) -> Vec<Line> {
    let flat = without_trend(values);
    let pace = lag_one(&flat).clamp(0.0, 1.0);
    let white: Vec<f64> = flat.windows(2).map(|w| w[1] - pace * w[0]).collect();
    let power = periodogram(&white);
    let bins = power.len();
    if bins <= 2 * NEAR_BINS || power.iter().sum::<f64>() <= 1e-18 * squares(values) {
        return Vec::new();
    }
    // Of the noise only an estimate is known, so the tail is heavier than exponential; the margin was set on noise.
    let enough = 1.15 * (bins as f64 / alpha).ln();
    let mut lines: Vec<Line> = (cycles_min..bins)
        .map(|cycles| Line { cycles, strength: power[cycles] / noise_at(&power, cycles) })
        .filter(|line| line.strength > enough)
        .collect();
    lines.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.cycles.cmp(&b.cycles)));
    lines
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum()
}

/// Power at 0, 1, 2 … cycles over the series, up to half of its length.
fn periodogram(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let turn: Vec<(f64, f64)> = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos()).collect();
    let at = |cycles: usize| {
        let (mut re, mut im, mut angle) = (0.0, 0.0, 0);
        for v in values {
            re += v * turn[angle].1;
            im += v * turn[angle].0;
            angle += cycles;
            if angle >= n {
                angle -= n;
            }
        }
        (re * re + im * im) / n as f64
    };
    (0..n.div_ceil(2)).map(at).collect()
}

/// Mean power of the noise around a frequency, from the median: that of an exponential is ln 2 of its mean.
fn noise_at(power: &[f64], cycles: usize) -> f64 {
    let reach = NEAR_BINS.max(cycles / 3);
    let (low, high) = (cycles.saturating_sub(reach).max(1), (cycles + reach + 1).min(power.len()));
    let mut around: Vec<f64> = power[low..high].to_vec();
    let middle = around.len() / 2;
    let (_, median, _) = around.select_nth_unstable_by(middle, f64::total_cmp);
    median.max(1e-300) / LN_2
}
