//! Champions of many series at a bounded cost per tick.

use crate::{
    champion::{Champion, ChampionConfig, VALUES_MIN, choose},
    forecast::Interval,
};
use isobar_telemetry::features::{feature_row, filled};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bounds of a [`ForecastBook`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookConfig {
    /// How champions are chosen.
    pub champion: ChampionConfig,
    /// A champion is chosen anew after this many windows.
    pub refit_windows: u64,
    /// Values of all series for which a champion is chosen in one tick, at most: this bounds the cost of a tick, for a
    /// choice costs as much as there are values.
    pub refit_values_per_tick: usize,
    /// Series with a larger share of unknown windows are forecast by the floor only.
    pub gap_share_max: f64,
    /// Series kept at most; further ones are forecast by the floor.
    pub series_max: usize,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            champion: ChampionConfig::default(),
            refit_windows: 120,
            refit_values_per_tick: 32_768,
            gap_share_max: 0.3,
            series_max: 20_000,
        }
    }
}

/// One series at one tick: rates of the windows ended, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct SeriesInput<'a> {
    /// `None` is a gap, zero a measured zero.
    pub windows: &'a [Option<f64>],
    /// End of the newest window, Unix seconds.
    pub at_unix_s: u64,
}

/// The forecast of one series, with what a reader needs to judge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesForecast {
    /// One interval per window ahead.
    pub intervals: Vec<Interval>,
    /// The mean over all windows ahead, with an interval of its own.
    pub over_horizon: Interval,
    /// The model used.
    pub model: String,
    /// Windows since the model was chosen; `None`: never, it is the floor.
    pub model_age_windows: Option<u64>,
    /// Windows since the newest value known.
    pub stale_windows: usize,
    /// Share of the last 60 windows that were measured.
    pub observed_share: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    champion: Champion,
    chosen_at: u64,
    /// Values the choice was made on: a series that has grown by half since is worth a new one.
    values: usize,
}

/// Champions per series.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastBook<K: Ord> {
    config: BookConfig,
    entries: BTreeMap<K, Entry>,
}

impl<K: Ord + Clone> ForecastBook<K> {
    /// An empty book.
    pub fn new(config: BookConfig) -> Self {
        Self { config, entries: BTreeMap::new() }
    }

    /// Forecasts every series for the window number `tick`, choosing champions anew for those whose turn it is:
    /// the ones without, then the ones chosen longest ago. Series not given are forgotten.
    pub fn tick(
        &mut self,
        tick: u64,
        series: &BTreeMap<K, SeriesInput<'_>>,
    ) -> BTreeMap<K, SeriesForecast> {
        self.entries.retain(|key, _| series.contains_key(key));
        let full: BTreeMap<&K, Vec<f64>> = series
            .iter()
            .filter_map(|(key, input)| {
                Some((key, filled(input.windows, self.config.gap_share_max)?))
            })
            .collect();
        for key in self.due(tick, &full) {
            let values = &full[&key];
            let present = self.entries.get(&key).map(|e| e.champion.model.clone());
            let champion = choose(values, &self.config.champion, present.as_deref());
            self.entries.insert(key, Entry { champion, chosen_at: tick, values: values.len() });
        }
        let forecast = |(key, input): (&K, &SeriesInput<'_>)| {
            (key.clone(), self.forecast(tick, key, *input, full.get(key).map(Vec::as_slice)))
        };
        series.iter().map(forecast).collect()
    }

    /// The champion of a series, with the scores of all models.
    pub fn champion(&self, key: &K) -> Option<&Champion> {
        self.entries.get(key).map(|entry| &entry.champion)
    }

