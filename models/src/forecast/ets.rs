//! Exponential smoothing chosen by information criterion (AutoETS of augurs), on the seasonally adjusted series.
//!
//! augurs finds the weights but keeps them to itself and cannot go on from a later value. Both are needed here, so
//! the weights are read back from its one-step forecasts, which depend on them linearly; the fit is refused unless
//! our own recursion with these weights gives the same forecasts.

use super::{FitContext, FitError, Fitted, Forecaster, is_constant, mean};
use augurs::{
    Fit as _, Predict as _,
    ets::{AutoETS, model::TrendComponent},
};
use serde::{Deserialize, Serialize};

/// Values the weights are fitted to; the optimiser's time grows with them.
const FIT_VALUES_MAX: usize = 128;
const VALUES_MIN: usize = 16;

/// AutoETS over simple, trended and damped smoothing with additive errors.
#[derive(Clone, Copy, Debug)]
pub struct Ets;

/// What was fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EtsFit {
    /// Period of the season that is taken out first.
    pub period: Option<usize>,
    /// Weight of the level.
    pub alpha: f64,
    /// Whether there is a trend.
    pub has_trend: bool,
    /// Weight of the trend.
    pub beta: f64,
    /// Damping of the trend per step.
    pub phi: f64,
}

impl Forecaster for Ets {
    fn name(&self) -> &'static str {
        "ets"
    }

    fn fit(&self, history: &[f64], context: FitContext) -> Result<Fitted, FitError> {
        if history.len() < VALUES_MIN {
            return Err(FitError::TooShort { needed: VALUES_MIN, given: history.len() });
        }
        let period = context.period.filter(|&p| p > 1 && history.len() >= 2 * p);
        let (adjusted, _) = adjust(history, period);
        let tail = &adjusted[adjusted.len().saturating_sub(FIT_VALUES_MAX)..];
        if is_constant(tail) {
            return Err(FitError::Constant);
        }
        // The optimiser works with absolute tolerances: bring the series to a size of about one.
        let size = mean(&tail.iter().map(|v| v.abs()).collect::<Vec<_>>()).max(f64::MIN_POSITIVE);
        let scaled: Vec<f64> = tail.iter().map(|value| value / size).collect();
        let weights = fit_weights(&scaled)?;
        Ok(Fitted::Ets(EtsFit { period, ..weights }))
    }
}

impl EtsFit {
    pub(super) fn points(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let period = self.period.filter(|&p| history.len() >= p && p > 0);
        let (adjusted, season) = adjust(history, period);
        // As many values as it was fitted to: older ones have no weight left.
        let tail = &adjusted[adjusted.len().saturating_sub(FIT_VALUES_MAX)..];
        let (level, trend) = self.start(tail);
        let (level, trend) = self.run(tail, level, trend);
        let (mut reach, mut power) = (0.0, 1.0);
        (0..horizon)
            .map(|h| {
                power *= self.phi;
                reach += power;
                level
                    + reach * trend
                    + if season.is_empty() { 0.0 } else { season[h % season.len()] }
            })
            .collect()
    }

    /// Where to begin, with little influence on the end unless the weights are tiny: then the mean and slope of
    /// the whole tail are what the optimiser would find.
    fn start(&self, tail: &[f64]) -> (f64, f64) {
        let half = tail.len() / 2;
        let slope = if self.has_trend && half > 0 {
            (mean(&tail[tail.len() - half..]) - mean(&tail[..half])) / (tail.len() - half) as f64
        } else {
            0.0
        };
        let memory = (2.0 / self.alpha.max(1e-3)) as usize;
        let first = &tail[..tail.len().min(memory.max(8))];
        (mean(first) - slope * (first.len() + 1) as f64 / 2.0, slope)
    }

    /// Level and trend after the values.
    fn run(&self, values: &[f64], level: f64, trend: f64) -> (f64, f64) {
        values.iter().fold((level, trend), |(level, trend), value| {
            let expected = level + self.phi * trend;
            let error = value - expected;
            (expected + self.alpha * error, self.phi * trend + self.beta * error)
        })
    }
}

