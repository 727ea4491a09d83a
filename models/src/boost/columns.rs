//! The table that is learned from.

use super::BoostError;

/// Most features a model may have.
pub(super) const MAX_FEATURES: usize = 4_096;
/// Most rows: they are numbered with 32 bits.
pub(super) const MAX_ROWS: usize = u32::MAX as usize;

/// Features by column, `f32`, NaN where missing. Infinite values are taken as the largest finite ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    columns: Vec<Vec<f32>>,
    rows: usize,
}

impl Columns {
    /// One vector for each feature, all of the same length.
    pub fn new(mut columns: Vec<Vec<f32>>) -> Result<Self, BoostError> {
        let rows = columns.first().map_or(0, Vec::len);
        if columns.is_empty() || columns.len() > MAX_FEATURES {
            return Err(BoostError::Shape(format!("{} features", columns.len())));
        }
        if let Some(other) = columns.iter().find(|column| column.len() != rows) {
            let what = format!("a column of {} rows beside one of {rows}", other.len());
            return Err(BoostError::Shape(what));
        }
        if rows == 0 || rows > MAX_ROWS {
            return Err(BoostError::Shape(format!("{rows} rows")));
        }
        for value in columns.iter_mut().flatten() {
            *value = finite(*value);
        }
        Ok(Self { columns, rows })
    }

    /// The same from rows of equal length.
    pub fn from_rows<R: AsRef<[f32]>>(rows: &[R]) -> Result<Self, BoostError> {
        let width = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some(other) = rows.iter().find(|row| row.as_ref().len() != width) {
            let what = format!("a row of {} values beside one of {width}", other.as_ref().len());
            return Err(BoostError::Shape(what));
        }
        let column = |feature| rows.iter().map(|row| row.as_ref()[feature]).collect();
        Self::new((0..width).map(column).collect())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features.
    pub fn features(&self) -> usize {
        self.columns.len()
    }

    /// The values of one feature, by row.
    pub fn column(&self, feature: usize) -> &[f32] {
        &self.columns[feature]
    }

    /// Copies one row into `out`, as [`super::Booster::predict_row`] takes it.
    pub fn row_into(&self, row: usize, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.columns.iter().map(|column| column[row]));
    }
}

/// Thresholds are written as JSON, which has no infinity.
fn finite(value: f32) -> f32 {
    if value.is_nan() { value } else { value.clamp(f32::MIN, f32::MAX) }
}
