//! Requests per second over days.

use crate::error::{Error, Result};
use crate::source::Lines;
use std::path::Path;

/// 231 days; the files that we know have weeks.
const MAX_SECONDS: usize = 20_000_000;

/// How many requests arrived in each second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRates {
    /// The file's name without folder and endings.
    pub name: String,
    /// One number per second, from the first.
    pub per_second: Vec<u32>,
}

/// Reads a file of one integer per line, each the requests of one second.
pub fn read_rates(path: &Path) -> Result<RequestRates> {
    read(Lines::open(path)?)
}

fn read(mut lines: Lines) -> Result<RequestRates> {
    let mut per_second = Vec::new();
    while let Some(line) = lines.next_line()? {
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let Ok(rate) = text.parse() else {
            let what = format!("`{text}` is not a number of requests");
            return Err(lines.bad(what));
        };
        if per_second.len() == MAX_SECONDS {
            return Err(lines.bad(format!("more than {MAX_SECONDS} seconds")));
        }
        per_second.push(rate);
    }
    if per_second.iter().all(|&rate| rate == 0) {
        return Err(Error::file(lines.file(), "has no request"));
    }
    Ok(RequestRates { name: lines.name(), per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &'static str) -> Result<RequestRates> {
        read(Lines::of_bytes("dir/t.txt.zst", text.as_bytes())?)
    }

    #[test]
    fn integers_only() {
        let legal = rates("1\n0\n52\n").expect("legal");
        assert_eq!((legal.name.as_str(), legal.per_second), ("t", vec![1, 0, 52]));
        assert!(matches!(rates("1\n-2\n"), Err(Error::Line { line: 2, .. })));
        assert!(matches!(rates("1\n2.5\n"), Err(Error::Line { line: 2, .. })));
        assert!(matches!(rates("0\n0\n"), Err(Error::File { .. })));
        assert!(matches!(rates(""), Err(Error::File { .. })));
    }
}
