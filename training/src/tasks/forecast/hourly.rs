//! Many hourly series, each forecast once over two days: members, their weights and the intervals are learnt from all
//! series together, on the two days before those that are judged.

use super::{
    drawn,
    sets::{DAY, HOURLY_HORIZON, Hourly, WEEK},
};
use crate::{
    Curves, Error, Evaluation, Metrics, Progress, Result, Units,
    forecast_metrics::{Said, Tally, mase_scale},
};
use isobar_models::{
    boost::{BoostConfig, Loss},
    forecast::{
        FitContext, Forecaster as _, Harmonic, HarmonicConfig, HoltWinters, Layout, Linear,
        MstlEts, Viewed,
        combine::{Outcome, mix, weights},
        global::{GlobalConfig, GlobalModel, Unit},
    },
};
use serde::{Deserialize, Serialize};

/// Members that are fitted to each series, before the boosters.
const OWN: usize = 4;
/// Last lead of each range that has weights and bounds of its own.
const RANGES: [usize; 4] = [6, 24, 36, HOURLY_HORIZON];
/// What the weights are chosen for: the errors of both figures, each in units of its target.
const MASE_TARGET: f64 = 0.77;
const SMAPE_TARGET: f64 = 8.9;
/// Numbers that the size of errors is foretold from.
const SIZE_FEATURES: usize = 7;
const LEVEL: f64 = 0.9;
/// Series that the report draws.
const DRAWN: usize = 3;
/// Whose figures stand side by side.
const SIDES: [&str; 4] = ["the model", "naive", "seasonal_naive", "mstl_ets"];

/// What is learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HourlyModel {
    global: GlobalModel,
    /// By range of leads, one for each member.
    weights: Vec<Vec<f64>>,
    /// Logarithm of the error's size, and by range how many times that size the bounds are off.
    size: Linear,
    reach: Vec<f64>,
}

fn layout() -> Layout {
    Layout {
        season: DAY,
        week: WEEK,
        base_seasons: 1,
        lags: vec![1, 2, 3, 4, 24, 25],
        windows: vec![3, 6, 12, 24, 48, 168],
        clocks: Vec::new(),
    }
}

fn global_config(seed: u64) -> GlobalConfig {
    GlobalConfig {
        layout: layout(),
        horizon: HOURLY_HORIZON,
        leads: HOURLY_HORIZON,
        origins: 10,
        stride: 24,
        half_life: 10.0,
        units: vec![Unit::Scale, Unit::Size],
        boost: BoostConfig {
            trees: 300,
            learning_rate: 0.06,
            max_leaves: 31,
            max_bins: 127,
            min_child_hessian: 60.0,
            row_fraction: 0.5,
            feature_fraction: 0.5,
            seed,
            ..BoostConfig::of(Loss::Absolute)
        },
        seeds: 1,
    }
}

/// All that is said of one series, before it is mixed.
struct Spoken {
    /// By lead, one for each member.
    said: Vec<Vec<f64>>,
    /// By lead, see [`SIZE_FEATURES`].
    size: Vec<Vec<f64>>,
    scale: f64,
}

