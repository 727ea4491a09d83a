use super::random::Random;
use super::*;
use proptest::prelude::*;

fn uniform(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Four features of which two matter, by a rule with an interaction; targets are drawn from its probability.
fn planted(rows: usize, seed: u64) -> (Columns, Vec<f64>) {
    let mut random = Random::new(seed);
    let mut columns = vec![Vec::new(); 4];
    let mut targets = Vec::new();
    for _ in 0..rows {
        let x: Vec<f64> = (0..4).map(|_| uniform(&mut random)).collect();
        let p = if (x[0] > 0.7) != (x[1] > 0.2) { 0.9 } else { 0.05 };
        targets.push(f64::from(u8::from(uniform(&mut random) < p)));
        for (column, x) in columns.iter_mut().zip(x) {
            column.push(x as f32);
        }
    }
    (Columns::new(columns).unwrap(), targets)
}

fn small(loss: Loss) -> BoostConfig {
    BoostConfig { trees: 60, max_leaves: 8, min_child_hessian: 5.0, ..BoostConfig::of(loss) }
}

#[test]
fn the_first_tree_is_the_one_that_is_computed_by_hand() {
    // Mean 2; gradients are 2 - y. Left of 2.5: sum 4, 2 rows; right: sum -4, 2 rows. Steps -4/(2+1), 4/(2+1).
    let columns = Columns::new(vec![vec![1.0, 2.0, 3.0, 4.0]]).unwrap();
    let config = BoostConfig {
        trees: 1,
        max_leaves: 2,
        learning_rate: 0.5,
        min_child_hessian: 2.0,
        ..BoostConfig::of(Loss::Squared)
    };
    let model = Booster::fit(&columns, &[0.0, 0.0, 4.0, 4.0], None, &config).unwrap();
    let nodes = model.trees()[0].nodes();
    assert_eq!(nodes[0].threshold, 2.5);
    assert!((model.predict_row(&[2.5]) - (2.0 - 0.5 * 4.0 / 3.0)).abs() < 1e-9);
    assert!((model.predict_row(&[2.6]) - (2.0 + 0.5 * 4.0 / 3.0)).abs() < 1e-9);
    // Fall of the loss, times two: 16/3 + 16/3 - 0.
    assert!((model.gains()[0] - 32.0 / 3.0).abs() < 1e-9);
}

#[test]
fn an_interaction_is_found_and_probabilities_are_those_planted() {
    let (columns, targets) = planted(6_000, 3);
    let model = Booster::fit(&columns, &targets, None, &small(Loss::Logistic)).unwrap();
    for (row, p) in [([0.9, 0.1], 0.9), ([0.2, 0.6], 0.9), ([0.2, 0.1], 0.05), ([0.9, 0.9], 0.05)] {
        let found = model.predict_row(&[row[0], row[1], 0.5, 0.5]);
        assert!((found - p).abs() < 0.06, "{row:?}: {found} where {p} was planted");
    }
    let gains = model.gains();
    assert!(gains[0].min(gains[1]) > 10.0 * gains[2].max(gains[3]), "{gains:?}");
}

#[test]
fn missing_values_go_where_they_were_better() {
    let mut random = Random::new(5);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let (value, missing) = (uniform(&mut random), uniform(&mut random) < 0.3);
        x.push(if missing { f32::NAN } else { value as f32 });
        // Missing ones are like small ones, and, in the second half, like nothing else.
        y.push(if missing {
            7.0
        } else if value < 0.3 {
            3.0
        } else {
            0.0
        });
    }
    let columns = Columns::new(vec![x]).unwrap();
    let model = Booster::fit(&columns, &y, None, &small(Loss::Squared)).unwrap();
    for (value, wanted) in [(f32::NAN, 7.0), (0.1, 3.0), (0.8, 0.0), (f32::INFINITY, 0.0)] {
        let found = model.predict_row(&[value]);
        assert!((found - wanted).abs() < 0.1, "{value}: {found}");
    }
    assert_eq!(model.predict_row(&[]), model.predict_row(&[f32::NAN]), "not given is missing");
}

