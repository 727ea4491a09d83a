//! Faults on real processes: partitions, stopped processes, nodes lost together, damaged files. A recorder outside, the
//! one of the crash tests, holds every acknowledged write and every read against what may be.
//!
//! Each test prints what it saw. What was seen is in `docs/src/reliability.md`.

#[path = "faults/engines.rs"]
mod engines;
#[path = "faults/flips.rs"]
mod flips;
#[path = "faults/levels.rs"]
mod levels;
#[path = "faults/merge.rs"]
mod merge;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/owner.rs"]
mod owner;
#[path = "faults/partition.rs"]
mod partition;
#[path = "faults/pause.rs"]
mod pause;
#[path = "crash/record.rs"]
mod record;
#[path = "crash/recorder.rs"]
mod recorder;
#[path = "faults/slow.rs"]
mod slow;
mod support;
#[path = "faults/together.rs"]
mod together;
#[path = "faults/trial.rs"]
mod trial;
#[path = "crash/verdict.rs"]
mod verdict;

/// The other side of [`recorder::RecorderProcess`].
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn recorder_process() {
    recorder::run();
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    }
}
