//! Long series, forecast again and again as they go on: trees learn from the training part of all series of one step,
//! the ensemble of each series learns its weights and intervals while time passes.

use super::{drawn, events, sets::Rolling};
use crate::{
    Curves, Error, Evaluation, Metric, Metrics, Progress, Result,
    forecast_metrics::{Said, Tally, mase_scale},
};
use isobar_models::{
    boost::{BoostConfig, Loss},
    forecast::{
        Layout, MstlEts,
        ensemble::{Boosted, Ensemble, EnsembleConfig},
        global::{GlobalConfig, GlobalModel, Unit},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Moments that each horizon is forecast from.
const ORIGINS: usize = 200;
/// Rows that trees of one step learn from, about.
const ROWS: usize = 60_000;
const LEADS: usize = 10;

/// What is learnt for series of one step and season.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollingModel {
    /// Without the end of the training part, where weights are learnt first.
    early: GlobalModel,
    /// With all of it.
    full: GlobalModel,
}

/// Layout of the rows of a series with this many steps in a day.
fn layout(season: usize) -> Layout {
    if season < 4 {
        return Layout {
            season: 1,
            week: 0,
            base_seasons: 30,
            lags: vec![1, 2, 3],
            windows: vec![3, 6, 12, 30],
            clocks: Vec::new(),
        };
    }
    let part = |n: usize| (season / n).max(1);
    Layout {
        season,
        week: 7 * season,
        base_seasons: 10,
        lags: vec![1, 2, 3, 5, 8, 12, 20],
        windows: vec![3, 6, 12, part(24), part(8), part(2), season],
        clocks: vec![part(48), part(24), season],
    }
}

/// The part of the training part where weights are learnt before the judged part begins, steps.
pub(super) fn warm_up(series: &Rolling) -> usize {
    match series.season {
        0..4 => series.train / 2,
        season => (series.train / season / 3).clamp(2, 7).min(series.train / season / 2) * season,
    }
}

pub(super) fn ensemble_config(series: &Rolling) -> EnsembleConfig {
    let season = series.season;
    let is_short = season < 4;
    EnsembleConfig {
        layout: layout(season),
        horizon: series.horizons.iter().map(|(_, steps)| *steps).max().unwrap_or(1),
        refit_every: if is_short { 6 } else { season },
        // Odd: bursts at the half hour are met at each of their minutes.
        probe_every: if is_short { 1 } else { (season / 96).max(1) | 1 },
        half_life: if is_short { 60.0 } else { 3.0 * season as f64 },
        confidence: 20.0,
        level: 0.9,
        non_negative: true,
    }
}

/// Which series share a model: those of one step.
pub(super) fn key(series: &Rolling) -> String {
    format!("{}s", series.step_s)
}

/// Trees for each step; series without a season are too short for trees.
pub(super) fn train(
    series: &[Rolling],
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<String, RollingModel>> {
    let mut by_key: BTreeMap<String, Vec<&Rolling>> = BTreeMap::new();
    for one in series.iter().filter(|one| one.season > 3) {
        by_key.entry(key(one)).or_default().push(one);
    }
    let total = 2 * by_key.len() as u64;
    let mut models = BTreeMap::new();
    for (number, (key, group)) in by_key.into_iter().enumerate() {
        let done = 2 * number as u64;
        progress.step(done, total, &format!("trees for steps of {key}, but the last days"));
        let fit = |end: &dyn Fn(&Rolling) -> usize| {
            let parts: Vec<&[f64]> = group.iter().map(|one| &one.values[..end(one)]).collect();
            let longest = parts.iter().map(|part| part.len()).max().unwrap_or(1);
            let total: usize = parts.iter().map(|part| part.len()).sum();
            // Odd: every time of day is met.
            let stride = (total * LEADS / ROWS).max(1) | 1;
            let config = GlobalConfig {
                layout: layout(group[0].season),
                horizon: group[0].season,
                leads: LEADS,
                origins: longest / stride,
                stride,
                half_life: 0.0,
                units: vec![Unit::Scale],
                boost: BoostConfig {
                    trees: 200,
                    learning_rate: 0.08,
                    max_leaves: 31,
                    max_bins: 127,
                    min_child_hessian: 40.0,
                    row_fraction: 0.6,
                    feature_fraction: 0.5,
                    seed,
                    ..BoostConfig::of(Loss::Absolute)
                },
                seeds: 1,
            };
            let fitted = GlobalModel::fit(&parts, &config);
            fitted.map_err(|e| Error::Unsuitable(format!("series with steps of {key}: {e}")))
        };
        let early = fit(&|one| one.train - warm_up(one))?;
        progress.step(done + 1, total, &format!("trees for steps of {key}"));
        let full = fit(&|one| one.train)?;
        models.insert(key, RollingModel { early, full });
    }
    progress.step(total, total, "the long series");
    Ok(models)
}

/// Judges each series from [`ORIGINS`] moments in its last part, for each horizon, beside the baselines.
pub(super) fn judge(
    models: &BTreeMap<String, RollingModel>,
    series: &[Rolling],
    progress: &mut dyn Progress,
) -> Evaluation {
    let mut by_name: BTreeMap<&str, Judged> = BTreeMap::new();
    let (mut rows, mut curves) = (0, Curves::new());
    let total = series.len() as u64;
    for (number, one) in series.iter().enumerate() {
        progress.step(number as u64, total, &one.name);
        let model = models.get(&key(one));
        let model = model.filter(|model| model.full.layout() == &layout(one.season));
        let Some(scale) = mase_scale(&one.values[..one.train], one.season) else { continue };
        for (name, by_horizon) in judge_series(one, model, scale, &mut curves) {
            for ((horizon, _), tally) in one.horizons.iter().zip(by_horizon) {
                by_name.entry(name).or_default().add(&one.name, horizon, &tally);
            }
        }
        let paths = |steps: usize| origins(one.train, one.values.len(), steps).len() * steps;
        rows += one.horizons.iter().map(|(_, steps)| paths(*steps) as u64).sum::<u64>();
    }
    let mut all: BTreeMap<String, Metrics> =
        by_name.into_iter().map(|(name, judged)| (name.to_owned(), judged.metrics())).collect();
    let mut ours = all.remove(OURS).unwrap_or_default();
    // Minutes would show the same at five times the cost.
    let coarse = series.iter().filter(|one| one.step_s >= 300);
    let planted = coarse.filter_map(|one| {
        progress.step(total, total, &format!("{} with planted events", one.name));
        Some((one.name.clone(), Metric::Group(events::judge_planted(one)?)))
    });
    let planted: Metrics = planted.collect();
    if !planted.is_empty() {
        ours.insert("planted_events".to_owned(), Metric::Group(planted));
    }
    Evaluation { metrics: ours, baselines: all, n: rows, curves, ..Evaluation::default() }
}

const OURS: &str = "the model";

/// Figures of one forecaster.
#[derive(Default)]
struct Judged {
    rows: BTreeMap<String, BTreeMap<String, Tally>>,
}

impl Judged {
    fn add(&mut self, series: &str, horizon: &str, tally: &Tally) {
        self.rows.entry(series.to_owned()).or_default().insert(horizon.to_owned(), tally.clone());
    }

    /// Means over all rows, and each row.
    fn metrics(&self) -> Metrics {
        let each: Vec<Metrics> =
            self.rows.values().flatten().map(|(_, tally)| tally.metrics()).collect();
        let mut metrics = Metrics::new();
        for name in ["mase", "smape", "coverage_90"] {
            let figures = each.iter().filter_map(|row| match row.get(name) {
                Some(Metric::Number(figure)) => Some(*figure),
                _ => None,
            });
            let figures: Vec<f64> = figures.collect();
            if !figures.is_empty() {
                let mean = figures.iter().sum::<f64>() / figures.len() as f64;
                metrics.insert(name.to_owned(), mean.into());
            }
        }
        let group = |tallies: &BTreeMap<String, Tally>| {
            let rows = tallies
                .iter()
                .map(|(horizon, tally)| (horizon.clone(), Metric::Group(tally.metrics())));
            Metric::Group(rows.collect())
        };
        let series = self.rows.iter().map(|(name, tallies)| (name.clone(), group(tallies)));
        metrics.insert("series".to_owned(), Metric::Group(series.collect()));
        metrics
    }
}

/// Moments spread evenly over the judged part, the last one so that its whole horizon is known.
fn origins(train: usize, len: usize, steps: usize) -> Vec<usize> {
    let room = len.saturating_sub(train + steps);
    let mut origins: Vec<usize> = (0..ORIGINS).map(|i| train + room * i / (ORIGINS - 1)).collect();
    origins.dedup();
    origins
}

/// All horizons in one pass through time: the ensemble does not go back.
fn judge_series(
    series: &Rolling,
    model: Option<&RollingModel>,
    scale: f64,
    curves: &mut Curves,
) -> [(&'static str, Vec<Tally>); 4] {
    let config = ensemble_config(series);
    let boosted =
        model.map(|model| Boosted { early: &model.early, full: &model.full, from: series.train });
    let start = series.train - warm_up(series);
    let mut ensemble = Ensemble::new(&series.values, &config, boosted, start);
    let mut judged = [OURS, "naive", "seasonal_naive", "mstl_ets"]
        .map(|name| (name, vec![Tally::default(); series.horizons.len()]));
    let mut mstl: Option<(usize, MstlEts)> = None;
    let mut moments: Vec<(usize, usize)> = Vec::new();
    for (number, (_, steps)) in series.horizons.iter().enumerate() {
        let origins = origins(series.train, series.values.len(), *steps);
        moments.extend(origins.into_iter().map(|origin| (origin, number)));
    }
    moments.sort_unstable();
    let longest = series.horizons.iter().map(|(_, steps)| *steps).max().unwrap_or(1);
    let mut errors = judged.each_ref().map(|(name, _)| (*name, Vec::new()));
    for (origin, number) in moments {
        let steps = series.horizons[number].1;
        let (history, came) = (&series.values[..origin], &series.values[origin..origin + steps]);
        ensemble.advance(origin);
        let ours = ensemble.forecast(origin, steps).into_iter();
        let ours = ours.map(|i| Said { point: i.mean, bounds: Some((i.lower, i.upper)) }).collect();
        if mstl.as_ref().is_none_or(|(at, _)| origin >= at + config.refit_every) {
            let periods = [series.season, 7 * series.season];
            mstl = MstlEts::fit(history, &periods).ok().map(|fit| (origin, fit));
        }
        let last = vec![history[origin - 1]; steps];
        let season = &history[origin - series.season..];
        let season = season.iter().copied().cycle().take(steps).collect();
        let smoothed =
            mstl.as_ref().map_or_else(|| last.clone(), |(_, fit)| fit.points(history, steps));
        let plain = |path: Vec<f64>| path.into_iter().map(Said::from).collect::<Vec<_>>();
        let paths = [ours, plain(last), plain(season), plain(smoothed)];
        for ((_, tallies), path) in judged.iter_mut().zip(&paths) {
            tallies[number].add(path, came, scale);
        }
        if steps == longest {
            // The last one stays.
            let curve = drawn::forecast(history, &paths[0], came, &format!("{} s", series.step_s));
            curves.insert(format!("forecast.{}", series.name), curve);
            for ((_, points), path) in errors.iter_mut().zip(&paths) {
                let off = path.iter().zip(came).map(|(said, came)| (said.point - came).abs());
                let days = (origin * series.step_s as usize) as f64 / 86_400.0;
                points.push([days, off.sum::<f64>() / steps as f64 / scale]);
            }
        }
    }
    curves.insert(format!("error_over_time.{}", series.name), drawn::errors("day", errors));
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    /// Eight days of five-minute counts: a daily wave that runs late by a lasting deviation.
    fn series() -> Rolling {
        let season = 48;
        let mut off = 0.0;
        let value = |i: usize| {
            off = 0.95 * off + ((i * 7_919 + 13) % 1_009) as f64 / 100.0 - 5.04;
            200.0 + 80.0 * (std::f64::consts::TAU * i as f64 / season as f64).sin() + off
        };
        let values: Vec<f64> = (0..season * 16).map(value).collect();
        let horizons = vec![("5min", 1), ("1h", 6), ("1day", season)];
        Rolling {
            name: "planted".into(),
            step_s: 1_800,
            season,
            values,
            train: 12 * season,
            horizons,
        }
    }

    fn figure(metrics: &Metrics, horizon: &str, name: &str) -> f64 {
        let inner = |metrics: &Metrics, key: &str| match &metrics[key] {
            Metric::Group(group) => group.clone(),
            Metric::Number(_) => panic!("{key} is a group"),
        };
        let row = inner(&inner(&inner(metrics, "series"), "planted"), horizon);
        let Metric::Number(figure) = row[name] else { panic!("{name} is a number") };
        figure
    }

    #[test]
    fn better_than_the_baselines_at_each_horizon_and_covered() {
        let series = [series()];
        let models = train(&series, 7, &mut Silent).expect("long enough");
        assert_eq!(models, train(&series, 7, &mut Silent).expect("long enough"), "the same again");
        let judged = judge(&models, &series, &mut Silent);
        let (ours, baselines) = (judged.metrics, judged.baselines);
        assert!(judged.n > 0);
        let drawn = &judged.curves["forecast.planted"];
        assert_eq!(drawn.series[2].points.len(), 48, "a day with its interval");
        assert_eq!(judged.curves["error_over_time.planted"].series.len(), 4);
        for horizon in ["5min", "1h", "1day"] {
            let best =
                ["naive", "seasonal_naive"].map(|name| figure(&baselines[name], horizon, "mase"));
            let best = best[0].min(best[1]);
            let mase = figure(&ours, horizon, "mase");
            assert!(mase < best, "{horizon}: {mase} {best}");
            let covered = figure(&ours, horizon, "coverage_90");
            // What is planted repeats so well that the bounds may hold all of it.
            assert!((0.8..=1.0).contains(&covered), "{horizon}: {covered}");
        }
    }

    #[test]
    fn moments_end_where_the_horizon_does() {
        let moments = origins(100, 400, 30);
        assert_eq!((moments[0], moments[199], moments.len()), (100, 370, 200));
        assert_eq!(origins(10, 20, 8), [10, 11, 12]);
    }
}
