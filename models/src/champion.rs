//! The model that serves a series: chosen by rolling-origin backtest, replaced only by one that is clearly better.

use crate::{
    forecast::{
        FitContext, Fitted, Forecaster, Interval, RECENT_VALUES, candidates,
        conformal::{ErrorScale, Errors, Widths},
        mean, range,
    },
    season::find_period,
};
use serde::{Deserialize, Serialize};

/// Below this many values no backtest says anything.
pub(crate) const VALUES_MIN: usize = 12;
/// A normal value is below this many standard deviations with 95 %: within it on both sides with 90 %.
const NORMAL_95: f64 = 1.645;
/// Larger values would lose their digits in squares and sums; no rate comes near.
const VALUE_MAX: f64 = 1e15;

/// How a champion is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChampionConfig {
    /// Steps ahead that are forecast and scored.
    pub horizon: usize,
    /// Lengths of seasons to examine besides those found, in steps.
    pub periods: Vec<usize>,
    /// Points in time that the backtest forecasts from; bounds its cost.
    pub origins_max: usize,
    /// A challenger's error must be below the champion's by this share.
    pub margin: f64,
    /// Whether negative values are impossible.
    pub non_negative: bool,
    /// Values are rates of counted events, and 1 stands for so many events: the length of a window in seconds. It
    /// tells how much of a short history is mere chance. `None`: they are something else.
    #[serde(default)]
    pub events_per_unit: Option<f64>,
}

impl Default for ChampionConfig {
    fn default() -> Self {
        Self {
            horizon: 12,
            periods: Vec::new(),
            origins_max: 48,
            margin: 0.05,
            non_negative: true,
            events_per_unit: None,
        }
    }
}

impl ChampionConfig {
    /// Events behind a value of 1, if values are rates of counted events.
    fn counted(&self) -> Option<f64> {
        self.events_per_unit.filter(|events| events.is_finite() && *events > 0.0)
    }
}

/// How a model did in the backtest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The model.
    pub model: String,
    /// Mean absolute error over all steps to the horizon.
    pub mae: f64,
    /// The same in units of the mean change from one value to the next; `None` for a series that never changed.
    pub mase: Option<f64>,
    /// Share of later values inside the 90 % intervals made from earlier errors; `None` with too few of either.
    pub coverage: Option<f64>,
    /// Forecasts compared with what came.
    pub comparisons: usize,
}

/// A model that serves a series, with its intervals and the scores it was chosen by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// Its name.
    pub model: String,
    /// What was fitted.
    pub fitted: Fitted,
    /// The season found, steps.
    pub period: Option<usize>,
    /// Every model that could be fitted, in order of simplicity. Empty: too short a history, nothing was compared.
    pub scores: Vec<Score>,
    widths: Widths,
    /// Bounds of the mean rate over the whole horizon: narrower, for chance evens out over its steps, and for counted
    /// events what chance will make of the rate is left out altogether.
    mean_widths: Widths,
    non_negative: bool,
}

impl Champion {
    /// The floor, with intervals from what is known of the series: the mean of the last few values where they are
    /// rates of counted events, else the last value.
    pub fn naive(history: &[f64], config: &ChampionConfig) -> Self {
        let history = sound(history);
        let (fitted, widths, mean_widths) = match config.counted() {
            Some(events_per_unit) => {
                let widths = |chance| counted_widths(&history, events_per_unit, chance);
                (Fitted::RecentMean, widths(1.0), widths(0.0))
            }
            None => (Fitted::Naive, guessed_widths(&history), guessed_widths(&history)),
        };
        let model = if fitted == Fitted::Naive { "naive" } else { "recent_mean" };
        Self {
            model: model.into(),
            fitted,
            period: None,
            scores: Vec::new(),
            widths,
            mean_widths,
            non_negative: config.non_negative,
        }
    }

    /// Forecasts the steps after `history`, which may have grown since the champion was chosen.
    pub fn predict(&self, history: &[f64], horizon: usize) -> Vec<Interval> {
        self.predict_with_mean(history, horizon).0
    }