    /// Series with a champion.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no series has a champion.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn due(&self, tick: u64, full: &BTreeMap<&K, Vec<f64>>) -> Vec<K> {
        let room = self.config.series_max.saturating_sub(self.entries.len());
        let is_due = |entry: &Entry, values: usize| {
            tick.saturating_sub(entry.chosen_at) >= self.config.refit_windows
                || 2 * values >= 3 * entry.values
        };
        let mut due: Vec<(Option<u64>, &K)> = full
            .iter()
            .filter_map(|(&key, values)| match self.entries.get(key) {
                Some(entry) => is_due(entry, values.len()).then_some((Some(entry.chosen_at), key)),
                // Of fewer values no choice is made; the floor knows what can be known.
                None => (values.len() >= VALUES_MIN).then_some((None, key)),
            })
            .collect();
        due.sort();
        // Stable sort: those without a champion stand first, and only as many as there is room for.
        let newcomers = due.iter().filter(|(chosen, _)| chosen.is_none()).count();
        let excess = newcomers.saturating_sub(room);
        due.drain(newcomers - excess..newcomers);
        let within = due.into_iter().scan(0, |values, (_, key)| {
            let first = *values == 0;
            *values += full[key].len();
            // One at least, or a single long series would stop all others for good.
            (first || *values <= self.config.refit_values_per_tick).then(|| key.clone())
        });
        within.collect()
    }

    fn forecast(
        &self,
        tick: u64,
        key: &K,
        input: SeriesInput<'_>,
        full: Option<&[f64]>,
    ) -> SeriesForecast {
        let horizon = self.config.champion.horizon;
        let row = feature_row(input.windows, input.at_unix_s);
        let ((intervals, over_horizon), model, chosen_at) = match (full, self.entries.get(key)) {
            (Some(values), Some(entry)) => {
                let champion = &entry.champion;
                let ahead = champion.predict_with_mean(values, horizon);
                (ahead, champion.model.clone(), Some(entry.chosen_at))
            }
            _ => {
                let known: Vec<f64> = input.windows.iter().flatten().copied().collect();
                let floor = Champion::naive(&known, &self.config.champion);
                (floor.predict_with_mean(&known, horizon), floor.model, None)
            }
        };
        SeriesForecast {
            intervals,
            over_horizon,
            model,
            model_age_windows: chosen_at.map(|at| tick.saturating_sub(at)),
            stale_windows: input.windows.iter().rev().take_while(|w| w.is_none()).count(),
            observed_share: row.get("observed_60_share").unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;

    type Key = (u64, &'static str);

    fn windows(seed: u64, n: usize) -> Vec<Option<f64>> {
        let daily = |i: usize| 20.0 + 10.0 * (i as f64 / 24.0 * std::f64::consts::TAU).sin();
        white_noise(seed).take(n).enumerate().map(|(i, e)| Some(daily(i) + e)).collect()
    }

    fn inputs(data: &BTreeMap<Key, Vec<Option<f64>>>) -> BTreeMap<Key, SeriesInput<'_>> {
        data.iter().map(|(&key, windows)| (key, SeriesInput { windows, at_unix_s: 0 })).collect()
    }

    fn book(refit_values_per_tick: usize, series_max: usize) -> ForecastBook<Key> {
        let config = BookConfig { refit_values_per_tick, series_max, ..BookConfig::default() };
        ForecastBook::new(config)
    }

    #[test]
    fn every_series_has_a_forecast_at_once_and_champions_come_in_turn() {
        let data: BTreeMap<Key, _> = (0..10).map(|i| ((i, "eu"), windows(i, 200))).collect();
        let mut book = book(800, 100);
        let with_champion = |out: &BTreeMap<Key, SeriesForecast>| {
            out.values().filter(|f| f.model_age_windows.is_some()).count()
        };
        let first = book.tick(1_000, &inputs(&data));
        assert_eq!((first.len(), with_champion(&first)), (10, 4));
        assert!(first.values().all(|f| f.intervals.len() == 12));
        assert_eq!(with_champion(&book.tick(1_001, &inputs(&data))), 8);
        let third = book.tick(1_002, &inputs(&data));
        assert_eq!(with_champion(&third), 10);
        assert_eq!(third[&(0, "eu")].model_age_windows, Some(2));
        assert_ne!(third[&(0, "eu")].model, "naive", "a season is worth a model");
        let later = book.tick(1_120, &inputs(&data));
        assert_eq!(
            later.values().filter(|f| f.model_age_windows == Some(0)).count(),
            4,
            "the oldest first"
        );
        assert_eq!(later[&(0, "eu")].model_age_windows, Some(0));
    }

    #[test]
    fn gaps_silence_and_excess_fall_back_to_the_floor() {
        let mut data = BTreeMap::new();
        data.insert((0, "eu"), windows(0, 100));
        data.insert((1, "eu"), vec![None; 50]);
        let mut gappy = windows(2, 100);
        gappy.iter_mut().step_by(2).for_each(|w| *w = None);
        gappy[99] = None;
        data.insert((2, "eu"), gappy);
        data.insert((3, "eu"), windows(3, 100));
        let mut book = book(9_999, 1);
        let out = book.tick(5, &inputs(&data));
        assert_eq!(book.len(), 1);
        assert!(out[&(0, "eu")].model_age_windows.is_some());
        for key in [(1, "eu"), (2, "eu"), (3, "eu")] {
            assert_eq!(out[&key].model_age_windows, None);
            assert_eq!(out[&key].model, "naive");
        }
        assert_eq!(out[&(1, "eu")].stale_windows, 50);
        assert_eq!(out[&(2, "eu")].stale_windows, 2);
        assert!((out[&(2, "eu")].observed_share - 0.5).abs() < 0.02);
        assert!(out[&(2, "eu")].intervals[0].upper > out[&(2, "eu")].intervals[0].mean);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut data: BTreeMap<Key, _> = (0..3).map(|i| ((i, "us"), windows(i, 120))).collect();
        let mut book = book(9_999, 9);
        book.tick(7, &inputs(&data));
        data.remove(&(1, "us"));
        book.tick(8, &inputs(&data));
        assert!(book.champion(&(1, "us")).is_none() && book.champion(&(0, "us")).is_some());
    }

    #[test]
    fn a_young_series_is_served_by_a_fresh_floor_until_a_choice_can_be_made() {
        let mut book = book(9_999, 9);
        for n in 1..=VALUES_MIN {
            let data: BTreeMap<Key, _> = BTreeMap::from([((0, "eu"), windows(0, n))]);
            let out = book.tick(n as u64, &inputs(&data));
            let chosen = out[&(0, "eu")].model_age_windows;
            assert_eq!(chosen.is_some(), n == VALUES_MIN, "{n} values");
        }
    }
}
