//! Forecasting models behind one trait.
//!
//! A model is *fitted* to a few numbers (smoothing weights, a period) and then *applied* to any later history of the
//! same series: so a backtest fits once and rolls on, and a tick costs no fit.

pub mod adaptive;
pub mod calendar;
pub mod combine;
pub(crate) mod conformal;
pub mod ensemble;
mod ets;
pub mod global;
mod harmonic;
mod holt_winters;
mod linear;
mod mstl;
mod naive;
mod profile;
mod rows;

pub use ets::Ets;
pub use harmonic::{Harmonic, HarmonicConfig, lead_ranges};
pub use holt_winters::HoltWinters;
pub use linear::Linear;
pub use mstl::MstlEts;
pub(crate) use naive::RECENT_VALUES;
pub use naive::{LocalTrend, Naive, RecentMean, SeasonalNaive};
pub use profile::SeasonalProfile;
pub use rows::{Layout, View, Viewed};

use serde::{Deserialize, Serialize};

/// A value in between two bounds that hold it with the level's probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub lower: f64,
    /// Point forecast.
    pub mean: f64,
    /// Upper bound.
    pub upper: f64,
}

/// What a model is fitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitContext {
    /// Steps ahead that matter.
    pub horizon: usize,
    /// Period of the season in steps, where one was found.
    pub period: Option<usize>,
}

/// Why a model cannot be fitted to a series. None of them is an error of the caller: the model is left out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The model needs a season and the series has none.
    #[error("no season")]
    NoSeason,
    /// Too few values.
    #[error("needs {needed} values, has {given}")]
    TooShort {
        /// Values needed.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// Every value is (almost) the same: there is nothing to fit.
    #[error("the series is constant")]
    Constant,
    /// The optimiser found nothing usable.
    #[error("no usable fit: {0}")]
    NotFound(String),
}

/// A forecasting model before it has seen a series.
pub trait Forecaster: Send + Sync {
    /// Its name in records and scores.
    fn name(&self) -> &'static str;

    /// Fits it to a history of finite values, oldest first.
    fn fit(&self, history: &[f64], context: FitContext) -> Result<Fitted, FitError>;
}

/// Every model, simplest first: where scores tie, the simpler one wins.
pub fn candidates() -> Vec<Box<dyn Forecaster>> {
    vec![
        Box::new(Naive),
        Box::new(RecentMean),
        Box::new(LocalTrend),
        Box::new(SeasonalNaive),
        Box::new(Ets),
        Box::new(SeasonalProfile),
        Box::new(HoltWinters),
    ]
}

/// A fitted model: the few numbers that make it apply to any later history of its series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Fitted {
    /// Repeats the last value.
    Naive,
    /// Repeats the mean of the last few values.
    RecentMean,
    /// Continues the line through the last few values.
    LocalTrend,
    /// Repeats the last season.
    SeasonalNaive {
        /// Period, steps.
        period: usize,
    },
    /// Exponential smoothing with additive errors and an optional damped trend.
    Ets(ets::EtsFit),
    /// Mean course of the season plus a fading deviation from it.
    SeasonalProfile(profile::ProfileFit),
    /// Additive Holt-Winters with damped trend.
    HoltWinters(holt_winters::HoltWintersFit),
}

impl Fitted {
    /// Point forecasts for the steps after `history`; finite for finite input. Empty history: zeros.
    pub fn points(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        if history.is_empty() {
            return vec![0.0; horizon];
        }
        let mut points = match self {
            Self::Naive => naive::last(history, horizon),
            Self::RecentMean => naive::recent_mean(history, horizon),
            Self::LocalTrend => naive::local_trend(history, horizon),
            Self::SeasonalNaive { period } => naive::last_season(history, *period, horizon),
            Self::Ets(fit) => fit.points(history, horizon),
            Self::SeasonalProfile(fit) => fit.points(history, horizon),
            Self::HoltWinters(fit) => fit.points(history, horizon),
        };
        let last = history[history.len() - 1];
        for point in &mut points {
            if !point.is_finite() {
                *point = last;
            }
        }
        points
    }
}

/// Whether a series is constant up to rounding.
pub(crate) fn is_constant(history: &[f64]) -> bool {
    let (low, high) = range(history);
    high - low <= 1e-9 * high.abs().max(low.abs())
}

/// Smallest and largest value; zeros for an empty series.
pub(crate) fn range(history: &[f64]) -> (f64, f64) {
    let low = history.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let high = history.iter().copied().reduce(f64::max).unwrap_or(0.0);
    (low, high)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
