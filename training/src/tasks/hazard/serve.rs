//! The fitted models applied to rows of features, and as ONNX.

use super::fit::Fitted;
use crate::{Error, Result, interchange::FEATURE_NAMES, serve::RowModel};
use isobar_models::onnx::{Column, ColumnValues, export};

/// The model of one kind of rows.
pub(super) struct HazardRows {
    fitted: Fitted,
}

impl HazardRows {
    pub(super) fn new(fitted: Fitted) -> Result<Self> {
        if fitted.model.features() != fitted.features.len() {
            let what = "the parameters name other features than the trees ask for";
            return Err(Error::Unsuitable(what.into()));
        }
        Ok(Self { fitted })
    }
}

impl RowModel for HazardRows {
    fn features(&self) -> &[String] {
        &self.fitted.features
    }

    /// For each horizon the log odds before calibration, to rank by, and the probability; the columns of [`onnx`].
    fn answer(&self, rows: &[f64]) -> Result<Vec<Column>> {
        let model = &self.fitted.model;
        let width = model.features();
        let mut columns = vec![Vec::new(); 2 * model.horizons().len()];
        let mut row = Vec::with_capacity(width);
        for cells in rows.chunks_exact(width) {
            row.clear();
            row.extend(cells.iter().map(|value| *value as f32));
            let scores = model.scores(&row);
            let both = scores.into_iter().zip(model.probabilities(&row));
            for (at, (score, probability)) in both.enumerate() {
                columns[2 * at].push(score);
                columns[2 * at + 1].push(probability);
            }
        }
        let hours = model.horizons().iter().map(|horizon| horizon.hours);
        let names = hours.flat_map(|h| [format!("score_{h}h"), format!("probability_{h}h")]);
        let column = |(name, values)| Column { name, values: ColumnValues::F64(values) };
        Ok(names.zip(columns).map(column).collect())
    }

    fn onnx(&self) -> Option<Vec<u8>> {
        onnx(&self.fitted)
    }
}

/// The probabilities before they are shifted as outcomes become known.
pub(super) fn onnx(fitted: &Fitted) -> Option<Vec<u8>> {
    let names = serde_json::to_string(&fitted.features).expect("texts are JSON");
    export::hazard(&fitted.model, &[(FEATURE_NAMES.to_owned(), names)])
}
