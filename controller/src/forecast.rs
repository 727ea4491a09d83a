//! Feeds closed windows to the champions of `isobar-models` and reads their forecasts back for the planner.

use crate::{
    observe::ClosedWindow,
    service::WINDOWS_KEPT,
    view::{ArrivalForecast, ArrivalRate, ClusterView, Forecasts},
};
use isobar_api::{Region, ShardId, policy::ObservePolicy};
use isobar_models::{
    BookConfig, ChampionConfig, ForecastBook, SeriesForecast, book::SeriesInput, forecast::Interval,
};
use isobar_telemetry::{Sample, WindowSeries};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Reads or writes: they follow different clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Class {
    Reads,
    Writes,
}

type Key = (ShardId, Option<Region>, Class);

/// Regions that are told apart in one shard's arrivals.
const REGIONS_MAX: usize = 32;

/// The series of every shard and region, and who forecasts them.
#[derive(Debug)]
pub(crate) struct Forecaster {
    window_s: u64,
    horizon: usize,
    series: BTreeMap<Key, WindowSeries>,
    book: ForecastBook<Key>,
    latest: BTreeMap<Key, SeriesForecast>,
    /// The shape of each shard when it was last looked at.
    shapes: BTreeMap<ShardId, u64>,
    newest_end_unix_ms: u64,
    is_dirty: bool,
}

impl Forecaster {
    /// Without history.
    pub(crate) fn new(policy: &ObservePolicy) -> Self {
        let horizon = usize::try_from(policy.horizon_windows).unwrap_or(1).max(1);
        let window_s = policy.window_s.max(1);
        let champion = ChampionConfig {
            horizon,
            non_negative: true,
            #[allow(clippy::cast_precision_loss)] // seconds of a window
            events_per_unit: Some(window_s as f64),
            ..ChampionConfig::default()
        };
        Self {
            window_s,
            horizon,
            series: BTreeMap::new(),
            book: ForecastBook::new(BookConfig { champion, ..BookConfig::default() }),
            latest: BTreeMap::new(),
            shapes: BTreeMap::new(),
            newest_end_unix_ms: 0,
            is_dirty: false,
        }
    }

    /// Starts anew if the policy now asks for other windows; series of another length do not mix.
    pub(crate) fn configure(&mut self, policy: &ObservePolicy) {
        let horizon = usize::try_from(policy.horizon_windows).unwrap_or(1).max(1);
        if (self.window_s, self.horizon) != (policy.window_s.max(1), horizon) {
            *self = Self::new(policy);
        }
    }

    /// Forgets the past of shards that were cut since: the part that keeps the name has another load, and would be cut
    /// again for the one that it no longer has.
    pub(crate) fn forget_cut(&mut self, view: &ClusterView) {
        let shapes: BTreeMap<ShardId, u64> =
            view.shards.iter().map(|(id, shard)| (*id, shard.entry.epoch.shape)).collect();
        let cut = |id: &ShardId| {
            self.shapes.get(id).zip(shapes.get(id)).is_some_and(|(old, new)| new > old)
        };
        self.series.retain(|(id, ..), _| !cut(id));
        self.shapes = shapes;
    }

    /// Takes in one closed window. A shard that was heard but had no request from a region had a
    /// measured zero there; a shard that was not heard has a gap.
    pub(crate) fn add(&mut self, window: &ClosedWindow) {
        if window.window_ms != self.window_s * 1_000 {
            return;
        }
        let end = window.start_unix_ms + window.window_ms;
        self.series.retain(|(shard, ..), _| window.shards.contains_key(shard));
        for (shard, rates) in &window.shards {
            let Some(rates) = rates else { continue };
            let known: Vec<Key> = self
                .series
                .range((*shard, None, Class::Reads)..)
                .map(|(key, _)| key)
                .take_while(|(id, ..)| id == shard)
                .cloned()
                .collect();
            let rates = few_regions(rates, &known);
            for (region, [reads_per_s, writes_per_s]) in &rates {
                self.put((*shard, region.clone(), Class::Reads), *reads_per_s, end);
                self.put((*shard, region.clone(), Class::Writes), *writes_per_s, end);
            }
            for key in known.into_iter().filter(|(_, region, _)| !rates.contains_key(region)) {
                self.silent(key, end);
            }
        }
        self.newest_end_unix_ms = self.newest_end_unix_ms.max(end);
        self.is_dirty = true;
    }

    /// Which model serves how many series.
    pub(crate) fn champions(&self) -> Vec<(String, u32)> {
        let mut count: BTreeMap<&str, u32> = BTreeMap::new();
        for forecast in self.latest.values() {
            *count.entry(&forecast.model).or_default() += 1;
        }
        count.into_iter().map(|(model, n)| (model.to_owned(), n)).collect()
    }