    /// The same, and the mean rate over all of these steps, as many as it was chosen for: with bounds of the rate
    /// itself, which is what a decision that outlasts the horizon rests on.
    pub fn predict_with_mean(&self, history: &[f64], horizon: usize) -> (Vec<Interval>, Interval) {
        let history = sound(history);
        let floor = floor(self.non_negative);
        let points = self.fitted.points(&history, horizon);
        let points: Vec<f64> = points.iter().map(|p| p.clamp(-VALUE_MAX, VALUE_MAX)).collect();
        let served: Vec<f64> = points.iter().map(|p| p.max(floor)).collect();
        let over = self.mean_widths.around(&[mean(&served)], self.non_negative);
        let over = over.first().copied().unwrap_or_default();
        (self.widths.around(&points, self.non_negative), over)
    }

    /// The score it was chosen by.
    pub fn score(&self) -> Option<&Score> {
        self.scores.iter().find(|score| score.model == self.model)
    }
}

/// Chooses the model for a series. `present` names the champion so far, which stays unless clearly beaten.
///
/// Pure: the same arguments give the same champion.
pub fn choose(history: &[f64], config: &ChampionConfig, present: Option<&str>) -> Champion {
    let history = sound(history);
    if history.len() < VALUES_MIN || config.horizon == 0 {
        return Champion::naive(&history, config);
    }
    let period = find_period(&history, &config.periods);
    let context = FitContext { horizon: config.horizon, period };
    let plan = Backtest::plan(&history, config, period);
    let tried: Vec<Tried> =
        candidates().iter().filter_map(|model| plan.run(model.as_ref(), context)).collect();
    let Some(winner) = winner(&tried, present, config.margin) else {
        return Champion::naive(&history, config);
    };
    // Not fitted again on the whole history: the intervals are those of exactly this fit, and its state is made
    // anew from the newest values at every forecast anyway.
    let to_come = config.counted().map_or(0.0, |events| 1.0 / (events * config.horizon as f64));
    Champion {
        model: tried[winner].score.model.clone(),
        fitted: tried[winner].fitted,
        period,
        widths: tried[winner].errors.widths(),
        mean_widths: tried[winner].mean_errors.widths_without(to_come),
        scores: tried.into_iter().map(|t| t.score).collect(),
        non_negative: config.non_negative,
    }
}

/// Index of the model to use: the present one, else naive, unless another one beats it by the margin.
fn winner(tried: &[Tried], present: Option<&str>, margin: f64) -> Option<usize> {
    let named = |name: &str| tried.iter().position(|t| t.score.model == name);
    let present =
        present.and_then(named).or_else(|| named("naive")).or((!tried.is_empty()).then_some(0))?;
    let mae = |i: usize| tried[i].score.mae;
    let best = (0..tried.len()).min_by(|&a, &b| mae(a).total_cmp(&mae(b)).then(a.cmp(&b)))?;
    Some(if mae(best) < mae(present) * (1.0 - margin.clamp(0.0, 1.0)) { best } else { present })
}

struct Tried {
    fitted: Fitted,
    score: Score,
    errors: Errors,
    mean_errors: Errors,
}

struct Backtest<'a> {
    history: &'a [f64],
    /// Lengths of history to forecast from, ascending.
    origins: Vec<usize>,
    horizon: usize,
    scale: ErrorScale,
    mean_change: f64,
    /// What is forecast below it is served as this.
    floor: f64,
}

impl<'a> Backtest<'a> {
    /// Fits on the first part, then rolls over the rest: models never see what they are judged on.
    fn plan(history: &'a [f64], config: &ChampionConfig, period: Option<usize>) -> Self {
        let n = history.len();
        let horizon = config.horizon;
        // Up to half for the test: several horizons, and several seasons, for errors differ by the time of day.
        let test = (n / 2).min((horizon * 8).max(256).max(period.unwrap_or(0) * 4));
        let count = config.origins_max.clamp(1, test);
        // Spread by the golden ratio: an even stride of, say, two hours would always meet the same minute.
        let spread = |i: usize| (i as f64 * 0.618_033_988_749_894_9).fract() * test as f64;
        let mut origins: Vec<usize> = (0..count).map(|i| n - test + spread(i) as usize).collect();
        origins.sort_unstable();
        origins.dedup();
        let changes: Vec<f64> =
            history[..n - test].windows(2).map(|w| (w[1] - w[0]).abs()).collect();
        let scale = ErrorScale::of(history);
        let (mean_change, floor) = (mean(&changes), floor(config.non_negative));
        Self { history, origins, horizon, scale, mean_change, floor }
    }

