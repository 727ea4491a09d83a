//! Dynamic harmonic regression: how a series goes on from where it is, as a linear function of its lags, its season,
//! its week and waves of both, fitted directly for each range of leads by least absolute deviations.

use super::{
    linear::Linear,
    rows::{View, Viewed},
};

/// How it is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HarmonicConfig {
    /// Moments of the history that it learns from, each a row for every range of leads: bounds the cost.
    pub rows_max: usize,
    /// Shrinkage, see [`Linear::fit`].
    pub ridge: f64,
    /// Rounds of reweighting.
    pub rounds: usize,
    /// Waves of the season, and half as many of the week.
    pub waves: usize,
    /// Seasons of history that it learns from.
    pub seasons_max: usize,
}

impl Default for HarmonicConfig {
    fn default() -> Self {
        Self { rows_max: 600, ridge: 0.01, rounds: 4, waves: 3, seasons_max: 42 }
    }
}

/// Fewer rows than this say nothing.
const ROWS_MIN: usize = 40;

/// Fitted to one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Harmonic {
    config: HarmonicConfig,
    /// Last lead of each range, ascending, and its function.
    ranges: Vec<(usize, Linear)>,
    /// Which numbers of a row are used.
    used: Vec<usize>,
}

/// Ranges of leads that are treated alike, by their last lead: each twice as long as the one before, none longer than half a season or across the
/// end of a season.
pub fn lead_ranges(horizon: usize, season: usize) -> Vec<usize> {
    let mut ranges = Vec::new();
    let mut last = 0;
    while last < horizon {
        let step = if season > 3 { last.clamp(1, season.div_ceil(2)) } else { last.max(1) };
        let season_end = (last / season.max(1) + 1) * season.max(1);
        let next = last + step;
        last = if season > 3 && next > season_end { season_end } else { next };
        last = last.min(horizon);
        ranges.push(last);
    }
    ranges
}

