//! Histories of failures: of machines with errors and maintenance, of disks with SMART values, of nodes and GPUs.
//!
//! [`read_failures`] reads a folder. Each file is recognised by the columns of its header; files of no known kind are
//! passed over. Times are hours since 1970-01-01, in whatever zone the source has.

mod disks;
mod machines;
mod nodes;
mod time;

pub use disks::{DriveDay, DriveSpan};
pub use machines::{MachineEvents, MachineRow};
pub use nodes::{GpuLife, Outage, UpDown};

use crate::csv::Table;
use crate::error::{Error, Result};
use crate::source::Lines;
use std::fs;
use std::path::{Path, PathBuf};

/// More rows than any public set of these kinds has.
const MAX_ROWS: usize = 50_000_000;

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub enum FailureSet {
    /// Azure PdM: errors, maintenance and failures of machines.
    Machines(MachineEvents),
    /// Backblaze: SMART values of every drive and day, by drive and date.
    DriveDays(Vec<DriveDay>),
    /// Backblaze in start-stop form: SMART values with the hours in which they held, by drive and hour.
    DriveSpans(Vec<DriveSpan>),
    /// Failure Trace Archive: intervals in which a node was up or down, by node and time.
    UpDown(Vec<UpDown>),
    /// LANL: outages of nodes, by node and time.
    Outages(Vec<Outage>),
    /// Titan: where and when a GPU was, and how it ended, by GPU and time.
    GpuLives(Vec<GpuLife>),
}

/// Reads all failure files of a folder, which must be of one kind.
pub fn read_failures(folder: &Path) -> Result<FailureSet> {
    let mut found: Option<FailureSet> = None;
    for path in files(folder)? {
        let Some(set) = read_file(&path)? else { continue };
        found = Some(match found {
            None => set,
            Some(before) => before.joined(set).ok_or_else(|| {
                Error::file(
                    &path.display().to_string(),
                    "another kind of set than the files before",
                )
            })?,
        });
    }
    let nothing = || Error::file(&folder.display().to_string(), "no file of failures is in it");
    let set = found.ok_or_else(nothing)?.sorted();
    if set.is_empty() { Err(nothing()) } else { Ok(set) }
}

/// In the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `None` where the file is of no known kind, such as a text that describes the set.
fn read_file(path: &Path) -> Result<Option<FailureSet>> {
    // A file that is no text, or has no readable first line, is none of ours.
    let Ok(table) = Lines::open(path).and_then(Table::new) else { return Ok(None) };
    let has = |names: &[&str]| names.iter().all(|name| table.optional_column(name).is_some());
    Ok(Some(if has(&["serial_number", "date", "failure"]) {
        FailureSet::DriveDays(disks::read_days(table)?)
    } else if has(&["serial_number", "tstart", "tstop", "fails"]) {
        FailureSet::DriveSpans(disks::read_spans(table)?)
    } else if has(&["node_id", "event_type", "event_start_time", "event_stop_time"]) {
        FailureSet::UpDown(nodes::read_up_down(table)?)
    } else if has(&["System", "nodenum", "Prob Started"]) {
        FailureSet::Outages(nodes::read_outages(table)?)
    } else if has(&["SN", "location", "insert", "remove", "event"]) {
        FailureSet::GpuLives(nodes::read_lives(table)?)
    } else if has(&["machineID"]) {
        match machines::read(table)? {
            Some(events) => FailureSet::Machines(events),
            None => return Ok(None),
        }
    } else {
        return Ok(None);
    }))
}

impl FailureSet {
    /// `None` where the two are not of one kind.
    fn joined(self, other: Self) -> Option<Self> {
        fn chain<T>(mut a: Vec<T>, b: Vec<T>) -> Vec<T> {
            a.extend(b);
            a
        }
        Some(match (self, other) {
            (Self::Machines(a), Self::Machines(b)) => Self::Machines(a.joined(b)),
            (Self::DriveDays(a), Self::DriveDays(b)) => Self::DriveDays(chain(a, b)),
            (Self::DriveSpans(a), Self::DriveSpans(b)) => Self::DriveSpans(chain(a, b)),
            (Self::UpDown(a), Self::UpDown(b)) => Self::UpDown(chain(a, b)),
            (Self::Outages(a), Self::Outages(b)) => Self::Outages(chain(a, b)),
            (Self::GpuLives(a), Self::GpuLives(b)) => Self::GpuLives(chain(a, b)),
            _ => return None,
        })
    }

