use super::*;
use proptest::prelude::*;
use std::f64::consts::TAU;

/// Roughly normal noise with deviation 1: the sum of twelve even numbers.
pub(crate) fn white_noise(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut even = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    std::iter::repeat_with(move || (0..12).map(|_| even()).sum::<f64>() - 6.0)
}

pub(crate) fn ar_noise(seed: u64, phi: f64) -> impl Iterator<Item = f64> {
    white_noise(seed).scan(0.0, move |x, e| {
        *x = phi * *x + e;
        Some(*x)
    })
}

fn daily(n: usize, seed: u64) -> Vec<f64> {
    let day = |i: usize| 100.0 + 40.0 * (i as f64 / 48.0 * TAU).sin();
    ar_noise(seed, 0.5).take(n).enumerate().map(|(i, e)| day(i) + 4.0 * e).collect()
}

#[test]
fn a_seasonal_series_is_won_by_a_seasonal_model_with_half_the_error_of_naive() {
    let config = ChampionConfig { horizon: 24, ..ChampionConfig::default() };
    for seed in 0..5 {
        let champion = choose(&daily(480, seed), &config, None);
        assert_eq!(champion.period, Some(48));
        assert_ne!(champion.model, "naive");
        let mae = |name: &str| champion.scores.iter().find(|s| s.model == name).unwrap().mae;
        assert!(mae(&champion.model) < 0.5 * mae("naive"), "{:?}", champion.scores);
        assert!(mae("seasonal_naive") < mae("naive") && mae("holt_winters") < mae("naive"));
        // What counts is what comes after.
        let full = daily(504, seed);
        let error = |points: &[f64]| {
            points.iter().zip(&full[480..]).map(|(p, v)| (p - v).abs()).sum::<f64>()
        };
        let ours: Vec<f64> = champion.predict(&full[..480], 24).iter().map(|i| i.mean).collect();
        assert!(error(&ours) < 0.6 * error(&[full[479]; 24]), "seed {seed}");
    }
}

/// Share of values to come that lie inside the 90 % intervals, over many series.
fn coverage(phi: f64, horizon: usize) -> f64 {
    let config = ChampionConfig { horizon, non_negative: false, ..ChampionConfig::default() };
    let (mut inside, mut all) = (0_u32, 0_u32);
    for seed in 0..60 {
        let series: Vec<f64> = ar_noise(seed, phi).take(330).map(|e| 30.0 + 3.0 * e).collect();
        let champion = choose(&series[..300], &config, None);
        for origin in 300..330 - horizon {
            for (interval, value) in
                champion.predict(&series[..origin], horizon).iter().zip(&series[origin..])
            {
                all += 1;
                inside += u32::from(interval.lower <= *value && *value <= interval.upper);
            }
        }
    }
    f64::from(inside) / f64::from(all)
}

#[test]
fn ninety_percent_intervals_hold_85_to_95_percent() {
    for (phi, horizon) in [(0.0, 1), (0.0, 6), (0.6, 1), (0.6, 6), (0.9, 6)] {
        let share = coverage(phi, horizon);
        assert!((0.85..=0.95).contains(&share), "AR({phi}), {horizon} ahead: {share:.3}");
    }
}

#[test]
fn the_backtest_reports_honest_coverage_too() {
    let config = ChampionConfig { horizon: 6, ..ChampionConfig::default() };
    let shares: Vec<f64> = (0..20)
        .filter_map(|seed| choose(&daily(480, seed), &config, None).score()?.coverage)
        .collect();
    let share = crate::forecast::mean(&shares);
    assert!(shares.len() == 20 && (0.8..=0.97).contains(&share), "{share} of {}", shares.len());
}

