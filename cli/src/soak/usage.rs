//! Memory and file handles of processes, from `/proc`; elsewhere there is nothing to see.

use super::growth::{Growth, Point};
use serde::Serialize;
use std::{collections::BTreeMap, fs};

/// What memory may gain over the second half: this share of its median, or [`MEMORY_MIB_LEAST`] where that is more.
const MEMORY_SHARE: f64 = 0.1;
const MEMORY_MIB_LEAST: f64 = 16.0;
/// The same for file handles.
const HANDLES_SHARE: f64 = 0.1;
const HANDLES_LEAST: f64 = 32.0;

/// A shorter second half says nothing: caches and buffers are still filling.
const JUDGED_S_MIN: f64 = 110.0;

/// One look at one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) rss_mib: f64,
    pub(super) handles: f64,
}

/// What a process uses now; none if it is gone.
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let handles = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64;
    Some(Usage { rss_mib: rss_mib(&status)?, handles })
}

fn rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

/// What was seen of all processes.
#[derive(Default)]
pub(super) struct Samples {
    /// By name: when, which process it was then, and what it used.
    seen: BTreeMap<String, Vec<(f64, u32, Usage)>>,
}

/// How one process did over the second half.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) rss_mib: Growth,
    pub(super) handles: Growth,
    /// Highest of the whole run, whichever process it was then.
    pub(super) rss_mib_max: f64,
    pub(super) handles_max: f64,
    /// Whether it ran through the second half, and that was long enough: only then growth says something.
    pub(super) judged: bool,
}

impl Judged {
    pub(super) fn is_flat(&self) -> bool {
        !self.judged || (self.rss_mib.is_flat() && self.handles.is_flat())
    }
}

impl Samples {
    pub(super) fn add(&mut self, name: &str, at_s: f64, pid: u32, usage: Usage) {
        self.seen.entry(name.to_owned()).or_default().push((at_s, pid, usage));
    }

    /// The last look at each process.
    pub(super) fn last(&self) -> impl Iterator<Item = (&str, Usage)> {
        self.seen.iter().filter_map(|(name, seen)| Some((name.as_str(), seen.last()?.2)))
    }

    /// Judges the looks from a moment on.
    pub(super) fn judge(&self, from_s: f64) -> Vec<Judged> {
        let judge = |(name, seen): (&String, &Vec<(f64, u32, Usage)>)| {
            let late: Vec<_> = seen.iter().filter(|(at, ..)| *at >= from_s).collect();
            let points = |of: fn(&Usage) -> f64| -> Vec<Point> {
                late.iter().map(|(at, _, usage)| (*at, of(usage))).collect()
            };
            let highest = |of: fn(&Usage) -> f64| {
                seen.iter().map(|(.., usage)| of(usage)).fold(0.0, f64::max)
            };
            let memory = points(|usage| usage.rss_mib);
            let handles = points(|usage| usage.handles);
            Judged {
                name: name.clone(),
                rss_mib: Growth::of(&memory, MEMORY_SHARE, MEMORY_MIB_LEAST),
                handles: Growth::of(&handles, HANDLES_SHARE, HANDLES_LEAST),
                rss_mib_max: highest(|usage| usage.rss_mib),
                handles_max: highest(|usage| usage.handles),
                judged: late.iter().all(|(_, pid, _)| *pid == late[0].1)
                    && late.last().is_some_and(|last| last.0 - late[0].0 >= JUDGED_S_MIN),
            }
        };
        self.seen.iter().map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        assert_eq!(rss_mib("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2.0));
        if cfg!(target_os = "linux") {
            let used = usage(std::process::id()).expect("it runs");
            assert!(used.rss_mib > 1.0 && used.handles >= 3.0, "{used:?}");
        }
        assert_eq!(usage(u32::MAX), None);
    }

    #[test]
    fn only_a_process_that_ran_through_is_judged() {
        let mut samples = Samples::default();
        for at in (0..400).step_by(4) {
            let grown = Usage { rss_mib: 50.0 + f64::from(at), handles: 100.0 };
            samples.add("leaks", f64::from(at), 7, grown);
            samples.add("restarted", f64::from(at), if at < 320 { 8 } else { 9 }, grown);
            samples.add(
                "restarted early",
                f64::from(at),
                if at < 160 { 5 } else { 6 },
                Usage { rss_mib: 50.0, ..grown },
            );
        }
        let judged = samples.judge(200.0);
        let found: Vec<(&str, bool, bool)> =
            judged.iter().map(|j| (j.name.as_str(), j.judged, j.is_flat())).collect();
        let expected =
            [("leaks", true, false), ("restarted", false, true), ("restarted early", true, true)];
        assert_eq!(found, expected);
        assert!(samples.judge(300.0).iter().all(|short| !short.judged));
        assert_eq!((judged[0].rss_mib_max, judged[0].handles.gained), (446.0, 0.0));
    }
}