/// The series without its season, and the season; its first slot is that of the step after the series.
fn adjust(history: &[f64], period: Option<usize>) -> (Vec<f64>, Vec<f64>) {
    let Some(period) = period else {
        return (history.to_vec(), Vec::new());
    };
    let seasons = (history.len() / period).clamp(1, 8);
    let recent = &history[history.len().saturating_sub(seasons * period)..];
    let mut season = vec![0.0; period];
    for one in recent.chunks_exact(period) {
        // Around its own mean, so that a rising level does not lean into the season.
        let level = mean(one);
        season.iter_mut().zip(one).for_each(|(slot, v)| *slot += (v - level) / seasons as f64);
    }
    let adjusted = recent.iter().zip(season.iter().cycle()).map(|(v, slot)| v - slot).collect();
    (adjusted, season)
}

fn fit_weights(values: &[f64]) -> Result<EtsFit, FitError> {
    let not_found = |why: &dyn std::fmt::Display| FitError::NotFound(why.to_string());
    let auto = AutoETS::new(1, "AZN").map_err(|e| not_found(&e))?;
    let model = auto.fit(values).map_err(|e| not_found(&e))?;
    let fitted = model.predict_in_sample(None).map_err(|e| not_found(&e))?.point;
    let has_trend = !matches!(model.model().model_type().trend, TrendComponent::None);
    let fit = weights_behind(values, &fitted, has_trend, model.model().damped())
        .ok_or_else(|| not_found(&"the weights cannot be read back"))?;
    // Trust, but verify: our recursion from the same start must say what augurs says.
    let ahead = model.predict(3, None).map_err(|e| not_found(&e))?.point;
    let (level, trend) = start_of(&fit, values, &fitted);
    let (level, trend) = fit.run(&values[1..], level, trend);
    let (mut reach, mut power) = (0.0, 1.0);
    for theirs in ahead {
        power *= fit.phi;
        reach += power;
        let ours = level + reach * trend;
        if !ours.is_finite() || (ours - theirs).abs() > 1e-3 * (1.0 + theirs.abs()) {
            return Err(not_found(&format!("our recursion gives {ours}, augurs {theirs}")));
        }
    }
    Ok(fit)
}

/// Level and trend after the first value, from the first two one-step forecasts.
fn start_of(fit: &EtsFit, values: &[f64], fitted: &[f64]) -> (f64, f64) {
    let level = fitted[0] + fit.alpha * (values[0] - fitted[0]);
    let trend = if fit.has_trend && fit.phi > 0.0 { (fitted[1] - level) / fit.phi } else { 0.0 };
    (level, trend)
}

/// Solves `Δf' = φ Δf + (α + φβ) e − φα e₋₁` for the weights, by least squares over the fitted values `f` and their
/// errors `e`. (From `f' = l + φb`, `l = f + αe`, `b = φb₋₁ + βe`.)
fn weights_behind(values: &[f64], fitted: &[f64], has_trend: bool, damped: bool) -> Option<EtsFit> {
    let error: Vec<f64> = values.iter().zip(fitted).map(|(v, f)| v - f).collect();
    let change: Vec<f64> = fitted.windows(2).map(|w| w[1] - w[0]).collect();
    let fit = |alpha: f64, beta: f64, phi: f64| {
        let legal = alpha.is_finite() && beta.is_finite() && phi.is_finite();
        let clamp = |x: f64| x.clamp(0.0, 1.0);
        legal.then(|| EtsFit {
            period: None,
            alpha: clamp(alpha),
            has_trend,
            beta: clamp(beta),
            phi: clamp(phi),
        })
    };
    if !has_trend {
        let (xy, xx) =
            change.iter().zip(&error).fold((0.0, 0.0), |(xy, xx), (c, e)| (xy + c * e, xx + e * e));
        return fit(xy / xx, 0.0, 1.0);
    }
    let rows = (1..change.len()).map(|t| (change[t], change[t - 1], error[t], error[t - 1]));
    if damped {
        let system: Vec<([f64; 3], f64)> = rows.map(|(y, c, e, e1)| ([c, e, e1], y)).collect();
        let [phi, sum, minus] = least_squares(&system)?;
        let alpha = -minus / phi;
        fit(alpha, (sum - alpha) / phi, phi)
    } else {
        let system: Vec<([f64; 3], f64)> =
            rows.map(|(y, c, e, e1)| ([0.0, e, e1], y - c)).collect();
        let [_, sum, minus] = least_squares(&system)?;
        fit(-minus, sum + minus, 1.0)
    }
}

