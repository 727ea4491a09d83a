//! The numbers of a detector: one set for all series.

use serde::{Deserialize, Serialize};

/// How a detector works. The defaults were chosen on the Numenta benchmark, see `docs/src/models/anomaly.md`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// An alert is raised where the score reaches this.
    pub threshold: f64,
    /// No alert follows another within this many points: 1 to 1,000,000.
    pub grouping_points: u32,
    /// No score is given before this many points were seen: up to 1,000,000.
    pub warm_up_points: u32,
    /// After this many points an old residual counts half in the tails: 10 to 10,000,000.
    pub half_life_points: f64,
    /// Span of the moving average that is compared with the hour and the level, in points: 1 to 10,000.
    pub smoothing_points: f64,
    /// Span of the level that the moving average is compared with, in points: 1 to 1,000,000.
    pub level_points: f64,
    /// Span of the average that the last point is compared with, in points: 1 to 10,000.
    pub step_points: f64,
    /// The least weight of a new point in the usual value of its hour: 0 to 1.
    pub hour_rate: f64,
    /// How much more a residual counts that is ten times the largest one seen: 0 to 100. It is the exponent of a Pareto tail.
    pub tail_exponent: f64,
    /// Weight of step, flat line and missing data beside the views of the level: 0 to 1.
    pub side_weight: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 2.3,
            grouping_points: 120,
            warm_up_points: 100,
            half_life_points: 4000.0,
            smoothing_points: 6.0,
            level_points: 1000.0,
            step_points: 20.0,
            hour_rate: 0.02,
            tail_exponent: 2.0,
            side_weight: 0.5,
        }
    }
}

/// Settings that no detector can work with.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{name}` is {value}, which is not between {least} and {most}")]
pub struct SettingsError {
    /// The setting.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// The least it may be.
    pub least: f64,
    /// The most it may be.
    pub most: f64,
}

impl Settings {
    /// For series whose single points matter: nothing is averaged, so that a score is over when its cause is, and a step
    /// counts as much as a level.
    pub fn for_points() -> Self {
        Self { smoothing_points: 1.0, side_weight: 1.0, ..Self::default() }
    }

    /// Refuses what no detector can work with. Settings come from files.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("threshold", self.threshold, 0.0, 1e9),
            ("grouping_points", f64::from(self.grouping_points), 1.0, 1e6),
            ("warm_up_points", f64::from(self.warm_up_points), 0.0, 1e6),
            ("half_life_points", self.half_life_points, 10.0, 1e7),
            ("smoothing_points", self.smoothing_points, 1.0, 1e4),
            ("level_points", self.level_points, 1.0, 1e6),
            ("step_points", self.step_points, 1.0, 1e4),
            ("hour_rate", self.hour_rate, 0.0, 1.0),
            ("tail_exponent", self.tail_exponent, 0.0, 100.0),
            ("side_weight", self.side_weight, 0.0, 1.0),
        ];
        for (name, value, least, most) in ranges {
            // A NaN is in no range.
            if !(least..=most).contains(&value) {
                return Err(SettingsError { name, value, least, most });
            }
        }
        Ok(())
    }
}
