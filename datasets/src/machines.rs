//! Machines with many signals and labelled faults: a folder with a `train` and a `test` part.
//!
//! Two formats, told apart by their first line. *Lines*: one line per signal, its name and then its values in time order
//! (the Server Machine Dataset); labels lie in `test_label`, one 0 or 1 per line, and what caused them in
//! `interpretation_label`, lines of `start-end:signals`. *Rows*: a header, then one row per time step; the test part
//! has a last column `label` (the Application Server Dataset). Files of one machine have the same name up to the
//! first dot in each folder.

use crate::csv::Table;
use crate::error::{Error, Result};
use crate::source::Lines;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A series of a million values at nine characters each fits.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Values of one part: 512 MiB of memory.
const MAX_VALUES: usize = 1 << 26;
/// Signals of one machine.
const MAX_SIGNALS: usize = 1024;
/// Labelled causes of one machine.
const MAX_CAUSES: usize = 100_000;
const LABEL: &str = "label";

/// What caused a labelled stretch of time, as the set's authors saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// First step of the test part, counted from 0.
    pub start: usize,
    /// The step after the last.
    pub end: usize,
    /// The signals, counted from 0.
    pub signals: Vec<usize>,
}

/// One machine. Values are row-major: step by step, each with all signals. A missing value is NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Names of the signals.
    pub signals: Vec<String>,
    /// The earlier part, without labels.
    pub train: Vec<f64>,
    /// The later part.
    pub test: Vec<f64>,
    /// Whether each step of the test part was labelled a fault.
    pub labels: Vec<bool>,
    /// Empty where the set does not say.
    pub causes: Vec<Cause>,
}

/// The machines that have both parts, in the order of their names.
pub fn machine_names(folder: &Path) -> Result<Vec<String>> {
    let test = files(&folder.join("test"))?;
    let names: Vec<String> =
        files(&folder.join("train"))?.into_keys().filter(|name| test.contains_key(name)).collect();
    if names.is_empty() {
        let what = "no machine has a file in both `train` and `test`";
        return Err(Error::file(folder.display().to_string(), what));
    }
    Ok(names)
}

/// Reads one of [`machine_names`].
pub fn read_machine(folder: &Path, name: &str) -> Result<Machine> {
    let path = |part: &str| -> Result<Option<PathBuf>> {
        let dir = folder.join(part);
        if dir.is_dir() { Ok(files(&dir)?.remove(name)) } else { Ok(None) }
    };
    let needed = |part: &str| -> Result<PathBuf> {
        path(part)?.ok_or_else(|| {
            Error::file(folder.join(part).display().to_string(), format!("no file of `{name}`"))
        })
    };
    let train = read_part(&needed("train")?)?;
    let test_path = needed("test")?;
    let test = read_part(&test_path)?;
    if train.signals != test.signals {
        let what = "its signals are not those of the train part";
        return Err(Error::file(test_path.display().to_string(), what));
    }
    let steps = test.values.len() / test.signals.len();
    let labels = match test.labels {
        Some(labels) => labels,
        None => read_labels(open(&needed("test_label")?)?, steps)?,
    };
    let causes = match path("interpretation_label")? {
        Some(path) => read_causes(Lines::open(&path)?, steps, test.signals.len())?,
        None => Vec::new(),
    };
    let (signals, train, test) = (test.signals, train.values, test.values);
    Ok(Machine { name: name.into(), signals, train, test, labels, causes })
}

/// Files by the name up to the first dot; hidden ones are passed over.
fn files(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        let last = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = last.split('.').next().unwrap_or_default().to_owned();
        if !name.is_empty() && path.is_file() {
            found.insert(name, path);
        }
    }
    Ok(found)
}

fn open(path: &Path) -> Result<Lines> {
    Ok(Lines::open(path)?.with_max_line(MAX_LINE_BYTES))
}

