//! A few seeds, and that a seed is the same run every time.

use std::process::Command;

/// The last line that a new process prints for a seed, and whether it ended well.
fn run(seed: u64) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar-sim"));
    let output = command.args(["--seed", &seed.to_string()]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    (output.status.success(), text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_few_seeds_hold() {
    for seed in 1..=4 {
        let (held, line) = run(seed);
        assert!(held, "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let trace = |line: &str| line.rsplit_once("trace ").map(|(_, hash)| hash.to_owned());
    let (first, again, other) = (run(7).1, run(7).1, run(8).1);
    assert_eq!(first, again);
    assert!(trace(&first).is_some(), "{first}");
    assert_ne!(trace(&first), trace(&other));
}
