//! What a series looks like from one moment: scale-free rows that one model can learn from many series.
//!
//! Every number is a difference from a *base* – the median of the last values at the same place in the season – in
//! units of how much the series differs from one season to the next. A row at origin `n` reads only the first `n` values.

use serde::{Deserialize, Serialize};

/// Seasons that scale and level are taken from.
const SCALE_SEASONS: usize = 28;
/// Single values at the same place in earlier seasons.
const SEASON_LAGS: usize = 6;
/// Weeks looked back.
const WEEKS: usize = 3;
/// Values that statistics of the whole history are taken from, about.
const SAMPLED: usize = 1_000;
/// Limits of a layout that comes from a file.
const PERIOD_MAX: usize = 100_000;
const LIST_MAX: usize = 32;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Steps of the season; 1 where there is none.
    pub season: usize,
    /// Steps of the longer season (a week); 0 where there is none.
    pub week: usize,
    /// Seasons whose median is the base.
    pub base_seasons: usize,
    /// Deviations from the base at these numbers of steps back, 1 is the newest.
    pub lags: Vec<usize>,
    /// Mean deviations over so many newest steps.
    pub windows: Vec<usize>,
    /// Periods whose phase is told, counted from the first value of a series: only where all series begin alike.
    pub clocks: Vec<usize>,
}

impl Layout {
    /// Whether it can be used; a package is a file.
    pub fn is_sound(&self) -> bool {
        let listed = [&self.lags, &self.windows, &self.clocks];
        (1..=PERIOD_MAX).contains(&self.season)
            && self.week <= PERIOD_MAX
            && (1..=LIST_MAX).contains(&self.base_seasons)
            && listed.iter().all(|list| {
                list.len() <= LIST_MAX && list.iter().all(|v| (1..=PERIOD_MAX).contains(v))
            })
    }

    /// Names of the numbers of a row, in order.
    pub fn names(&self) -> Vec<String> {
        let fixed = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let mut names = fixed(&["lead_steps", "seasons_ahead"]);
        names.extend((0..=SEASON_LAGS).map(|k| format!("season_lag_{k}")));
        names.extend(fixed(&["season_mean", "season_std", "season_min", "season_max"]));
        names.extend((1..=WEEKS).map(|k| format!("week_lag_{k}")));
        names.extend((1..=WEEKS).map(|k| format!("week_change_{k}")));
        names.extend(fixed(&["week_mean", "base_before_2", "base_before_1", "base_after_1"]));
        names.extend(fixed(&["base_after_2", "last", "week_error_at_1", "week_error_at_2"]));
        names.extend(fixed(&["season_of_week_change_1", "season_of_week_change_2"]));
        names.extend(fixed(&["place_in_range", "base_per_level", "scaled_1", "scaled_mean"]));
        names.extend(self.lags.iter().map(|lag| format!("deviation_{lag}")));
        names.extend(self.windows.iter().map(|w| format!("deviation_mean_{w}")));
        names.extend(self.windows.iter().map(|w| format!("week_deviation_mean_{w}")));
        names.extend(fixed(&["season_spread", "season_less_week", "week_growth", "roughness"]));
        names.extend(fixed(&["week_scale", "recent_scale", "newest_scale", "scale_per_level"]));
        names.extend(fixed(&["likeness_season", "likeness_week", "persistence"]));
        names.extend(self.clocks.iter().map(|clock| format!("phase_{clock}")));
        names
    }
}

/// A series made ready to be looked at from many origins.
#[derive(Debug)]
pub struct Viewed<'a> {
    values: &'a [f64],
    layout: &'a Layout,
    /// Sums of the first values; of their deviations from the base; and from the week before. NaN counts as 0.
    sums: Vec<f64>,
    deviations: Vec<f64>,
    deviation_sums: Vec<f64>,
    week_sums: Vec<f64>,
}

/// A series as it is seen from one origin.
#[derive(Debug)]
pub struct View<'a> {
    of: &'a Viewed<'a>,
    /// Values that may be read.
    origin: usize,
    /// Mean change from one season to the next, lately; positive.
    pub scale: f64,
    /// Mean size, lately; positive.
    pub level: f64,
    /// The part of a row that no lead changes.
    shared: Vec<f64>,
}

