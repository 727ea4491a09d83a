//! Intervals for the difference between a model and what it is compared with, by the paired bootstrap over units.
//!
//! Rows of one file, machine, series or drive depend on each other; the units do not. So whole units are drawn with
//! replacement, the same ones for both sides (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and
//! 16), and the 2.5th and 97.5th percentile of the differences bound the interval. With fewer than ten units percentile
//! intervals are too narrow, and the reader is told.

use crate::{Metric, Units, random::Random};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Resamples for one interval.
pub const RESAMPLES: usize = 2_000;
/// Below this the reader is told that the interval is too narrow.
pub const UNITS_FEW: usize = 10;
/// Most units and resamples that one interval may cost together.
const DRAWS_MAX: usize = 200_000_000;

/// Intervals by the name of the other side, then of the figure.
pub type Intervals = BTreeMap<String, BTreeMap<String, Interval>>;

/// How far the model's figure lies above the other side's: model minus other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Over all units.
    pub difference: f64,
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
    /// Units that both sides have.
    pub units: u64,
    /// Resamples it is from.
    pub resamples: u64,
}

impl Interval {
    /// 1: the model's figure is higher, −1: lower, 0: the interval holds zero.
    pub fn sign(&self) -> i8 {
        i8::from(self.low > 0.0) - i8::from(self.high < 0.0)
    }
}

/// One unit's figure on both sides, as sums and what they are divided by.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: (f64, f64),
    theirs: (f64, f64),
}

/// Intervals for every figure that both sides have on at least two common units. The same seed gives the same intervals.
pub fn paired(ours: &Units, theirs: &Units, seed: u64) -> BTreeMap<String, Interval> {
    let names: BTreeSet<&String> = ours.values().flat_map(|metrics| metrics.keys()).collect();
    let mut intervals = BTreeMap::new();
    for name in names {
        let both = ours.iter().filter_map(|(unit, metrics)| {
            let other = theirs.get(unit)?;
            Some(Pair { ours: parts(metrics.get(name)?)?, theirs: parts(other.get(name)?)? })
        });
        if let Some(interval) = interval(&both.collect::<Vec<_>>(), seed) {
            intervals.insert(name.clone(), interval);
        }
    }
    intervals
}

/// A number counts once; a group of `sum` and `of` is a quotient.
fn parts(metric: &Metric) -> Option<(f64, f64)> {
    let (sum, of) = match metric {
        Metric::Number(value) => (*value, 1.0),
        Metric::Group(group) => match (group.get("sum")?, group.get("of")?) {
            (Metric::Number(sum), Metric::Number(of)) => (*sum, *of),
            _ => return None,
        },
    };
    (sum.is_finite() && of.is_finite() && of >= 0.0).then_some((sum, of))
}

/// The difference of both quotients over some units; none where nothing is divided by.
fn difference<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Option<f64> {
    let (mut ours, mut theirs) = ((0.0, 0.0), (0.0, 0.0));
    for pair in pairs {
        ours = (ours.0 + pair.ours.0, ours.1 + pair.ours.1);
        theirs = (theirs.0 + pair.theirs.0, theirs.1 + pair.theirs.1);
    }
    let value = ours.0 / ours.1 - theirs.0 / theirs.1;
    value.is_finite().then_some(value)
}

fn interval(pairs: &[Pair], seed: u64) -> Option<Interval> {
    if pairs.len() < 2 {
        return None;
    }
    let whole = difference(pairs.iter())?;
    let resamples = RESAMPLES.min(DRAWS_MAX / pairs.len()).max(100);
    let mut random = Random::new(seed);
    let mut drawn: Vec<f64> = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let sample = std::iter::repeat_with(|| &pairs[random.below(pairs.len())]);
        // A resample of units in which nothing could happen says nothing.
        drawn.extend(difference(sample.take(pairs.len())));
    }
    drawn.sort_by(f64::total_cmp);
    let at =
        |share: f64| drawn.get((share * (drawn.len().max(1) - 1) as f64).round() as usize).copied();
    Some(Interval {
        difference: whole,
        low: at(0.025)?,
        high: at(0.975)?,
        units: pairs.len() as u64,
        resamples: drawn.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metrics, ratio};

    fn units(values: impl IntoIterator<Item = f64>) -> Units {
        let named = values.into_iter().enumerate();
        named.map(|(i, v)| (format!("u{i:04}"), Metrics::from([("m".into(), v.into())]))).collect()
    }

    /// Twelve numbers added up are near enough to a normal one.
    fn noise(random: &mut Random) -> f64 {
        (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn the_interval_of_a_mean_has_the_width_that_theory_gives() {
        let mut random = Random::new(3);
        let ours = units((0..400).map(|_| noise(&mut random)));
        let zero = units((0..400).map(|_| 0.0));
        let interval = &paired(&ours, &zero, 1)["m"];
        let expected = 2.0 * 1.96 / 400_f64.sqrt();
        let width = interval.high - interval.low;
        assert!((width / expected - 1.0).abs() < 0.15, "{width} {expected}");
        assert!(interval.low < interval.difference && interval.difference < interval.high);
        assert_eq!(paired(&ours, &zero, 1)["m"], *interval, "seeded");
        assert_ne!(paired(&ours, &zero, 2)["m"], *interval);
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let mut random = Random::new(11);
        let zero = units((0..40).map(|_| 0.0));
        let held = (0..300).filter(|trial| {
            let interval =
                &paired(&units((0..40).map(|_| 0.3 + noise(&mut random))), &zero, *trial)["m"];
            (interval.low..=interval.high).contains(&0.3)
        });
        let held = held.count();
        assert!((270..=297).contains(&held), "{held} of 300");
    }

    #[test]
    fn pairing_takes_out_what_both_sides_share() {
        let mut random = Random::new(5);
        let hard: Vec<f64> = (0..60).map(|_| 100.0 * noise(&mut random)).collect();
        let ours = units(hard.iter().map(|h| h + 0.5));
        let interval = &paired(&ours, &units(hard), 1)["m"];
        assert_eq!(interval.sign(), 1);
        assert!(interval.high - interval.low < 1e-9, "{interval:?}");
    }

    #[test]
    fn quotients_are_divided_after_adding_up() {
        let side = |parts: [(f64, f64); 3]| -> Units {
            let named = parts.iter().zip(["a", "b", "c"]);
            named
                .map(|((s, o), n)| (n.into(), Metrics::from([("recall".into(), ratio(*s, *o))])))
                .collect()
        };
        let ours = side([(1.0, 1.0), (0.0, 0.0), (8.0, 9.0)]);
        let theirs = side([(1.0, 1.0), (0.0, 0.0), (4.0, 9.0)]);
        let interval = &paired(&ours, &theirs, 1)["recall"];
        assert!((interval.difference - 0.4).abs() < 1e-12, "{interval:?}");
        // Draws of the empty unit alone are left out.
        assert!(interval.resamples < RESAMPLES as u64 && interval.resamples > 1_800);
    }

    #[test]
    fn too_few_units_and_hostile_figures_give_no_interval() {
        assert!(paired(&units([1.0]), &units([0.0]), 1).is_empty());
        assert!(paired(&units([1.0, f64::NAN]), &units([0.0, 0.0]), 1).is_empty());
        let nothing = |_: usize| Metrics::from([("m".into(), ratio(1.0, 0.0))]);
        let empty: Units = (0..3).map(|i| (i.to_string(), nothing(i))).collect();
        assert!(paired(&empty, &empty, 1).is_empty());
        assert!(paired(&units([1.0, 2.0]), &Units::new(), 1).is_empty());
    }
}