    /// Forecasts over the policy's horizon. Works only when a window was added since; can take long.
    pub(crate) fn forecasts(&mut self, now_unix_ms: u64) -> Forecasts {
        if self.is_dirty {
            self.refresh();
            self.is_dirty = false;
        }
        let mut out = Forecasts::new();
        for ((shard, region, class), reads) in &self.latest {
            if *class != Class::Reads {
                continue;
            }
            let writes = self.latest.get(&(*shard, region.clone(), Class::Writes));
            let behind = u64::try_from(reads.stale_windows).unwrap_or(0) * self.window_s * 1_000;
            let forecast = ArrivalForecast {
                reads_per_s: mean_over_horizon(reads),
                writes_per_s: writes.map_or([0.0; 3], mean_over_horizon),
                model: reads.model.clone(),
                age_ms: now_unix_ms.saturating_sub(self.newest_end_unix_ms) + behind,
            };
            out.entry(*shard).or_default().insert(region.clone(), forecast);
        }
        out
    }

    fn refresh(&mut self) {
        let end = self.newest_end_unix_ms;
        let closed: BTreeMap<Key, Vec<Option<f64>>> =
            self.series.iter().map(|(key, series)| (key.clone(), series.closed(end))).collect();
        let at_unix_s = end / 1_000;
        let inputs = closed
            .iter()
            .map(|(key, windows)| (key.clone(), SeriesInput { windows, at_unix_s }))
            .collect();
        self.latest = self.book.tick(at_unix_s / self.window_s, &inputs);
    }

    /// A measured zero. A region that was never heard in all that is kept is forgotten.
    fn silent(&mut self, key: Key, end_unix_ms: u64) {
        let heard = self.series.get(&key).is_none_or(|series| {
            series.closed(end_unix_ms).iter().flatten().any(|rate_per_s| *rate_per_s > 0.0)
        });
        if heard {
            self.put(key, 0.0, end_unix_ms);
        } else {
            self.series.remove(&key);
        }
    }

    fn put(&mut self, key: Key, rate_per_s: f64, end_unix_ms: u64) {
        let window_s = u32::try_from(self.window_s).unwrap_or(u32::MAX);
        let capacity = usize::try_from(WINDOWS_KEPT).unwrap_or(usize::MAX);
        let series =
            self.series.entry(key).or_insert_with(|| WindowSeries::new(window_s, capacity));
        let sample = Sample {
            at_unix_ms: end_unix_ms,
            interval_ms: self.window_s * 1_000,
            count: rate_per_s * f64::from(window_s),
        };
        if let Err(error) = series.add(sample) {
            tracing::debug!(%error, "a window was not taken into its series");
        }
    }
}

/// Rates by region, with what comes from regions beyond the first [`REGIONS_MAX`] counted as from nowhere: names of
/// regions are made up by clients.
fn few_regions(
    rates: &BTreeMap<Option<Region>, ArrivalRate>,
    known: &[Key],
) -> BTreeMap<Option<Region>, [f64; 2]> {
    let mut regions: BTreeSet<&Option<Region>> =
        known.iter().map(|(_, region, _)| region).collect();
    let mut few: BTreeMap<Option<Region>, [f64; 2]> = BTreeMap::new();
    for (region, rate) in rates {
        let keeps = regions.contains(region) || regions.len() < REGIONS_MAX;
        let place = if keeps { region.clone() } else { None };
        regions.extend(keeps.then_some(region));
        let sum = few.entry(place).or_default();
        *sum = [sum[0] + rate.reads_per_s, sum[1] + rate.writes_per_s];
    }
    few
}