impl<'a> Viewed<'a> {
    /// Makes a series of finite values ready.
    pub fn new(values: &'a [f64], layout: &'a Layout) -> Self {
        let mut seasons = Vec::with_capacity(layout.base_seasons);
        let mut deviations = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let base = base(values, at, layout.season, layout.season, layout, &mut seasons);
            deviations.push(value - base);
        }
        let week = |at: usize| {
            let before = (layout.week > 0).then(|| at.checked_sub(layout.week)).flatten();
            before.map_or(0.0, |before| values[at] - values[before])
        };
        Self {
            sums: running(values.iter().copied()),
            deviation_sums: running(deviations.iter().copied()),
            week_sums: running((0..values.len()).map(week)),
            values,
            layout,
            deviations,
        }
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        self.layout
    }

    /// The series from the moment before value `origin`; `None` with less than two seasons before it.
    pub fn view(&'a self, origin: usize) -> Option<View<'a>> {
        let origin = origin.min(self.values.len());
        let season = self.layout.season;
        if origin < 2 * season || origin < 4 {
            return None;
        }
        let from = origin.saturating_sub(SCALE_SEASONS * season.max(4));
        let recent = &self.values[from..origin];
        let sampled = recent.iter().step_by(stride(recent));
        let n = sampled.len() as f64;
        let level = (sampled.map(|v| v.abs()).sum::<f64>() / n).max(1e-9);
        let scale = mean_change(recent, season);
        let scale = if scale > 1e-6 * level { scale } else { 1e-3 * level };
        let mut view = View { of: self, origin, scale, level, shared: Vec::new() };
        view.shared = view.shared_part(recent);
        Some(view)
    }

    /// One value of the series.
    pub(super) fn value(&self, at: usize) -> f64 {
        self.values[at]
    }

    fn mean(&self, sums: &[f64], end: usize, length: usize) -> f64 {
        match end.checked_sub(length) {
            Some(from) if length > 0 => (sums[end] - sums[from]) / length as f64,
            _ => f64::NAN,
        }
    }
}

