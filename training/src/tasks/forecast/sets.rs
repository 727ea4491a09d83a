//! From files to what is forecast: series with the part that is judged, as the README of each set splits it.

use crate::{Error, Result};
use isobar_datasets::{SeriesFile, SeriesRow, read_series};
use std::{collections::BTreeMap, fs, path::Path};

/// Steps ahead in the hourly set.
pub(super) const HOURLY_HORIZON: usize = 48;
/// Hours of a day and a week.
pub(super) const DAY: usize = 24;
pub(super) const WEEK: usize = 168;

/// One hourly series, whose last [`HOURLY_HORIZON`] values are judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hourly {
    pub(super) id: String,
    pub(super) history: Vec<f64>,
    pub(super) came: Vec<f64>,
}

/// One long series that is forecast again and again from moments in its last part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rolling {
    pub(super) name: String,
    pub(super) step_s: u64,
    /// Steps of a day; 1 where the series is shorter than some days.
    pub(super) season: usize,
    pub(super) values: Vec<f64>,
    /// Values before the part that is judged.
    pub(super) train: usize,
    /// Name and steps of each horizon.
    pub(super) horizons: Vec<(&'static str, usize)>,
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Set {
    Hourly(Vec<Hourly>),
    Rolling(Vec<Rolling>),
}

/// Reads all files of a folder that hold series.
pub(super) fn read(folder: &Path) -> Result<Set> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Error::io(folder, e))?.path());
    }
    paths.sort();
    let (mut rows, mut rolling) = (Vec::new(), Vec::new());
    for path in paths.iter().filter(|path| path.is_file()) {
        let full = path.file_name().unwrap_or_default().to_string_lossy();
        let name = full.split('.').next().unwrap_or_default().to_owned();
        match read_series(path)? {
            Some(SeriesFile::Rows(more)) => rows.extend(more),
            Some(SeriesFile::PerSecond(counts)) => rolling.extend(of_counts(&name, &counts)),
            Some(SeriesFile::Readings { step_s, values }) => {
                rolling.extend(of_readings(&name, step_s, values));
            }
            Some(SeriesFile::Arrivals(times)) => rolling.extend(of_arrivals(&name, &times)),
            None => {}
        }
    }
    let unsuitable = |what: &str| Err(Error::Unsuitable(format!("{}: {what}", folder.display())));
    match (rows.is_empty(), rolling.is_empty()) {
        (true, true) => unsuitable("no series that are long enough to forecast"),
        (false, false) => unsuitable("hourly rows and long series are two sets, not one"),
        (false, true) => hourly(rows).map(Set::Hourly),
        (true, false) => Ok(Set::Rolling(rolling)),
    }
}

/// Rows of the same name belong together, the longer one first. A row alone is judged on its own end.
fn hourly(rows: Vec<SeriesRow>) -> Result<Vec<Hourly>> {
    let mut by_id: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    let mut order = Vec::new();
    for row in rows {
        let parts = by_id.entry(row.id.clone()).or_insert_with(|| {
            order.push(row.id);
            Vec::new()
        });
        parts.push(row.values);
    }
    let mut series = Vec::new();
    for id in order {
        let mut parts = by_id.remove(&id).unwrap_or_default();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        if parts.len() > 2 {
            return Err(Error::Unsuitable(format!("more than two rows are called {id}")));
        }
        let tail = parts.pop().unwrap_or_default();
        let (history, came) = match parts.pop() {
            Some(history) => (history, tail),
            None => {
                let at = tail.len().saturating_sub(HOURLY_HORIZON);
                (tail[..at].to_vec(), tail[at..].to_vec())
            }
        };
        if history.len() < 2 * DAY || came.len() < HOURLY_HORIZON {
            return Err(Error::Unsuitable(format!("{id} is shorter than two days and 48 hours")));
        }
        series.push(Hourly { id, history, came: came[..HOURLY_HORIZON].to_vec() });
    }
    Ok(series)
}

