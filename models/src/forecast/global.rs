//! One boosted model for many series: it learns from all of them how a series goes on from its scale-free rows
//! (Montero-Manso and Hyndman 2021; the winners of M5), and is applied to series that it has not seen.

use super::{
    FitError,
    rows::{Layout, Viewed},
};
use crate::boost::{BoostConfig, Booster, Columns};
use serde::{Deserialize, Serialize};

/// Longest horizon of a model that comes from a file.
const HORIZON_MAX: usize = 100_000;
/// Boosters in one model.
const MEMBERS_MAX: usize = 64;

/// What an error is measured in while learning: it decides which rows count most. (The median that is learnt is the
/// same; what differs is where it is learnt best.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// The mean change from season to season: as MASE counts.
    Scale,
    /// The size of the base: as sMAPE counts.
    Size,
}

/// Rows of one unit count at most so many times more or less than others.
const WEIGHT_MAX: f64 = 30.0;
/// A base near zero is taken to be this share of the level.
const BASE_MIN: f64 = 0.1;

/// How it is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// What a row says.
    pub layout: Layout,
    /// Longest lead.
    pub horizon: usize,
    /// Leads that each origin gives rows for, spread evenly on a logarithmic scale; all of them if as many as the horizon.
    pub leads: usize,
    /// Origins of each series at most, from its end backwards, and steps between them.
    pub origins: usize,
    /// Steps between two origins.
    pub stride: usize,
    /// After so many origins an older row counts half; 0: all count alike.
    pub half_life: f64,
    /// One booster for each unit and seed.
    pub units: Vec<Unit>,
    /// Its seed is moved on for each booster.
    pub boost: BoostConfig,
    /// Boosters for each unit.
    pub seeds: usize,
}

/// Boosted trees over the rows of [`Layout`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct GlobalModel {
    layout: Layout,
    horizon: usize,
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    unit: Unit,
    trees: Booster,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    layout: Layout,
    horizon: usize,
    members: Vec<Member>,
}

impl TryFrom<Stored> for GlobalModel {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { layout, horizon, members } = stored;
        if !layout.is_sound() || horizon == 0 || horizon > HORIZON_MAX {
            return Err("the layout or the horizon of the global model is out of range".into());
        }
        let width = layout.names().len();
        let fits = |member: &Member| member.trees.features() == width;
        if members.is_empty() || members.len() > MEMBERS_MAX || !members.iter().all(fits) {
            return Err("the trees of the global model do not fit its layout".into());
        }
        Ok(Self { layout, horizon, members })
    }
}

/// Rows of many series with what came.
struct Table {
    columns: Vec<Vec<f32>>,
    /// In units of the series' scale, and this scale in units of the base.
    targets: Vec<f64>,
    scale_per_size: Vec<f64>,
    weights: Vec<f64>,
}

impl GlobalModel {
    /// Fits it to series of finite values, each to its end.
    pub fn fit(series: &[&[f64]], config: &GlobalConfig) -> Result<Self, FitError> {
        let table = Table::of(series, config);
        let not_found = |e: crate::boost::BoostError| FitError::NotFound(e.to_string());
        let Table { columns, targets, scale_per_size, weights } = table;
        if targets.is_empty() {
            let needed = config.layout.season * 2 + config.horizon;
            return Err(FitError::TooShort { needed, given: 0 });
        }
        let columns = Columns::new(columns).map_err(not_found)?;
        let mut members = Vec::new();
        for seed in 0..config.seeds.max(1) {
            for &unit in &config.units {
                let counted: Vec<f64> = match unit {
                    Unit::Scale => weights.clone(),
                    Unit::Size => weights.iter().zip(&scale_per_size).map(|(w, s)| w * s).collect(),
                };
                let number = members.len() as u64;
                let seed = config.boost.seed.wrapping_add(number.wrapping_mul(7_919) + seed as u64);
                let boost = BoostConfig { seed, ..config.boost.clone() };
                let trees = Booster::fit(&columns, &targets, Some(&counted), &boost);
                members.push(Member { unit, trees: trees.map_err(not_found)? });
            }
        }
        Ok(Self { layout: config.layout.clone(), horizon: config.horizon, members })
    }

    /// What its rows say.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Longest lead it has learnt.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The units of its boosters, in the order of [`GlobalModel::points`].
    pub fn units(&self) -> Vec<Unit> {
        self.members.iter().map(|member| member.unit).collect()
    }

    /// What each booster says of these leads after the first `origin` values; `None` if they are too few. `of` must have
    /// been made with [`GlobalModel::layout`].
    pub fn points(&self, of: &Viewed<'_>, origin: usize, leads: &[usize]) -> Option<Vec<Vec<f64>>> {
        let view = of.view(origin)?;
        let mut points = vec![Vec::with_capacity(leads.len()); self.members.len()];
        let (mut row, mut narrow) = (Vec::new(), Vec::new());
        for &lead in leads {
            row.clear();
            narrow.clear();
            view.row(lead, &mut row);
            narrow.extend(row.iter().map(|v| *v as f32));
            let base = view.base(lead);
            for (points, member) in points.iter_mut().zip(&self.members) {
                points.push(base + view.scale * member.trees.predict_row(&narrow));
            }
        }
        Some(points)
    }
}

