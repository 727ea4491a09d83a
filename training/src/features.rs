//! Features offline: rows as the controller would have made them, and training sets in which every row holds only what was
//! known at the time of its label.
//!
//! A record is of a moment (`event_unix_s`) and became known later (`arrived_unix_s`). For a label at time t the newest
//! record counts whose event and arrival both lie at or before t: a backward as-of join on both clocks. A join on the event
//! alone lets late reports and corrections leak what nobody knew yet.

use crate::{Error, Result};
use isobar_telemetry::features::{FeatureRow, feature_row};
use std::collections::BTreeMap;

/// Windows that a row may look back on: the longest feature is over 60.
pub const WINDOWS_MAX: usize = 60;

/// Features of one entity at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Shard, machine, series.
    pub entity: String,
    /// Of when it tells, Unix seconds.
    pub event_unix_s: u64,
    /// Since when it was known, Unix seconds.
    pub arrived_unix_s: u64,
    /// The features.
    pub values: Vec<Option<f64>>,
}

/// What is to be learned of one entity at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Shard, machine, series.
    pub entity: String,
    /// The moment of the forecast, Unix seconds: nothing later may be known.
    pub at_unix_s: u64,
    /// What came.
    pub value: f64,
}

/// Rows for every window of a series, by the one feature function; each sees the windows up to its own only.
///
/// `windows` are rates per second, oldest first; the first begins at `begin_unix_s`.
pub fn rows(windows: &[Option<f64>], begin_unix_s: u64, window_s: u64) -> Vec<FeatureRow> {
    let end = |index: usize| begin_unix_s + (index as u64 + 1) * window_s;
    (0..windows.len())
        .map(|index| {
            feature_row(&windows[index.saturating_sub(WINDOWS_MAX - 1)..=index], end(index))
        })
        .collect()
}

