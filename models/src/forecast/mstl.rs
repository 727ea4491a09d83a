//! Several seasons taken apart, the rest smoothed: MSTL (Bandara, Hyndman and Bergmeir 2021) with ETS.
//!
//! The decomposition is augurs' (stlrs). Its cycles are kept, so that a later history of the same series is forecast
//! without taking it apart again: the last cycle of each season is taken off, and the fitted smoothing rolls on.

use super::{Ets, FitContext, FitError, Fitted, Forecaster as _};
use augurs::mstl::stlrs::MstlParams;

/// Values that are taken apart; older ones say little of today's season.
const VALUES_MAX: usize = 16_384;
/// Values that the smoothing sees; older ones have no weight left.
const TAIL: usize = 256;

/// Fitted to one series.
#[derive(Clone, Debug, PartialEq)]
pub struct MstlEts {
    /// Last cycle of each season, so turned that its first number belongs to the value with index 0.
    cycles: Vec<Vec<f64>>,
    /// Smoothing of what is left; the last value stands for it where it is constant.
    rest: Fitted,
}

impl MstlEts {
    /// Takes a series of finite values apart by those of the given periods that it has seen at least twice.
    pub fn fit(history: &[f64], periods: &[usize]) -> Result<Self, FitError> {
        let mut periods: Vec<usize> =
            periods.iter().copied().filter(|p| *p > 1 && history.len() >= 2 * p + 1).collect();
        periods.sort_unstable();
        periods.dedup();
        if periods.is_empty() {
            return Err(FitError::NoSeason);
        }
        let longest = periods[periods.len() - 1];
        let seen = VALUES_MAX.max(3 * longest).min(history.len());
        let offset = history.len() - seen;
        let recent = &history[offset..];
        let apart = MstlParams::new().fit(recent, &periods);
        let apart = apart.map_err(|e| FitError::NotFound(e.to_string()))?;
        let turned = |(component, &period): (&Vec<f64>, &usize)| {
            let last = &component[component.len() - period..];
            let first = (history.len() - period) % period;
            (0..period).map(|phase| last[(phase + period - first) % period]).collect::<Vec<f64>>()
        };
        let cycles: Vec<Vec<f64>> = apart.seasonal().iter().zip(&periods).map(turned).collect();
        if cycles.iter().flatten().any(|v| !v.is_finite()) {
            return Err(FitError::NotFound("a season is not finite".into()));
        }
        let left: Vec<f64> =
            apart.trend().iter().zip(apart.remainder()).map(|(trend, rest)| trend + rest).collect();
        let context = FitContext { horizon: longest, period: None };
        let rest =
            Ets.fit(&left[left.len().saturating_sub(TAIL)..], context).unwrap_or(Fitted::Naive);
        Ok(Self { cycles, rest })
    }

    fn season(&self, at: usize) -> f64 {
        self.cycles.iter().map(|cycle| cycle[at % cycle.len()]).sum()
    }

    /// Points for the steps after `history`, which begins where the fitted one began and may have grown.
    pub fn points(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let n = history.len();
        let from = n.saturating_sub(TAIL);
        let left: Vec<f64> = (from..n).map(|at| history[at] - self.season(at)).collect();
        let rest = self.rest.points(&left, horizon);
        rest.iter().enumerate().map(|(h, point)| point + self.season(n + h)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_seasons(at: usize) -> f64 {
        let turn = |period: usize| std::f64::consts::TAU * (at % period) as f64 / period as f64;
        100.0 + 20.0 * turn(12).sin() + 8.0 * turn(60).cos() + ((at * 7919) % 13) as f64 / 13.0
    }

    #[test]
    fn both_seasons_go_on_after_the_fit_and_after_later_values() {
        let history: Vec<f64> = (0..407).map(two_seasons).collect();
        let fitted = MstlEts::fit(&history[..360], &[12, 60]).unwrap();
        for end in [360, 371, 407] {
            for (h, point) in fitted.points(&history[..end], 60).into_iter().enumerate() {
                let exact = two_seasons(end + h);
                assert!((point - exact).abs() < 3.0, "from {end}, step {h}: {point} for {exact}");
            }
        }
    }

    #[test]
    fn without_a_season_and_with_constant_values() {
        assert_eq!(MstlEts::fit(&[1.0; 20], &[12]), Err(FitError::NoSeason));
        let flat = MstlEts::fit(&[4.0; 100], &[12]).unwrap();
        assert!(flat.points(&[4.0; 100], 30).iter().all(|p| (p - 4.0).abs() < 1e-6));
    }
}
