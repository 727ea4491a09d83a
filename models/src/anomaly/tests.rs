//! What a detector must notice, and what it must not.

use super::*;
use proptest::prelude::*;

/// A day at five minutes: a wave between 40 and 60 and a noise of one; the same for the same point.
fn usual(point: i64) -> f64 {
    let phase = (point % 288) as f64 / 288.0 * std::f64::consts::TAU;
    let noise =
        (point.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) >> 40) as f64 / (1 << 23) as f64;
    50.0 + 10.0 * phase.sin() + noise
}

/// The points that alert in `points` points, of which `change` makes another value.
fn alerts(points: i64, change: impl Fn(i64, f64) -> f64) -> Vec<(i64, Evidence)> {
    let mut detector = Detector::new(Settings::default()).expect("legal");
    let verdicts = (0..points).map(|i| (i, detector.push(i * 300, change(i, usual(i)))));
    verdicts.filter(|(_, verdict)| verdict.alert).map(|(i, v)| (i, v.reasons()[0].0)).collect()
}

const WEEKS: i64 = 288 * 28;
const AT: i64 = 288 * 20 + 100;

#[test]
fn usual_days_are_nearly_silent() {
    let alerts = alerts(WEEKS, |_, value| value);
    assert!(alerts.len() <= 4, "four weeks: {alerts:?}");
}

#[test]
fn a_wave_at_the_wrong_hour_is_unusual_though_every_value_is_usual() {
    // Half a day upside down: it begins and ends in the middle, so nothing jumps.
    let half = 288 * 20..288 * 20 + 144;
    let alerts = alerts(WEEKS, |i, value| if half.contains(&i) { usual(i + 144) } else { value });
    let found = alerts.iter().find(|(i, _)| half.contains(i)).expect("found");
    assert!(found.1 <= Evidence::LevelShift, "{alerts:?}");
}

#[test]
fn a_level_shift_alerts_soon_and_is_then_learnt() {
    let alerts = alerts(WEEKS, |i, value| if i >= AT { value + 40.0 } else { value });
    let after: Vec<i64> = alerts.iter().map(|(i, _)| *i).filter(|i| *i >= AT).collect();
    assert!(after.first().is_some_and(|first| first - AT < 6), "{alerts:?}");
    // A week of the new level is the new usual.
    assert!(after.iter().filter(|i| **i > AT + 288 * 5).count() <= 1, "{alerts:?}");
}

#[test]
fn an_incident_is_one_alert() {
    let alerts = alerts(WEEKS, |i, value| if (AT..AT + 50).contains(&i) { 500.0 } else { value });
    assert_eq!(alerts.iter().filter(|(i, _)| (AT..AT + 120).contains(i)).count(), 1, "{alerts:?}");
}

#[test]
fn a_flat_line_is_noticed_at_its_usual_level() {
    let held = usual(AT);
    let found = alerts(WEEKS, |i, value| if (AT..AT + 40).contains(&i) { held } else { value });
    let found = found.iter().find(|(i, _)| (AT..AT + 40).contains(i)).expect("noticed");
    assert_eq!(found.1, Evidence::FlatLine);
}

#[test]
fn missing_data_are_noticed_as_a_gap_and_as_no_number() {
    let mut silent = Detector::new(Settings::default()).expect("legal");
    let mut nan = silent.clone();
    for i in 0..AT {
        silent.push(i * 300, usual(i));
        nan.push(i * 300, usual(i));
    }
    let verdict = silent.push((AT + 80) * 300, usual(AT + 80));
    assert!(verdict.alert && verdict.reasons()[0].0 == Evidence::Missing, "{verdict:?}");
    let verdicts = (AT..AT + 80).map(|i| nan.push(i * 300, f64::NAN));
    let alerts: Vec<Verdict> = verdicts.filter(|verdict| verdict.alert).collect();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].reasons()[0].0, Evidence::Missing);
    // What was learnt is still known.
    let after = nan.push((AT + 80) * 300, usual(AT + 80)).tails;
    assert!(after[..4].iter().all(|tail| *tail < 2.5), "{after:?}");
}

#[test]
fn the_unit_does_not_matter() {
    let change = |i, value| if i == AT { value + 30.0 } else { value };
    let plain = alerts(WEEKS, change);
    assert!(plain.iter().any(|(i, _)| *i == AT), "{plain:?}");
    assert_eq!(alerts(WEEKS, |i, value| change(i, value) * 1024.0), plain);
    assert_eq!(alerts(WEEKS, |i, value| change(i, value) / 1_048_576.0), plain);
}

#[test]
fn p_values_are_calibrated() {
    let mut detector = Detector::new(Settings::default()).expect("legal");
    let p: Vec<f64> = (0..WEEKS).map(|i| detector.push(i * 300, usual(i)).p_value).collect();
    let p = &p[1000..];
    for level in [0.01, 0.05, 0.2] {
        let share = p.iter().filter(|p| **p <= level).count() as f64 / p.len() as f64;
        assert!(share <= level * 2.0 && share >= level / 3.0, "{level}: {share}");
    }
}

#[test]
fn a_series_costs_less_than_8_kib() {
    // No field is on the heap: all arrays are of fixed length.
    let bytes = std::mem::size_of::<Detector>();
    assert!(bytes < 8 * 1024, "{bytes}");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let bad = [
        Settings { threshold: f64::NAN, ..Settings::default() },
        Settings { grouping_points: 0, ..Settings::default() },
        Settings { half_life_points: 0.0, ..Settings::default() },
        Settings { smoothing_points: f64::INFINITY, ..Settings::default() },
        Settings { side_weight: -1.0, ..Settings::default() },
    ];
    let names = bad.map(|settings| Detector::new(settings).expect_err("refused").name);
    let expected =
        ["threshold", "grouping_points", "half_life_points", "smoothing_points", "side_weight"];
    assert_eq!(names, expected);
}

proptest! {
    #[test]
    fn any_points_give_finite_verdicts(
        points in prop::collection::vec((any::<i64>(), any::<f64>()), 1..300),
        steps in prop::collection::vec((0_i64..10_000, -1e9..1e9_f64), 1..300),
    ) {
        let settings = Settings { warm_up_points: 3, ..Settings::default() };
        let mut detector = Detector::new(settings).expect("legal");
        for (time_s, value) in points.into_iter().chain(steps) {
            let verdict = detector.push(time_s, value);
            prop_assert!(verdict.score.is_finite() && verdict.score >= 0.0, "{verdict:?}");
            prop_assert!((0.0..=1.0).contains(&verdict.p_value), "{verdict:?}");
            prop_assert!(verdict.tails.iter().all(|tail| tail.is_finite()), "{verdict:?}");
        }
    }

    #[test]
    fn a_constant_series_never_alerts(value in -1e12..1e12_f64) {
        let mut detector = Detector::new(Settings::default()).expect("legal");
        prop_assert!((0..2000).all(|i| !detector.push(i * 60, value).alert));
    }
}
