//! Many seeds, each in a process of its own: nothing of one run is left for the next, and a run is the same whoever
//! starts it.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    env, io,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The variable that tells a process its seed.
pub const SEED_VARIABLE: &str = "ISOBAR_SIM_SEED";

/// What a process said of its seed.
#[derive(Clone, Debug)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    /// Every property held.
    pub held: bool,
    /// What it said at its end, in one line.
    pub line: String,
}

/// Runs a seed in a new process; `bug` is the variable that plants one. Fails if no process can be started.
pub fn in_a_process(seed: u64, bug: Option<&str>) -> io::Result<Told> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--seed").arg(seed.to_string()).env(SEED_VARIABLE, seed.to_string());
    if let Some(bug) = bug {
        command.env(bug, "1");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // What no order explains takes several lines.
    let end = text.lines().skip_while(|line| !line.starts_with("seed ")).map(str::trim);
    let line = end.collect::<Vec<_>>().join(" / ");
    let line = if line.is_empty() { "the process said nothing".to_owned() } else { line };
    Ok(Told { seed, held: output.status.success(), line })
}

/// Runs seeds side by side, as many as there are cores; those that failed, in order.
pub fn run_many(first: u64, seeds: u64) -> io::Result<Vec<Told>> {
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds {elapsed} {msg}");
    bar.set_style(style.expect("the template is right"));
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let work = || -> io::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return Ok(());
            }
            let told = in_a_process(seed, None)?;
            if !told.held {
                bar.suspend(|| println!("{}\n    again: isobar-sim --seed {seed} -v", told.line));
                failed.lock().expect("no holder of this lock panics").push(told);
            }
            bar.inc(1);
        }
    };
    side_by_side(work)?;
    bar.finish_and_clear();
    let mut failed = failed.into_inner().expect("no holder of this lock panics");
    failed.sort_by_key(|told| told.seed);
    Ok(failed)
}

fn side_by_side(work: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(&work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))?;
        }
        Ok(())
    })
}

/// A planted bug and what found it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bug, in words.
    pub bug: &'static str,
    /// The first seed that found it, and what was seen; none: no seed did.
    pub by: Option<Told>,
}

/// The bugs of the node: what each is, and the variable that plants it.
pub const BUGS: [(&str, &str); 9] = [
    ("acknowledge before the fsync", "ISOBAR_PLANT_ACK_BEFORE_FSYNC"),
    ("apply a repeated write again", "ISOBAR_PLANT_SKIP_DEDUP"),
    ("serve reads after the lease", "ISOBAR_PLANT_STALE_LEASE"),
    ("do not check the epoch", "ISOBAR_PLANT_NO_EPOCH_CHECK"),
    ("promote a learner that is behind", "ISOBAR_PLANT_PROMOTE_BEHIND"),
    ("remove voters below the floor", "ISOBAR_PLANT_NO_VOTER_FLOOR"),
    ("reuse a replica id", "ISOBAR_PLANT_REUSE_REPLICA_ID"),
    ("install an unverified snapshot", "ISOBAR_PLANT_UNVERIFIED_SNAPSHOT"),
    ("forget the vote on restart", "ISOBAR_PLANT_FORGET_VOTE"),
];

/// Looks for each planted bug with at most so many seeds.
pub fn hunt(first: u64, seeds: u64) -> io::Result<Vec<Found>> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || -> io::Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some((bug, variable)) = BUGS.get(at) else { return Ok(()) };
            let mut by = None;
            for seed in first..first + seeds {
                let told = in_a_process(seed, Some(variable))?;
                if !told.held {
                    by = Some(told);
                    break;
                }
            }
            found.lock().expect("no holder of this lock panics").push((at, Found { bug, by }));
        }
    };
    side_by_side(work)?;
    let mut found = found.into_inner().expect("no holder of this lock panics");
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}
