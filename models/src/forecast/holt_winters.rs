//! Additive Holt-Winters with a damped trend; weights by a fixed grid, so that the fit is cheap and repeatable.

use super::{FitContext, FitError, Fitted, Forecaster, mean};
use serde::{Deserialize, Serialize};

const ALPHAS: [f64; 5] = [0.03, 0.1, 0.25, 0.5, 0.8];
const GAMMAS: [f64; 3] = [0.05, 0.15, 0.4];
/// Weight of the trend and its damping; without weight there is no trend.
const TRENDS: [(f64, f64); 4] = [(0.0, 0.9), (0.02, 0.9), (0.02, 0.98), (0.1, 0.9)];
/// Values that a fit or a forecast runs over at least, and in seasons.
const VALUES_MIN: usize = 1_024;
const SEASONS_MAX: usize = 10;

/// Holt-Winters: level, damped trend and season, each smoothed with its own weight.
#[derive(Clone, Copy, Debug)]
pub struct HoltWinters;

/// What was fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoltWintersFit {
    /// Period, steps.
    pub period: usize,
    /// Weight of the level.
    pub alpha: f64,
    /// Weight of the trend.
    pub beta: f64,
    /// Weight of the season.
    pub gamma: f64,
    /// Damping of the trend per step.
    pub phi: f64,
}

impl Forecaster for HoltWinters {
    fn name(&self) -> &'static str {
        "holt_winters"
    }

    fn fit(&self, history: &[f64], context: FitContext) -> Result<Fitted, FitError> {
        let period = context.period.filter(|&p| p > 1).ok_or(FitError::NoSeason)?;
        if history.len() < 3 * period {
            return Err(FitError::TooShort { needed: 3 * period, given: history.len() });
        }
        let history = recent(history, period);
        let mut best = (f64::INFINITY, None);
        for alpha in ALPHAS {
            for gamma in GAMMAS {
                for (beta, phi) in TRENDS {
                    let fit = HoltWintersFit { period, alpha, beta, gamma, phi };
                    let error = State::run(&fit, history).error;
                    if error < best.0 * (1.0 - 1e-9) {
                        best = (error, Some(fit));
                    }
                }
            }
        }
        best.1.map(Fitted::HoltWinters).ok_or_else(|| FitError::NotFound("no finite error".into()))
    }
}

impl HoltWintersFit {
    pub(super) fn points(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        if self.period == 0 || history.len() < self.period {
            return super::naive::last(history, horizon);
        }
        let history = recent(history, self.period);
        let state = State::run(self, history);
        let mut damping = 0.0;
        let mut power = 1.0;
        (0..horizon)
            .map(|h| {
                power *= self.phi;
                damping += power;
                let slot = (history.len() + h) % self.period;
                state.level + damping * state.trend + state.season[slot]
            })
            .collect()
    }
}

fn recent(history: &[f64], period: usize) -> &[f64] {
    let keep = VALUES_MIN.max(SEASONS_MAX.saturating_mul(period));
    &history[history.len().saturating_sub(keep)..]
}

struct State {
    level: f64,
    trend: f64,
    season: Vec<f64>,
    /// Sum of absolute one-step errors after the first season.
    error: f64,
}

impl State {
    fn run(fit: &HoltWintersFit, history: &[f64]) -> Self {
        let first = &history[..fit.period];
        let level = mean(first);
        let season = first.iter().map(|value| value - level).collect();
        let mut state = Self { level, trend: 0.0, season, error: 0.0 };
        let mut slot = 0;
        for &value in &history[fit.period..] {
            let (base, damped) = (state.level, fit.phi * state.trend);
            let expected = base + damped + state.season[slot];
            let error = value - expected;
            state.error += error.abs();
            state.level = base + damped + fit.alpha * error;
            state.trend = damped + fit.alpha * fit.beta * error;
            state.season[slot] += fit.gamma * (1.0 - fit.alpha) * error;
            slot = if slot + 1 == fit.period { 0 } else { slot + 1 };
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_on_a_rising_level_is_followed() {
        let value = |i: usize| 20.0 + i as f64 * 0.1 + [0.0, 6.0, 3.0, -5.0, -4.0][i % 5];
        let history: Vec<f64> = (0..400).map(value).collect();
        let context = FitContext { horizon: 5, period: Some(5) };
        let fitted = HoltWinters.fit(&history, context).unwrap();
        for (h, point) in fitted.points(&history, 5).into_iter().enumerate() {
            let exact = value(400 + h);
            assert!((point - exact).abs() < 0.8, "step {h}: {point} for {exact}");
        }
    }

    #[test]
    fn needs_three_seasons() {
        let context = FitContext { horizon: 5, period: Some(10) };
        assert!(matches!(HoltWinters.fit(&[1.0; 29], context), Err(FitError::TooShort { .. })));
    }
}
