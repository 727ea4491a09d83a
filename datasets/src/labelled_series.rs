//! Series of one signal in which people have marked what is unusual.
//!
//! Two formats are known. That of the Numenta benchmark (Lavin and Ahmad 2015): a folder with `labels/combined_windows.json`,
//! which names for each file below `data/` the windows around its anomalies, and files of `timestamp,value`. And plain files
//! of `timestamp,value,label` with a 0 or 1 for each point.

use crate::civil::iso_seconds;
use crate::csv::Table;
use crate::error::{Error, Result};
use crate::source::Lines;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WINDOWS: &str = "labels/combined_windows.json";
/// The published one has 17 KB.
const MAX_WINDOWS_BYTES: u64 = 16 << 20;
/// Nine years of minutes.
const MAX_POINTS: usize = 5_000_000;
const MAX_FILES: usize = 10_000;
/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// What is marked in a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Windows around anomalies: first and last point, both within; in order and apart.
    Windows(Vec<(usize, usize)>),
    /// For each point whether it is unusual.
    Points(Vec<bool>),
}

/// One signal.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledSeries {
    /// The file below the set's folder of data, without the ending of compression.
    pub name: String,
    /// Seconds since 1970, UTC; may repeat or go back where the source did.
    pub time_s: Vec<i64>,
    /// Values; NaN where the file has none.
    pub values: Vec<f64>,
    /// What is unusual.
    pub marks: Marks,
}