impl Table {
    fn of(series: &[&[f64]], config: &GlobalConfig) -> Self {
        let width = config.layout.names().len();
        let mut table = Self {
            columns: vec![Vec::new(); width],
            targets: Vec::new(),
            scale_per_size: Vec::new(),
            weights: Vec::new(),
        };
        let mut row = Vec::new();
        for values in series {
            let viewed = Viewed::new(values, &config.layout);
            for back in 0..config.origins {
                let behind = config.stride.max(1) * back;
                let Some(origin) = values.len().checked_sub(1 + behind) else { break };
                let Some(view) = viewed.view(origin) else { break };
                let age = back as f64 / config.half_life;
                let weight = if config.half_life > 0.0 { 0.5_f64.powf(age) } else { 1.0 };
                for lead in leads(config, back) {
                    let Some(actual) = values.get(origin + lead - 1) else { continue };
                    row.clear();
                    view.row(lead, &mut row);
                    table.columns.iter_mut().zip(&row).for_each(|(c, v)| c.push(*v as f32));
                    let base = view.base(lead);
                    let size = base.abs().max(BASE_MIN * view.level);
                    table.targets.push((actual - base) / view.scale);
                    table
                        .scale_per_size
                        .push((10.0 * view.scale / size).clamp(1.0 / WEIGHT_MAX, WEIGHT_MAX));
                    table.weights.push(weight);
                }
            }
        }
        table
    }
}

/// Leads that the origin number `back` gives rows for.
fn leads(config: &GlobalConfig, back: usize) -> Vec<usize> {
    if config.leads >= config.horizon {
        return (1..=config.horizon).collect();
    }
    // A place of its own within each part, so that in the end every lead was learnt from.
    let jitter = (back as f64 * 0.618_033_988_749_894_9).fract();
    let longest = (config.horizon as f64 + 1.0).ln();
    let lead = |k: usize| {
        let at = longest * (k as f64 + jitter) / config.leads as f64;
        (at.exp() as usize).clamp(1, config.horizon)
    };
    let mut leads: Vec<usize> = (0..config.leads).map(lead).collect();
    leads.dedup();
    leads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::Loss;

    fn config() -> GlobalConfig {
        let layout = Layout {
            season: 12,
            week: 0,
            base_seasons: 1,
            lags: vec![1],
            windows: vec![3],
            clocks: Vec::new(),
        };
        GlobalConfig {
            layout,
            horizon: 12,
            leads: 12,
            origins: 12,
            stride: 5,
            half_life: 6.0,
            units: vec![Unit::Scale, Unit::Size],
            boost: BoostConfig {
                trees: 60,
                max_leaves: 8,
                min_child_hessian: 10.0,
                ..BoostConfig::of(Loss::Absolute)
            },
            seeds: 1,
        }
    }

    /// Level and size differ; a push of each series fades over some steps.
    fn series(number: usize) -> Vec<f64> {
        let size = 10.0_f64.powi((number % 4) as i32);
        let mut off = 0.0;
        (0..150)
            .map(|i| {
                off = 0.8 * off + if (i * 31 + number * 17) % 23 == 0 { 4.0 } else { 0.0 };
                size * (20.0 + 5.0 * (std::f64::consts::TAU * i as f64 / 12.0).sin() + off)
            })
            .collect()
    }

    #[test]
    fn what_was_learnt_from_some_series_serves_another() {
        let all: Vec<Vec<f64>> = (0..16).map(series).collect();
        let shown: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
        let config = config();
        let model = GlobalModel::fit(&shown, &config).unwrap();
        assert_eq!(model, GlobalModel::fit(&shown, &config).unwrap(), "the same again");
        let unseen = series(45);
        let viewed = Viewed::new(&unseen, model.layout());
        let (mut ours, mut season) = ([0.0; 2], 0.0);
        for origin in 60..140 {
            let points = model.points(&viewed, origin, &[1, 2, 3]).unwrap();
            for lead in 1..=3 {
                let actual = unseen[origin + lead - 1];
                season += (unseen[origin + lead - 13] - actual).abs();
                ours.iter_mut().zip(&points).for_each(|(e, p)| *e += (p[lead - 1] - actual).abs());
            }
        }
        assert!(ours.iter().all(|e| *e < 0.6 * season), "{ours:?} {season}");
    }

    #[test]
    fn a_model_read_from_a_file_must_fit_itself() {
        let all: Vec<Vec<f64>> = (0..4).map(series).collect();
        let shown: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
        let model = GlobalModel::fit(&shown, &config()).unwrap();
        let text = serde_json::to_string(&model).unwrap();
        let read = serde_json::from_str::<GlobalModel>(&text).unwrap();
        // JSON's numbers come back to within a rounding.
        let viewed = Viewed::new(&all[0], model.layout());
        let ahead = |model: &GlobalModel| model.points(&viewed, 100, &[1, 2, 3]).unwrap().concat();
        for (ours, theirs) in ahead(&read).into_iter().zip(ahead(&model)) {
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
        let torn = text.replacen("\"lags\":[1]", "\"lags\":[1,2]", 1);
        assert!(serde_json::from_str::<GlobalModel>(&torn).is_err());
        assert!(GlobalModel::fit(&[&[1.0; 5]], &config()).is_err());
        assert!(GlobalModel::fit(&[], &config()).is_err());
    }

    #[test]
    fn every_lead_is_learnt_from_in_the_end() {
        let config = GlobalConfig { horizon: 100, leads: 6, ..config() };
        let mut seen: Vec<usize> = (0..2_000).flat_map(|back| leads(&config, back)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.first(), Some(&1));
        assert!(seen.len() > 95 && seen.last() <= Some(&100), "{}", seen.len());
    }
}