    /// By unit and time, whatever the order of the files was.
    fn sorted(mut self) -> Self {
        match &mut self {
            Self::Machines(events) => events.sort(),
            Self::DriveDays(rows) => {
                rows.sort_by(|a, b| a.drive.cmp(&b.drive).then(a.at_h.total_cmp(&b.at_h)));
            }
            Self::DriveSpans(rows) => {
                rows.sort_by(|a, b| a.drive.cmp(&b.drive).then(a.start_h.total_cmp(&b.start_h)));
            }
            Self::UpDown(rows) => {
                rows.sort_by(|a, b| a.node.cmp(&b.node).then(a.start_h.total_cmp(&b.start_h)));
            }
            Self::Outages(rows) => {
                rows.sort_by(|a, b| a.node.cmp(&b.node).then(a.start_h.total_cmp(&b.start_h)));
            }
            Self::GpuLives(rows) => {
                rows.sort_by(|a, b| a.gpu.cmp(&b.gpu).then(a.insert_h.total_cmp(&b.insert_h)));
            }
        }
        self
    }

    /// Whether there is not one row.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Machines(events) => events.machines.is_empty(),
            Self::DriveDays(rows) => rows.is_empty(),
            Self::DriveSpans(rows) => rows.is_empty(),
            Self::UpDown(rows) => rows.is_empty(),
            Self::Outages(rows) => rows.is_empty(),
            Self::GpuLives(rows) => rows.is_empty(),
        }
    }
}

/// All rows of a table, at most [`MAX_ROWS`].
fn rows<T>(
    mut table: Table,
    mut row: impl FnMut(&Table, &[String]) -> Result<T>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(fields) = table.next_row()? {
        if all.len() == MAX_ROWS {
            return Err(table.bad(format!("more than {MAX_ROWS} rows")));
        }
        all.push(row(&table, &fields)?);
    }
    Ok(all)
}

/// One field as a finite number.
fn finite(table: &Table, row: &[String], column: usize) -> Result<f64> {
    let number: f64 = table.number(row, column)?;
    let text = &row[column];
    if number.is_finite() { Ok(number) } else { Err(table.bad(format!("`{text}` is not finite"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn a_set_is_known_by_its_columns_and_files_are_joined() {
        let header = "date,serial_number,model,capacity_bytes,failure,smart_5_raw,smart_9_raw\n";
        let folder = folder(&[
            ("README.md", "# About, with a comma\n"),
            ("b.csv", &format!("{header}2013-04-11,B,ST4 x,4000000000000,1,8,\n")),
            (
                "a.csv",
                &format!(
                    "{header}2013-04-12,A,ST4 x,4000000000000,0,0,7\n2013-04-11,A,ST4 x,4000000000000,0,0,6\n"
                ),
            ),
        ]);
        let FailureSet::DriveDays(days) = read_failures(folder.path()).expect("read") else {
            panic!("drives by day")
        };
        let seen: Vec<_> = days.iter().map(|d| (d.drive.as_str(), d.at_h, d.failed)).collect();
        let day = 15_806.0 * 24.0;
        assert_eq!(seen, [("A", day, false), ("A", day + 24.0, false), ("B", day, true)]);
        assert_eq!((days[0].smart[0], days[0].capacity_tb), (0.0, 4.0));
        assert!(days[2].hours_on.is_nan() && days[2].smart[1].is_nan(), "{:?}", days[2]);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        let error = |files: &[(&str, &str)]| {
            read_failures(folder(files).path()).expect_err("bad").to_string()
        };
        let up = "node_id,node_name,event_type,event_start_time,event_stop_time\n";
        let said = error(&[("x.csv", &format!("{up}0,a,1,5,7200\n0,a,2,5,7200\n"))]);
        assert!(said.contains("x.csv, line 3"), "{said}");
        let said = error(&[("x.csv", &format!("{up}0,a,1,inf,7200\n"))]);
        assert!(said.contains("line 2"), "{said}");
        let lanl = "System,nodenum,Prob Started,machine type\n2,7,13/45/2003 99:00,cluster\n";
        let said = error(&[("x.csv", lanl)]);
        assert!(said.contains("line 2") && said.contains("13/45/2003"), "{said}");
        let said = error(&[
            ("x.csv", &format!("{up}0,a,1,5,7200\n")),
            ("y.csv", &lanl.replace("13/45/2003 99:00", "12/5/2003 9:00")),
        ]);
        assert!(said.contains("another kind"), "{said}");
        assert!(error(&[("README.md", "text\n")]).contains("no file of failures"));
    }

    #[test]
    fn machines_come_in_four_files() {
        let folder = folder(&[
            ("1.csv", "machineID,model,age\n7,model3,18\n"),
            ("2.csv", "datetime,machineID,failure\n2020-01-05 06:00:00,7,comp2\n"),
            ("3.csv", "datetime,machineID,errorID\n2020-01-04 06:00:00,7,error3\n"),
            ("4.csv", "datetime,machineID,comp\n2020-01-05 06:00:00,7,comp2\n"),
        ]);
        let FailureSet::Machines(events) = read_failures(folder.path()).expect("read") else {
            panic!("machines")
        };
        assert_eq!(events.machines[0].age_years, 18.0);
        assert_eq!(events.failures[0].0 - events.errors[0].0, 24.0);
        assert_eq!((events.errors[0].2, events.maintenance[0].2), (3, 2));
    }
}
