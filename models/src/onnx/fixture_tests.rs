//! What is read of ONNX files is what `onnxruntime` says of the same rows; `tests/onnx/make.py` made the files.

use super::{Column, ColumnValues, OnnxModel};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Probabilities and sums may differ by so much, or this share of them.
const NEAR: f64 = 1e-5;

/// One model with what `onnxruntime` 1.32 said.
#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    onnx: String,
    rows: Vec<Vec<Value>>,
    /// By column: an output's name, with `#` and a number where it has several columns.
    outputs: BTreeMap<String, Vec<Value>>,
}

impl Case {
    /// The bytes of the file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        base64(&self.onnx)
    }

    /// The rows one after the other, and features of a row.
    pub(super) fn rows(&self) -> (Vec<f64>, usize) {
        (self.rows.iter().flatten().map(number).collect(), self.rows[0].len())
    }

    /// What was said in one column.
    pub(super) fn numbers(&self, column: &str) -> Vec<f64> {
        self.outputs[column].iter().map(number).collect()
    }
}

pub(super) fn cases(file: &str) -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/onnx").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect()
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| alphabet.iter().position(|other| *other == byte);
    let digits: Vec<usize> = text.bytes().filter_map(digit).collect();
    let group = |four: &[usize]| {
        let number = (0..4).fold(0, |n, at| n << 6 | four.get(at).copied().unwrap_or(0));
        [(number >> 16) as u8, (number >> 8) as u8, number as u8][..four.len() - 1].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

/// `null` is NaN, infinities are written as text.
fn number(value: &Value) -> f64 {
    match value {
        Value::Null => f64::NAN,
        Value::String(text) => text.parse().expect("inf or -inf"),
        other => other.as_f64().expect("a number"),
    }
}

fn near(found: f64, wanted: f64) -> bool {
    found == wanted
        || found.is_nan() && wanted.is_nan()
        || (found - wanted).abs() <= NEAR * wanted.abs().max(1.0)
}

/// What differs in one column.
fn differences(column: &Column, wanted: &[Value]) -> Vec<String> {
    let differs = |at: usize| match &column.values {
        ColumnValues::F32(values) => !near(f64::from(values[at]), number(&wanted[at])),
        ColumnValues::F64(values) => !near(values[at], number(&wanted[at])),
        ColumnValues::I64(values) => Some(values[at]) != wanted[at].as_i64(),
        ColumnValues::Text(values) => Some(values[at].as_str()) != wanted[at].as_str(),
    };
    let rows = (0..wanted.len()).filter(|at| differs(*at));
    rows.map(|at| format!("{} row {at}: {wanted:?}, not {:?}", column.name, column.values))
        .collect()
}

/// Everything that is wrong with one case.
fn wrong(case: &Case) -> Vec<String> {
    let model = match OnnxModel::read(&case.bytes()) {
        Ok(model) => model,
        Err(error) => return vec![format!("{}: {error}", case.name)],
    };
    let (rows, width) = case.rows();
    let columns = match model.predict(&rows, width) {
        Ok(columns) => columns,
        Err(error) => return vec![format!("{}: {error}", case.name)],
    };
    let mut found = Vec::new();
    for (name, wanted) in &case.outputs {
        let column = match name.split_once('#') {
            None => columns.iter().find(|column| column.name == *name),
            Some((output, at)) => {
                let of_output = |c: &&Column| c.name.starts_with(&format!("{output}_"));
                columns.iter().filter(of_output).nth(at.parse().expect("a number"))
            }
        };
        match column {
            None => found.push(format!("no column {name}: {columns:?}")),
            Some(column) => found.extend(differences(column, wanted)),
        }
    }
    if columns.len() != case.outputs.len() {
        found.push(format!("{} columns for {}", columns.len(), case.outputs.len()));
    }
    found.into_iter().map(|what| format!("{}: {what}", case.name)).collect()
}

fn check(file: &str, at_least: usize) {
    let cases = cases(file);
    assert!(cases.len() >= at_least, "{file}: only {} cases", cases.len());
    let wrong: Vec<Vec<String>> = cases.iter().map(wrong).filter(|w| !w.is_empty()).collect();
    let all: Vec<String> = wrong.iter().flatten().take(40).cloned().collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), all.join("\n"));
}

#[test]
fn models_of_scikit_learn_and_lightgbm_say_the_same_here() {
    check("learned.json", 25);
}

#[test]
fn what_the_specification_leaves_open_is_as_in_onnxruntime() {
    check("by_hand.json", 55);
}

/// For a longer comparison: `make.py random N DIR`, then this with `ISOBAR_ONNX_CASES=DIR/random.json`.
#[test]
fn other_cases_say_the_same_here() {
    if let Ok(path) = std::env::var("ISOBAR_ONNX_CASES") {
        check(&path, 1);
    }
}
