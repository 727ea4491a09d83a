//! The detector of one series.

use super::hours::Hours;
use super::tail::Tail;
use super::{Evidence, Grouping, Settings, SettingsError};

/// Views of the level, joined by their power mean; the others stand beside it.
const LEVEL_VIEWS: usize = 4;
/// Values are cut here, so that no difference overflows.
const MOST: f64 = 1e150;
/// Below this part of the usual size a residual is rounding.
const ROUNDING: f64 = 1e-9;
/// The least weight of a new point in the usual size and in the usual distance of points.
const SIZE_RATE: f64 = 1.0 / 4_000.0;
const GAP_RATE: f64 = 0.01;
/// Gaps up to so many usual ones are no gap.
const GAP_SLACK: f64 = 1.5;
/// Fewer points in a row with one value are no flat line where none was ever longer.
const FLAT_POINTS: f64 = 4.0;
/// A gap counts at most so many times the usual one in the mean.
const GAP_MOST: f64 = 4.0;

/// What a detector says of one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// How unusual: about `-log10` of how often the like was seen. Finite, not negative; 0 while warming up.
    pub score: f64,
    /// The share of earlier points whose score was at least as high; 1 while warming up.
    pub p_value: f64,
    /// An incident begins: the score reached the threshold, and no alert was near.
    pub alert: bool,
    /// The tail score of each view, in the order of [`Evidence::ALL`].
    pub tails: [f64; 7],
}

impl Verdict {
    /// The views by what they say, the loudest first.
    pub fn reasons(&self) -> [(Evidence, f64); 7] {
        let mut reasons = [(Evidence::HourSpread, 0.0); 7];
        for (reason, pair) in reasons.iter_mut().zip(Evidence::ALL.into_iter().zip(self.tails)) {
            *reason = pair;
        }
        reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
        reasons
    }
}

/// Watches one series. All its state is in the struct: nothing grows.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: Settings,
    grouping: Grouping,
    values: u32,
    last: Option<(i64, f64)>,
    size: f64,
    gap_s: f64,
    gaps: f64,
    flat_points: f64,
    plain: Hours,
    ratio: Hours,
    short: f64,
    fast: f64,
    slow: f64,
    tails: [Tail; 7],
    scores: Tail,
}

impl Detector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// Settings out of their ranges.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let tail = || Tail::new(settings.half_life_points, settings.tail_exponent);
        Ok(Self {
            settings,
            grouping: Grouping::new(settings.grouping_points),
            values: 0,
            last: None,
            size: 0.0,
            gap_s: 0.0,
            gaps: 0.0,
            flat_points: 0.0,
            plain: Hours::new(),
            ratio: Hours::new(),
            short: 0.0,
            fast: 0.0,
            slow: 0.0,
            tails: std::array::from_fn(|view| match Evidence::ALL[view] {
                Evidence::FlatLine => tail().from(FLAT_POINTS),
                Evidence::Missing => tail().from(GAP_MOST),
                _ => tail(),
            }),
            scores: tail(),
        })
    }

    /// The next point: seconds since 1970 UTC, and the value. A value that is not finite says that data are missing: it
    /// changes nothing that was learnt. A clock that goes back is taken as no time having passed.
    pub fn push(&mut self, time_s: i64, value: f64) -> Verdict {
        let gap = self.gap(time_s);
        let mut residuals = [0.0; 7];
        if value.is_finite() {
            residuals = self.residuals(time_s, value.clamp(-MOST, MOST), gap);
            self.learn_gap(time_s);
            self.last = Some((time_s, value));
        }
        residuals[Evidence::Missing as usize] = gap;
        let mut tails = [0.0; 7];
        for (view, tail) in self.tails.iter_mut().enumerate() {
            tails[view] = tail.score(residuals[view]);
            if value.is_finite() {
                tail.add(residuals[view]);
            }
        }
        let warm = self.values > self.settings.warm_up_points;
        let score = if warm { self.join(&tails) } else { 0.0 };
        let p_value = if warm { 10_f64.powf(-self.scores.score(score)) } else { 1.0 };
        if warm {
            self.scores.add(score);
        }
        let alert = self.grouping.pass(warm && score >= self.settings.threshold);
        Verdict { score, p_value, alert, tails }
    }

    fn join(&self, tails: &[f64; 7]) -> f64 {
        let (level, side) = tails.split_at(LEVEL_VIEWS);
        let fourth: f64 = level.iter().map(|tail| tail.powi(4)).sum();
        let level = (fourth / LEVEL_VIEWS as f64).sqrt().sqrt();
        let side = side.iter().copied().fold(0.0, f64::max) * self.settings.side_weight;
        level.max(side)
    }

    /// All but missing data, which the gap before this point is for.
    fn residuals(&mut self, time_s: i64, value: f64, gap: f64) -> [f64; 7] {
        let settings = self.settings;
        self.values = self.values.saturating_add(1);
        let rate = SIZE_RATE.max(1.0 / f64::from(self.values));
        self.size += rate * (value.abs() - self.size);
        let rounding = self.size * ROUNDING;
        // After a gap the average is of old points: it forgets as many as would have come.
        let forgot = if gap > GAP_MOST { gap } else { 1.0 };
        let smoothing = 1.0 - (1.0 - 2.0 / (settings.smoothing_points + 1.0)).powf(forgot);
        let plain = self.plain.step(time_s, value, smoothing, settings.hour_rate);
        // Logarithmic beyond the usual size, linear below: zero and negative values are legal.
        let scale = (self.size * 0.5).max(f64::MIN_POSITIVE);
        let folded = (value.abs() / scale).min(f64::MAX).ln_1p().copysign(value);
        let ratio = self.ratio.step(time_s, folded, smoothing, settings.hour_rate);
        if self.last.is_none() {
            (self.short, self.fast, self.slow) = (value, value, value);
        }
        let step = (value - self.short).abs();
        self.short += 2.0 / (settings.step_points + 1.0) * (value - self.short);
        self.fast += smoothing * (value - self.fast);
        let shift = (self.fast - self.slow).abs();
        self.slow += 2.0 / (settings.level_points + 1.0) * (value - self.slow);
        let same = self.last.is_some_and(|(_, before)| before == value);
        self.flat_points = if same { self.flat_points + 1.0 } else { 0.0 };
        let more_than = |residual: f64, least: f64| if residual > least { residual } else { 0.0 };
        [
            more_than(ratio.spreads, ROUNDING),
            more_than(plain.plain, rounding),
            more_than(ratio.plain, ROUNDING),
            more_than(shift, rounding),
            more_than(step, rounding),
            self.flat_points,
            0.0,
        ]
    }

    /// Time since the last number, in usual distances, less what is no gap.
    fn gap(&self, time_s: i64) -> f64 {
        match self.last {
            Some((last_s, _)) if self.gaps > 0.0 => {
                let gap_s = time_s.saturating_sub(last_s).max(0) as f64;
                (gap_s / self.gap_s.max(1.0) - GAP_SLACK).max(0.0)
            }
            _ => 0.0,
        }
    }

    fn learn_gap(&mut self, time_s: i64) {
        let Some((last_s, _)) = self.last else {
            return;
        };
        let mut gap_s = time_s.saturating_sub(last_s).max(0) as f64;
        if self.gaps > 0.0 {
            gap_s = gap_s.min(self.gap_s * GAP_MOST);
        }
        self.gaps += 1.0;
        self.gap_s += (1.0 / self.gaps).max(GAP_RATE) * (gap_s - self.gap_s);
    }
}
