//! What is written is read back as it was meant, and `onnxruntime` was seen to say the same of these very bytes.

use super::fixture_tests::{Case, cases};
use super::{Column, ColumnValues, OnnxModel, export};
use crate::boost::Booster;
use crate::forecast::Linear;
use crate::hazard::{HazardModel, Horizon, Isotonic};
use serde_json::json;

/// A split at the root, one below it on missing values only, and a tree that is a leaf.
fn boosted(loss: serde_json::Value, base_score: f64) -> Booster {
    let node = |feature: u32, threshold: f32, missing_left: bool, left: u32, value: f64| {
        json!({
            "feature": feature, "threshold": threshold, "missing_left": missing_left, "left": left,
            "value": value,
        })
    };
    let leaf = |value: f64| node(0, 0.0, false, 0, value);
    let trees = json!([
        [
            node(0, 0.25, true, 1, 0.1),
            node(2, f32::MAX, false, 3, 0.3),
            leaf(-0.625),
            leaf(0.7312345678),
            leaf(0.05)
        ],
        [leaf(0.125)],
        [node(1, -0.5, false, 1, 0.0), leaf(0.4), leaf(-0.33)],
    ]);
    let model =
        json!({ "loss": loss, "base_score": base_score, "trees": trees, "gains": [1.0, 2.0, 0.5] });
    serde_json::from_value(model).expect("a booster")
}

fn rows() -> Vec<[f64; 3]> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    vec![
        [0.0, 0.0, 0.0],
        [0.25, -0.5, nan],
        [0.26, -0.51, 1.0],
        [nan, nan, nan],
        [-inf, inf, inf],
        [inf, -inf, -inf],
        [0.1, 2.0, f64::from(f32::MAX)],
    ]
}

fn hazard() -> HazardModel {
    // Steep: one part in ten thousand of a score changes the probability by a tenth.
    let line = |knots: &str| serde_json::from_str::<Isotonic>(knots).expect("a line");
    let day = line("[[-2.0,0.01],[0.7,0.2],[0.7001,0.5],[3.0,0.9]]");
    let week = line("[[0.0,0.3]]");
    let horizon = |hours, members, calibration| Horizon {
        hours,
        members,
        calibration,
        raise: 0.5,
        clear: 0.25,
    };
    let logistic = |base| boosted(json!("logistic"), base);
    HazardModel::new(vec![
        horizon(24.0, vec![logistic(0.1), logistic(-0.4)], day),
        horizon(168.0, vec![logistic(0.2)], week),
    ])
    .expect("sound")
}

fn metadata() -> Vec<(String, String)> {
    vec![("feature_names".into(), "[\"a\",\"b\",\"c\"]".into())]
}

/// The files that lie beside the fixtures, by name.
fn exported() -> Vec<(&'static str, Vec<u8>)> {
    let linear = Linear { intercept: 0.5, weights: vec![1.5, -2.25, 0.001] };
    // No leaf of it is negative: as one score it would be taken for a probability.
    let positive = json!({
        "loss": "logistic", "base_score": 0.25, "gains": [0.0, 0.0, 1.0],
        "trees": [[
            { "feature": 2, "threshold": 0.5, "missing_left": true, "left": 1, "value": 0.0 },
            { "feature": 0, "threshold": 0.0, "missing_left": false, "left": 0, "value": 0.5 },
            { "feature": 0, "threshold": 0.0, "missing_left": false, "left": 0, "value": 1.5 },
        ]],
    });
    let positive: Booster = serde_json::from_value(positive).expect("a booster");
    vec![
        ("hazard", export::hazard(&hazard(), &metadata()).expect("few leaves")),
        ("linear", export::linear(&linear, &metadata())),
        ("logistic", export::booster(&boosted(json!("logistic"), -1.5), &metadata())),
        ("positive", export::booster(&positive, &metadata())),
        ("quantile", export::booster(&boosted(json!({ "quantile": 0.9 }), 12.5), &metadata())),
    ]
}

fn numbers(columns: &[Column], name: &str) -> Vec<f64> {
    let column = columns.iter().find(|column| column.name == name);
    match &column.unwrap_or_else(|| panic!("{name} of {columns:?}")).values {
        ColumnValues::F32(values) => values.iter().map(|v| f64::from(*v)).collect(),
        ColumnValues::F64(values) => values.clone(),
        ColumnValues::I64(values) => values.iter().map(|v| *v as f64).collect(),
        ColumnValues::Text(_) => panic!("{name} is text"),
    }
}

fn read_back(bytes: &[u8]) -> Vec<Column> {
    let model = OnnxModel::read(bytes).expect("ours");
    assert_eq!(model.metadata()["feature_names"], "[\"a\",\"b\",\"c\"]");
    let rows: Vec<f64> = rows().into_iter().flatten().collect();
    model.predict(&rows, 3).expect("rows of three")
}

