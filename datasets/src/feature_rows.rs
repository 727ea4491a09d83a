//! Rows of named numbers from comma-separated values: what a model is applied to.

use crate::csv::split_wide;
use crate::error::{Error, Result};
use crate::source::Lines;
use std::borrow::Cow;
use std::path::Path;

/// Columns of one file.
const MAX_COLUMNS: usize = 20_000;
/// Longest line, bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// How tables write that there is no value; any case.
const MISSING: [&str; 7] = ["", "nan", "na", "n/a", "null", "none", "?"];

/// A table of which some columns are taken, a block of rows at a time.
pub struct FeatureRows {
    lines: Lines,
    header: Vec<String>,
    /// Where each wanted column is.
    places: Vec<usize>,
    copied: Option<usize>,
}

/// Some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureBlock {
    /// One row after the other, as many numbers each as columns were asked for; NaN where there is none.
    pub values: Vec<f64>,
    /// The text of the column that is only copied; empty where none is.
    pub copied: Vec<String>,
    /// Rows.
    pub rows: usize,
}

impl FeatureRows {
    /// Opens a table with a header row, plain or zstandard.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(Lines::open(path)?.with_max_line(MAX_LINE_BYTES))
    }

    fn of(mut lines: Lines) -> Result<Self> {
        let fields = match lines.next_line()? {
            Some(line) => fields(line).map(|all| all.iter().map(|f| f.trim().to_owned()).collect()),
            None => return Err(Error::file(lines.file(), "is empty")),
        };
        let header: Vec<String> = fields.map_err(|what| lines.bad(what))?;
        Ok(Self { lines, header, places: Vec::new(), copied: None })
    }

    /// The names of all columns, in order.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Takes these columns, in this order, and copies one as text. Others are passed over.
    pub fn take(mut self, wanted: &[String], copied: Option<&str>) -> Result<Self> {
        let places = wanted.iter().map(|name| self.place(name)).collect::<Result<_>>()?;
        self.copied = copied.map(|name| self.place(name)).transpose()?;
        self.places = places;
        Ok(self)
    }

    fn place(&self, name: &str) -> Result<usize> {
        let mut found = self.header.iter().enumerate().filter(|(_, other)| *other == name);
        match (found.next(), found.next()) {
            (Some((place, _)), None) => Ok(place),
            (Some(_), Some(_)) => Err(self.lines.bad(format!("two columns are called `{name}`"))),
            (None, _) => {
                let known: Vec<&str> = self.header.iter().take(40).map(String::as_str).collect();
                Err(self.lines.bad(format!("no column `{name}`; there are {}", known.join(", "))))
            }
        }
    }

    /// The next rows, at most so many; `None` at the end. Blank lines are passed over.
    pub fn next_block(&mut self, most: usize) -> Result<Option<FeatureBlock>> {
        let mut block = FeatureBlock::default();
        while block.rows < most {
            let added = match self.lines.next_line()? {
                None => break,
                Some("") => continue,
                Some(line) => add(&mut block, line, &self.header, &self.places, self.copied),
            };
            added.map_err(|what| self.lines.bad(what))?;
        }
        Ok((block.rows > 0).then_some(block))
    }
}

fn fields(line: &str) -> std::result::Result<Vec<Cow<'_, str>>, String> {
    split_wide(line, MAX_COLUMNS)
        .map_err(|what| what.map_or(format!("more than {MAX_COLUMNS} fields"), str::to_owned))
}

fn add(
    block: &mut FeatureBlock,
    line: &str,
    header: &[String],
    places: &[usize],
    copied: Option<usize>,
) -> std::result::Result<(), String> {
    let fields = fields(line)?;
    if fields.len() != header.len() {
        return Err(format!("{} fields where the header has {}", fields.len(), header.len()));
    }
    for place in places {
        let text = fields[*place].trim();
        let value = number(text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            format!("`{shown}` in column `{}` is not a number", header[*place])
        })?;
        block.values.push(value);
    }
    block.copied.extend(copied.map(|place| fields[place].clone().into_owned()));
    block.rows += 1;
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if MISSING.into_iter().any(is) {
        return Some(f64::NAN);
    }
    [("false", 0.0), ("true", 1.0)].into_iter().find(|(word, _)| is(word)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &'static str) -> FeatureRows {
        FeatureRows::of(Lines::of_bytes("t", text.as_bytes()).expect("bytes")).expect("a header")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_are_taken_by_name_and_missing_values_are_nan() {
        let table = open("id,b,a,c\nx,1,-2.5,True\n\n\"y, z\",NA,,nope\n");
        let mut rows = table.take(&names(&["a", "b"]), Some("id")).expect("columns");
        let first = rows.next_block(1).expect("a row").expect("there");
        assert_eq!((&first.values[..], first.rows), (&[-2.5, 1.0][..], 1));
        let second = rows.next_block(9).expect("a row").expect("there");
        assert!(second.values.iter().all(|value| value.is_nan()), "{second:?}");
        assert_eq!(second.copied, ["y, z"]);
        assert_eq!(rows.next_block(9).expect("the end"), None);
    }

    #[test]
    fn what_is_missing_or_no_number_is_named_with_its_line() {
        let said = |text: &'static str, wanted: &[&str]| {
            let rows = open(text).take(&names(wanted), None);
            let error = rows.and_then(|mut rows| rows.next_block(9)).expect_err("refused");
            error.to_string()
        };
        assert!(said("a\n1\n", &["b"]).contains("no column `b`; there are a"));
        assert!(said("a,a\n1,2\n", &["a"]).contains("two columns are called `a`"));
        let text = said("a,b\n1,2\n1,x\n", &["a", "b"]);
        assert!(text.contains("line 3: `x` in column `b` is not a number"), "{text}");
        assert!(said("a,b\n1\n", &["a"]).contains("1 fields where the header has 2"));
    }
}