/// Lower end, mean and upper end of the mean over the windows ahead.
fn mean_over_horizon(forecast: &SeriesForecast) -> [f64; 3] {
    let Interval { lower, mean, upper } = forecast.over_horizon;
    [lower, mean, upper]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::synthetic::synthetic_input;

    fn window(n: u64, rates: Option<&[(&str, f64)]>) -> ClosedWindow {
        let rate = |(region, reads_per_s): &(&str, f64)| {
            let region = Region::new(*region).expect("legal");
            (Some(region), ArrivalRate { reads_per_s: *reads_per_s, writes_per_s: 1.0 })
        };
        let rates = rates.map(|list| list.iter().map(rate).collect());
        let shards = BTreeMap::from([(ShardId(1), rates)]);
        ClosedWindow { start_unix_ms: n * 10_000, window_ms: 10_000, shards }
    }

    #[test]
    fn a_region_that_falls_silent_is_zero_and_a_lost_report_is_not() {
        let mut forecaster = Forecaster::new(&ObservePolicy::default());
        for n in 100..130 {
            forecaster.add(&window(n, Some(&[("eu", 20.0), ("us", 8.0)])));
        }
        let [eu, us] = ["eu", "us"].map(|r| Some(Region::new(r).expect("legal")));
        let steady = forecaster.forecasts(1_300_000);
        let of_eu = &steady[&ShardId(1)][&eu];
        assert!((of_eu.reads_per_s[1] - 20.0).abs() < 1.0, "{of_eu:?}");
        assert!((of_eu.writes_per_s[1] - 1.0).abs() < 0.5);
        assert_eq!(of_eu.age_ms, 0);
        // A gap: still about twenty, but older.
        forecaster.add(&window(130, None));
        let gap = forecaster.forecasts(1_312_000);
        assert!((gap[&ShardId(1)][&eu].reads_per_s[1] - 20.0).abs() < 2.0);
        assert_eq!(gap[&ShardId(1)][&eu].age_ms, 12_000);
        // Silence that was measured goes down.
        for n in 131..161 {
            forecaster.add(&window(n, Some(&[("eu", 20.0)])));
        }
        let silent = forecaster.forecasts(1_610_000);
        assert!(silent[&ShardId(1)][&us].reads_per_s[1] < 2.0, "{silent:?}");
        assert_eq!(forecaster.champions().iter().map(|(_, n)| n).sum::<u32>(), 4);
    }

    #[test]
    fn a_shard_that_was_cut_begins_anew() {
        let mut world = synthetic_input(6, 12, 3);
        let ids: Vec<ShardId> = world.view.shards.keys().copied().take(2).collect();
        let rates = |id: &ShardId| {
            let rate = ArrivalRate { reads_per_s: 9_000.0, writes_per_s: 0.0 };
            (*id, Some(BTreeMap::from([(None, rate)])))
        };
        let mut forecaster = Forecaster::new(&ObservePolicy::default());
        forecaster.forget_cut(&world.view);
        for n in 1..20 {
            let shards = ids.iter().map(rates).collect();
            let window = ClosedWindow { start_unix_ms: n * 10_000, window_ms: 10_000, shards };
            forecaster.add(&window);
        }
        forecaster.forget_cut(&world.view);
        world.view.shards.get_mut(&ids[0]).expect("it is there").entry.epoch.shape += 1;
        forecaster.forget_cut(&world.view);
        let quiet = ArrivalRate { reads_per_s: 100.0, writes_per_s: 0.0 };
        let shards = ids.iter().map(|id| (*id, Some(BTreeMap::from([(None, quiet)])))).collect();
        forecaster.add(&ClosedWindow { start_unix_ms: 200_000, window_ms: 10_000, shards });
        let windows = |at: usize| {
            let series = &forecaster.series[&(ids[at], None, Class::Reads)];
            series.closed(210_000).iter().flatten().count()
        };
        assert_eq!((windows(0), windows(1)), (1, 20));
    }

    #[test]
    fn made_up_regions_do_not_grow_without_bound() {
        let mut forecaster = Forecaster::new(&ObservePolicy::default());
        for n in 0..60 {
            let name = format!("region-{n}");
            forecaster.add(&window(n, Some(&[("eu", 5.0), (&name, 7.0)])));
        }
        assert!(forecaster.series.len() <= 2 * (REGIONS_MAX + 1), "{}", forecaster.series.len());
        let out = forecaster.forecasts(600_000);
        assert!(
            out[&ShardId(1)][&None].reads_per_s[1] > 3.0,
            "what is not told apart still counts"
        );
    }

    #[test]
    fn other_window_lengths_start_anew_and_gone_shards_are_forgotten() {
        let mut forecaster = Forecaster::new(&ObservePolicy::default());
        forecaster.add(&window(1, Some(&[("eu", 1.0)])));
        forecaster.configure(&ObservePolicy { window_s: 5, ..ObservePolicy::default() });
        assert!(forecaster.forecasts(0).is_empty());
        forecaster.add(&window(2, Some(&[("eu", 1.0)])));
        assert!(forecaster.forecasts(0).is_empty(), "its length is another");
        forecaster.configure(&ObservePolicy::default());
        forecaster.add(&window(3, Some(&[("eu", 1.0)])));
        assert_eq!(forecaster.forecasts(0).len(), 1);
        let shards = BTreeMap::new();
        forecaster.add(&ClosedWindow { start_unix_ms: 40_000, window_ms: 10_000, shards });
        assert!(forecaster.forecasts(0).is_empty());
    }
}
