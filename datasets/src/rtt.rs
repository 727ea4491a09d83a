//! Round-trip times between cloud regions, as published tables have them.

use crate::csv::Table;
use crate::error::{Error, Result};
use crate::source::Lines;
use isobar_api::Region;
use isobar_api::rtt::RttMatrix;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A round trip on Earth is far below this; more is a broken table.
const MAX_RTT_MS: f64 = 60_000.0;
const MAX_REGIONS: usize = 1024;

/// Sums over all measurements of an unordered pair, so that the mean is symmetric.
#[derive(Default)]
struct Means {
    regions: BTreeSet<Region>,
    pairs: BTreeMap<(Region, Region), (f64, u32)>,
}

impl Means {
    fn add(&mut self, from: &str, to: &str, rtt_ms: f64) -> std::result::Result<(), String> {
        if !(0.0..=MAX_RTT_MS).contains(&rtt_ms) {
            return Err(format!("a round trip of {rtt_ms} ms is out of range"));
        }
        let (a, b) = (region(from)?, region(to)?);
        for end in [&a, &b] {
            if !self.regions.contains(end) {
                self.regions.insert(end.clone());
            }
        }
        if self.regions.len() > MAX_REGIONS {
            return Err(format!("more than {MAX_REGIONS} regions"));
        }
        let pair = if a <= b { (a, b) } else { (b, a) };
        let (sum, count) = self.pairs.entry(pair).or_default();
        *sum += rtt_ms;
        *count += 1;
        Ok(())
    }

    fn matrix(&self, file: &str) -> Result<RttMatrix> {
        let mut matrix = RttMatrix::default();
        for ((a, b), (sum, count)) in &self.pairs {
            matrix.set(a, b, sum / f64::from(*count));
        }
        if matrix.is_empty() {
            return Err(Error::file(file, "has no round-trip time"));
        }
        Ok(matrix)
    }
}

/// A region name from a table: `Washington DC` becomes `washington-dc`.
fn region(text: &str) -> std::result::Result<Region, String> {
    let name = text.trim().to_ascii_lowercase().replace([' ', '_'], "-");
    Region::new(name).map_err(|error| error.to_string())
}

/// Reads a table: the mean over both directions and all measurements of a pair.
///
/// A CSV file has columns `from_region`, `to_region` and `rtt_avg_ms` in any order; a folder has one `.dat` file per
/// region with lines `min/avg/max/mdev:to-region`.
pub fn read_rtt(path: &Path) -> Result<RttMatrix> {
    if path.is_dir() { read_ping_folder(path) } else { read_csv(Lines::open(path)?) }
}

/// Six AWS regions as measured in 2020, embedded. See `datasets/facts/README.md`.
pub fn builtin_rtt() -> RttMatrix {
    const BYTES: &[u8] = include_bytes!("../facts/rtt_aws_2020_06_05_six_regions.csv");
    let lines = Lines::of_bytes("rtt_aws_2020_06_05_six_regions.csv", BYTES);
    lines.and_then(read_csv).expect("embedded bytes, read by a test of this crate")
}

fn read_csv(lines: Lines) -> Result<RttMatrix> {
    let file = lines.file().to_owned();
    let mut table = Table::new(lines)?;
    let [from, to] = [table.column("from_region")?, table.column("to_region")?];
    let rtt = table.column("rtt_avg_ms")?;
    let mut means = Means::default();
    while let Some(row) = table.next_row()? {
        let rtt_ms = table.number(&row, rtt)?;
        means.add(&row[from], &row[to], rtt_ms).map_err(|what| table.bad(what))?;
    }
    means.matrix(&file)
}

fn read_ping_folder(folder: &Path) -> Result<RttMatrix> {
    let mut means = Means::default();
    for path in dat_files(folder)? {
        let from = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut lines = Lines::open(&path)?;
        while let Some(line) = lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let added = ping_line(line).and_then(|(to, rtt_ms)| means.add(&from, to, rtt_ms));
            added.map_err(|what| lines.bad(what))?;
        }
    }
    means.matrix(&folder.display().to_string())
}