impl HourlyModel {
    /// Learns from the histories; what came after them is not looked at.
    pub(super) fn train(
        series: &[Hourly],
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<(Self, Metrics)> {
        let cut = |one: &Hourly| one.history.len().saturating_sub(HOURLY_HORIZON);
        let usable: Vec<&Hourly> = series.iter().filter(|one| cut(one) >= 2 * WEEK).collect();
        let unsuitable = |e: isobar_models::forecast::FitError| {
            Error::Unsuitable(format!("the hourly series: {e}"))
        };
        let early: Vec<&[f64]> = usable.iter().map(|one| &one.history[..cut(one)]).collect();
        progress.step(0, 3, "trees on all but the last two days");
        let global = GlobalModel::fit(&early, &global_config(seed)).map_err(unsuitable)?;
        progress.step(1, 3, "weights and intervals on the last two days");
        let kept: Vec<&[f64]> = usable.iter().map(|one| &one.history[cut(one)..]).collect();
        let spoken: Vec<Spoken> = early.iter().map(|history| speak(&global, history)).collect();
        let weights = learn_weights(&spoken, &kept);
        let mut model = Self {
            global,
            weights,
            size: Linear { intercept: 0.0, weights: Vec::new() },
            reach: Vec::new(),
        };
        model.learn_bounds(&spoken, &kept)?;
        let mut tally = Tally::default();
        for ((spoken, history), kept) in spoken.iter().zip(&early).zip(&kept) {
            tally.add(&model.mixed(spoken, history), kept, spoken.scale);
        }
        progress.step(2, 3, "trees on everything");
        let all: Vec<&[f64]> = usable.iter().map(|one| one.history.as_slice()).collect();
        model.global = GlobalModel::fit(&all, &global_config(seed)).map_err(unsuitable)?;
        progress.step(3, 3, "the hourly series");
        Ok((model, tally.metrics()))
    }

    /// A package is a file: nothing may be missing.
    pub(super) fn check(&self) -> Result<()> {
        let members = OWN + self.global.units().len();
        let finite = |list: &[f64]| list.iter().all(|v| v.is_finite());
        let sound = *self.global.layout() == layout()
            && self.weights.len() == RANGES.len()
            && self.weights.iter().all(|w| w.len() == members && finite(w))
            && self.size.weights.len() == SIZE_FEATURES
            && finite(&self.size.weights)
            && self.size.intercept.is_finite()
            && self.reach.len() == RANGES.len()
            && finite(&self.reach);
        if sound {
            Ok(())
        } else {
            Err(Error::Unsuitable("the parameters of the hourly model do not fit".into()))
        }
    }

    fn learn_bounds(&mut self, spoken: &[Spoken], kept: &[&[f64]]) -> Result<()> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let mut offs: Vec<Vec<(Vec<f64>, f64)>> = vec![Vec::new(); RANGES.len()];
        for (spoken, kept) in spoken.iter().zip(kept) {
            for (at, (said, came)) in spoken.said.iter().zip(*kept).enumerate() {
                let range = range_of(at + 1);
                let off = (mix(said, &self.weights[range]) - came).abs();
                rows.extend(&spoken.size[at]);
                targets.push((off + 1e-3 * spoken.scale).ln());
                offs[range].push((spoken.size[at].clone(), off));
            }
        }
        let size = Linear::fit(&rows, SIZE_FEATURES, &targets, 1e-3, 1);
        self.size =
            size.ok_or_else(|| Error::Unsuitable("too few hourly series for intervals".into()))?;
        let reach = |offs: &Vec<(Vec<f64>, f64)>| {
            let mut times: Vec<f64> =
                offs.iter().map(|(row, off)| off / self.size.predict(row).exp()).collect();
            times.sort_by(f64::total_cmp);
            let rank = ((times.len() + 1) as f64 * LEVEL).ceil() as usize;
            times.get(rank.min(times.len()).saturating_sub(1)).copied().unwrap_or(1.0)
        };
        self.reach = offs.iter().map(reach).collect();
        Ok(())
    }

    fn mixed(&self, spoken: &Spoken, history: &[f64]) -> Vec<Said> {
        let floor = floor(history);
        let one = |(at, said): (usize, &Vec<f64>)| {
            let range = range_of(at + 1);
            let point = mix(said, &self.weights[range]).max(floor);
            let half = self.reach[range] * self.size.predict(&spoken.size[at]).exp();
            Said { point, bounds: Some(((point - half).max(floor.min(0.0)), point + half)) }
        };
        spoken.said.iter().enumerate().map(one).collect()
    }

    /// Judges it on what came, beside the baselines.
    pub(super) fn judge(&self, series: &[Hourly], progress: &mut dyn Progress) -> Evaluation {
        let mut tallies: [Tally; 4] = Default::default();
        let mut units: [Units; 4] = Default::default();
        let mut by_lead = [[0.0; HOURLY_HORIZON]; 4];
        let mut curves = Curves::new();
        for (number, one) in series.iter().enumerate() {
            progress.step(number as u64, series.len() as u64, &one.id);
            let Some(scale) = mase_scale(&one.history, DAY) else { continue };
            let ours = self.mixed(&speak(&self.global, &one.history), &one.history);
            if curves.len() < DRAWN {
                let curve = drawn::forecast(&one.history, &ours, &one.came, "1 h");
                curves.insert(format!("forecast.{}", one.id), curve);
            }
            let plain = |path: Vec<f64>| path.into_iter().map(Said::from).collect::<Vec<_>>();
            let last = one.history.last().copied().unwrap_or(0.0);
            let mstl = mstl(&one.history).unwrap_or_else(|| season(&one.history));
            let baselines = [vec![last; HOURLY_HORIZON], season(&one.history), mstl];
            let paths = std::iter::once(ours).chain(baselines.map(plain));
            for (side, path) in paths.enumerate() {
                let mut tally = Tally::default();
                tally.add(&path, &one.came, scale);
                units[side].insert(one.id.clone(), tally.metrics());
                tallies[side].add(&path, &one.came, scale);
                for ((sum, said), came) in by_lead[side].iter_mut().zip(&path).zip(&one.came) {
                    *sum += (said.point - came).abs() / scale / series.len() as f64;
                }
            }
        }
        let points = |errors: &[f64; HOURLY_HORIZON]| {
            errors.iter().enumerate().map(|(at, error)| [(at + 1) as f64, *error]).collect()
        };
        let sides = SIDES.into_iter().zip(by_lead.iter().map(points));
        curves.insert("error_by_lead".into(), drawn::errors("lead, h", sides));
        let [ours, baselines @ ..] = tallies;
        let [our_units, baseline_units @ ..] = units;
        let named = |at: usize| SIDES[at + 1].to_owned();
        Evaluation {
            metrics: ours.metrics(),
            baselines: (0..).map(named).zip(baselines.iter().map(Tally::metrics)).collect(),
            n: (series.len() * HOURLY_HORIZON) as u64,
            units: our_units,
            baseline_units: (0..).map(named).zip(baseline_units).collect(),
            curves,
            ..Evaluation::default()
        }
    }
}

