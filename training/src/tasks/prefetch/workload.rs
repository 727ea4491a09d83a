//! A trace made ready to be replayed: requests in order, and the same with the keys renumbered at random.

use crate::{Error, Result};
use isobar_datasets::read_requests;
use isobar_models::prefetch::Request;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer traces are refused; the longest public one in these formats has a third of it.
const MAX_REQUESTS: usize = 100_000_000;
/// The renumbering is the same for everybody who judges.
const RENUMBERING_SEED: u64 = 4;

/// Requests of one system, in order.
pub(super) struct Workload {
    /// The file's name without folder and endings.
    pub(super) name: String,
    pub(super) requests: Vec<Request>,
    /// Distinct keys.
    pub(super) keys: usize,
}

impl Workload {
    /// Reads a trace; each line is one request.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let trace = read_requests(path, MAX_REQUESTS)?;
        let request = |r: &isobar_datasets::KeyRequest| Request {
            key: r.key,
            length: r.span,
            size_bytes: r.size_bytes.unwrap_or(r.span.min(u64::from(u32::MAX)) as u32),
        };
        Ok(Self::new(trace.name, trace.requests.iter().map(request).collect()))
    }

    pub(super) fn new(name: String, requests: Vec<Request>) -> Self {
        let keys = distinct(&requests).len();
        Self { name, requests, keys }
    }

    /// The first half, with its own number of distinct keys.
    pub(super) fn first_half(&self) -> Self {
        let half = self.requests[..self.requests.len() / 2].to_vec();
        Self::new(self.name.clone(), half)
    }

    /// The same with lengths hidden, as where only the first key of each request is known.
    pub(super) fn without_lengths(&self) -> Vec<Request> {
        let hide = |r: &Request| Request { length: 1, ..*r };
        self.requests.iter().map(hide).collect()
    }

    /// The same with the keys exchanged by a random permutation of 0 to the number of keys, so that neither order nor
    /// closeness of numbers means anything.
    pub(super) fn renumbered(&self) -> Vec<Request> {
        let sorted = distinct(&self.requests);
        let mut numbers: Vec<u64> = (0..sorted.len() as u64).collect();
        let mut state = RENUMBERING_SEED;
        for last in (1..numbers.len()).rev() {
            let bound = last as u64 + 1;
            let drawn = (u128::from(next_random(&mut state)) * u128::from(bound)) >> 64;
            numbers.swap(last, drawn as usize);
        }
        let number = |r: &Request| {
            let rank = sorted.binary_search(&r.key).expect("made of these requests");
            Request { key: numbers[rank], length: 1, size_bytes: r.size_bytes }
        };
        self.requests.iter().map(number).collect()
    }
}

fn distinct(requests: &[Request]) -> Vec<u64> {
    let mut keys: Vec<u64> = requests.iter().map(|r| r.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Every file below the folder but its Markdown pages, in order of path.
pub(super) fn traces_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&folder, e))?;
            let (path, kind) = (entry.path(), entry.file_type());
            // Links are not followed into folders: they could lead round in a circle.
            if kind.map_err(|e| Error::io(&path, e))?.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|ending| ending != "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Error::Unsuitable(format!("{}: no trace below it", folder.display()))),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_renumbering_keeps_which_requests_are_alike_and_nothing_else() {
        let request = |key| Request { key, length: 8, size_bytes: 1 };
        let keys: Vec<u64> = (0..2000_u64).map(|i| i * i % 701 * 8).collect();
        let requests: Vec<Request> = keys.iter().map(|&key| request(key)).collect();
        let workload = Workload::new("w".into(), requests);
        let other = workload.renumbered();
        assert_eq!(other, workload.renumbered());
        assert!(other.iter().all(|r| r.length == 1 && r.key < workload.keys as u64));
        let pairs: BTreeSet<(u64, u64)> =
            keys.iter().copied().zip(other.iter().map(|r| r.key)).collect();
        assert_eq!(pairs.len(), workload.keys, "one new number for each key");
        let neighbours = pairs.iter().zip(pairs.iter().skip(1));
        let close = neighbours.filter(|(a, b)| a.1.abs_diff(b.1) == 1).count();
        assert!(close < 10, "{close} neighbours stayed neighbours");
    }
}
