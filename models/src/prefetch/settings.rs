//! What can be set.

use super::class::Class;
use super::sources::MAX_WINDOW;
use serde::{Deserialize, Serialize};

/// The settings of an [`EdgeCache`](super::EdgeCache). One set serves every workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Keys whose history is kept, 64 to 2^24, rounded up to a power of two; at most 64 bytes each.
    pub tracked_ids: u32,
    /// Requests after an earlier occurrence that are looked at, 1 to 32.
    pub window_requests: u32,
    /// A proposal is issued if its class comes true at least so often, 0 to 1.
    pub threshold: f64,
    /// The threshold rises while the precision of all that is issued is below this, 0 to 1.
    pub least_precision: f64,
    /// Bytes that may be prefetched for each byte requested, 0 to 100.
    pub budget_bytes_per_byte: f64,
    /// Expected precision of each [`Class`] before anything was seen, 0 to 1; empty for one half each.
    pub priors: Vec<f32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tracked_ids: 1 << 18,
            window_requests: 16,
            threshold: 0.5,
            least_precision: 0.7,
            budget_bytes_per_byte: 2.0,
            priors: Vec::new(),
        }
    }
}

/// Settings outside their range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {range}")]
pub struct InvalidSettings {
    what: &'static str,
    range: &'static str,
}

impl Settings {
    /// Checks every range.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        let ratio = |x: f64| (0.0..=1.0).contains(&x);
        let counts = [0, Class::COUNT];
        let priors_are_ratios = self.priors.iter().all(|&p| ratio(f64::from(p)));
        let checks = [
            ((64..=1 << 24).contains(&self.tracked_ids), "tracked_ids", "64 to 16777216"),
            ((1..=MAX_WINDOW as u32).contains(&self.window_requests), "window_requests", "1 to 32"),
            (ratio(self.threshold), "threshold", "0 to 1"),
            (ratio(self.least_precision), "least_precision", "0 to 1"),
            (
                (0.0..=100.0).contains(&self.budget_bytes_per_byte),
                "budget_bytes_per_byte",
                "0 to 100",
            ),
            (
                counts.contains(&self.priors.len()) && priors_are_ratios,
                "priors",
                "none, or one for each class from 0 to 1",
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, what, range)) => Err(InvalidSettings { what, range }),
            None => Ok(()),
        }
    }
}
