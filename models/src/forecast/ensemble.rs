//! One series, all members, one forecast: which member counts how much is learnt while the series goes on, for each
//! range of leads on its own, and so are the intervals.
//!
//! Strictly causal: at a moment nothing after it is read, neither by a fit nor by a weight nor by a bound. The outcome of
//! a forecast counts only once it has come.

use super::{
    FitContext, Fitted, Forecaster as _, Harmonic, HarmonicConfig, HoltWinters, Interval, MstlEts,
    SeasonalProfile,
    adaptive::Band,
    combine::{Outcome, mix, weights},
    global::GlobalModel,
    harmonic::lead_ranges,
    rows::{Layout, View, Viewed},
};
use std::collections::VecDeque;

/// Names of the members, in the order of their weights; then one for each booster.
pub const MEMBERS: [&str; 13] = [
    "naive",
    "seasonal_naive",
    "median_season",
    "scaled_season",
    "scaled_season_slow",
    "smooth_fast",
    "smooth_slow",
    "mean",
    "mstl_ets",
    "holt_winters",
    "seasonal_profile",
    "harmonic_absolute",
    "harmonic_squares",
];
/// Weights of the newest value in the two plain smoothings.
const SMOOTH: [f64; 2] = [0.3, 0.07];
/// Values that the plain smoothings and the mean look back at.
const SMOOTH_VALUES: usize = 512;
/// Errors that the bounds of one range rest on.
const ERRORS_KEPT: usize = 800;
/// Outcomes that one range learns its weights from.
const OUTCOMES_KEPT: usize = 600;

/// How the members are kept up to date.
#[derive(Clone, Debug, PartialEq)]
pub struct EnsembleConfig {
    /// What rows look at; the season is that of the members, too.
    pub layout: Layout,
    /// Longest lead.
    pub horizon: usize,
    /// Steps after which members are fitted and weights learnt anew.
    pub refit_every: usize,
    /// Steps between two forecasts that are only made to learn from.
    pub probe_every: usize,
    /// Steps after which an outcome counts half.
    pub half_life: f64,
    /// So many outcomes count as much as an even mixture.
    pub confidence: f64,
    /// Share of values that intervals are to hold.
    pub level: f64,
    /// Whether negative values are impossible.
    pub non_negative: bool,
}

/// The boosted models: one that has not seen the values from some moment on, to learn weights there, and one that has.
#[derive(Clone, Copy, Debug)]
pub struct Boosted<'a> {
    /// For origins before the moment.
    pub early: &'a GlobalModel,
    /// For origins from the moment on.
    pub full: &'a GlobalModel,
    /// Index of the first value that the full model has not seen, if this is the series it was fitted to.
    pub from: usize,
}

/// A series with its members.
#[derive(Debug)]
pub struct Ensemble<'a> {
    values: &'a [f64],
    config: &'a EnsembleConfig,
    boosted: Option<Boosted<'a>>,
    viewed: Viewed<'a>,
    fits: Fits,
    next_fit: usize,
    next_probe: usize,
    ranges: Vec<Range>,
    pending: VecDeque<Pending>,
}

#[derive(Debug, Default)]
struct Fits {
    mstl: Option<MstlEts>,
    holt_winters: Option<Fitted>,
    profile: Option<Fitted>,
    harmonic: [Option<Harmonic>; 2],
}

/// Leads treated alike.
#[derive(Debug)]
struct Range {
    last: usize,
    weights: Vec<f64>,
    band: Band,
    /// With the origin of each.
    outcomes: VecDeque<(usize, Outcome)>,
}

/// A forecast whose outcome is not known yet.
#[derive(Debug)]
struct Pending {
    origin: usize,
    lead: usize,
    range: usize,
    said: Vec<f64>,
    mixed: f64,
    unit: f64,
    scale: f64,
}