#[test]
fn a_rare_positive_takes_no_giant_step() {
    // 3 positives in 30,000, one of them alone in its corner.
    let mut random = Random::new(9);
    let x: Vec<f32> = (0..30_000).map(|_| uniform(&mut random) as f32).collect();
    let y: Vec<f64> = (0..30_000).map(|row| f64::from(u8::from(row % 10_000 == 0))).collect();
    let columns = Columns::new(vec![x]).unwrap();
    let largest = |config: &BoostConfig| {
        let model = Booster::fit(&columns, &y, None, config).unwrap();
        let nodes = model.trees().iter().flat_map(|tree| tree.nodes());
        nodes.map(|node| node.value.abs()).fold(0.0, f64::max)
    };
    let free = BoostConfig {
        min_child_hessian: 1e-5,
        l2: 0.0,
        learning_rate: 1.0,
        trees: 3,
        ..BoostConfig::of(Loss::Logistic)
    };
    assert!(largest(&free) > 100.0, "the danger is there: {}", largest(&free));
    assert!(largest(&BoostConfig { max_delta_step: 0.7, ..free.clone() }) <= 0.7);
    assert!(largest(&BoostConfig { min_child_hessian: 1.0, ..free }) < 10.0);
}

#[test]
fn monotone_predictions_only_rise_though_the_data_fall_in_places() {
    let mut random = Random::new(11);
    let (mut a, mut b, mut y) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4_000 {
        let (u, v) = (uniform(&mut random), uniform(&mut random));
        a.push(u as f32);
        b.push(v as f32);
        y.push(u + 0.5 * (12.0 * u).sin() * (if v > 0.5 { 1.0 } else { -1.0 }) + 0.1 * v);
    }
    let columns = Columns::new(vec![a, b]).unwrap();
    let falls = |monotone: Vec<i8>| {
        let config = BoostConfig { monotone, ..small(Loss::Squared) };
        let model = Booster::fit(&columns, &y, None, &config).unwrap();
        let along = |v: f32| (0..=200).map(move |i| [i as f32 / 200.0, v]);
        let lines = [0.1, 0.4, 0.6, 0.9].map(|v| along(v).map(|row| model.predict_row(&row)));
        let fall = |line: Vec<f64>| line.windows(2).any(|pair| pair[1] < pair[0] - 1e-12);
        lines.into_iter().any(|line| fall(line.collect()))
    };
    assert!(falls(vec![]), "without the constraint it falls");
    assert!(!falls(vec![1, 0]));
}

#[test]
fn quantiles_cover_what_they_say_and_medians_bear_outliers() {
    let mut random = Random::new(13);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..8_000 {
        let (u, noise) = (uniform(&mut random), uniform(&mut random));
        x.push(u as f32);
        y.push(10.0 * u + noise * (1.0 + 4.0 * u));
    }
    let columns = Columns::new(vec![x.clone()]).unwrap();
    for quantile in [0.05, 0.5, 0.95] {
        let config = BoostConfig { trees: 200, ..small(Loss::Quantile(quantile)) };
        let model = Booster::fit(&columns, &y, None, &config).unwrap();
        for (low, high) in [(0.0, 0.3), (0.7, 1.0)] {
            let part = || x.iter().zip(&y).filter(|(x, _)| (low..high).contains(*x));
            let below = part().filter(|(x, y)| **y <= model.predict_row(&[**x])).count();
            let share = below as f64 / part().count() as f64;
            assert!((share - quantile).abs() < 0.03, "{quantile} in {low}..{high}: {share}");
        }
    }
    let spoilt: Vec<f64> =
        y.iter().enumerate().map(|(row, y)| if row % 20 == 0 { 1e6 } else { *y }).collect();
    let model = Booster::fit(&columns, &spoilt, None, &small(Loss::Absolute)).unwrap();
    let found = model.predict_row(&[0.5]);
    assert!((found - 6.5).abs() < 0.7, "{found}: the median at 0.5 is 6.5");
}

