//! Intervals that keep their promise while a series changes: adaptive conformal inference.
//!
//! Gibbs and Candès (NeurIPS 2021): the level that is asked of the past errors goes up after a miss and down after a
//! hit, so that in the long run the share of misses is the one promised, whatever the errors do. Both sides on their own.

use std::collections::VecDeque;

/// How fast the level follows.
const GAIN: f64 = 0.01;
/// Fewer errors than this have no quantile worth the name: the largest is taken, and more.
const ERRORS_ENOUGH: usize = 20;

/// One side of an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Share of misses promised, and the one now asked of the past errors.
    promised: f64,
    asked: f64,
    /// Newest errors, in order of time.
    errors: VecDeque<f64>,
    keep: usize,
}

impl Side {
    /// Promises this share of misses, from the last `keep` errors.
    pub fn new(promised: f64, keep: usize) -> Self {
        Self { promised, asked: promised, errors: VecDeque::new(), keep: keep.max(1) }
    }

    /// How far this side reaches from the forecast, in the unit of the errors; `None` before the first error.
    pub fn reach(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.errors.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let largest = *sorted.last()?;
        if sorted.len() < ERRORS_ENOUGH {
            return Some(largest.max(0.0) * 1.5);
        }
        let rank = ((sorted.len() + 1) as f64 * (1.0 - self.asked)).ceil();
        let at = (rank.max(1.0) as usize).min(sorted.len()) - 1;
        Some(sorted[at])
    }

    /// Learns how far a value lay beyond its forecast on this side (negative: on the other).
    pub fn observe(&mut self, error: f64) {
        if !error.is_finite() {
            return;
        }
        if let Some(reach) = self.reach() {
            let missed = if error > reach { 1.0 } else { 0.0 };
            self.asked = (self.asked + GAIN * (self.promised - missed)).clamp(0.002, 0.5);
        }
        self.errors.push_back(error);
        if self.errors.len() > self.keep {
            self.errors.pop_front();
        }
    }
}

/// Both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    lower: Side,
    upper: Side,
}

impl Band {
    /// Holds this share of the values, half of the misses on either side.
    pub fn new(level: f64, keep: usize) -> Self {
        let promised = (1.0 - level.clamp(0.0, 1.0)) / 2.0;
        Self { lower: Side::new(promised, keep), upper: Side::new(promised, keep) }
    }

    /// Bounds around a forecast, in its unit times `scale`; `None` before the first error. They hold the forecast.
    pub fn around(&self, point: f64, scale: f64) -> Option<(f64, f64)> {
        let (down, up) = (self.lower.reach()?, self.upper.reach()?);
        Some((point - down.max(0.0) * scale, point + up.max(0.0) * scale))
    }

    /// Learns what came.
    pub fn observe(&mut self, point: f64, actual: f64, scale: f64) {
        self.lower.observe((point - actual) / scale);
        self.upper.observe((actual - point) / scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    fn coverage(size: impl Fn(usize) -> f64) -> f64 {
        let mut band = Band::new(0.9, 200);
        let mut inside = 0;
        for i in 0..4_000 {
            let actual = size(i) * noise(i);
            if let Some((low, high)) = band.around(0.0, 1.0) {
                inside += usize::from(low <= actual && actual <= high);
            }
            band.observe(0.0, actual, 1.0);
        }
        f64::from(u32::try_from(inside).unwrap()) / 4_000.0
    }

    #[test]
    fn the_promise_is_kept_in_calm_and_while_errors_grow() {
        let calm = coverage(|_| 1.0);
        assert!((calm - 0.9).abs() < 0.015, "{calm}");
        let growing = coverage(|i| 1.0 + i as f64 / 400.0);
        assert!((growing - 0.9).abs() < 0.02, "{growing}");
    }

    #[test]
    fn nothing_known_and_nothing_finite() {
        let mut band = Band::new(0.9, 10);
        assert_eq!(band.around(1.0, 1.0), None);
        band.observe(1.0, f64::NAN, 1.0);
        assert_eq!(band.around(1.0, 1.0), None);
        band.observe(1.0, 3.0, 1.0);
        assert_eq!(band.around(1.0, 1.0), Some((1.0, 4.0)));
    }
}