impl<'a> Ensemble<'a> {
    /// Begins to learn at `start`: members are first fitted to the values before it. Values must be finite.
    pub fn new(
        values: &'a [f64],
        config: &'a EnsembleConfig,
        boosted: Option<Boosted<'a>>,
        start: usize,
    ) -> Self {
        let members = MEMBERS.len() + boosted.map_or(0, |b| b.full.units().len());
        let even = vec![1.0 / members as f64; members];
        let range = |last| Range {
            last,
            weights: even.clone(),
            band: Band::new(config.level, ERRORS_KEPT),
            outcomes: VecDeque::new(),
        };
        let ranges = lead_ranges(config.horizon, config.layout.season);
        Self {
            values,
            config,
            boosted,
            viewed: Viewed::new(values, &config.layout),
            fits: Fits::default(),
            next_fit: start,
            next_probe: start,
            ranges: ranges.into_iter().map(range).collect(),
            pending: VecDeque::new(),
        }
    }

    /// Goes on to a moment: `now` values are known. Moments must not go backwards.
    pub fn advance(&mut self, now: usize) {
        while self.next_probe <= now {
            let at = self.next_probe;
            self.resolve(at);
            if at >= self.next_fit {
                self.fit(at);
                self.learn(at);
                self.next_fit = at + self.config.refit_every.max(1);
            }
            self.probe(at);
            self.next_probe = at + self.config.probe_every.max(1);
        }
        self.resolve(now);
    }

    /// Forecast of the steps after the first `now` values, which [`Ensemble::advance`] has gone to.
    pub fn forecast(&self, now: usize, horizon: usize) -> Vec<Interval> {
        let leads: Vec<usize> = (1..=horizon).collect();
        let said = self.members(now, &leads);
        let view = self.viewed.view(now);
        let floor = if self.config.non_negative { 0.0 } else { f64::NEG_INFINITY };
        let interval = |(said, &lead): (&Vec<f64>, &usize)| {
            let range = &self.ranges[self.range_of(lead)];
            let mean = mix(said, &range.weights).max(floor);
            let unit = view.as_ref().map_or(1.0, |view| unit(view, mean));
            let (lower, upper) = range.band.around(mean, unit).unwrap_or((mean, mean));
            Interval { lower: lower.max(floor), mean, upper }
        };
        said.iter().zip(&leads).map(interval).collect()
    }

    /// What each member says, by lead.
    pub fn members(&self, now: usize, leads: &[usize]) -> Vec<Vec<f64>> {
        let history = &self.values[..now.min(self.values.len())];
        let longest = leads.iter().copied().max().unwrap_or(1);
        let season = self.config.layout.season;
        let path = |points: Vec<f64>| -> Vec<f64> {
            leads.iter().map(|&lead| points.get(lead - 1).copied().unwrap_or(f64::NAN)).collect()
        };
        let view = self.viewed.view(now);
        let median = |view: &View<'_>| leads.iter().map(|&lead| view.base(lead)).collect();
        let scaled = |window: usize| {
            let view = view.as_ref()?;
            Some(leads.iter().map(|&lead| view.scaled(lead, window)).collect())
        };
        let last = history.last().copied().unwrap_or(0.0);
        let median: Vec<f64> = view.as_ref().map_or(vec![last; leads.len()], median);
        let flat = |value: f64| vec![value; leads.len()];
        let recent = &history[history.len().saturating_sub(SMOOTH_VALUES)..];
        let fits = &self.fits;
        let fitted = |fit: &Option<Fitted>| fit.map(|fit| path(fit.points(history, longest)));
        let harmonic = |fit: &Option<Harmonic>| fit.as_ref()?.points(&self.viewed, now, leads);
        let mut said: Vec<Option<Vec<f64>>> = vec![
            Some(flat(last)),
            Some(path(super::naive::last_season(history, season, longest))),
            Some(median.clone()),
            scaled(1),
            scaled(self.config.layout.windows.get(1).copied().unwrap_or(1)),
            Some(flat(smooth(recent, SMOOTH[0]))),
            Some(flat(smooth(recent, SMOOTH[1]))),
            Some(flat(super::mean(recent))),
            fits.mstl.as_ref().map(|fit| path(fit.points(history, longest))),
            fitted(&fits.holt_winters),
            fitted(&fits.profile),
            harmonic(&fits.harmonic[0]),
            harmonic(&fits.harmonic[1]),
        ];
        if let Some(boosted) = self.boosted {
            let model = if now < boosted.from { boosted.early } else { boosted.full };
            let boosters = model.points(&self.viewed, now, leads);
            let count = boosted.full.units().len();
            said.extend(
                boosters.map_or(vec![None; count], |all| all.into_iter().map(Some).collect()),
            );
        }
        // A member without a word says what the season says.
        let word = |points: &Option<Vec<f64>>, at: usize| {
            let own = points.as_ref().and_then(|points| points.get(at));
            own.copied().filter(|p| p.is_finite()).unwrap_or(median[at])
        };
        (0..leads.len()).map(|at| said.iter().map(|points| word(points, at)).collect()).collect()
    }