#[test]
fn a_weight_counts_as_that_many_rows() {
    let (columns, targets) = planted(600, 17);
    let weights: Vec<f64> = (0..600).map(|row| f64::from(1 + row % 3)).collect();
    let mut rows = Vec::new();
    let mut repeated = Vec::new();
    for row in 0..600 {
        for _ in 0..1 + row % 3 {
            let mut values = Vec::new();
            columns.row_into(row, &mut values);
            rows.push(values);
            repeated.push(targets[row]);
        }
    }
    let long = Columns::from_rows(&rows).unwrap();
    let config = BoostConfig { trees: 10, max_bins: 200, ..small(Loss::Logistic) };
    // Bins are cut by rows and not by weights: fewer distinct values than bins make them alike.
    let coarse = |columns: &Columns| {
        let round = |f| columns.column(f).iter().map(|x| (x * 50.0).round()).collect();
        Columns::new((0..4).map(round).collect()).unwrap()
    };
    let weighted = Booster::fit(&coarse(&columns), &targets, Some(&weights), &config).unwrap();
    let unweighted = Booster::fit(&coarse(&long), &repeated, None, &config).unwrap();
    for row in [[10.0, 3.0, 1.0, 2.0], [40.0, 30.0, 20.0, 49.0]] {
        let (a, b) = (weighted.predict_row(&row), unweighted.predict_row(&row));
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn rows_of_no_weight_are_not_seen_but_scored() {
    let (columns, targets) = planted(900, 31);
    let kept: Vec<usize> = (0..900).filter(|row| row % 3 != 0).collect();
    let weights: Vec<f64> = (0..900).map(|row| f64::from(u8::from(row % 3 != 0))).collect();
    // What is left out says the opposite: whoever looked at it would learn something else.
    let turned = |row: usize| if row % 3 == 0 { 1.0 - targets[row] } else { targets[row] };
    let lies: Vec<f64> = (0..900).map(turned).collect();
    let config = BoostConfig { trees: 12, row_fraction: 0.8, ..small(Loss::Logistic) };
    let binned = Binned::new(&columns, config.max_bins).unwrap();
    let (model, scores) = Booster::fit_binned(&binned, &lies, Some(&weights), &config).unwrap();
    let honest = Booster::fit_binned(&binned, &targets, Some(&weights), &config).unwrap();
    assert_eq!(model, honest.0);
    let mut values = Vec::new();
    for (row, score) in scores.iter().enumerate() {
        columns.row_into(row, &mut values);
        assert!((model.score_row(&values) - score).abs() < 1e-9, "row {row}");
    }
    let ranked = |row: &usize| scores[*row] > 0.0;
    let right = kept.iter().filter(|row| ranked(row) == (targets[**row] > 0.5)).count();
    assert!(right * 10 > kept.len() * 8, "{right} of {}", kept.len());
    assert!(Binned::new(&columns, 256).is_err() && Binned::new(&columns, 1).is_err());
}

#[test]
fn a_seed_decides_which_rows_and_features_a_tree_sees() {
    let (columns, targets) = planted(1_500, 19);
    let fit = |seed, row_fraction, feature_fraction| {
        let config =
            BoostConfig { seed, row_fraction, feature_fraction, trees: 8, ..small(Loss::Logistic) };
        Booster::fit(&columns, &targets, None, &config).unwrap()
    };
    assert_eq!(fit(1, 0.5, 0.5), fit(1, 0.5, 0.5));
    assert_ne!(fit(1, 0.5, 1.0), fit(2, 0.5, 1.0));
    assert_ne!(fit(1, 1.0, 0.5), fit(2, 1.0, 0.5));
    assert_eq!(fit(1, 1.0, 1.0).trees(), fit(2, 1.0, 1.0).trees());
}

#[test]
fn contributions_add_up_to_the_score() {
    let (columns, targets) = planted(1_000, 23);
    let model = Booster::fit(&columns, &targets, None, &small(Loss::Logistic)).unwrap();
    let roots: f64 = model.trees().iter().map(|tree| tree.nodes()[0].value).sum();
    let row = [0.9, 0.1, 0.3, f32::NAN];
    let sum: f64 = model.contributions(&row).iter().sum();
    assert!((sum + roots + model.base_score() - model.score_row(&row)).abs() < 1e-9);
}

#[test]
fn odd_tables_have_an_answer_or_an_error() {
    let one_class = Columns::new(vec![vec![1.0, 2.0, 3.0], vec![f32::NAN; 3]]).unwrap();
    let model = Booster::fit(&one_class, &[0.0; 3], None, &small(Loss::Logistic)).unwrap();
    let p = model.predict_row(&[2.0, 1.0]);
    assert!((0.0..1e-6).contains(&p), "{p}");
    let fit = |y: &[f64], w: Option<&[f64]>, config: BoostConfig| {
        Booster::fit(&one_class, y, w, &config).err()
    };
    let config = small(Loss::Squared);
    assert!(matches!(fit(&[1.0], None, config.clone()), Some(BoostError::Shape(_))));
    let nan = fit(&[1.0, f64::NAN, 1.0], None, config.clone());
    assert!(matches!(nan, Some(BoostError::Row { row: 1, .. })));
    let negative = fit(&[1.0; 3], Some(&[1.0, 1.0, -1.0]), config.clone());
    assert!(matches!(negative, Some(BoostError::Row { row: 2, .. })));
    assert!(fit(&[1.0; 3], Some(&[0.0; 3]), config).is_some());
    assert!(matches!(fit(&[0.0, 2.0, 0.0], None, small(Loss::Logistic)), Some(_)));
    for config in [
        BoostConfig { learning_rate: f64::NAN, ..small(Loss::Squared) },
        BoostConfig { max_leaves: 1, ..small(Loss::Squared) },
        BoostConfig { monotone: vec![1], ..small(Loss::Squared) },
        BoostConfig { monotone: vec![1, 0], ..small(Loss::Absolute) },
        small(Loss::Quantile(1.0)),
    ] {
        assert!(matches!(fit(&[1.0; 3], None, config), Some(BoostError::Config(_))));
    }
    assert!(Columns::new(vec![]).is_err());
    assert!(Columns::new(vec![vec![1.0], vec![]]).is_err());
}

#[test]
fn a_model_is_read_back_and_a_hostile_one_is_refused() {
    let (columns, targets) = planted(500, 29);
    let config = BoostConfig { trees: 3, ..small(Loss::Logistic) };
    let model = Booster::fit(&columns, &targets, None, &config).unwrap();
    let text = serde_json::to_string(&model).unwrap();
    let back: Booster = serde_json::from_str(&text).unwrap();
    let row = [0.3, 0.8, 0.1, 0.2];
    assert!((back.score_row(&row) - model.score_row(&row)).abs() < 1e-12);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refuse = |pointer: &str, with: serde_json::Value| {
        let mut value = value.clone();
        *value.pointer_mut(pointer).expect(pointer) = with;
        assert!(serde_json::from_value::<Booster>(value).is_err(), "{pointer}");
    };
    refuse("/trees/0/0/left", 0xffff_u32.into());
    refuse("/trees/0/1/left", 1.into());
    refuse("/trees/0/0/feature", 4.into());
    refuse("/trees/0/0/value", serde_json::Value::Null);
    refuse("/trees/0/0/threshold", 1e300.into());
    refuse("/trees/1", serde_json::json!([]));
    refuse("/gains", serde_json::json!([]));
    refuse("/loss", serde_json::json!({ "quantile": 2.0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_finite_table_gives_finite_predictions(
        cells in prop::collection::vec((any::<f32>(), any::<f32>(), -1e3f64..1e3), 1..60),
        leaves in 2usize..9,
        child in 1e-6f64..3.0,
    ) {
        let columns = Columns::new(vec![
            cells.iter().map(|c| c.0).collect(),
            cells.iter().map(|c| c.1).collect(),
        ]).unwrap();
        let targets: Vec<f64> = cells.iter().map(|c| c.2).collect();
        let (low, high) = targets.iter().fold((f64::MAX, f64::MIN), |(l, h), &y| (l.min(y), h.max(y)));
        for loss in [Loss::Squared, Loss::Absolute, Loss::Quantile(0.9)] {
            let config = BoostConfig {
                trees: 4, max_leaves: leaves, min_child_hessian: child, max_bins: 5,
                ..BoostConfig::of(loss)
            };
            let model = Booster::fit(&columns, &targets, None, &config).unwrap();
            for row in [[0.0, f32::NAN], [f32::INFINITY, f32::NEG_INFINITY], [cells[0].0, cells[0].1]] {
                let y = model.predict_row(&row);
                prop_assert!(y.is_finite() && y > low - 2e3 && y < high + 2e3, "{y}");
            }
        }
    }
}