struct Part {
    signals: Vec<String>,
    values: Vec<f64>,
    labels: Option<Vec<bool>>,
}

fn read_part(path: &Path) -> Result<Part> {
    let mut first = open(path)?;
    let by_line = match first.next_line()? {
        Some(line) => line.split(',').nth(1).is_some_and(|text| number(text).is_some()),
        None => return Err(Error::file(first.file(), "is empty")),
    };
    if by_line { read_lines(open(path)?) } else { read_rows(Table::new(open(path)?)?) }
}

/// NaN for what is missing, `None` for what is no finite number.
fn number(text: &str) -> Option<f64> {
    match text.trim() {
        "" => Some(f64::NAN),
        text => text.parse::<f64>().ok().filter(|value| !value.is_infinite()),
    }
}

fn read_lines(mut lines: Lines) -> Result<Part> {
    let (mut signals, mut columns): (Vec<String>, Vec<Vec<f64>>) = Default::default();
    let mut count = 0;
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            continue;
        }
        let mut fields = line.split(',');
        let name = fields.next().unwrap_or_default().to_owned();
        let mut column = Vec::with_capacity(columns.first().map_or(0, Vec::len));
        let mut wrong = None;
        for field in fields {
            match number(field) {
                Some(value) => column.push(value),
                None => wrong = wrong.or(Some(field.to_owned())),
            }
        }
        if let Some(text) = wrong {
            return Err(lines.bad(format!("`{text}` is not a number")));
        }
        if columns.first().is_some_and(|first| first.len() != column.len()) || column.is_empty() {
            let wanted = columns.first().map_or(1, Vec::len);
            return Err(lines.bad(format!("{} values where {wanted} belong", column.len())));
        }
        count += column.len();
        if columns.len() == MAX_SIGNALS || count > MAX_VALUES {
            let what = format!("more than {MAX_SIGNALS} signals or {MAX_VALUES} values");
            return Err(lines.bad(what));
        }
        signals.push(name);
        columns.push(column);
    }
    let steps = columns.first().map_or(0, Vec::len);
    let values = (0..steps).flat_map(|step| columns.iter().map(move |c| c[step])).collect();
    Ok(Part { signals, values, labels: None })
}

fn read_rows(mut table: Table) -> Result<Part> {
    let label = table.optional_column(LABEL);
    let signals: Vec<String> = table.header().iter().filter(|n| *n != LABEL).cloned().collect();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        for (column, text) in row.iter().enumerate() {
            if Some(column) == label {
                labels.push(flag(text).ok_or_else(|| table.bad("a label is 0 or 1"))?);
            } else {
                let wrong = || table.bad(format!("`{text}` is not a number"));
                values.push(number(text).ok_or_else(wrong)?);
            }
        }
        if values.len() > MAX_VALUES {
            return Err(table.bad(format!("more than {MAX_VALUES} values")));
        }
    }
    if values.is_empty() {
        return Err(table.bad("no row with values"));
    }
    Ok(Part { signals, values, labels: label.map(|_| labels) })
}

fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        "0" | "0.0" => Some(false),
        "1" | "1.0" => Some(true),
        _ => None,
    }
}

fn read_labels(mut lines: Lines, steps: usize) -> Result<Vec<bool>> {
    let mut labels = Vec::with_capacity(steps);
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let Some(flag) = flag(line) else { return Err(lines.bad("a label is 0 or 1")) };
        if labels.len() == steps {
            return Err(lines.bad(format!("more than {steps} labels, one for each step")));
        }
        labels.push(flag);
    }
    if labels.len() < steps {
        let what = format!("{} labels for {steps} steps", labels.len());
        return Err(Error::file(lines.file(), what));
    }
    Ok(labels)
}

