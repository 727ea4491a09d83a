//! Time series to forecast, in the formats of the public sets: many series as rows, requests in each second, readings
//! at even steps, times of single arrivals. A file is recognised by its first lines, whatever its name.

use crate::civil::iso_seconds;
use crate::csv::Table;
use crate::error::Result;
use crate::rates::read_rates;
use crate::source::Lines;
use std::path::Path;

/// Series in one file, values in one series, arrivals in one file.
const MAX_SERIES: usize = 100_000;
const MAX_VALUES: usize = 20_000_000;
/// A larger value is a mistake, and its square no number.
const MAX_SIZE: f64 = 1e15;
/// From the first arrival to the last, s: a century is no trace.
const MAX_SPAN_S: f64 = 366.0 * 86_400.0;

/// One series of a file of many.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRow {
    /// Its name in the file.
    pub id: String,
    /// Its values, oldest first.
    pub values: Vec<f64>,
}

/// What a file of series holds.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesFile {
    /// Many series, one a line, without a header: a name, then the values (M4).
    Rows(Vec<SeriesRow>),
    /// Requests in each second, one number a line.
    PerSecond(Vec<u32>),
    /// Readings at even steps: `timestamp`, then columns of numbers, of which the last is taken.
    Readings {
        /// Steps between two readings, s.
        step_s: u64,
        /// The readings.
        values: Vec<f64>,
    },
    /// Arrivals of single requests, s after the first, ascending: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Arrivals(Vec<f64>),
}

/// Reads a file of series; `None` if it is of none of these formats (a README).
pub fn read_series(path: &Path) -> Result<Option<SeriesFile>> {
    let first = Lines::open(path)?.next_line()?.unwrap_or("").trim().to_owned();
    let mut fields = first.split(',').map(|field| field.trim().trim_matches('"'));
    let (name, second) = (fields.next().unwrap_or(""), fields.next());
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    match second {
        None if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(SeriesFile::PerSecond(read_rates(path)?.per_second)))
        }
        Some("ContextTokens") => arrivals(Lines::open(path)?).map(Some),
        Some(_) if name.eq_ignore_ascii_case("timestamp") => readings(Lines::open(path)?).map(Some),
        Some(value) if !name.is_empty() && is_number(value) => rows(Lines::open(path)?).map(Some),
        _ => Ok(None),
    }
}

fn value(lines: &Lines, text: &str) -> Result<f64> {
    let text = text.trim().trim_matches('"');
    let number = text.parse().ok().filter(|v: &f64| v.is_finite() && v.abs() <= MAX_SIZE);
    number.ok_or_else(|| lines.bad(format!("`{text}` is not a value of a series")))
}

fn rows(mut lines: Lines) -> Result<SeriesFile> {
    let mut all = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let line = line.to_owned();
        let mut fields = line.split(',');
        let id = fields.next().unwrap_or("").trim().trim_matches('"').to_owned();
        let mut values = Vec::new();
        let mut ended = false;
        for text in fields {
            if text.trim().is_empty() {
                ended = true; // shorter series are filled up with empty fields
                continue;
            }
            if ended {
                return Err(lines.bad("a value after an empty field"));
            }
            values.push(value(&lines, text)?);
        }
        if id.is_empty() || values.is_empty() {
            return Err(lines.bad("no name or no values"));
        }
        if all.len() == MAX_SERIES {
            return Err(lines.bad(format!("more than {MAX_SERIES} series")));
        }
        all.push(SeriesRow { id, values });
    }
    Ok(SeriesFile::Rows(all))
}

fn readings(lines: Lines) -> Result<SeriesFile> {
    let mut table = Table::new(lines)?;
    let (mut values, mut times) = (Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        // The step is known after a few readings; the others are taken as even.
        if times.len() < 3 {
            let time =
                iso_seconds(&row[0]).ok_or_else(|| table.bad(format!("`{}` is no time", row[0])));
            times.push(time?);
        }
        let value: f64 = table.number(&row, row.len() - 1)?;
        if !value.is_finite() || value.abs() > MAX_SIZE {
            return Err(table.bad(format!("`{value}` is not a value of a series")));
        }
        if values.len() == MAX_VALUES {
            return Err(table.bad(format!("more than {MAX_VALUES} readings")));
        }
        values.push(value);
    }
    let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let step = steps.iter().copied().fold(f64::INFINITY, f64::min);
    if !(step >= 1.0 && step <= MAX_SPAN_S) {
        return Err(table.bad("fewer than two readings, or they do not go forward in time"));
    }
    Ok(SeriesFile::Readings { step_s: step.round() as u64, values })
}

fn arrivals(lines: Lines) -> Result<SeriesFile> {
    let mut table = Table::new(lines)?;
    let column = table.column("TIMESTAMP")?;
    let mut times: Vec<f64> = Vec::new();
    while let Some(row) = table.next_row()? {
        let text = &row[column];
        let time = iso_seconds(text).ok_or_else(|| table.bad(format!("`{text}` is no time")))?;
        if times.len() == MAX_VALUES {
            return Err(table.bad(format!("more than {MAX_VALUES} arrivals")));
        }
        times.push(time);
    }
    times.sort_by(f64::total_cmp);
    let Some(first) = times.first().copied() else {
        return Err(table.bad("no arrivals"));
    };
    times.iter_mut().for_each(|time| *time -= first);
    if times.last().is_some_and(|last| *last > MAX_SPAN_S) {
        return Err(table.bad("the arrivals span more than a year"));
    }
    Ok(SeriesFile::Arrivals(times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn read(text: &str) -> Result<Option<SeriesFile>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("any.name");
        std::fs::write(&path, text).expect("written");
        read_series(&path)
    }

    #[test]
    fn each_format_is_known_by_its_first_line() {
        let rows = read("\"H1\",1,2.5,3\nH2,7,,\n").expect("legal");
        let row = |id: &str, values: &[f64]| SeriesRow { id: id.into(), values: values.into() };
        let expected = vec![row("H1", &[1.0, 2.5, 3.0]), row("H2", &[7.0])];
        assert_eq!(rows, Some(SeriesFile::Rows(expected)));
        assert_eq!(read("3\n0\n9\n").expect("legal"), Some(SeriesFile::PerSecond(vec![3, 0, 9])));
        let text =
            "timestamp,min cpu,avg cpu\n2017-01-31 23:55:00,1,2\n2017-02-01 00:00:00,1,4.5\n";
        let expected = SeriesFile::Readings { step_s: 300, values: vec![2.0, 4.5] };
        assert_eq!(read(text).expect("legal"), Some(expected));
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:05.5000000,1,2\n\
                    2023-11-16 18:17:03.2500000,1,2\n";
        assert_eq!(read(text).expect("legal"), Some(SeriesFile::Arrivals(vec![0.0, 2.25])));
        for other in ["# M4 competition\n", "", "a,b,c\n1,2,3\n"] {
            assert_eq!(read(other).expect("not ours"), None, "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for bad in [
            "H1,1,2\nH2,1,x\n",
            "H1,1,2\nH2,1,NaN\n",
            "H1,1,2\nH2,1,,3\n",
            "H1,1,2\nH2\n",
            "timestamp,cpu\nyesterday,1\n",
            "timestamp,cpu\n2017-01-01 00:00:00,inf\n",
            "TIMESTAMP,ContextTokens\n2023-13-16 18:17:05,1\n",
        ] {
            assert!(matches!(read(bad), Err(Error::Line { line: 2, .. })), "{bad}");
        }
        assert!(read("timestamp,cpu\n2017-01-01 00:00:00,1\n2017-01-01 00:00:00,1\n").is_err());
    }
}