/// Which record each label sees: positions in `records`, or none where nothing was known that is at most `age_s` old.
pub fn as_of(records: &[Record], labels: &[Label], age_s: u64) -> Result<Vec<Option<usize>>> {
    let mut by_entity: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        if record.arrived_unix_s < record.event_unix_s {
            let what = format!("a record of {} arrived before what it tells of", record.entity);
            return Err(Error::Unsuitable(what));
        }
        by_entity.entry(&record.entity).or_default().push(index);
    }
    for indices in by_entity.values_mut() {
        // Of two of one moment the later arrival is the correction.
        indices.sort_by_key(|i| (records[*i].event_unix_s, records[*i].arrived_unix_s, *i));
    }
    let seen = labels.iter().map(|label| {
        let indices = by_entity.get(label.entity.as_str())?;
        let past = indices.partition_point(|i| records[*i].event_unix_s <= label.at_unix_s);
        let oldest = label.at_unix_s.saturating_sub(age_s);
        let young =
            indices[..past].iter().rev().take_while(|i| records[**i].event_unix_s >= oldest);
        young.copied().find(|i| records[*i].arrived_unix_s <= label.at_unix_s)
    });
    Ok(seen.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use isobar_telemetry::features::FEATURES;
    use proptest::prelude::*;

    fn record(entity: &str, event: u64, arrived: u64, value: f64) -> Record {
        Record {
            entity: entity.into(),
            event_unix_s: event,
            arrived_unix_s: arrived,
            values: vec![Some(value)],
        }
    }

    fn label(entity: &str, at: u64, value: f64) -> Label {
        Label { entity: entity.into(), at_unix_s: at, value }
    }

    #[test]
    fn late_reports_and_corrections_are_not_seen_before_they_came() {
        let records = [
            record("a", 10, 10, 1.0),
            record("a", 20, 50, 2.0), // late
            record("a", 10, 30, 3.0), // a correction of the first
            record("b", 15, 15, 4.0),
        ];
        let seen = |entity: &str, at: u64| {
            as_of(&records, &[label(entity, at, 0.0)], 1_000).expect("sound")[0]
        };
        assert_eq!(seen("a", 9), None);
        assert_eq!(seen("a", 10), Some(0));
        assert_eq!(seen("a", 29), Some(0), "the record of 20 came at 50 only");
        assert_eq!(seen("a", 30), Some(2));
        assert_eq!(seen("a", 50), Some(1));
        assert_eq!(seen("c", 50), None);
        assert_eq!(as_of(&records, &[label("b", 100, 0.0)], 80).expect("sound"), [None], "too old");
        assert!(as_of(&[record("a", 10, 9, 1.0)], &[], 1).is_err());
    }

    /// Online a controller holds the newest windows only and makes each row as a window closes.
    #[test]
    fn offline_and_online_rows_are_the_same() {
        let mut random = Random::new(5);
        let series: Vec<Option<f64>> = (0..500)
            .map(|i| (random.below(10) > 0).then(|| 100.0 + f64::from(i % 60) + random.unit()))
            .collect();
        let mut held: Vec<Option<f64>> = Vec::new();
        let mut online = Vec::new();
        for (index, window) in series.iter().enumerate() {
            held.push(*window);
            // More than is kept offline: what a row sees must not depend on it.
            if held.len() > 90 {
                held.remove(0);
            }
            online.push(feature_row(&held, 7_200 + (index as u64 + 1) * 60));
        }
        assert_eq!(rows(&series, 7_200, 60), online);
        assert_eq!(online[499].values.len(), FEATURES.len());
    }

    /// The area under the ROC curve by ranks (Mann and Whitney).
    fn auc(scored: &[(f64, bool)]) -> f64 {
        let side = |wanted: bool| -> Vec<f64> {
            scored
                .iter()
                .filter(|(_, outcome)| *outcome == wanted)
                .map(|(score, _)| *score)
                .collect()
        };
        let (positive, negative) = (side(true), side(false));
        let wins = positive.iter().flat_map(|p| {
            negative
                .iter()
                .map(move |n| f64::from(u8::from(p > n)) + 0.5 * f64::from(u8::from(p == n)))
        });
        wins.sum::<f64>() / (positive.len() * negative.len()) as f64
    }

    /// A machine reports its failure only after it happened. Whoever joins on the event alone sees it before; the join on both
    /// clocks does not, and labels that were shifted in time fall to chance while true ones do not.
    #[test]
    fn nothing_leaks_and_shifted_labels_fall_to_chance() {
        let mut random = Random::new(9);
        let (mut records, mut labels) = (Vec::new(), Vec::new());
        for at in (0..2_000_u64).map(|i| i * 100) {
            let fails = random.below(2) == 1;
            // A weak sign that is known in time, then the outcome itself, of the same hour but told later.
            let sign = random.unit() + if fails { 0.5 } else { 0.0 };
            records.push(record("m", at, at, sign));
            records.push(record("m", at + 1, at + 60, if fails { 10.0 } else { -10.0 }));
            labels.push(label("m", at + 10, f64::from(u8::from(fails))));
        }
        let score = |seen: &[Option<usize>], shift: usize| {
            let scored: Vec<(f64, bool)> = seen
                .iter()
                .enumerate()
                .filter_map(|(i, index)| {
                    Some((
                        records[(*index)?].values[0]?,
                        labels[(i + shift) % labels.len()].value > 0.5,
                    ))
                })
                .collect();
            auc(&scored)
        };
        let seen = as_of(&records, &labels, 1_000).expect("sound");
        let known = score(&seen, 0);
        assert!((0.8..0.95).contains(&known), "{known}: the sign, and not the outcome");
        for shift in [1, 7, 500] {
            let shifted = score(&seen, shift);
            assert!((shifted - 0.5).abs() < 0.05, "shifted by {shift}: {shifted}");
        }
        // The same with arrivals forgotten is the mistake that the join is there to prevent.
        let forgotten: Vec<Record> = records
            .iter()
            .map(|r| Record { arrived_unix_s: r.event_unix_s, ..r.clone() })
            .collect();
        assert!(score(&as_of(&forgotten, &labels, 1_000).expect("sound"), 0) > 0.999);
    }

    proptest! {
        #[test]
        fn the_join_is_what_looking_at_every_record_gives(
            records in prop::collection::vec((0_usize..3, 0_u64..60, 0_u64..20), 0..60),
            labels in prop::collection::vec((0_usize..3, 0_u64..90), 0..30),
            age in 0_u64..60,
        ) {
            let names = ["a", "b", "c"];
            let records: Vec<Record> = records.iter().enumerate()
                .map(|(i, (e, event, late))| record(names[*e], *event, event + late, i as f64)).collect();
            let labels: Vec<Label> = labels.iter().map(|(e, at)| label(names[*e], *at, 0.0)).collect();
            let found = as_of(&records, &labels, age).expect("sound");
            for (label, found) in labels.iter().zip(found) {
                let known = (0..records.len()).filter(|i| {
                    let r = &records[*i];
                    r.entity == label.entity && r.event_unix_s <= label.at_unix_s
                        && r.arrived_unix_s <= label.at_unix_s && r.event_unix_s + age >= label.at_unix_s
                });
                let best = known.max_by_key(|i| (records[*i].event_unix_s, records[*i].arrived_unix_s, *i));
                prop_assert_eq!(found, best);
            }
        }
    }
}
