//! How the total request rate goes up and down over a run.

use crate::audience::Audience;
use crate::error::{Error, Result};
use crate::geo::crowds;
use crate::rates::RequestRates;

/// A burst is kept, but a broken file must not ask for a thousandfold load.
const MAX_MULTIPLIER: f64 = 20.0;
const STEPS_PER_HOUR: usize = 60;
const STEPS_PER_DAY: usize = 24 * STEPS_PER_HOUR;

/// A multiplier on the mean rate, by hour of the simulated time. Its mean is 1, or less where bursts of more than 20
/// times the mean were cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// One value per simulated minute; repeats after the last.
    per_minute: Vec<f64>,
}

impl Arrivals {
    /// The same rate all the time.
    pub fn steady() -> Self {
        Self { per_minute: vec![1.0] }
    }

    /// Recorded rates by the minute, from the first second of the file on; less than a whole minute is left out.
    pub fn from_rates(rates: &RequestRates) -> Result<Self> {
        let minutes = rates.per_second.chunks_exact(60);
        Self::normalised(minutes.map(|m| m.iter().map(|&rate| f64::from(rate)).sum()).collect())
            .map_err(|_| Error::file(&rates.name, "has no whole minute with a request"))
    }

    /// The built-in curve: all people of the audience, each awake by the own clock. Regions count as in
    /// [`ReaderConfig`](crate::geo::ReaderConfig): by people to the power of the exponent.
    pub fn of_audience(audience: &Audience, population_exponent: f64) -> Result<Self> {
        let crowds = crowds(audience, population_exponent);
        let minutes = (0..STEPS_PER_DAY).map(|minute| {
            let hour = minute as f64 / STEPS_PER_HOUR as f64;
            crowds.iter().map(|crowd| crowd.awake_weight(hour)).sum()
        });
        Self::normalised(minutes.collect())
    }

    fn normalised(mut curve: Vec<f64>) -> Result<Self> {
        let mean = curve.iter().sum::<f64>() / curve.len().max(1) as f64;
        if !mean.is_finite() || mean <= 0.0 {
            return Err(Error::Argument("the arrival curve has no arrivals".into()));
        }
        for value in &mut curve {
            *value = (*value / mean).min(MAX_MULTIPLIER);
        }
        Ok(Self { per_minute: curve })
    }

    /// The multiplier at a simulated hour, straight between minutes; the curve repeats after its end.
    pub fn multiplier(&self, sim_time_h: f64) -> f64 {
        let minutes = (sim_time_h * STEPS_PER_HOUR as f64).rem_euclid(self.per_minute.len() as f64);
        let count = self.per_minute.len();
        let (before, part) = (minutes.floor(), minutes.fract());
        let left = self.per_minute[before as usize % count];
        let right = self.per_minute[(before as usize + 1) % count];
        left + (right - left) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::builtin_audience;

    #[test]
    fn recorded_rates_are_replayed_by_the_minute() {
        // Two days: the first at 1, the second at 3 requests per second.
        let per_second = [vec![1; 86_400], vec![3; 86_400]].concat();
        let rates = RequestRates { name: "t".into(), per_second };
        let arrivals = Arrivals::from_rates(&rates).expect("two days");
        assert!((arrivals.multiplier(12.0) - 0.5).abs() < 1e-9);
        assert!((arrivals.multiplier(36.0) - 1.5).abs() < 1e-9);
        assert!((arrivals.multiplier(60.0) - 0.5).abs() < 1e-9, "repeats");
        let short = RequestRates { name: "t".into(), per_second: vec![9; 59] };
        assert!(matches!(Arrivals::from_rates(&short), Err(Error::File { .. })));
    }

    #[test]
    fn the_builtin_curve_has_mean_one_and_a_day() {
        let arrivals = Arrivals::of_audience(&builtin_audience(), 0.5).expect("people");
        let all: Vec<f64> = (0..1440).map(|m| arrivals.multiplier(f64::from(m) / 60.0)).collect();
        let mean = all.iter().sum::<f64>() / 1440.0;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        let (low, high) = all.iter().fold((9.0_f64, 0.0_f64), |(l, h), &x| (l.min(x), h.max(x)));
        assert!(low < 0.95 && high > 1.05, "{low} {high}");
        assert!((arrivals.multiplier(25.0) - arrivals.multiplier(1.0)).abs() < 1e-9);
        assert!(Arrivals::of_audience(&Audience::default(), 0.5).is_err());
        assert_eq!(Arrivals::steady().multiplier(-3.7), 1.0);
    }
}
