//! Runs seeds of the simulator.

use clap::Parser;
use comfy_table::Table;
use isobar_sim::{
    run,
    seeds::{self, SEED_VARIABLE},
};
use std::{
    env, io,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// Real time for one seed, which takes a second. A run in which something is always ready never lets virtual time
/// pass, so nothing inside it can notice.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// Simulates whole clusters under faults, each from one seed, and checks that they keep their promises.
#[derive(Parser)]
#[command(name = "isobar-sim", version)]
struct Arguments {
    /// How many seeds to run; with --planted, how many for each bug at most.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first", "planted"])]
    seed: Option<u64>,
    /// Print every event (with --seed).
    #[arg(short, long, requires = "seed")]
    verbose: bool,
    /// Show that planted bugs are found (needs a build with --features planted-bugs).
    #[arg(long)]
    planted: bool,
}

/// Characters of what was seen in the table; the seed says the rest.
const SEEN_SHOWN: usize = 160;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.seed {
        Some(seed) => one(seed, arguments.verbose),
        None if arguments.planted => planted(arguments.first, arguments.seeds),
        None => many(arguments.first, arguments.seeds),
    };
    done.unwrap_or_else(|error| {
        eprintln!("isobar-sim: {error}");
        ExitCode::from(2)
    })
}

/// Runs one seed in this process, if it was started for it; else in a new one.
fn one(seed: u64, verbose: bool) -> io::Result<ExitCode> {
    if env::var(SEED_VARIABLE).ok().as_deref() != Some(seed.to_string().as_str()) {
        let mut again = std::process::Command::new(env::current_exe()?);
        again.args(env::args_os().skip(1)).env(SEED_VARIABLE, seed.to_string());
        let held = again.status()?.success();
        return Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    // A new thread, so that what this one has drawn so far counts for nothing.
    let (tell, told) = mpsc::channel();
    thread::Builder::new().spawn(move || tell.send(run::run(seed, verbose)))?;
    let outcome = match told.recv_timeout(ENDS_WITHIN) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the run panicked")),
        Err(RecvTimeoutError::Timeout) => {
            println!("seed {seed}: BROKEN every_run_ends: no end after {ENDS_WITHIN:?}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let run::Outcome { operations, events, trace, took, .. } = &outcome;
    let seconds = took.as_secs_f64();
    let figures =
        format!("{operations} operations, {events} events, {seconds:.1} s, trace {trace}");
    match &outcome.broken {
        None => println!("seed {seed}: held ({figures})"),
        Some(broken) => println!("seed {seed}: BROKEN {broken} ({figures})"),
    }
    Ok(if outcome.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn many(first: u64, count: u64) -> io::Result<ExitCode> {
    let failed = seeds::run_many(first, count)?;
    let held = count - failed.len() as u64;
    println!("{held} of {count} seeds held, from {first}");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn planted(first: u64, count: u64) -> io::Result<ExitCode> {
    if !cfg!(feature = "planted-bugs") {
        eprintln!(
            "isobar-sim: this build has no planted bugs: cargo run -p isobar-sim --features planted-bugs -- --planted"
        );
        return Ok(ExitCode::from(2));
    }
    let found = seeds::hunt(first, count)?;
    let mut table = Table::new();
    table.set_header(["planted bug", "seed", "what was seen"]);
    for found in &found {
        let (seed, seen) = match &found.by {
            Some(told) => (told.seed.to_string(), told.line.clone()),
            None => (String::new(), format!("nothing in {count} seeds")),
        };
        let seen = seen.split_once("BROKEN ").map_or(&*seen, |(_, seen)| seen);
        let seen: String = seen.replace("......", "").chars().take(SEEN_SHOWN).collect();
        table.add_row([found.bug.to_owned(), seed, seen]);
    }
    println!("{table}");
    let all = found.iter().all(|found| found.by.is_some());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