/// Least squares in three unknowns by normal equations; an unknown whose column is zero stays zero.
fn least_squares(system: &[([f64; 3], f64)]) -> Option<[f64; 3]> {
    let mut m = [[0.0; 4]; 3];
    for (row, y) in system {
        for i in 0..3 {
            for j in 0..3 {
                m[i][j] += row[i] * row[j];
            }
            m[i][3] += row[i] * y;
        }
    }
    for (i, row) in m.iter_mut().enumerate() {
        if row[i] == 0.0 {
            row[i] = 1.0;
        }
    }
    for i in 0..3 {
        let pivot = (i..3).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))?;
        m.swap(i, pivot);
        if m[i][i].abs() < 1e-300 {
            return None;
        }
        for k in 0..3 {
            if k != i {
                let factor = m[k][i] / m[i][i];
                let from = m[i];
                m[k].iter_mut().zip(from).for_each(|(x, f)| *x -= factor * f);
            }
        }
    }
    Some([m[0][3] / m[0][0], m[1][3] / m[1][1], m[2][3] / m[2][2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64 - 0.5
        })
    }

    #[test]
    fn the_weights_behind_known_smoothing_are_read_back() {
        for (alpha, beta, phi, has_trend, damped) in [
            (0.3, 0.0, 1.0, false, false),
            (0.4, 0.1, 1.0, true, false),
            (0.5, 0.2, 0.9, true, true),
        ] {
            let fit = EtsFit { period: None, alpha, has_trend, beta, phi };
            let values: Vec<f64> = noise(1).take(80).map(|n| 10.0 + n).collect();
            let (mut level, mut trend) = (10.0, 0.2);
            let mut fitted = Vec::new();
            for &value in &values {
                fitted.push(level + phi * trend * f64::from(u8::from(has_trend)));
                (level, trend) = fit.run(&[value], level, if has_trend { trend } else { 0.0 });
            }
            let got = weights_behind(&values, &fitted, has_trend, damped).unwrap();
            for (name, got, exact) in
                [("alpha", got.alpha, alpha), ("beta", got.beta, beta), ("phi", got.phi, phi)]
            {
                assert!((got - exact).abs() < 1e-6, "{name}: {got} for {exact}");
            }
        }
    }

    #[test]
    fn fits_are_found_for_most_series_and_follow_a_trend() {
        let context = FitContext { horizon: 10, period: None };
        let mut found = 0;
        for seed in 0..40 {
            let history: Vec<f64> =
                noise(seed).take(150).enumerate().map(|(i, n)| 50.0 + i as f64 + 4.0 * n).collect();
            let Ok(fitted) = Ets.fit(&history, context) else {
                continue;
            };
            found += 1;
            let ahead = fitted.points(&history, 10)[9];
            assert!(ahead > 195.0 && ahead < 220.0, "seed {seed}: {ahead} from {fitted:?}");
        }
        assert!(found >= 36, "only {found} of 40 fits");
    }

    #[test]
    fn constant_and_short_series_are_left_out() {
        let context = FitContext { horizon: 1, period: None };
        assert_eq!(Ets.fit(&[3.0; 50], context), Err(FitError::Constant));
        assert!(matches!(Ets.fit(&[3.0; 5], context), Err(FitError::TooShort { .. })));
    }
}