fn ping_line(line: &str) -> std::result::Result<(&str, f64), String> {
    const FORM: &str = "expected `min/avg/max/mdev:region`";
    let (times, to) = line.trim().split_once(':').ok_or(FORM)?;
    let average = times.split('/').nth(1).ok_or(FORM)?;
    Ok((to, average.parse().map_err(|_| format!("`{average}` is not a number"))?))
}

fn dat_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.extension().is_some_and(|ending| ending == "dat") {
            files.push(path);
        }
        if files.len() > MAX_REGIONS {
            let what = format!("holds more than {MAX_REGIONS} tables");
            return Err(Error::file(folder.display().to_string(), what));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<RttMatrix> {
        read_csv(Lines::of_bytes("t.csv", text.as_bytes())?)
    }

    fn get(matrix: &RttMatrix, a: &str, b: &str) -> Option<f64> {
        matrix.get(&Region::new(a).expect("legal"), &Region::new(b).expect("legal"))
    }

    #[test]
    fn both_directions_give_one_mean() {
        let text = "from_region,to_region,rtt_min_ms,rtt_avg_ms\na,a,0,0.2\na,b,1,10\nb,a,1,14\n";
        let matrix = read(text).expect("legal");
        assert_eq!(get(&matrix, "a", "b"), Some(12.0));
        assert_eq!(get(&matrix, "b", "a"), Some(12.0));
        assert_eq!(get(&matrix, "a", "a"), Some(0.2));
    }

    #[test]
    fn windows_are_averaged_and_names_made_legal() {
        let text = "window_end,from_region,to_region,rtt_avg_ms\n\
                    2026-01-01,Sao Paulo,Washington DC,100\n2026-02-01,Sao Paulo,Washington DC,110\n";
        let matrix = read(text).expect("legal");
        assert_eq!(get(&matrix, "washington-dc", "sao-paulo"), Some(105.0));
        let empty = read("from_region,to_region,rtt_avg_ms\n");
        assert!(matches!(empty, Err(Error::File { .. })));
    }

    #[test]
    fn bad_tables_are_refused_with_their_line() {
        for text in [
            "from_region,to_region,rtt_avg_ms\na,b,fast\n",
            "from_region,to_region,rtt_avg_ms\na,b,-1\n",
            "from_region,to_region,rtt_avg_ms\na,b,NaN\n",
            "from_region,to_region,rtt_avg_ms\na,é,1\n",
            "from_region,to_region,rtt_avg_ms\na,b\n",
        ] {
            assert!(matches!(read(text), Err(Error::Line { line: 2, .. })), "{text}");
        }
        assert!(matches!(read("a,b\n"), Err(Error::Line { line: 1, .. })));
    }

    #[test]
    fn ping_folders() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
        write("aa-1.dat", "0.1/0.2/0.3/0.0:aa-1\n9/10/11/1:bb-2\n").expect("writes");
        write("bb-2.dat", "9/12/13/1:aa-1\n").expect("writes");
        write("notes.txt", "not read").expect("writes");
        let matrix = read_rtt(dir.path()).expect("legal");
        assert_eq!(get(&matrix, "aa-1", "bb-2"), Some(11.0));
        write("bb-2.dat", "9/12/13/1\n").expect("writes");
        assert!(matches!(read_rtt(dir.path()), Err(Error::Line { line: 1, .. })));
    }

    #[test]
    fn the_builtin_table_is_complete() {
        let matrix = builtin_rtt();
        let regions: Vec<_> = matrix.regions().cloned().collect();
        assert_eq!(regions.len(), 6);
        for a in &regions {
            for b in &regions {
                let rtt_ms = matrix.get(a, b).expect("known");
                assert_eq!(rtt_ms < 1.0, a == b, "{a} {b}");
            }
        }
        let rtt_ms = get(&matrix, "us-east-1", "eu-west-1").expect("known");
        assert!((rtt_ms - 70.505).abs() < 0.001);
    }
}