    fn run(&self, model: &dyn Forecaster, context: FitContext) -> Option<Tried> {
        let fitted = model.fit(&self.history[..self.origins[0]], context).ok()?;
        let mut errors = Errors::new(self.scale, self.horizon);
        let mut mean_errors = Errors::new(self.scale, 1);
        let mut early = Errors::new(self.scale, self.horizon);
        let (mut sum, mut comparisons) = (0.0, 0_usize);
        let middle = self.origins.len() / 2;
        let (mut inside, mut judged) = (0_usize, 0_usize);
        let mut early_widths = Widths::default();
        for (i, &origin) in self.origins.iter().enumerate() {
            let ahead = self.horizon.min(self.history.len() - origin);
            let mut points = fitted.points(&self.history[..origin], ahead);
            points.iter_mut().for_each(|point| *point = point.max(self.floor));
            let came = &self.history[origin..origin + ahead];
            if ahead == self.horizon {
                mean_errors.add(0, mean(&points), mean(came));
            }
            if i == middle {
                early_widths = early.widths();
            }
            let intervals = early_widths.around(&points, false);
            for (step, (&point, &actual)) in points.iter().zip(came).enumerate() {
                sum += (actual - point).abs();
                comparisons += 1;
                errors.add(step, point, actual);
                if i < middle {
                    early.add(step, point, actual);
                } else if !early_widths.is_empty() {
                    judged += 1;
                    let interval = intervals[step];
                    inside += usize::from(interval.lower <= actual && actual <= interval.upper);
                }
            }
        }
        let mae = sum / comparisons.max(1) as f64;
        let score = Score {
            model: model.name().into(),
            mae,
            mase: (self.mean_change > 0.0).then(|| mae / self.mean_change),
            coverage: (judged >= 20).then(|| inside as f64 / judged as f64),
            comparisons,
        };
        mae.is_finite().then_some(Tried { fitted, score, errors, mean_errors })
    }
}

/// Only finite values of a size that arithmetic survives.
fn sound(history: &[f64]) -> Vec<f64> {
    history.iter().filter(|v| v.is_finite()).map(|v| v.clamp(-VALUE_MAX, VALUE_MAX)).collect()
}

fn floor(non_negative: bool) -> f64 {
    if non_negative { 0.0 } else { f64::NEG_INFINITY }
}

/// Without a backtest, for rates of events: as wide as chance alone makes the difference between the mean of the last
/// few windows and the rate (each count scatters by its own size), or as the changes seen so far make it, whichever is
/// more: real arrivals come in bursts. `to_come` 1 adds the chance of one window to come, 0 that of none.
fn counted_widths(history: &[f64], events_per_unit: f64, to_come: f64) -> Widths {
    let scale = ErrorScale::of(history);
    let averaged = history.len().clamp(1, RECENT_VALUES) as f64;
    let spread = 1.0 / averaged + to_come;
    let changes = history.windows(2).map(|w| scale.scaled(w[0], w[1]).powi(2));
    // A change is the difference of two single values: twice the scatter of one.
    let seen = mean(&changes.collect::<Vec<_>>()) / 2.0;
    Widths::symmetric(scale, NORMAL_95 * (spread * seen.max(1.0 / events_per_unit)).sqrt())
}

/// Without a backtest: as wide as everything seen so far, and at least half as wide as the values are large.
fn guessed_widths(history: &[f64]) -> Widths {
    let (low, high) = range(history);
    let last = history.last().copied().unwrap_or(0.0);
    let spread = 1.5 * (high - low).max(0.5 * high.abs()).max(1.0);
    let scale = ErrorScale::of(history);
    Widths::symmetric(scale, scale.scaled(last, last + spread))
}

#[cfg(test)]
#[path = "champion_tests.rs"]
pub(crate) mod tests;