/// Series of positive values do not fall below all they have been.
fn floor(history: &[f64]) -> f64 {
    let lowest = history.iter().copied().fold(f64::INFINITY, f64::min);
    if lowest >= 0.0 { lowest } else { f64::NEG_INFINITY }
}

fn range_of(lead: usize) -> usize {
    RANGES.iter().position(|last| lead <= *last).unwrap_or(RANGES.len() - 1)
}

fn season(history: &[f64]) -> Vec<f64> {
    history[history.len().saturating_sub(DAY)..]
        .iter()
        .copied()
        .cycle()
        .take(HOURLY_HORIZON)
        .collect()
}

fn mstl(history: &[f64]) -> Option<Vec<f64>> {
    Some(MstlEts::fit(history, &[DAY, WEEK]).ok()?.points(history, HOURLY_HORIZON))
}

fn holt_winters(history: &[f64]) -> Option<Vec<f64>> {
    let context = FitContext { horizon: HOURLY_HORIZON, period: Some(DAY) };
    Some(HoltWinters.fit(history, context).ok()?.points(history, HOURLY_HORIZON))
}

/// Forecasts of every member, and what foretells the size of their errors.
fn speak(global: &GlobalModel, history: &[f64]) -> Spoken {
    let layout = layout();
    let viewed = Viewed::new(history, &layout);
    let n = history.len();
    let leads: Vec<usize> = (1..=HOURLY_HORIZON).collect();
    let season = season(history);
    let floor = floor(history);
    let harmonic = Harmonic::fit(&viewed, n, HOURLY_HORIZON, HarmonicConfig::default());
    let mut paths = vec![
        Some(season.clone()),
        mstl(history),
        holt_winters(history),
        harmonic.as_ref().and_then(|fit| fit.points(&viewed, n, &leads)),
    ];
    let boosters = global.points(&viewed, n, &leads);
    let count = global.units().len();
    paths.extend(boosters.map_or(vec![None; count], |all| all.into_iter().map(Some).collect()));
    let word = |path: &Option<Vec<f64>>, at: usize| {
        let own = path.as_ref().and_then(|path| path.get(at)).copied().filter(|p| p.is_finite());
        own.unwrap_or(season[at]).max(floor)
    };
    let said: Vec<Vec<f64>> =
        (0..HOURLY_HORIZON).map(|at| paths.iter().map(|path| word(path, at)).collect()).collect();
    let scale = mase_scale(history, DAY).unwrap_or(1.0);
    let lately = mase_scale(&history[n.saturating_sub(4 * DAY)..], DAY).unwrap_or(scale);
    let tested = back_test(&viewed, history, scale);
    let size = |(at, said): (usize, &Vec<f64>)| {
        let middle = said.iter().sum::<f64>() / said.len() as f64;
        let apart = said[OWN - 1..].iter().map(|s| (s - middle).abs()).sum::<f64>();
        let level = middle.abs().max(scale).ln();
        let logarithm = |v: f64| v.max(1e-3 * scale).ln();
        vec![
            scale.ln(),
            logarithm(lately),
            logarithm(tested[at]),
            logarithm(apart),
            logarithm((said[0] - middle).abs()),
            level,
            ((at + 1) as f64).ln(),
        ]
    };
    Spoken { size: said.iter().enumerate().map(size).collect(), said, scale }
}

