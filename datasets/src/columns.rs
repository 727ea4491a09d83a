//! Numeric columns of whatever tables lie in a folder: what can be said of a set without knowing its format.

use crate::{
    error::{Error, Result},
    source::Lines,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Folders inside folders.
const DEPTH_MAX: usize = 8;
/// Files of one set.
const FILES_MAX: usize = 100_000;
/// Columns of one file, and of one set.
const COLUMNS_MAX: usize = 512;
/// Names of columns that tell the time.
const TIMES: [&str; 7] = ["timestamp", "time", "datetime", "date", "ds", "ts", "day"];

/// A file of a set: its path inside, with `/`, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetFile {
    /// Path inside the folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Every file below a folder but hidden ones, by name.
pub fn files_of(folder: &Path) -> Result<Vec<SetFile>> {
    let mut found = Vec::new();
    below(folder, "", 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn below(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<SetFile>) -> Result<()> {
    let refused = |what: String| Error::file(folder.display().to_string(), what);
    if depth > DEPTH_MAX {
        return Err(refused(format!("folders lie more than {DEPTH_MAX} deep")));
    }
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(refused("a file's name is not UTF-8".into()));
        };
        if name.starts_with('.') {
            continue;
        }
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        // Follows a link: sets are often linked into place as a whole or file by file.
        let kind = fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
        if kind.is_dir() {
            below(&path, &format!("{name}/"), depth + 1, found)?;
        } else if kind.is_file() {
            found.push(SetFile { name, path });
        }
        if found.len() > FILES_MAX {
            return Err(refused(format!("more than {FILES_MAX} files")));
        }
    }
    Ok(())
}

/// Every n-th value of a stream, with n doubled whenever too many are kept: even over the stream, the same each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Kept values; what is no number is NaN.
    pub values: Vec<f64>,
    seen: u64,
    stride: u64,
}

impl Sampled {
    /// Offers the next value; keeps at most `most`.
    pub fn offer(&mut self, value: f64, most: usize) {
        self.stride = self.stride.max(1);
        if self.seen % self.stride == 0 {
            if self.values.len() >= most.max(2) {
                let mut position = 0;
                self.values.retain(|_| {
                    position += 1;
                    position % 2 == 1
                });
                self.stride *= 2;
            }
            if self.seen % self.stride == 0 {
                self.values.push(value);
            }
        }
        self.seen += 1;
    }

    /// Values offered.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// What the tables of a folder hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Sampled values of each numeric column, by its name in the header; `column_0` and so on where there is none.
    pub columns: BTreeMap<String, Sampled>,
    /// Rows read.
    pub rows: u64,
    /// First and last text of the columns that tell the time, where dates are written so that they sort.
    pub window: Option<(String, String)>,
}

/// Samples the tables below a folder: files of text whose lines hold fields between commas, semicolons, tabs or blanks.
/// Other files are passed over; a table that breaks off is an error. Columns of times and ids say nothing about drift and
/// are left out.
pub fn sample_columns(folder: &Path, most: usize) -> Result<Columns> {
    let mut columns = Columns::default();
    for file in files_of(folder)? {
        let documents = [".md", ".json", ".toml", ".parquet", ".svg", ".html", ".pdf"];
        if !documents.iter().any(|ending| file.name.to_lowercase().ends_with(ending)) {
            columns.add(&file.path, most)?;
        }
    }
    columns.columns.retain(|_, sampled| sampled.values.iter().any(|v| v.is_finite()));
    Ok(columns)
}

impl Columns {
    fn add(&mut self, path: &Path, most: usize) -> Result<()> {
        let mut lines = Lines::open(path)?;
        // What does not begin as text is no table.
        let Ok(Some(first)) = lines.next_line() else { return Ok(()) };
        let delimiter = [',', ';', '\t', ' '].into_iter().find(|d| first.contains(*d));
        let split = |line: &str| -> Vec<String> {
            let fields = match delimiter {
                Some(delimiter) => line.split(delimiter).take(COLUMNS_MAX).collect(),
                None => vec![line],
            };
            fields.iter().map(|f| f.trim().trim_matches('"').to_owned()).collect()
        };
        let first = split(first);
        let has_header = !first.iter().any(|field| field.parse::<f64>().is_ok_and(f64::is_finite));
        let names: Vec<String> = if has_header {
            first.clone()
        } else {
            (0..first.len()).map(|i| format!("column_{i}")).collect()
        };
        if !has_header {
            self.row(&names, &first, most);
        }
        while let Some(line) = lines.next_line()? {
            let fields = split(line);
            self.row(&names, &fields, most);
        }
        Ok(())
    }

    fn row(&mut self, names: &[String], fields: &[String], most: usize) {
        self.rows += 1;
        for (name, field) in names.iter().zip(fields) {
            let lower = name.to_lowercase();
            if TIMES.contains(&lower.as_str()) {
                self.see_time(field);
            } else if lower != "id" && !lower.ends_with("_id") && !lower.contains("serial") {
                let value = field.parse().ok().filter(|v: &f64| v.is_finite()).unwrap_or(f64::NAN);
                if self.columns.len() < COLUMNS_MAX || self.columns.contains_key(name) {
                    self.columns.entry(name.clone()).or_default().offer(value, most);
                }
            }
        }
    }

    /// Years first sort; plain numbers would not.
    fn see_time(&mut self, text: &str) {
        let is_date = text.len() >= 10 && text.len() <= 40 && text.as_bytes().get(4) == Some(&b'-');
        if !is_date {
            return;
        }
        let (first, last) = self.window.get_or_insert_with(|| (text.to_owned(), text.to_owned()));
        if text < first.as_str() {
            text.clone_into(first);
        }
        if text > last.as_str() {
            text.clone_into(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_bounded() {
        let mut sampled = Sampled::default();
        (0..1_000_000).for_each(|i| sampled.offer(f64::from(i), 100));
        let values = &sampled.values;
        assert!((50..=100).contains(&values.len()), "{}", values.len());
        let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
        assert_eq!((values[0], sampled.seen()), (0.0, 1_000_000));
    }

    #[test]
    fn tables_are_found_and_other_files_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, bytes).expect("written");
        };
        write(
            "a/x.csv",
            b"timestamp,value,node_id\n2014-02-01 00:00,1.5,7\n2013-01-01 00:00,x,7\n",
        );
        write("b/y.csv", b"timestamp,value,node_id\n2015-01-01 00:00,2.5,7\n");
        write("plain.txt", b"1 2\n3 4\n");
        write("README.md", b"value,other\n1,2\n");
        write("image.bin", &[0xff, 0xfe, 0, 1, 2]);
        write(".hidden", b"value\n9\n");
        let found = sample_columns(folder.path(), 100).expect("read");
        assert_eq!(found.columns.keys().collect::<Vec<_>>(), ["column_0", "column_1", "value"]);
        let values = &found.columns["value"].values;
        assert_eq!((values[0], values[1].is_nan(), values[2]), (1.5, true, 2.5));
        assert_eq!(found.columns["column_1"].values, [2.0, 4.0]);
        assert_eq!(found.window, Some(("2013-01-01 00:00".into(), "2015-01-01 00:00".into())));
        assert_eq!(found.rows, 5);
        let names: Vec<String> =
            files_of(folder.path()).expect("listed").into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["README.md", "a/x.csv", "b/y.csv", "image.bin", "plain.txt"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(sample_columns(Path::new("no/such/folder"), 10).is_err());
    }
}