fn read_causes(mut lines: Lines, steps: usize, signals: usize) -> Result<Vec<Cause>> {
    let mut causes = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let Some(cause) = cause(line, steps, signals) else {
            let what = format!(
                "expected `start-end:signals`, steps below {steps}, signals 1 to {signals}"
            );
            return Err(lines.bad(what));
        };
        if causes.len() == MAX_CAUSES {
            return Err(lines.bad(format!("more than {MAX_CAUSES} causes")));
        }
        causes.push(cause);
    }
    Ok(causes)
}

fn cause(line: &str, steps: usize, signals: usize) -> Option<Cause> {
    let (range, list) = line.trim().split_once(':')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (usize, usize) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let mut named = Vec::new();
    for text in list.split(',') {
        let signal: usize = text.trim().parse().ok()?;
        if signal == 0 || signal > signals || named.len() == signals {
            return None;
        }
        named.push(signal - 1);
    }
    (start < end && end <= steps).then_some(Cause { start, end, signals: named })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn both_formats_give_the_same_machine() {
        let by_line = folder(&[
            ("train/a.csv", "m00,1,2\nm01,3,4\n"),
            ("test/a.csv", "m00,5,6,7\nm01,8,,0.5\n"),
            ("test_label/a.txt", "0\n1\n1\n"),
            ("interpretation_label/a.txt", "1-3:2,1\n"),
            ("train/only-here.csv", "m00,1\n"),
        ]);
        let by_row = folder(&[
            ("train/a.csv", "m00,m01\n1,3\n2,4\n"),
            ("test/a.csv", "m00,m01,label\n5,8,0\n6,,1\n7,0.5,1\n"),
        ]);
        assert_eq!(machine_names(by_line.path()).expect("one"), ["a"]);
        let a = read_machine(by_line.path(), "a").expect("legal");
        let b = read_machine(by_row.path(), "a").expect("legal");
        assert_eq!((&a.signals, &a.train, &a.labels), (&b.signals, &b.train, &b.labels));
        assert_eq!(a.train, [1.0, 3.0, 2.0, 4.0]);
        assert!(a.test[3].is_nan() && b.test[3].is_nan(), "an empty field is missing");
        assert_eq!((a.test[4], a.test[5]), (7.0, 0.5));
        assert_eq!(a.causes, [Cause { start: 1, end: 3, signals: vec![1, 0] }]);
        assert!(b.causes.is_empty());
    }

    #[test]
    fn bad_files_are_named_with_their_line() {
        let train = ("train/a.csv", "m00,1,2\nm01,3,4\n");
        let test = ("test/a.csv", "m00,1,2\nm01,3,4\n");
        let label = ("test_label/a.txt", "0\n1\n");
        for (files, wanted) in [
            (vec![train, ("test/a.csv", "m00,1,2\nm01,3\n"), label], "line 2: 1 values where 2"),
            (vec![train, ("test/a.csv", "m00,1,inf\n"), label], "line 1: `inf` is not a number"),
            (vec![train, ("test/a.csv", "m00,1,2\n"), label], "not those of the train part"),
            (vec![train, test], "test_label: no file of `a`"),
            (vec![train, test, ("test_label/a.txt", "0\n")], "1 labels for 2 steps"),
            (vec![train, test, ("test_label/a.txt", "0\n1\n0\n")], "line 3: more than 2"),
            (vec![train, test, ("test_label/a.txt", "0\n2\n")], "line 2: a label is 0 or 1"),
            (vec![train, test, label, ("interpretation_label/a.txt", "0-9:1\n")], "line 1"),
            (vec![train, test, label, ("interpretation_label/a.txt", "0-1:0\n")], "signals 1 to 2"),
            (vec![("train/a.csv", ""), test, label], "is empty"),
            (vec![("train/a.csv", "m00\n"), test, label], "no row"),
        ] {
            let dir = folder(&files);
            let error = read_machine(dir.path(), "a").expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert!(machine_names(folder(&[train]).path()).is_err());
        assert!(read_machine(folder(&[train, test, label]).path(), "b").is_err());
    }
}
