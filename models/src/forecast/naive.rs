//! The floor every other model has to beat.

use super::{FitContext, FitError, Fitted, Forecaster};

/// Repeats the last value.
#[derive(Clone, Copy, Debug)]
pub struct Naive;

impl Forecaster for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn fit(&self, _: &[f64], _: FitContext) -> Result<Fitted, FitError> {
        Ok(Fitted::Naive)
    }
}

/// Values that [`RecentMean`] averages.
pub(crate) const RECENT_VALUES: usize = 4;

/// Repeats the mean of the last few values: the floor for counts, whose single values scatter by chance.
#[derive(Clone, Copy, Debug)]
pub struct RecentMean;

impl Forecaster for RecentMean {
    fn name(&self) -> &'static str {
        "recent_mean"
    }

    fn fit(&self, _: &[f64], _: FitContext) -> Result<Fitted, FitError> {
        Ok(Fitted::RecentMean)
    }
}

/// Repeats the last season.
#[derive(Clone, Copy, Debug)]
pub struct SeasonalNaive;

impl Forecaster for SeasonalNaive {
    fn name(&self) -> &'static str {
        "seasonal_naive"
    }

    fn fit(&self, history: &[f64], context: FitContext) -> Result<Fitted, FitError> {
        let period = context.period.filter(|&p| p > 1).ok_or(FitError::NoSeason)?;
        if history.len() < period {
            return Err(FitError::TooShort { needed: period, given: history.len() });
        }
        Ok(Fitted::SeasonalNaive { period })
    }
}

pub(super) fn last(history: &[f64], horizon: usize) -> Vec<f64> {
    vec![history[history.len() - 1]; horizon]
}

pub(super) fn recent_mean(history: &[f64], horizon: usize) -> Vec<f64> {
    let recent = &history[history.len().saturating_sub(RECENT_VALUES)..];
    vec![super::mean(recent); horizon]
}

pub(super) fn last_season(history: &[f64], period: usize, horizon: usize) -> Vec<f64> {
    let season = &history[history.len().saturating_sub(period.max(1))..];
    season.iter().copied().cycle().take(horizon).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats() {
        let history = [9.0, 1.0, 2.0, 3.0];
        assert_eq!(Fitted::Naive.points(&history, 2), [3.0, 3.0]);
        assert_eq!(Fitted::RecentMean.points(&history, 2), [3.75, 3.75]);
        assert_eq!(Fitted::RecentMean.points(&[2.0], 1), [2.0]);
        let seasonal = Fitted::SeasonalNaive { period: 3 };
        assert_eq!(seasonal.points(&history, 5), [1.0, 2.0, 3.0, 1.0, 2.0]);
        assert_eq!(Fitted::SeasonalNaive { period: 9 }.points(&history, 1), [9.0]);
        assert_eq!(Fitted::Naive.points(&[], 2), [0.0, 0.0]);
    }

    #[test]
    fn a_season_must_have_been_found_and_seen() {
        let context = FitContext { horizon: 1, period: None };
        assert_eq!(SeasonalNaive.fit(&[1.0; 9], context), Err(FitError::NoSeason));
        let context = FitContext { horizon: 1, period: Some(10) };
        let short = FitError::TooShort { needed: 10, given: 9 };
        assert_eq!(SeasonalNaive.fit(&[1.0; 9], context), Err(short));
    }
}
