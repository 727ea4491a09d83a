//! A package's model applied to rows of features, as a service or another program would ask it.

use crate::{Error, Result, interchange, package::Package};
use isobar_datasets::{FeatureBlock, FeatureRows};
use isobar_models::onnx::OnnxModel;
use std::{collections::BTreeMap, path::Path};

pub use isobar_models::onnx::{Column, ColumnValues};

/// Rows that are read and answered together.
const BLOCK_ROWS: usize = 1_024;

/// A model that answers rows of features.
pub trait RowModel: Send {
    /// What a row holds, in order.
    fn features(&self) -> &[String];

    /// The answers for rows one after the other, NaN where a value is missing: columns of one value a row. The same
    /// columns for any rows.
    fn answer(&self, rows: &[f64]) -> Result<Vec<Column>>;

    /// The model as an ONNX file, where it can be said so.
    fn onnx(&self) -> Option<Vec<u8>>;
}

/// A model from an ONNX file with the names that its package gives the features.
pub(crate) struct Foreign {
    pub(crate) names: Vec<String>,
    pub(crate) model: OnnxModel,
    pub(crate) bytes: Vec<u8>,
}

impl RowModel for Foreign {
    fn features(&self) -> &[String] {
        &self.names
    }

    fn answer(&self, rows: &[f64]) -> Result<Vec<Column>> {
        let answered = self.model.predict(rows, self.names.len());
        answered.map_err(|e| Error::Unsuitable(e.to_string()))
    }

    fn onnx(&self) -> Option<Vec<u8>> {
        Some(self.bytes.clone())
    }
}

/// The models of a package that answer rows, by kind of rows.
fn models(package: &Package) -> Result<BTreeMap<String, Box<dyn RowModel>>> {
    if interchange::is_foreign(&package.parameters) {
        let model: Box<dyn RowModel> = Box::new(interchange::foreign(package)?);
        return Ok([("onnx".to_owned(), model)].into());
    }
    package.manifest.task.lesson().row_models(&package.parameters)
}

/// The model of a package for one kind of rows; the only one where no kind is named. `has` says whether a table has a
/// column: of several kinds that one is meant whose features are all there.
pub fn row_model(
    package: &Package,
    kind: Option<&str>,
    has: &dyn Fn(&str) -> bool,
) -> Result<Box<dyn RowModel>> {
    let mut models = models(package)?;
    let task = package.manifest.task.name();
    let known: Vec<String> = models.keys().cloned().collect();
    let known = known.join(", ");
    if models.is_empty() {
        let what = format!(
            "a model of the task {task} reads whole sets and has no answer to single rows of features"
        );
        return Err(Error::Unsuitable(what));
    }
    if let Some(kind) = kind {
        let refused = || Error::Unsuitable(format!("the package has no {kind}; it has {known}"));
        return models.remove(kind).ok_or_else(refused);
    }
    if models.len() > 1 {
        models.retain(|_, model| model.features().iter().all(|name| has(name)));
    }
    match (models.len(), models.pop_first()) {
        (1, Some((_, model))) => Ok(model),
        (0, _) => Err(Error::Unsuitable(format!(
            "no kind of rows of the package has all its features here; --kind names one of {known}"
        ))),
        _ => Err(Error::Unsuitable(format!("which kind of rows? --kind names one of {known}"))),
    }
}

/// A model and the table that it answers.
pub struct Serving {
    model: Box<dyn RowModel>,
    rows: FeatureRows,
    /// Answers that are no numbers so far.
    pub undefined: u64,
}

/// The answers to some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The text of the copied column, where one is.
    pub copied: Vec<String>,
    /// One value a row in each.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: usize,
}

impl Serving {
    /// Opens a table and finds the model's features in it by name; `copied` is a column to give back beside the
    /// answers.
    pub fn open(
        package: &Package,
        kind: Option<&str>,
        table: &Path,
        copied: Option<&str>,
    ) -> Result<Self> {
        let rows = FeatureRows::open(table)?;
        let model = {
            let has = |name: &str| rows.header().iter().any(|column| column == name);
            row_model(package, kind, &has)?
        };
        let rows = rows.take(model.features(), copied)?;
        Ok(Self { model, rows, undefined: 0 })
    }

    /// The answers to the next rows; `None` at the end of the table.
    pub fn next_answers(&mut self) -> Result<Option<Answers>> {
        let Some(block) = self.rows.next_block(BLOCK_ROWS)? else { return Ok(None) };
        let FeatureBlock { values, copied, rows } = block;
        let columns = self.model.answer(&values)?;
        let undefined = |column: &Column| match &column.values {
            ColumnValues::F32(values) => values.iter().filter(|v| !v.is_finite()).count(),
            ColumnValues::F64(values) => values.iter().filter(|v| !v.is_finite()).count(),
            _ => 0,
        };
        self.undefined += columns.iter().map(undefined).sum::<usize>() as u64;
        Ok(Some(Answers { copied, columns, rows }))
    }
}