#[test]
fn the_champion_stays_unless_clearly_beaten() {
    let history = daily(480, 1);
    let config = ChampionConfig { horizon: 24, ..ChampionConfig::default() };
    let fresh = choose(&history, &config, None);
    let mae = |name: &str| fresh.scores.iter().find(|s| s.model == name).unwrap().mae;
    let second = fresh
        .scores
        .iter()
        .map(|s| s.mae)
        .filter(|m| *m > mae(&fresh.model))
        .reduce(f64::min)
        .unwrap();
    let name = fresh.scores.iter().find(|s| s.mae == second).unwrap().model.clone();
    let gain = 1.0 - mae(&fresh.model) / second;
    let with =
        |margin| choose(&history, &ChampionConfig { margin, ..config.clone() }, Some(&name)).model;
    assert_eq!(with(gain + 0.01), name, "the gain of {gain:.3} is within the margin");
    assert_eq!(with((gain - 0.001).max(0.0)), fresh.model);
    assert_eq!(choose(&history, &config, Some("retired")).model, fresh.model);
}

#[test]
fn constant_zero_and_short_series_are_served() {
    let config = ChampionConfig::default();
    for history in [vec![0.0; 300], vec![7.0; 300]] {
        let champion = choose(&history, &config, None);
        assert_eq!(champion.model, "naive");
        for interval in champion.predict(&history, 12) {
            assert_eq!(
                interval,
                Interval { lower: history[0], mean: history[0], upper: history[0] }
            );
        }
    }
    let short = choose(&[5.0, 8.0], &config, None);
    assert_eq!((short.model.as_str(), short.scores.len()), ("naive", 0));
    let interval = short.predict(&[5.0, 8.0], 3)[0];
    assert!(interval.lower <= 5.0 && interval.upper >= 11.0, "wide: {interval:?}");
    assert_eq!(choose(&[], &config, None).predict(&[], 2).len(), 2);
}

#[test]
fn a_short_history_of_counts_is_as_uncertain_as_chance_and_bursts_make_it() {
    let config =
        ChampionConfig { horizon: 1, events_per_unit: Some(2.0), ..ChampionConfig::default() };
    let width = |history: &[f64], config: &ChampionConfig| {
        let interval = choose(history, config, None).predict(history, 1)[0];
        interval.upper - interval.mean
    };
    // 50 events a second in windows of 2 s: counts of 100, whose differences scatter by the root of 200.
    let steady = [50.0, 50.0, 50.0];
    assert!(
        (width(&steady, &config) - 1.645 * 200_f64.sqrt() / 2.0).abs() < 1.5,
        "{}",
        width(&steady, &config)
    );
    assert!(width(&[20.0, 80.0, 50.0], &config) > 2.0 * width(&steady, &config), "bursts count");
    let ten_times = ChampionConfig { events_per_unit: Some(20.0), ..config.clone() };
    assert!(width(&steady, &ten_times) < 0.4 * width(&steady, &config), "more events, less chance");
    let unknown = ChampionConfig { events_per_unit: None, ..config };
    assert!(width(&steady, &unknown) >= 25.0, "half as wide as the values are large");
}

fn any_history() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        4 => 0.0..1e6_f64,
        1 => Just(0.0),
        1 => prop::num::f64::ANY,
    ];
    let pattern = (prop::collection::vec(0.0..1e4_f64, 1..30), 1_usize..8)
        .prop_map(|(season, times)| season.repeat(times));
    prop_oneof![prop::collection::vec(value, 0..150), pattern]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_input_gives_ordered_finite_repeatable_intervals(
        history in any_history(), horizon in 0_usize..20, period in 0_usize..40, non_negative: bool,
    ) {
        let config = ChampionConfig { horizon, periods: vec![period], non_negative, ..ChampionConfig::default() };
        let champion = choose(&history, &config, None);
        prop_assert_eq!(&champion, &choose(&history, &config, None));
        let intervals = champion.predict(&history, horizon + 2);
        prop_assert_eq!(intervals.len(), horizon + 2);
        for i in &intervals {
            prop_assert!(i.lower <= i.mean && i.mean <= i.upper, "{:?} by {}", i, champion.model);
            prop_assert!(i.lower.is_finite() && i.upper.is_finite(), "{:?} by {}", i, champion.model);
            prop_assert!(!non_negative || i.lower >= 0.0);
        }
    }
}