impl View<'_> {
    /// What the season says of the step `lead` (1: the next).
    pub fn base(&self, lead: usize) -> f64 {
        let (at, back) = self.place(lead);
        let mut seasons = Vec::with_capacity(self.of.layout.base_seasons);
        base(
            &self.of.values[..self.origin],
            at,
            back,
            self.of.layout.season,
            self.of.layout,
            &mut seasons,
        )
    }

    /// What the season says of the step `lead`, times how far the newest `window` values were off what it said of them:
    /// where waves grow and shrink as a whole. NaN where that is no positive number.
    pub fn scaled(&self, lead: usize, window: usize) -> f64 {
        let n = self.origin;
        let came = self.of.mean(&self.of.sums, n, window);
        let said = came - self.of.mean(&self.of.deviation_sums, n, window);
        let times = came / said;
        // A season that said almost nothing tells nothing.
        if said > 1e-3 * self.level && (0.0..=10.0).contains(&times) {
            self.base(lead) * times
        } else {
            f64::NAN
        }
    }

    /// Index of the step, and how far back its place in the season was seen last.
    fn place(&self, lead: usize) -> (usize, usize) {
        let season = self.of.layout.season;
        (self.origin + lead.max(1) - 1, season * lead.max(1).div_ceil(season))
    }

    fn value(&self, at: usize, back: usize) -> f64 {
        let seen = at.checked_sub(back).filter(|&i| i < self.origin);
        seen.map_or(f64::NAN, |i| self.of.values[i])
    }

    /// Appends the row for the step `lead`, as [`Layout::names`] says; NaN where the series is too short.
    pub fn row(&self, lead: usize, row: &mut Vec<f64>) {
        let layout = self.of.layout;
        let (season, week) = (layout.season, layout.week);
        let (at, back) = self.place(lead);
        let base = self.base(lead);
        let unit = |value: f64| (value - base) / self.scale;
        row.extend([lead as f64, (back / season) as f64]);
        let lags: Vec<f64> =
            (0..=SEASON_LAGS).map(|k| unit(self.value(at, back + k * season))).collect();
        row.extend(&lags);
        let (mean, deviation, low, high) = moments(&lags);
        row.extend([mean, deviation, low, high]);
        let weeks_back = |k: usize| week * k.max(lead.div_ceil(week.max(1)));
        let weekly = |k: usize, back: usize| match week {
            0 => f64::NAN,
            _ => self.value(at, weeks_back(k) + back),
        };
        let weeks: Vec<f64> = (1..=WEEKS).map(|k| unit(weekly(k, 0))).collect();
        row.extend(&weeks);
        row.extend((1..=WEEKS).map(|k| (weekly(k, 0) - weekly(k, back)) / self.scale));
        row.push(moments(&weeks).0);
        for (before, steps) in [(true, 2), (true, 1), (false, 1), (false, 2)] {
            let near = if before { at.checked_sub(steps) } else { Some(at + steps) };
            row.push(near.map_or(f64::NAN, |near| unit(self.value(near, back))));
        }
        row.push(unit(self.value(self.origin, 1)));
        for back in [back, back + season] {
            let error = self.value(at, back) - self.value(at, back + week.max(1));
            row.push(if week == 0 { f64::NAN } else { error / self.scale });
        }
        for weeks in 1..=2 {
            row.push(self.season_of_week_change(lead, weeks));
        }
        let (mean, spread) = (self.shared_mean(), self.shared[self.shared_at_spread()]);
        row.push((base - mean) / (self.scale * spread.max(1e-9)));
        row.push(base / self.level);
        let window = layout.windows.get(1).copied().unwrap_or(1);
        row.extend([1, window].map(|w| (self.scaled(lead, w) - base) / self.scale));
        row.extend(&self.shared);
        row.extend(layout.clocks.iter().map(|clock| (at % clock) as f64 / *clock as f64));
    }

    /// How the mean of the season that holds the step differed from that of the last known season, weeks ago.
    fn season_of_week_change(&self, lead: usize, weeks: usize) -> f64 {
        let (season, week) = (self.of.layout.season, self.of.layout.week);
        if week == 0 {
            return f64::NAN;
        }
        let ahead = season * ((lead.max(1) - 1) / season + 1);
        let Some(then) = self.origin.checked_sub(week * weeks) else { return f64::NAN };
        if then + ahead > self.origin {
            return f64::NAN;
        }
        let mean = |end: usize| self.of.mean(&self.of.sums, end, season);
        (mean(then + ahead) - mean(then)) / self.scale
    }

    fn shared_mean(&self) -> f64 {
        self.of.mean(&self.of.sums, self.origin, self.of.layout.season)
    }

    fn shared_at_spread(&self) -> usize {
        self.of.layout.lags.len() + 2 * self.of.layout.windows.len()
    }

    fn shared_part(&self, recent: &[f64]) -> Vec<f64> {
        let layout = self.of.layout;
        let (season, week, n) = (layout.season, layout.week, self.origin);
        let mut part = Vec::with_capacity(32);
        let deviation = |lag: &usize| {
            let seen = n.checked_sub(*lag);
            seen.map_or(f64::NAN, |at| self.of.deviations[at] / self.scale)
        };
        part.extend(layout.lags.iter().map(deviation));
        for sums in [&self.of.deviation_sums, &self.of.week_sums] {
            part.extend(layout.windows.iter().map(|w| self.of.mean(sums, n, *w) / self.scale));
        }
        let newest = &self.of.values[n - season..n];
        part.push(moments(newest).1 / self.scale);
        let mean = |end: Option<usize>, length: usize| match end {
            Some(end) => self.of.mean(&self.of.sums, end, length),
            None => f64::NAN,
        };
        let long = if week > 0 { week } else { 7 * season };
        part.push((mean(Some(n), season) - mean(Some(n), long)) / self.scale);
        part.push((mean(Some(n), long) - mean(n.checked_sub(long), long)) / self.scale);
        part.push(mean_change(recent, 1) / self.scale);
        let change_of = |from: usize, lag: usize| {
            let from = n.saturating_sub(from);
            mean_change(&self.of.values[from..n], lag) / self.scale
        };
        part.push(if week > 0 { mean_change(recent, week) / self.scale } else { f64::NAN });
        part.push(change_of(8 * season, season));
        part.push(change_of(3 * season, season));
        part.push(self.scale / self.level);
        part.extend([season, week, 1].map(|lag| likeness(recent, season, lag)));
        part
    }
}

/// Median of the values at the same place in the last seasons; `back` is where the newest of them lies. The last value
/// known where there is none.
fn base(
    values: &[f64],
    at: usize,
    back: usize,
    season: usize,
    layout: &Layout,
    seasons: &mut Vec<f64>,
) -> f64 {
    seasons.clear();
    let places = (0..layout.base_seasons).map_while(|k| at.checked_sub(back + k * season));
    seasons.extend(places.filter_map(|place| values.get(place)));
    if seasons.is_empty() {
        return values.get(at.min(values.len()).saturating_sub(1)).copied().unwrap_or(0.0);
    }
    seasons.sort_by(f64::total_cmp);
    let middle = seasons.len() / 2;
    if seasons.len() % 2 == 1 {
        seasons[middle]
    } else {
        (seasons[middle - 1] + seasons[middle]) / 2.0
    }
}

fn running(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    sums.extend(values.map(|value| {
        sum += value;
        sum
    }));
    sums
}

/// Of long histories every so many-th value is enough to know its statistics; an odd stride meets every phase.
fn stride(values: &[f64]) -> usize {
    (values.len() / SAMPLED) | 1
}

