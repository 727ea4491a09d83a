//! What a detector is fitted with.

use serde::{Deserialize, Serialize};

/// Signals of one machine: bounds the covariance (8 MiB) and the cost of a step.
pub(super) const SIGNALS_MAX: usize = 1024;
const VIEWS_MAX: usize = 16;
const SHARES_MAX: usize = 8;
/// Steps that a window may span: a week of minutes, rounded up.
const WINDOW_MAX: usize = 16_384;

/// Why a detector cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MultivariateError {
    /// A setting is outside what makes sense.
    #[error("setting {name}: {what}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The past does not do to fit to.
    #[error("{0}")]
    Past(String),
}

/// When the machine has changed for good, and what is done then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftGate {
    /// A signal must have been elsewhere for most of so many steps.
    pub window_steps: usize,
    /// By so many of its standard deviations.
    pub sigmas: f64,
}

/// One setting for all machines of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// One view each: 0 looks at the values as they are, another number at their distance from an exponential mean
    /// with this half-life, steps.
    pub half_lives_steps: Vec<f64>,
    /// Shares of the variance, each in (0, 1], that the usual directions hold: T² and Q are taken at each.
    pub variance_shares: Vec<f64>,
    /// The smallest standard deviation of a signal, in its own unit: what never moved in the past would otherwise
    /// make an alarm of every rounding. Signals are expected on a scale of about 0 to 1.
    pub floor: f64,
    /// The score is the mean of the causal means over so many steps; 1 is the step alone.
    pub smoothing_steps: Vec<usize>,
    /// `None` never re-centres.
    pub drift: Option<DriftGate>,
}

impl Default for Settings {
    /// What was best on half of the machines of the Server Machine Dataset.
    fn default() -> Self {
        Self {
            half_lives_steps: vec![0.0, 60.0],
            variance_shares: vec![0.9],
            floor: 0.01,
            smoothing_steps: vec![1, 10],
            drift: None,
        }
    }
}

impl Settings {
    /// Whether they make sense; they may come from a file.
    pub fn check(&self) -> Result<(), MultivariateError> {
        let views = &self.half_lives_steps;
        require(
            "half_lives_steps",
            (1..=VIEWS_MAX).contains(&views.len()) && views.iter().all(|h| (0.0..=1e9).contains(h)),
            "write 1 to 16 numbers from 0",
        )?;
        let shares = &self.variance_shares;
        require(
            "variance_shares",
            (1..=SHARES_MAX).contains(&shares.len()) && shares.iter().all(|&s| s > 0.0 && s <= 1.0),
            "write 1 to 8 numbers above 0 and up to 1",
        )?;
        require("floor", self.floor > 0.0 && self.floor.is_finite(), "write a number above 0")?;
        let windows = &self.smoothing_steps;
        require(
            "smoothing_steps",
            (1..=VIEWS_MAX).contains(&windows.len())
                && windows.iter().all(|w| (1..=WINDOW_MAX).contains(w)),
            "write 1 to 16 numbers from 1 to 16384",
        )?;
        let gate = self.drift.is_none_or(|gate| {
            (8..=WINDOW_MAX).contains(&gate.window_steps)
                && gate.sigmas > 0.0
                && gate.sigmas.is_finite()
        });
        require("drift", gate, "write 8 to 16384 steps and sigmas above 0")
    }
}

fn require(name: &'static str, holds: bool, what: &str) -> Result<(), MultivariateError> {
    if holds { Ok(()) } else { Err(MultivariateError::Setting { name, what: what.into() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_from_a_file_are_bounded() {
        assert_eq!(Settings::default().check(), Ok(()));
        let bad = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().expect_err("out of bounds")
        };
        bad(&|s| s.half_lives_steps.clear());
        bad(&|s| s.half_lives_steps[0] = f64::NAN);
        bad(&|s| s.half_lives_steps[0] = -1.0);
        bad(&|s| s.variance_shares[0] = 0.0);
        bad(&|s| s.variance_shares = vec![0.5; 100_000]);
        bad(&|s| s.floor = f64::INFINITY);
        bad(&|s| s.smoothing_steps = vec![usize::MAX]);
        bad(&|s| s.smoothing_steps = vec![0]);
        bad(&|s| s.drift = Some(DriftGate { window_steps: usize::MAX, sigmas: 3.0 }));
        bad(&|s| s.drift = Some(DriftGate { window_steps: 100, sigmas: f64::NAN }));
    }
}
