//! Drives: SMART values by day, or by the span in which they held.

use super::time::iso_hours;
use super::{finite, rows};
use crate::csv::Table;
use crate::error::Result;

/// One drive on one day.
#[derive(Clone, Debug, PartialEq)]
pub struct DriveDay {
    /// Serial number.
    pub drive: String,
    /// Make.
    pub model: String,
    /// Start of the day, h since 1970.
    pub at_h: f64,
    /// Whether this was its last day.
    pub failed: bool,
    /// Capacity; NaN where not given.
    pub capacity_tb: f32,
    /// Power-on hours (SMART 9); NaN where not given.
    pub hours_on: f32,
    /// Raw values of [`DriveDay::SMART`]; NaN where not given.
    pub smart: [f32; 4],
}

impl DriveDay {
    /// Which SMART attributes are kept besides the power-on hours.
    pub const SMART: [u32; 4] = [5, 197, 1, 194];
}

/// One drive while its SMART values did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct DriveSpan {
    /// Serial number.
    pub drive: String,
    /// Make.
    pub model: String,
    /// Who made it.
    pub maker: String,
    /// Capacity, TB.
    pub capacity_tb: f32,
    /// Power-on hours when it was first seen.
    pub first_seen_hours_on: f64,
    /// Date when it was first seen, h since 1970.
    pub first_seen_h: f64,
    /// Date when it was last seen, h since 1970: to find the end of the whole set's watch, for it is the drive's outcome.
    pub last_seen_h: f64,
    /// Power-on hours after which the values hold.
    pub start_h: f64,
    /// Power-on hours up to which they hold.
    pub stop_h: f64,
    /// Whether the drive failed at `stop_h`.
    pub failed: bool,
    /// Raw values of [`DriveSpan::SMART`]; NaN where not given.
    pub smart: [f32; 9],
}

impl DriveSpan {
    /// Which SMART attributes are kept.
    pub const SMART: [u32; 9] = [5, 187, 197, 198, 188, 196, 10, 12, 189];
}

pub(super) fn read_days(table: Table) -> Result<Vec<DriveDay>> {
    let [drive, model, date, failure] = [
        table.column("serial_number")?,
        table.column("model")?,
        table.column("date")?,
        table.column("failure")?,
    ];
    let capacity = table.optional_column("capacity_bytes");
    let hours_on = table.optional_column("smart_9_raw");
    let smart = DriveDay::SMART.map(|n| table.optional_column(&format!("smart_{n}_raw")));
    rows(table, |table, row| {
        let mut values = [f32::NAN; 4];
        for (value, &column) in values.iter_mut().zip(&smart) {
            *value = optional(table, row, column)?;
        }
        Ok(DriveDay {
            drive: row[drive].clone(),
            model: row[model].clone(),
            at_h: date_at(table, row, date)?,
            failed: flag(table, row, failure)?,
            capacity_tb: optional(table, row, capacity)? / 1e12,
            hours_on: optional(table, row, hours_on)?,
            smart: values,
        })
    })
}

pub(super) fn read_spans(table: Table) -> Result<Vec<DriveSpan>> {
    let column = |name| table.column(name);
    let [drive, model, maker] =
        [column("serial_number")?, column("model")?, column("manufacturer")?];
    let [first_date, last_date, first_hours] =
        [column("min_date")?, column("max_date")?, column("min_hours")?];
    let [start, stop, fails] = [column("tstart")?, column("tstop")?, column("fails")?];
    let size = table.optional_column("size_tb");
    let smart = DriveSpan::SMART.map(|n| table.optional_column(&format!("smart_{n}")));
    rows(table, |table, row| {
        let mut values = [f32::NAN; 9];
        for (value, &column) in values.iter_mut().zip(&smart) {
            *value = optional(table, row, column)?;
        }
        Ok(DriveSpan {
            drive: row[drive].clone(),
            model: row[model].clone(),
            maker: row[maker].clone(),
            capacity_tb: optional(table, row, size)?,
            first_seen_hours_on: finite(table, row, first_hours)?,
            first_seen_h: date_at(table, row, first_date)?,
            last_seen_h: date_at(table, row, last_date)?,
            start_h: finite(table, row, start)?,
            stop_h: finite(table, row, stop)?,
            failed: flag(table, row, fails)?,
            smart: values,
        })
    })
}

fn date_at(table: &Table, row: &[String], column: usize) -> Result<f64> {
    let text = &row[column];
    iso_hours(text).ok_or_else(|| table.bad(format!("`{text}` is no date")))
}

fn flag(table: &Table, row: &[String], column: usize) -> Result<bool> {
    match row[column].trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        other => Err(table.bad(format!("`{other}` is neither 0 nor 1"))),
    }
}

/// NaN where the field is empty or the column is not there.
fn optional(table: &Table, row: &[String], column: Option<usize>) -> Result<f32> {
    match column {
        Some(column) if !matches!(row[column].trim(), "" | "NA" | "NaN") => {
            Ok(finite(table, row, column)? as f32)
        }
        _ => Ok(f32::NAN),
    }
}
