//! The mean course of the season, plus how far the series is off it now, fading with the steps ahead.

use super::{FitContext, FitError, Fitted, Forecaster, mean};
use serde::{Deserialize, Serialize};

/// Seasons that the course is averaged over.
const SEASONS_MAX: usize = 12;
/// Values the weights are chosen on: bounds the cost of a fit.
const FIT_VALUES_MAX: usize = 2_048;
/// Slots smoothed over on either side, as a part of the period; short seasons are not smoothed.
const SMOOTH_PARTS: [usize; 3] = [0, 96, 32];
const ALPHAS: [f64; 5] = [0.05, 0.15, 0.35, 0.6, 1.0];
/// Weight of the newest season in the course.
const GAINS: [f64; 4] = [0.1, 0.3, 0.6, 1.0];
const KEEPS: [f64; 6] = [0.8, 0.95, 0.98, 0.995, 0.999, 1.0];

/// Seasonal profile: strong where every day looks like the mean of the last ones.
#[derive(Clone, Copy, Debug)]
pub struct SeasonalProfile;

/// What was fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileFit {
    /// Period, steps.
    pub period: usize,
    /// Slots smoothed over on either side.
    pub smooth: usize,
    /// Weight of the newest deviation.
    pub alpha: f64,
    /// Weight of the newest season in the course.
    pub gain: f64,
    /// What is left of the deviation after one step.
    pub keep: f64,
}

impl Forecaster for SeasonalProfile {
    fn name(&self) -> &'static str {
        "seasonal_profile"
    }

    fn fit(&self, history: &[f64], context: FitContext) -> Result<Fitted, FitError> {
        let period = context.period.filter(|&p| p > 1).ok_or(FitError::NoSeason)?;
        if history.len() < 2 * period {
            return Err(FitError::TooShort { needed: 2 * period, given: history.len() });
        }
        let horizon = context.horizon.max(1);
        let steps = [1, horizon.div_ceil(2), horizon];
        let mut smooths: Vec<usize> =
            SMOOTH_PARTS.iter().map(|&part| period.checked_div(part).unwrap_or(0)).collect();
        smooths.dedup();
        let start = ProfileFit { period, smooth: 0, gain: 1.0, alpha: 1.0, keep: 1.0 };
        let mut best = (f64::INFINITY, start);
        for (smooth, gain) in smooths.iter().flat_map(|&s| GAINS.map(|gain| (s, gain))) {
            let off = Walk::over(history, period, smooth, gain).off;
            let off = &off[off.len().saturating_sub(FIT_VALUES_MAX)..];
            for alpha in ALPHAS {
                let levels = levels(off, alpha);
                for keep in KEEPS {
                    let error: f64 = steps.iter().map(|&h| error_at(off, &levels, keep, h)).sum();
                    if error < best.0 * (1.0 - 1e-9) {
                        best = (error, ProfileFit { period, smooth, gain, alpha, keep });
                    }
                }
            }
        }
        Ok(Fitted::SeasonalProfile(best.1))
    }
}

impl ProfileFit {
    pub(super) fn points(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let Self { period, smooth, gain, alpha, keep } = *self;
        if period == 0 || history.len() < period {
            return super::naive::last(history, horizon);
        }
        let walk = Walk::over(history, period, smooth, gain);
        let level = levels(&walk.off, alpha).last().copied().unwrap_or(0.0);
        let fade = (1..=horizon).map(|h| keep.powi(i32::try_from(h).unwrap_or(i32::MAX)));
        // The course ends at the last value, so one step ahead is its first slot again.
        walk.course.iter().cycle().zip(fade).map(|(slot, fade)| slot + level * fade).collect()
    }
}

/// The course of the season, learnt season by season.
struct Walk {
    /// Value expected per slot; the last slot is that of the newest value.
    course: Vec<f64>,
    /// How far each value was off the course as it was known before its season.
    off: Vec<f64>,
}

impl Walk {
    fn over(history: &[f64], period: usize, smooth: usize, gain: f64) -> Self {
        let seasons = (history.len() / period).clamp(1, SEASONS_MAX);
        let recent = &history[history.len().saturating_sub(seasons * period)..];
        let mut slots = recent[..period].to_vec();
        let mut off = Vec::with_capacity(recent.len() - period);
        for (seen, season) in recent.chunks_exact(period).enumerate().skip(1) {
            let course = smoothed(&slots, smooth);
            off.extend(season.iter().zip(&course).map(|(value, slot)| value - slot));
            // A plain mean at first, so that the very first season has no special weight.
            let weight = gain.max(1.0 / (seen + 1) as f64);
            slots
                .iter_mut()
                .zip(season)
                .for_each(|(slot, value)| *slot += weight * (value - *slot));
        }
        Self { course: smoothed(&slots, smooth), off }
    }
}

/// Mean over `reach` neighbours on either side, around the end.
fn smoothed(slots: &[f64], reach: usize) -> Vec<f64> {
    let (n, width) = (slots.len(), 2 * reach + 1);
    if reach == 0 || width >= n {
        return slots.to_vec();
    }
    let mut sum: f64 = (0..width).map(|i| slots[(n + i - reach) % n]).sum();
    (0..n)
        .map(|slot| {
            let mean = sum / width as f64;
            sum += slots[(slot + reach + 1) % n] - slots[(n + slot - reach) % n];
            mean
        })
        .collect()
}

fn levels(off: &[f64], alpha: f64) -> Vec<f64> {
    let start = mean(&off[..off.len().min(8)]);
    off.iter()
        .scan(start, |level, value| {
            *level += alpha * (value - *level);
            Some(*level)
        })
        .collect()
}

fn error_at(off: &[f64], levels: &[f64], keep: f64, steps: usize) -> f64 {
    let kept = keep.powi(i32::try_from(steps).unwrap_or(i32::MAX));
    let pairs = off.iter().skip(steps).zip(levels);
    let n = off.len().saturating_sub(steps).max(1);
    pairs.map(|(value, level)| (value - kept * level).abs()).sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_season_is_repeated_exactly() {
        let season = [1.0, 5.0, 9.0, 4.0];
        let history: Vec<f64> = season.iter().copied().cycle().take(40).collect();
        let context = FitContext { horizon: 4, period: Some(4) };
        let fitted = SeasonalProfile.fit(&history, context).unwrap();
        for (point, exact) in
            fitted.points(&history[..38], 6).iter().zip([9.0, 4.0, 1.0, 5.0, 9.0, 4.0])
        {
            assert!((point - exact).abs() < 1e-9, "{point} for {exact}");
        }
    }

    #[test]
    fn a_surge_lifts_the_next_steps_and_fades() {
        let mut history: Vec<f64> = (0..200).map(|i| f64::from(10 + i % 10)).collect();
        history.extend((0..5).map(|i| f64::from(30 + i)));
        let fit = ProfileFit { period: 10, smooth: 0, gain: 0.3, alpha: 0.6, keep: 0.8 };
        let points = Fitted::SeasonalProfile(fit).points(&history, 30);
        assert!(points[0] > 25.0, "{points:?}");
        assert!(points[20] < 20.0, "{points:?}");
    }
}