    /// Weights by range of leads: the last lead of each, and one weight for each member.
    pub fn weights(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.ranges.iter().map(|range| (range.last, range.weights.as_slice()))
    }

    fn range_of(&self, lead: usize) -> usize {
        self.ranges.partition_point(|range| range.last < lead).min(self.ranges.len() - 1)
    }

    fn fit(&mut self, at: usize) {
        let history = &self.values[..at];
        let Layout { season, week, .. } = self.config.layout;
        let context = FitContext { horizon: self.config.horizon, period: Some(season) };
        let harmonic = |rounds: usize| {
            let config = HarmonicConfig { rounds, ..HarmonicConfig::default() };
            Harmonic::fit(&self.viewed, at, self.config.horizon, config)
        };
        self.fits = Fits {
            mstl: MstlEts::fit(history, &[season, week]).ok(),
            holt_winters: HoltWinters.fit(history, context).ok(),
            profile: SeasonalProfile.fit(history, context).ok(),
            harmonic: [harmonic(HarmonicConfig::default().rounds), harmonic(1)],
        };
    }

    fn learn(&mut self, at: usize) {
        let half_life = self.config.half_life.max(1.0);
        for range in &mut self.ranges {
            let aged = |(origin, outcome): &(usize, Outcome)| {
                let age = at.saturating_sub(*origin) as f64 / half_life;
                Outcome { weight: outcome.weight * 0.5_f64.powf(age), ..outcome.clone() }
            };
            let outcomes: Vec<Outcome> = range.outcomes.iter().map(aged).collect();
            let even = vec![1.0; range.weights.len()];
            range.weights = weights(&outcomes, &even, self.config.confidence);
        }
    }

    /// Forecasts at some leads of each range, to be compared with what comes.
    fn probe(&mut self, at: usize) {
        let Some(view) = self.viewed.view(at) else { return };
        let mut leads: Vec<usize> = Vec::new();
        let mut first = 1;
        for range in &self.ranges {
            // Not always the same lead of a range.
            let spread = (at as f64 * 0.618_033_988_749_894_9).fract();
            leads.push(first + (spread * (range.last - first + 1) as f64) as usize);
            first = range.last + 1;
        }
        let all = self.members(at, &leads);
        let mut pending = Vec::with_capacity(leads.len());
        for (range, (said, lead)) in all.into_iter().zip(leads).enumerate() {
            let mixed = mix(&said, &self.ranges[range].weights);
            let (unit, scale) = (unit(&view, mixed), view.scale);
            pending.push(Pending { origin: at, lead, range, said, mixed, unit, scale });
        }
        self.pending.extend(pending);
    }

    /// Learns from the forecasts whose outcome is known by now.
    fn resolve(&mut self, now: usize) {
        let mut waiting = VecDeque::with_capacity(self.pending.len());
        while let Some(pending) = self.pending.pop_front() {
            let step = pending.origin + pending.lead;
            if step > now || step > self.values.len() {
                waiting.push_back(pending);
                continue;
            }
            let Pending { origin, range, said, mixed, unit, scale, .. } = pending;
            let (actual, range) = (self.values[step - 1], &mut self.ranges[range]);
            range.band.observe(mixed, actual, unit);
            range.outcomes.push_back((origin, Outcome { said, actual, weight: 1.0 / scale }));
            if range.outcomes.len() > OUTCOMES_KEPT {
                range.outcomes.pop_front();
            }
        }
        self.pending = waiting;
    }
}