/// Requests a second, by the minute and by five minutes; the first 75 % of the days, whole, are to learn from.
fn of_counts(name: &str, counts: &[u32]) -> Vec<Rolling> {
    let by = |step: usize, suffix: &str| {
        let whole = counts.chunks_exact(step);
        let values: Vec<f64> = whole.map(|c| c.iter().map(|&n| f64::from(n)).sum()).collect();
        let season = 86_400 / step;
        let train = (0.75 * values.len() as f64 / season as f64) as usize * season;
        daily(format!("{name}_{suffix}"), step as u64, values, train)
    };
    [by(60, "1min"), by(300, "5min")].into_iter().flatten().collect()
}

/// The first two thirds of the days, whole, are to learn from: days 1–14 of 21.
fn of_readings(name: &str, step_s: u64, values: Vec<f64>) -> Option<Rolling> {
    let season = usize::try_from(86_400 / step_s.max(1)).ok().filter(|season| *season > 3)?;
    let train = values.len() / season * 2 / 3 * season;
    daily(name.to_owned(), step_s, values, train)
}

fn daily(name: String, step_s: u64, values: Vec<f64>, train: usize) -> Option<Rolling> {
    let steps = |seconds: u64| usize::try_from(seconds / step_s).unwrap_or(usize::MAX);
    let season = steps(86_400);
    let horizons = vec![("5min", steps(300).max(1)), ("1h", steps(3_600).max(1)), ("1day", season)];
    // Two days to learn from, and a day to judge.
    let long_enough = train >= 2 * season && values.len() > train + season;
    long_enough.then_some(Rolling { name, step_s, season, values, train, horizons })
}

/// Arrivals in bins of ten seconds; the last bin is broken off and left out. 70 % are to learn from.
fn of_arrivals(name: &str, times: &[f64]) -> Option<Rolling> {
    const STEP_S: u64 = 10;
    let bin = |time: f64| (time / STEP_S as f64) as usize;
    let bins = times.last().map_or(0, |last| bin(*last));
    let mut values = vec![0.0; bins];
    for time in times {
        if let Some(count) = values.get_mut(bin(*time)) {
            *count += 1.0;
        }
    }
    let train = (0.7 * bins as f64) as usize;
    let horizons = vec![("10s", 1), ("1min", 6), ("5min", 30)];
    // A short file has no moment from which the longest horizon is known.
    let known: Vec<_> = horizons.into_iter().filter(|(_, steps)| bins > train + steps).collect();
    let (name, horizons) = (name.to_owned(), known);
    let long_enough = !horizons.is_empty() && train >= 20;
    long_enough.then_some(Rolling { name, step_s: STEP_S, season: 1, values, train, horizons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_those_of_the_readmes() {
        let minutes = |days: usize| vec![1_u32; days * 86_400];
        let by_minute = &of_counts("a", &minutes(15))[0];
        assert_eq!((by_minute.train, by_minute.season), (11 * 1_440, 1_440));
        assert_eq!(of_counts("a", &minutes(40))[1].train, 30 * 288);
        let readings = of_readings("b", 300, vec![1.0; 6_048]).expect("long enough");
        assert_eq!((readings.train, readings.horizons[1]), (14 * 288, ("1h", 12)));
        assert!(of_counts("a", &minutes(2)).is_empty());
        let times: Vec<f64> = (0..4_000).map(|i| f64::from(i) / 2.0).collect();
        let binned = of_arrivals("c", &times).expect("long enough");
        assert_eq!((binned.values.len(), binned.train), (199, 139));
        assert!(binned.values.iter().all(|v| *v == 20.0));
    }

    #[test]
    fn the_longer_row_of_a_name_is_the_history() {
        let row = |id: &str, n: usize| SeriesRow { id: id.into(), values: vec![n as f64; n] };
        let series = hourly(vec![row("b", 48), row("a", 100), row("b", 700)]).expect("legal");
        assert_eq!((series[0].id.as_str(), series[0].history.len()), ("b", 700));
        assert_eq!((series[1].history.len(), series[1].came.len()), (52, 48));
        assert!(hourly(vec![row("a", 90)]).is_err());
    }
}