fn single(row: &[f64; 3]) -> [f32; 3] {
    row.map(|value| value as f32)
}

fn all_near(found: &[f64], wanted: impl Iterator<Item = f64>, within: f64) {
    let wanted: Vec<f64> = wanted.collect();
    assert_eq!(found.len(), wanted.len());
    for (row, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert!((found - wanted).abs() <= within, "row {row}: {found} for {wanted}");
    }
}

#[test]
fn boosters_read_back_say_the_same() {
    for (loss, name) in
        [(json!("logistic"), "probabilities_1"), (json!({ "quantile": 0.9 }), "value")]
    {
        let model = boosted(loss, -0.3);
        let columns = read_back(&export::booster(&model, &metadata()));
        let wanted = rows().into_iter().map(|row| model.predict_row(&single(&row)));
        all_near(&numbers(&columns, name), wanted, 1e-6);
    }
}

#[test]
fn hazard_models_read_back_say_the_same_where_the_calibration_is_steep() {
    let model = hazard();
    let columns = read_back(&export::hazard(&model, &metadata()).expect("few leaves"));
    for (at, hours) in [24, 168].into_iter().enumerate() {
        let row = |row: [f64; 3]| {
            (model.scores(&single(&row))[at], model.probabilities(&single(&row))[at])
        };
        let scores = numbers(&columns, &format!("score_{hours}h"));
        all_near(&scores, rows().into_iter().map(|r| row(r).0), 1e-12);
        let probabilities = numbers(&columns, &format!("probability_{hours}h"));
        all_near(&probabilities, rows().into_iter().map(|r| row(r).1), 1e-10);
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["score_24h", "probability_24h", "score_168h", "probability_168h"]);
}

#[test]
fn linear_functions_read_back_say_the_same() {
    let model = Linear { intercept: 0.5, weights: vec![1.5, -2.25, 0.001] };
    let columns = read_back(&export::linear(&model, &metadata()));
    all_near(&numbers(&columns, "value"), rows().iter().map(|row| model.predict(row)), 1e-9);
}

/// The bytes are those that `onnxruntime` was given, and what it said is what our models say. `ISOBAR_WRITE_ONNX=1`
/// writes them anew; then `make.py` asks `onnxruntime` again.
#[test]
fn onnxruntime_says_what_our_models_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/exported");
    let said = cases("exported.json");
    for (name, bytes) in exported() {
        let path = folder.join(format!("{name}.onnx"));
        if std::env::var_os("ISOBAR_WRITE_ONNX").is_some() {
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(&path, &bytes).expect("written");
            let text = |value: f64| match value {
                value if value.is_nan() => json!(null),
                value if value.is_finite() => json!(value),
                value => json!(value.to_string()),
            };
            let rows: Vec<_> = rows().into_iter().map(|row| row.map(text)).collect();
            let rows = serde_json::to_vec(&rows).expect("JSON");
            std::fs::write(folder.join(format!("{name}.rows.json")), rows).expect("written");
            continue;
        }
        let known = std::fs::read(&path).expect("ISOBAR_WRITE_ONNX=1 writes it");
        assert!(known == bytes, "{name}: other bytes than onnxruntime was given");
        let case = said.iter().find(|case| case.name == name).expect("make.py was run");
        same_as_ours(name, case);
    }
}

/// What `onnxruntime` said beside what our own code says, which never saw the file.
fn same_as_ours(name: &str, case: &Case) {
    let wanted: Vec<(&str, Vec<f64>)> = match name {
        "hazard" => {
            let model = hazard();
            let all: Vec<Vec<f64>> =
                rows().iter().map(|row| model.probabilities(&single(row))).collect();
            let of = |at: usize| all.iter().map(|p| p[at]).collect();
            vec![("probability_24h", of(0)), ("probability_168h", of(1))]
        }
        "logistic" => {
            let model = boosted(json!("logistic"), -1.5);
            let p = rows().iter().map(|row| model.predict_row(&single(row))).collect();
            vec![("probabilities#1", p)]
        }
        "quantile" => {
            let model = boosted(json!({ "quantile": 0.9 }), 12.5);
            vec![("value", rows().iter().map(|row| model.predict_row(&single(row))).collect())]
        }
        "linear" => {
            let model = Linear { intercept: 0.5, weights: vec![1.5, -2.25, 0.001] };
            vec![("value", rows().iter().map(|row| model.predict(row)).collect())]
        }
        _ => {
            let odds = |row: &[f64; 3]| if row[2] > 0.5 { 1.75_f64 } else { 0.75 };
            let p = rows().iter().map(|row| 1.0 / (1.0 + (-odds(row)).exp())).collect();
            vec![("probabilities#1", p)]
        }
    };
    for (column, wanted) in wanted {
        all_near(&case.numbers(column), wanted.into_iter(), 1e-5);
    }
}