/// Mean absolute change over `lag` steps; NaN where the values are too few.
fn mean_change(values: &[f64], lag: usize) -> f64 {
    let pairs = values.iter().skip(lag).zip(values).step_by(stride(values));
    let n = pairs.len();
    let sum: f64 = pairs.map(|(now, then)| (now - then).abs()).sum();
    if n == 0 { f64::NAN } else { sum / n as f64 }
}

/// Autocorrelation, at one lag, of the changes from season to season.
fn likeness(values: &[f64], season: usize, lag: usize) -> f64 {
    if lag == 0 || values.len() < season + 2 * lag {
        return f64::NAN;
    }
    let changed = |at: usize| values[at] - values[at - season];
    let at = || (season + lag..values.len()).step_by(stride(values));
    let n = at().count().max(1) as f64;
    let mean = at().map(changed).sum::<f64>() / n;
    let spread: f64 = at().map(|i| (changed(i) - mean).powi(2)).sum();
    let along: f64 = at().map(|i| (changed(i) - mean) * (changed(i - lag) - mean)).sum();
    if spread > 0.0 { (along / spread).clamp(-2.0, 2.0) } else { 0.0 }
}

/// Mean, standard deviation, smallest and largest of those that are known.
fn moments(values: &[f64]) -> (f64, f64, f64, f64) {
    let known = || values.iter().copied().filter(|v| !v.is_nan());
    let n = known().count();
    if n == 0 {
        return (f64::NAN, f64::NAN, f64::NAN, f64::NAN);
    }
    let mean = known().sum::<f64>() / n as f64;
    let spread = known().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
    (
        mean,
        spread.sqrt(),
        known().fold(f64::INFINITY, f64::min),
        known().fold(f64::NEG_INFINITY, f64::max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout {
            season: 4,
            week: 12,
            base_seasons: 3,
            lags: vec![1, 2],
            windows: vec![1, 4],
            clocks: vec![4],
        }
    }

    fn wave(n: usize) -> Vec<f64> {
        (0..n).map(|i| 50.0 + [0.0, 9.0, 3.0, -7.0][i % 4] + ((i * 37) % 11) as f64).collect()
    }

    #[test]
    fn a_row_is_as_long_as_its_names_and_never_reads_ahead() {
        let (layout, values) = (layout(), wave(80));
        let mut torn = values.clone();
        torn[60..].iter_mut().for_each(|v| *v = 1e6);
        let (a, b) = (Viewed::new(&values, &layout), Viewed::new(&torn, &layout));
        for lead in 1..=20 {
            let (mut seen, mut other) = (Vec::new(), Vec::new());
            a.view(60).unwrap().row(lead, &mut seen);
            b.view(60).unwrap().row(lead, &mut other);
            assert_eq!(seen.len(), layout.names().len());
            assert_eq!(format!("{seen:?}"), format!("{other:?}"), "lead {lead}");
        }
    }

    #[test]
    fn rows_do_not_depend_on_unit_or_zero() {
        let (layout, values) = (layout(), wave(80));
        let moved: Vec<f64> = values.iter().map(|v| 7.0 * v).collect();
        let (a, b) = (Viewed::new(&values, &layout), Viewed::new(&moved, &layout));
        let (a, b) = (a.view(70).unwrap(), b.view(70).unwrap());
        let (mut seen, mut other) = (Vec::new(), Vec::new());
        (a.row(3, &mut seen), b.row(3, &mut other));
        for ((x, y), name) in seen.iter().zip(&other).zip(layout.names()) {
            assert!((x - y).abs() < 1e-9 || (x.is_nan() && y.is_nan()), "{name}: {x} {y}");
        }
        assert!((b.scale - 7.0 * a.scale).abs() < 1e-9);
    }

    #[test]
    fn the_base_is_the_median_of_the_same_place() {
        let layout = layout();
        let mut values: Vec<f64> = (0..40).map(|i| f64::from(i % 4)).collect();
        values[37] = 100.0; // the newest of three: the median does not follow
        let viewed = Viewed::new(&values, &layout);
        let view = viewed.view(40).unwrap();
        let bases: Vec<f64> = (1..=6).map(|lead| view.base(lead)).collect();
        assert_eq!(bases, [0.0, 1.0, 2.0, 3.0, 0.0, 1.0]);
        assert!(viewed.view(7).is_none());
    }

    #[test]
    fn hostile_layouts_are_known() {
        assert!(layout().is_sound());
        assert!(!Layout { season: 0, ..layout() }.is_sound());
        assert!(!Layout { clocks: vec![0], ..layout() }.is_sound());
        assert!(!Layout { windows: vec![1; 1000], ..layout() }.is_sound());
    }
}