/// What errors are measured in: how much the series changes lately, more where the forecast is high, as counts do.
fn unit(view: &View<'_>, point: f64) -> f64 {
    view.scale * ((point.max(0.0) / view.level) + 0.1).sqrt()
}

/// Exponentially weighted mean, the newest value counting `alpha`.
fn smooth(values: &[f64], alpha: f64) -> f64 {
    let first = values.first().copied().unwrap_or(0.0);
    values.iter().fold(first, |level, value| level + alpha * (value - level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EnsembleConfig {
        let layout = Layout {
            season: 24,
            week: 0,
            base_seasons: 5,
            lags: vec![1, 2, 3],
            windows: vec![3, 6, 24],
            clocks: Vec::new(),
        };
        EnsembleConfig {
            layout,
            horizon: 24,
            refit_every: 24,
            probe_every: 1,
            half_life: 120.0,
            confidence: 20.0,
            level: 0.9,
            non_negative: true,
        }
    }

    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    /// A daily wave with noise, then from 900 on a level that wanders without any season.
    fn turning(n: usize) -> Vec<f64> {
        let mut level = 0.0;
        (0..n)
            .map(|i| {
                level += if i < 900 { 0.0 } else { 8.0 * noise(i * 3) };
                let wave =
                    if i < 900 { (std::f64::consts::TAU * i as f64 / 24.0).sin() } else { 0.0 };
                100.0 + 30.0 * wave + level + 2.0 * noise(i)
            })
            .collect()
    }

    fn error_of(values: &[f64], from: usize, to: usize) -> (f64, f64, f64) {
        let config = config();
        let mut ensemble = Ensemble::new(values, &config, None, 300);
        let (mut ours, mut naive, mut season) = (0.0, 0.0, 0.0);
        for now in (from..to).step_by(5) {
            ensemble.advance(now);
            for (lead, said) in ensemble.forecast(now, 24).into_iter().enumerate() {
                let actual = values[now + lead];
                assert!(said.lower <= said.mean && said.mean <= said.upper, "{said:?}");
                ours += (said.mean - actual).abs();
                naive += (values[now - 1] - actual).abs();
                season += (values[now + lead - 24] - actual).abs();
            }
        }
        (ours, naive, season)
    }

    #[test]
    fn the_weights_follow_the_series() {
        let values = turning(1_700);
        let (ours, naive, season) = error_of(&values, 600, 860);
        assert!(ours < 1.0 * season && ours < 0.3 * naive, "season: {ours} {naive} {season}");
        let (ours, naive, season) = error_of(&values, 1_300, 1_600);
        assert!(ours < 1.1 * naive && ours < season, "wandering: {ours} {naive} {season}");
    }

    #[test]
    fn nothing_after_the_moment_is_read() {
        let config = config();
        let values = turning(700);
        let mut torn = values.clone();
        torn[500..].iter_mut().for_each(|v| *v = -1e9);
        let at = |values: &[f64]| {
            let mut ensemble = Ensemble::new(values, &config, None, 300);
            ensemble.advance(500);
            format!("{:?}", ensemble.forecast(500, 24))
        };
        assert_eq!(at(&values), at(&torn));
    }

    #[test]
    fn intervals_hold_what_they_promise() {
        let (config, values) = (config(), turning(900));
        let mut ensemble = Ensemble::new(&values, &config, None, 300);
        let (mut inside, mut all) = (0.0, 0.0);
        for now in 500..870 {
            ensemble.advance(now);
            for (lead, said) in ensemble.forecast(now, 24).into_iter().enumerate() {
                all += 1.0;
                let actual = values[now + lead];
                inside += f64::from(u8::from(said.lower <= actual && actual <= said.upper));
            }
        }
        let share = inside / all;
        assert!((0.86..0.95).contains(&share), "{share}");
    }
}
