//! Reading a YCSB property file.

use crate::error::{Error, Result};
use crate::source::Lines;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

const MAX_RECORDS: u64 = 1 << 40;
const MAX_FIELDS: u32 = 10_000;
const MAX_FIELD_BYTES: u32 = 1 << 20;
const MAX_SCAN: u32 = 1_000_000;
const MAX_PROPERTIES: usize = 1000;

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// A few very often; which ones is scattered over the key space.
    Zipfian,
    /// The newest most often.
    Latest,
}

/// Shares of the operations; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Reads.
    pub read: f64,
    /// Updates of existing records.
    pub update: f64,
    /// New records.
    pub insert: f64,
    /// Range reads.
    pub scan: f64,
    /// A read, then an update of the same record.
    pub read_modify_write: f64,
}

/// A workload file.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The file's name without folder and endings.
    pub name: String,
    /// The source's Java class; the last part of it, for instance `CoreWorkload`.
    pub class: String,
    /// Records loaded at first.
    pub record_count: u64,
    /// Operations of a run.
    pub operation_count: u64,
    /// What they are.
    pub mix: Mix,
    /// Which records they touch.
    pub distribution: Distribution,
    /// Fields of a record.
    pub field_count: u32,
    /// Bytes of a field.
    pub field_length_bytes: u32,
    /// A scan reads 1 to so many records.
    pub max_scan_length: u32,
}

impl Workload {
    /// Bytes of a whole record, without its key.
    pub fn record_size_bytes(&self) -> u64 {
        u64::from(self.field_count) * u64::from(self.field_length_bytes)
    }
}

/// Reads a workload file. What is left out has YCSB's defaults.
pub fn read_workload(path: &Path) -> Result<Workload> {
    read(Lines::open(path)?)
}

fn read(lines: Lines) -> Result<Workload> {
    let name = lines.name();
    let all = Properties::read(lines)?;
    let share = |key: &str, default: f64| all.number(key, default, 0.0, 1.0);
    let mix = Mix {
        read: share("readproportion", 0.95)?,
        update: share("updateproportion", 0.05)?,
        insert: share("insertproportion", 0.0)?,
        scan: share("scanproportion", 0.0)?,
        read_modify_write: share("readmodifywriteproportion", 0.0)?,
    };
    let sum = mix.read + mix.update + mix.insert + mix.scan + mix.read_modify_write;
    if sum <= 0.0 {
        return Err(Error::file(&all.file, "all proportions are 0"));
    }
    // As YCSB does: proportions are weights.
    let mix = Mix {
        read: mix.read / sum,
        update: mix.update / sum,
        insert: mix.insert / sum,
        scan: mix.scan / sum,
        read_modify_write: mix.read_modify_write / sum,
    };
    let class = all.text("workload").unwrap_or("CoreWorkload");
    Ok(Workload {
        name,
        class: class.rsplit('.').next().unwrap_or(class).to_owned(),
        record_count: all.number("recordcount", 1000, 1, MAX_RECORDS)?,
        operation_count: all.number("operationcount", 1000, 0, MAX_RECORDS)?,
        mix,
        distribution: all.distribution()?,
        field_count: all.number("fieldcount", 10, 1, MAX_FIELDS)?,
        field_length_bytes: all.number("fieldlength", 100, 1, MAX_FIELD_BYTES)?,
        max_scan_length: all.number("maxscanlength", 1000, 1, MAX_SCAN)?,
    })
}

/// Keys with their values and lines.
struct Properties {
    file: String,
    values: BTreeMap<String, (String, u64)>,
}

impl Properties {
    fn read(mut lines: Lines) -> Result<Self> {
        let file = lines.file().to_owned();
        let mut values = BTreeMap::new();
        let mut at = 0;
        while let Some(line) = lines.next_line()? {
            at += 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(lines.bad("expected `key=value`"));
            };
            if value.ends_with('\\') {
                return Err(lines.bad("values over several lines are not supported"));
            }
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            values.insert(key, (value, at));
            if values.len() > MAX_PROPERTIES {
                return Err(lines.bad(format!("more than {MAX_PROPERTIES} properties")));
            }
        }
        Ok(Self { file, values })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    fn bad(&self, key: &str, what: String) -> Error {
        let line = self.values.get(key).map_or(0, |(_, line)| *line);
        Error::line(&self.file, line, what)
    }

    fn number<T>(&self, key: &str, default: T, low: T, high: T) -> Result<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        match text.parse::<T>() {
            Ok(number) if number >= low && number <= high => Ok(number),
            _ => Err(self.bad(key, format!("{key} is `{text}`: write {low} to {high}"))),
        }
    }

    fn distribution(&self) -> Result<Distribution> {
        match self.text("requestdistribution").unwrap_or("uniform") {
            "uniform" => Ok(Distribution::Uniform),
            "zipfian" => Ok(Distribution::Zipfian),
            "latest" => Ok(Distribution::Latest),
            other => {
                let what = format!("distribution `{other}`: write uniform, zipfian or latest");
                Err(self.bad("requestdistribution", what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(text: &'static str) -> Result<Workload> {
        read(Lines::of_bytes("w.properties", text.as_bytes())?)
    }

    #[test]
    fn values_defaults_and_weights() {
        let text = "# comment\nrecordcount=50\nworkload=a.b.CoreWorkload\n\nreadproportion = 0.5\n\
                    updateproportion=0\ninsertproportion=0.5\nscanproportion=1\nrequestdistribution=latest\n";
        let found = workload(text).expect("legal");
        assert_eq!(found.record_count, 50);
        assert_eq!(found.class, "CoreWorkload");
        assert_eq!(found.distribution, Distribution::Latest);
        assert_eq!((found.mix.read, found.mix.insert, found.mix.scan), (0.25, 0.25, 0.5));
        assert_eq!(found.record_size_bytes(), 1000);
        let empty = workload("\n").expect("all defaults");
        assert_eq!(empty.distribution, Distribution::Uniform);
        assert!((empty.mix.read - 0.95).abs() < 1e-12);
    }

    #[test]
    fn errors_name_line_and_range() {
        for (text, wanted) in [
            ("\nrecordcount=many\n", "line 2: recordcount is `many`: write 1 to"),
            ("readproportion=1.5\n", "line 1: readproportion is `1.5`: write 0 to 1"),
            ("readproportion=NaN\n", "line 1"),
            ("requestdistribution=hotspot\n", "uniform, zipfian or latest"),
            ("recordcount\n", "line 1: expected `key=value`"),
            ("readproportion=0\nupdateproportion=0\n", "all proportions are 0"),
        ] {
            let error = workload(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
