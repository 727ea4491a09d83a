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

/// Values that a local trend is drawn through.
const TREND_VALUES: usize = 8;
/// Fewer say nothing about a trend.
const TREND_VALUES_MIN: usize = 6;
/// What is left of the slope after each step: no load grows for ever.
const TREND_KEEP: f64 = 0.9;

/// Continues the line through the last few values, ever flatter: for series too young for a season or a fit, whose
/// readers are just waking or falling asleep.
#[derive(Clone, Copy, Debug)]
pub struct LocalTrend;

impl Forecaster for LocalTrend {
    fn name(&self) -> &'static str {
        "local_trend"
    }

    fn fit(&self, history: &[f64], _: FitContext) -> Result<Fitted, FitError> {
        if history.len() < TREND_VALUES_MIN {
            return Err(FitError::TooShort { needed: TREND_VALUES_MIN, given: history.len() });
        }
        Ok(Fitted::LocalTrend)
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

/// Least squares; with one value its level, without a slope.
pub(super) fn local_trend(history: &[f64], horizon: usize) -> Vec<f64> {
    let recent = &history[history.len().saturating_sub(TREND_VALUES)..];
    let middle = (recent.len() - 1) as f64 / 2.0;
    let level = super::mean(recent);
    let places = || (0..recent.len()).map(|at| at as f64 - middle);
    let spread: f64 = places().map(|x| x * x).sum();
    let tilt: f64 = places().zip(recent).map(|(x, y)| x * (y - level)).sum();
    let slope = if spread > 0.0 { tilt / spread } else { 0.0 };
    let steps = std::iter::successors(Some(1.0), |left| Some(left * TREND_KEEP));
    let end = level + slope * middle;
    let risen = steps.scan(0.0, |sum, step| {
        *sum += step;
        Some(end + slope * *sum)
    });
    risen.take(horizon).collect()
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
    fn a_line_goes_on_and_flattens() {
        let line: Vec<f64> = (0..20).map(|at| 3.0 * f64::from(at)).collect();
        let points = Fitted::LocalTrend.points(&line, 3);
        for (point, exact) in points.iter().zip([60.0, 62.7, 65.13]) {
            assert!((point - exact).abs() < 1e-9, "{points:?}");
        }
        assert_eq!(Fitted::LocalTrend.points(&[4.0], 2), [4.0, 4.0]);
        assert_eq!(Fitted::LocalTrend.points(&[7.0; 9], 1), [7.0]);
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
