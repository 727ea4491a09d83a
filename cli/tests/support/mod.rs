//! Real processes for the tests: nodes and a controller, each with a log. None outlives its test.

// Every test binary is compiled with its own copy and uses a part of it.
#![allow(dead_code)]

pub mod cluster;
pub mod leader;
pub mod process;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The program under test, without the settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ISOBAR_") {
            command.env_remove(name);
        }
    }
    command.env("COLUMNS", "200");
    command
}

/// Runs a command to its end.
pub fn isobar<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let output = program().args(args).stdin(Stdio::null()).output();
    output.expect("the binary was just built")
}

/// What a command printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must fail, and returns what it said on stderr.
pub fn refused<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = isobar(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_no_panic("stderr", &said);
    said
}

/// Tests drive processes with plain blocking code; only the client is asynchronous.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Waits until something holds. Only says "never": how long it may take is no property of ours.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never came about: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A defect shows as a panic in some log, even where nobody notices it otherwise.
fn assert_no_panic(from: &str, said: &str) {
    let found = said.lines().find(|line| line.contains("panicked at"));
    assert_eq!(found, None, "a panic in {from}");
}

/// The same for every log in a folder.
pub fn assert_no_panic_in_logs(dir: &Path) {
    let files = std::fs::read_dir(dir).expect("the folder of logs is there");
    for file in files {
        let path = file.expect("it can be listed").path();
        if path.extension().is_some_and(|ending| ending == "log") {
            let bytes = std::fs::read(&path).expect("a log can be read");
            assert_no_panic(&path.display().to_string(), &text(&bytes));
        }
    }
}