/// Mean error by lead of a harmonic regression that has not seen the last five days, from origins in these days.
fn back_test(viewed: &Viewed<'_>, history: &[f64], scale: f64) -> Vec<f64> {
    let mut tested = vec![scale; HOURLY_HORIZON];
    let Some(end) = history.len().checked_sub(HOURLY_HORIZON + 3 * DAY) else { return tested };
    let config = HarmonicConfig { rounds: 2, rows_max: 300, ..HarmonicConfig::default() };
    let Some(fit) = Harmonic::fit(viewed, end, HOURLY_HORIZON, config) else { return tested };
    let leads: Vec<usize> = (1..=HOURLY_HORIZON).collect();
    let mut offs = vec![0.0; HOURLY_HORIZON];
    let origins = [end, end + DAY, end + 2 * DAY, end + 3 * DAY];
    for origin in origins {
        let Some(points) = fit.points(viewed, origin, &leads) else { return tested };
        for (at, point) in points.iter().enumerate() {
            offs[at] += (point - history[origin + at]).abs() / origins.len() as f64;
        }
    }
    for (at, mean) in tested.iter_mut().enumerate() {
        let around = &offs[at.saturating_sub(2)..(at + 3).min(HOURLY_HORIZON)];
        *mean = around.iter().sum::<f64>() / around.len() as f64;
    }
    tested
}

fn learn_weights(spoken: &[Spoken], kept: &[&[f64]]) -> Vec<Vec<f64>> {
    let members = spoken.first().map_or(OWN, |one| one.said.first().map_or(OWN, Vec::len));
    let even = vec![1.0; members];
    let learn = |range: usize| {
        let mut outcomes = Vec::new();
        for (spoken, kept) in spoken.iter().zip(kept) {
            for (at, (said, actual)) in spoken.said.iter().zip(*kept).enumerate() {
                if range_of(at + 1) == range {
                    let middle = said.iter().sum::<f64>() / members as f64;
                    let size = (middle.abs() + actual.abs()).max(1e-9);
                    let weight = 1.0 / (MASE_TARGET * spoken.scale) + 200.0 / (SMAPE_TARGET * size);
                    outcomes.push(Outcome { said: said.clone(), actual: *actual, weight });
                }
            }
        }
        weights(&outcomes, &even, 300.0)
    };
    (0..RANGES.len()).map(learn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metric, Silent};

    /// A day and a week, and a deviation that fades over hours; sizes differ a thousandfold.
    fn series(number: usize) -> Hourly {
        let size = 10.0_f64.powi((number % 4) as i32);
        let turn = |at: usize, period: usize| std::f64::consts::TAU * at as f64 / period as f64;
        let mut off = 0.0;
        let value = |at: usize| {
            off = 0.95 * off + ((at * 7_919 + number * 31) % 1_009) as f64 / 250.0 - 2.0;
            size * (60.0 + 20.0 * turn(at, DAY).sin() + 10.0 * turn(at, WEEK).cos() + off)
        };
        let values: Vec<f64> = (0..600 + HOURLY_HORIZON).map(value).collect();
        let (history, came) = values.split_at(600);
        Hourly { id: format!("H{number}"), history: history.into(), came: came.into() }
    }

    #[test]
    fn series_never_seen_are_forecast_better_than_by_their_season() {
        let shown: Vec<Hourly> = (0..24).map(series).collect();
        let (model, _) = HourlyModel::train(&shown, 3, &mut Silent).expect("long enough");
        model.check().expect("sound");
        let unseen: Vec<Hourly> = (24..48).map(series).collect();
        let judged = model.judge(&unseen, &mut Silent);
        let (ours, baselines) = (judged.metrics, judged.baselines);
        let number = |metrics: &Metrics, name: &str| match metrics[name] {
            Metric::Number(number) => number,
            Metric::Group(_) => panic!("{name} is a number"),
        };
        assert_eq!((judged.n, judged.units.len(), judged.curves.len()), (24 * 48, 24, DRAWN + 1));
        for name in ["mase", "smape"] {
            let (ours, season) = (number(&ours, name), number(&baselines["seasonal_naive"], name));
            assert!(ours < 0.9 * season, "{name}: {ours} {season}");
        }
        let covered = number(&ours, "coverage_90");
        // Few series that resemble each other: their errors come together.
        assert!((0.75..0.99).contains(&covered), "{covered}");
        let torn = HourlyModel { reach: vec![1.0], ..model.clone() };
        assert!(torn.check().is_err());
        let torn = HourlyModel { weights: vec![vec![1.0]; 4], ..model };
        assert!(torn.check().is_err());
    }
}
