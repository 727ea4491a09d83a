//! `isobar model predict`.

use super::place::Database;
use crate::{
    args::Global,
    failure::{DONE, Failure, Outcome},
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::ApiError;
use isobar_training::serve::{Answers, ColumnValues, Serving};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::PathBuf};

/// `model predict`
#[derive(Args, Debug)]
pub struct Predict {
    /// Folder of the package, or NAME@VERSION of a registered one
    package: String,
    /// Table of features by name, with a header row; empty cells are missing values
    #[arg(long, value_name = "FILE.csv", value_hint = ValueHint::FilePath)]
    data: PathBuf,
    /// Which rows, where the package has models for several kinds
    #[arg(long)]
    kind: Option<String>,
    /// A column of the table to show beside the answers
    #[arg(long, value_name = "COLUMN")]
    copy: Option<String>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Predict, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let (_, package) = place.resolve(&args.package).await?.into_package(&args.package)?;
    let copied = args.copy.as_deref();
    let open = || Serving::open(&package, args.kind.as_deref(), &args.data, copied);
    let mut serving = tokio::task::block_in_place(open).map_err(ApiError::from)?;
    let (mut columns, mut rows) = (Vec::new(), 0);
    let mut collected = Vec::new();
    loop {
        let answers = tokio::task::block_in_place(|| serving.next_answers());
        let Some(answers) = answers.map_err(ApiError::from)? else { break };
        if columns.is_empty() {
            columns.extend(copied.map(str::to_owned));
            columns.extend(answers.columns.iter().map(|column| column.name.clone()));
            if !screen.json {
                line(screen, columns.iter().map(String::as_str))?;
            }
        }
        rows += answers.rows as u64;
        for row in 0..answers.rows {
            if screen.json {
                collected.push(values(&answers, row));
            } else {
                let cells = cells(&answers, row);
                line(screen, cells.iter().map(String::as_str))?;
            }
        }
    }
    if serving.undefined > 0 {
        let count = serving.undefined;
        screen.say(&format!("{count} answers are no numbers: the model has none for their rows"));
    }
    if screen.json {
        let document = json!({
            "package_hash": package.hash, "columns": columns, "n": rows, "undefined": serving.undefined,
            "rows": collected,
        });
        screen.show(&document, |_| String::new())?;
    }
    Ok(DONE)
}

/// One row of the table of answers.
fn line<'a>(screen: &mut Screen<'_>, cells: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut text = String::new();
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            text.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            text.push_str(cell);
        }
    }
    text.push('\n');
    screen.raw(text.as_bytes())
}

/// What is no number is an empty cell.
fn cells(answers: &Answers, row: usize) -> Vec<String> {
    let mut cells: Vec<String> = answers.copied.get(row).cloned().into_iter().collect();
    cells.extend(answers.columns.iter().map(|column| match &column.values {
        ColumnValues::F32(values) if values[row].is_finite() => values[row].to_string(),
        ColumnValues::F64(values) if values[row].is_finite() => values[row].to_string(),
        ColumnValues::F32(_) | ColumnValues::F64(_) => String::new(),
        ColumnValues::I64(values) => values[row].to_string(),
        ColumnValues::Text(values) => values[row].clone(),
    }));
    cells
}

/// What is no number is null.
fn values(answers: &Answers, row: usize) -> Vec<Value> {
    let mut cells: Vec<Value> =
        answers.copied.get(row).map(|text| json!(text)).into_iter().collect();
    cells.extend(answers.columns.iter().map(|column| match &column.values {
        ColumnValues::F32(values) => json!(values[row]),
        ColumnValues::F64(values) => json!(values[row]),
        ColumnValues::I64(values) => json!(values[row]),
        ColumnValues::Text(values) => json!(values[row]),
    }));
    cells
}