impl LabelledSeries {
    /// The folder that the file is in: series of one kind.
    pub fn group(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// Reads all series of a set, in the order of their names.
///
/// # Errors
///
/// No series, more than 10,000 files, a row or a window that cannot be understood.
pub fn read_labelled_series(folder: &Path) -> Result<Vec<LabelledSeries>> {
    let windows = folder.join(WINDOWS);
    let windows = if windows.is_file() { Some(read_windows(&windows)?) } else { None };
    let root = if windows.is_some() { folder.join("data") } else { folder.to_owned() };
    let mut files = Vec::new();
    find_tables(&root, 0, &mut files)?;
    files.sort();
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let name = name_below(&root, &file);
        // There may be windows of more files than are here, but a file without an entry is not known to be usual.
        let marked = match &windows {
            Some(windows) => Some(windows.get(&name).ok_or_else(|| {
                Error::file(file.display().to_string(), format!("has no entry in {WINDOWS}"))
            })?),
            None => None,
        };
        all.push(read_series(Lines::open(&file)?, name, marked)?);
    }
    if all.is_empty() {
        return Err(Error::file(folder.display().to_string(), "holds no series (.csv, .csv.zst)"));
    }
    Ok(all)
}

/// Times of first and last point of each window, by file.
type Windows = BTreeMap<String, Vec<(String, String)>>;

fn read_windows(path: &Path) -> Result<Windows> {
    let length = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length > MAX_WINDOWS_BYTES {
        let what = format!("larger than {MAX_WINDOWS_BYTES} bytes");
        return Err(Error::file(path.display().to_string(), what));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(path.display().to_string(), format!("no windows by file: {e}")))
}

fn find_tables(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && depth < MAX_DEPTH {
            find_tables(&path, depth + 1, files)?;
        } else if name.ends_with(".csv") || name.ends_with(".csv.zst") {
            if files.len() == MAX_FILES {
                let what = format!("holds more than {MAX_FILES} files");
                return Err(Error::file(folder.display().to_string(), what));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn name_below(root: &Path, file: &Path) -> String {
    let below = file.strip_prefix(root).unwrap_or(file);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    let name = parts.join("/");
    name.strip_suffix(".zst").unwrap_or(&name).to_owned()
}

fn read_series(
    lines: Lines,
    name: String,
    windows: Option<&Vec<(String, String)>>,
) -> Result<LabelledSeries> {
    let file = lines.file().to_owned();
    let mut table = Table::new(lines)?;
    let (time, value) = (table.column("timestamp")?, table.column("value")?);
    let label = if windows.is_none() { Some(table.column("label")?) } else { None };
    let (mut time_s, mut values, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        if values.len() == MAX_POINTS {
            return Err(table.bad(format!("more than {MAX_POINTS} points")));
        }
        let Some(at) = seconds(row[time].trim()) else {
            return Err(table.bad(format!("`{}` is no time", row[time])));
        };
        time_s.push(at);
        let empty = row[value].trim().is_empty();
        values.push(if empty { f64::NAN } else { table.number(&row, value)? });
        if let Some(label) = label {
            match table.number::<f64>(&row, label)? {
                0.0 => labels.push(false),
                1.0 => labels.push(true),
                other => return Err(table.bad(format!("the label {other} is neither 0 nor 1"))),
            }
        }
    }
    if values.is_empty() {
        return Err(Error::file(file, "has no row"));
    }
    let marks = match windows {
        Some(windows) => Marks::Windows(place(windows, &time_s, &file)?),
        None => Marks::Points(labels),
    };
    Ok(LabelledSeries { name, time_s, values, marks })
}

/// The points of windows that are given by time.
fn place(windows: &[(String, String)], time_s: &[i64], file: &str) -> Result<Vec<(usize, usize)>> {
    let mut placed: Vec<(usize, usize)> = Vec::with_capacity(windows.len());
    for (from, to) in windows {
        let point = |text: &str| {
            let at = seconds(text)?;
            time_s.iter().position(|time_s| *time_s == at)
        };
        let (Some(first), Some(last)) = (point(from), point(to)) else {
            let what = format!("the window from {from} to {to} does not begin and end at rows");
            return Err(Error::file(file, what));
        };
        if last < first || placed.last().is_some_and(|before| before.1 >= first) {
            let what = format!("the window from {from} to {to} is not after the one before it");
            return Err(Error::file(file, what));
        }
        placed.push((first, last));
    }
    Ok(placed)
}

/// Whole seconds since 1970, or a date as UTC.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    // Half a second before 1970 is of the second before it.
    iso_seconds(text).map(|seconds| seconds.floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Vec<LabelledSeries>>) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(path, text).expect("written");
        }
        let read = read_labelled_series(folder.path());
        (folder, read)
    }

    const ROWS: &str = "timestamp,value\n2014-02-28 23:55:00,1\n2014-03-01 00:00:00,2.5\n\
                        2014-03-01 00:05:00,\n2014-03-01 00:10:00,4\n";

    #[test]
    fn windows_are_found_by_time() {
        let windows = r#"{ "b/x.csv": [["2014-03-01 00:00:00.000000", "2014-03-01 00:05:00.000000"]],
                           "a.csv": [], "withheld/y.csv": [["1999-01-01 00:00:00", "1999-01-02 00:00:00"]] }"#;
        let files = [(WINDOWS, windows), ("data/b/x.csv", ROWS), ("data/a.csv", ROWS)];
        let all = set(&files).1.expect("legal");
        assert_eq!(all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a.csv", "b/x.csv"]);
        assert_eq!((all[0].group(), all[1].group()), ("", "b"));
        assert_eq!(all[1].marks, Marks::Windows(vec![(1, 2)]));
        assert_eq!(all[1].time_s[..2], [1_393_631_700, 1_393_632_000]);
        assert!(all[1].values[2].is_nan());
        assert_eq!(all[1].values[3], 4.0);
    }

    #[test]
    fn labels_of_points_are_read() {
        let text = "timestamp,value,label\n1469376000,0.8,0\n1469376300,-0.1,1\n";
        let all = set(&[("x.csv", text), ("README.md", "# not a series\n")]).1.expect("legal");
        assert_eq!(all[0].marks, Marks::Points(vec![false, true]));
        assert_eq!((all.len(), all[0].name.as_str()), (1, "x.csv"));
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        let windows = r#"{ "x.csv": [] }"#;
        let wrong = |text: &str| {
            let error = set(&[(WINDOWS, windows), ("data/x.csv", text)]).1.expect_err("wrong");
            error.to_string()
        };
        assert!(
            wrong("timestamp,value\n2014-13-01 00:00:00,1\n").contains("x.csv, line 2: `2014-13")
        );
        assert!(wrong("timestamp,value\n2014-12-01 00:00:00,one\n").contains("line 2: `one`"));
        assert!(wrong("timestamp,value\n").contains("no row"));
        assert!(wrong("time,value\n1,1\n").contains("no column `timestamp`"));
        let of =
            |windows: &str| set(&[(WINDOWS, windows), ("data/x.csv", ROWS)]).1.expect_err("wrong");
        assert!(of("{}").to_string().contains("no entry"));
        assert!(of("[]").to_string().contains("no windows by file"));
        let off = r#"{ "x.csv": [["2014-03-01 00:00:01", "2014-03-01 00:05:00"]] }"#;
        assert!(of(off).to_string().contains("does not begin and end at rows"));
        let back = r#"{ "x.csv": [["2014-03-01 00:05:00", "2014-03-01 00:00:00"]] }"#;
        assert!(of(back).to_string().contains("not after"));
        assert!(set(&[("README.md", "x")]).1.expect_err("none").to_string().contains("no series"));
        let label = set(&[("x.csv", "timestamp,value,label\n1,1,2\n")]).1.expect_err("neither");
        assert!(label.to_string().contains("line 2: the label 2 is neither"), "{label}");
    }

    #[test]
    fn known_days() {
        // `date -u -d 2000-02-29 +%s` and the like.
        assert_eq!(seconds("2000-02-29 00:00:00"), Some(951_782_400));
        assert_eq!(seconds("1969-12-31 23:59:59"), Some(-1));
        assert_eq!(seconds("2014-04-10T07:15:00.000000"), Some(1_397_114_100));
    }

    proptest! {
        #[test]
        fn no_time_panics(text in "\\PC{0,30}") {
            let _ = seconds(&text);
        }
    }
}