impl Harmonic {
    /// Fits it to the first `end` values, for leads up to `horizon`; `None` if they are too few.
    pub fn fit(
        of: &Viewed<'_>,
        end: usize,
        horizon: usize,
        config: HarmonicConfig,
    ) -> Option<Self> {
        let used = used(&of.layout().names());
        let mut fitted = Self { config, ranges: Vec::new(), used };
        let season = of.layout().season;
        let begin =
            (2 * season).max(4).max(end.saturating_sub(config.seasons_max * season.max(24)));
        let room = end.checked_sub(begin)?;
        let count = config.rows_max.min(room);
        // Evenly over the history, but not at the same places of the season.
        let place = |i: usize| {
            let at = (i as f64 + (i as f64 * 0.618_033_988_749_894_9).fract()) / count as f64;
            begin + (at * room as f64) as usize
        };
        let seen = (0..count).map(place).filter_map(|origin| Some((origin, of.view(origin)?)));
        let views: Vec<(usize, View<'_>)> = seen.collect();
        let mut first = 1;
        for last in lead_ranges(horizon, season) {
            let Some(linear) = fitted.fit_range(of, &views, end, first..=last) else { break };
            fitted.ranges.push((last, linear));
            first = last + 1;
        }
        (!fitted.ranges.is_empty()).then_some(fitted)
    }

    fn fit_range(
        &self,
        of: &Viewed<'_>,
        views: &[(usize, View<'_>)],
        end: usize,
        leads: std::ops::RangeInclusive<usize>,
    ) -> Option<Linear> {
        let (mut rows, mut targets, mut row) = (Vec::new(), Vec::new(), Vec::new());
        let span = leads.end() - leads.start() + 1;
        for (number, (origin, view)) in views.iter().enumerate() {
            // Leads of the range take turns, out of step with the season.
            let lead = leads.start() + (number * 7_919) % span;
            if origin + lead > end {
                continue;
            }
            row.clear();
            self.row(view, lead, *origin, &mut row, of);
            rows.extend(&row);
            targets.push((of.value(origin + lead - 1) - view.base(lead)) / view.scale);
        }
        if targets.len() < ROWS_MIN {
            return None;
        }
        Linear::fit(&rows, row.len(), &targets, self.config.ridge, self.config.rounds)
    }

    fn row(
        &self,
        view: &View<'_>,
        lead: usize,
        origin: usize,
        row: &mut Vec<f64>,
        of: &Viewed<'_>,
    ) {
        let mut all = Vec::with_capacity(96);
        view.row(lead, &mut all);
        row.extend(self.used.iter().map(|&i| all[i]));
        let layout = of.layout();
        let at = origin + lead - 1;
        for (period, waves) in
            [(layout.season, self.config.waves), (layout.week, self.config.waves / 2)]
        {
            if period > 3 {
                let turn = std::f64::consts::TAU * (at % period) as f64 / period as f64;
                row.extend(
                    (1..=waves).flat_map(|k| [(k as f64 * turn).sin(), (k as f64 * turn).cos()]),
                );
            }
        }
    }

    /// Points for these leads after the first `origin` values; leads beyond those it was fitted for as the last range says.
    /// `None` with less than two seasons.
    pub fn points(&self, of: &Viewed<'_>, origin: usize, leads: &[usize]) -> Option<Vec<f64>> {
        let view = of.view(origin)?;
        let mut row = Vec::new();
        let point = |&lead: &usize| {
            let range = self.ranges.iter().find(|(last, _)| lead <= *last);
            let (_, linear) = range.or(self.ranges.last())?;
            row.clear();
            self.row(&view, lead, origin, &mut row, of);
            Some(view.base(lead) + view.scale * linear.predict(&row))
        };
        leads.iter().map(point).collect()
    }
}

/// Numbers that a linear function can use: differences, not statistics.
fn used(names: &[String]) -> Vec<usize> {
    const USED: [&str; 15] = [
        "season_lag_",
        "season_mean",
        "week_lag_",
        "week_change_",
        "week_mean",
        "base_before_",
        "base_after_",
        "last",
        "week_error_at_",
        "season_of_week_change_",
        "scaled_",
        "deviation_",
        "week_deviation_",
        "season_less_week",
        "week_growth",
    ];
    let is_used = |name: &String| USED.iter().any(|used| name.starts_with(used));
    names.iter().enumerate().filter(|(_, name)| is_used(name)).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::rows::Layout;

    fn layout() -> Layout {
        Layout {
            season: 24,
            week: 0,
            base_seasons: 3,
            lags: vec![1, 2],
            windows: vec![3, 24],
            clocks: Vec::new(),
        }
    }

    /// A daily wave with a deviation that fades by a tenth each step and is pushed now and then.
    fn pushed(n: usize) -> Vec<f64> {
        let mut off = 0.0;
        (0..n)
            .map(|i| {
                off = 0.9 * off + if (i * 7919) % 31 == 0 { 20.0 } else { 0.0 };
                100.0 + 30.0 * (std::f64::consts::TAU * i as f64 / 24.0).sin() + off
            })
            .collect()
    }

    #[test]
    fn a_fading_deviation_is_learnt() {
        let (layout, values) = (layout(), pushed(900));
        let viewed = Viewed::new(&values, &layout);
        let fitted = Harmonic::fit(&viewed, 700, 24, HarmonicConfig::default()).unwrap();
        let (mut ours, mut season) = (0.0, 0.0);
        for origin in (700..860).step_by(7) {
            let points = fitted.points(&viewed, origin, &[1, 2, 3, 4, 5, 6]).unwrap();
            for (lead, point) in points.iter().enumerate() {
                let actual = values[origin + lead];
                ours += (point - actual).abs();
                season += (values[origin + lead - 24] - actual).abs();
            }
        }
        assert!(ours < 0.6 * season, "{ours} {season}");
    }

    #[test]
    fn ranges_cover_every_lead_and_end_with_seasons() {
        let ranges = lead_ranges(48, 24);
        assert_eq!(ranges.last(), Some(&48));
        assert!(ranges.contains(&24) && ranges.windows(2).all(|w| w[0] < w[1]), "{ranges:?}");
        assert_eq!(lead_ranges(1, 1_440), [1]);
        assert_eq!(lead_ranges(1_440, 1_440).len(), 12);
    }

    #[test]
    fn short_and_constant_series_are_no_panic() {
        let layout = layout();
        let flat = vec![5.0; 400];
        let viewed = Viewed::new(&flat, &layout);
        let fitted = Harmonic::fit(&viewed, 400, 24, HarmonicConfig::default()).unwrap();
        let points = fitted.points(&viewed, 400, &[1, 24, 90]).unwrap();
        assert!(points.iter().all(|p| (p - 5.0).abs() < 1e-6), "{points:?}");
        let short = Viewed::new(&flat[..50], &layout);
        assert!(Harmonic::fit(&short, 50, 24, HarmonicConfig::default()).is_none());
    }
}
