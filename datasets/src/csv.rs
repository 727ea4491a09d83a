//! Comma-separated values: a header row, then fields by column name; quotes as in RFC 4180, but one row is one line.

use crate::error::{Error, Result};
use crate::source::Lines;
use std::borrow::Cow;
use std::str::FromStr;

const MAX_FIELDS: usize = 64;

/// Splits one line; a quoted field may hold commas and doubled quotes.
pub(crate) fn split(line: &str) -> std::result::Result<Vec<Cow<'_, str>>, &'static str> {
    split_wide(line, MAX_FIELDS).map_err(|what| what.unwrap_or("more than 64 fields"))
}

/// The same with another limit; the error is `None` where there are more fields.
pub(crate) fn split_wide(
    line: &str,
    max_fields: usize,
) -> std::result::Result<Vec<Cow<'_, str>>, Option<&'static str>> {
    let mut fields = Vec::with_capacity(8);
    let mut rest = line;
    loop {
        if fields.len() == max_fields {
            return Err(None);
        }
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            let end = closing_quote(quoted).ok_or(Some("a quote is not closed"))?;
            fields.push(Cow::Owned(quoted[..end].replace("\"\"", "\"")));
            &quoted[end + 1..]
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            fields.push(Cow::Borrowed(&rest[..end]));
            &rest[end..]
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Some("text after a closing quote")),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            if bytes.get(at + 1) != Some(&b'"') {
                return Some(at);
            }
            at += 1;
        }
        at += 1;
    }
    None
}

/// Rows of a file with a header.
pub(crate) struct Table {
    lines: Lines,
    header: Vec<String>,
}

impl Table {
    /// Reads the header.
    pub(crate) fn new(mut lines: Lines) -> Result<Self> {
        let header = match lines.next_line()? {
            Some(line) => split(line).map(|f| f.iter().map(|c| c.trim().to_owned()).collect()),
            None => return Err(Error::file(lines.file(), "is empty")),
        };
        match header {
            Ok(header) => Ok(Self { lines, header }),
            Err(what) => Err(lines.bad(what)),
        }
    }

    /// Where the column is.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.optional_column(name).ok_or_else(|| {
            self.bad(format!("no column `{name}`; there are {}", self.header.join(", ")))
        })
    }

    /// Where the column is, if it is there.
    pub(crate) fn optional_column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// The columns' names in order.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row; blank lines are passed over.
    pub(crate) fn next_row(&mut self) -> Result<Option<Vec<String>>> {
        loop {
            let row = match self.lines.next_line()? {
                None => return Ok(None),
                Some("") => continue,
                Some(line) => split(line).map(|f| f.into_iter().map(Cow::into_owned).collect()),
            };
            let row: Vec<String> = row.map_err(|what| self.bad(what))?;
            if row.len() != self.header.len() {
                let (found, wanted) = (row.len(), self.header.len());
                return Err(self.bad(format!("{found} fields where the header has {wanted}")));
            }
            return Ok(Some(row));
        }
    }

    /// One field as a number.
    pub(crate) fn number<T: FromStr>(&self, row: &[String], column: usize) -> Result<T> {
        let text = row[column].trim();
        text.parse().map_err(|_| {
            self.bad(format!("`{text}` in column {} is not a number", self.header[column]))
        })
    }

    /// An error at the current row.
    pub(crate) fn bad(&self, what: impl Into<String>) -> Error {
        self.lines.bad(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_hold_commas() {
        let fields = split(r#"1,"a, ""b""",,x"#).expect("legal");
        assert_eq!(fields, ["1", "a, \"b\"", "", "x"]);
        assert!(split("\"open").is_err());
        assert!(split("\"a\"b").is_err());
    }

    #[test]
    fn rows_must_fit_the_header() {
        let mut table =
            Table::new(Lines::of_bytes("t", b"a,b\n1,2\n\n3\n").expect("bytes")).expect("header");
        assert!(table.column("c").is_err());
        assert_eq!(table.next_row().expect("row"), Some(vec!["1".into(), "2".into()]));
        assert!(matches!(table.next_row(), Err(Error::Line { line: 4, .. })));
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(fields in prop::collection::vec("[^\r\n]{0,12}", 1..8)) {
            let quoted: Vec<_> =
                fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
            let line = quoted.join(",");
            let read: Vec<_> =
                split(&line).expect("quoted").into_iter().map(Cow::into_owned).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn no_line_panics(line in "\\PC{0,80}") {
            let _ = split(&line);
        }
    }
}
