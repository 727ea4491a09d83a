//! Models, planner and plan checks are pure: same input, same output, byte for byte. So no clock, no I/O,
//! no runtime, no global randomness, and no map whose order changes from run to run.

use crate::{
    expect_none, rust_files,
    source::{TestCode, code_only, is_test_file, line_of, test_modules},
};

/// Path prefixes of the pure parts.
const PURE: [&str; 5] = [
    "models/src/",
    "controller/src/planner/",
    "controller/src/planner.rs",
    "controller/src/check/",
    "controller/src/check.rs",
];

/// Names that must not occur in pure code, wherever they come from.
const BANNED_NAMES: [&str; 17] = [
    "tokio",
    "tonic",
    "sqlx",
    "axum",
    "rocksdb",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "HashMap",
    "HashSet",
    "thread_rng",
    "ThreadRng",
    "OsRng",
    "ureq",
    "stdin",
    "stdout",
    "stderr",
];

/// Modules of the standard library that reach outside.
const BANNED_STD: [&str; 5] = ["fs", "net", "process", "env", "thread"];

/// Paths that reach for global randomness.
const BANNED_PATHS: [&str; 3] = ["rand::rng", "rand::random", "rand::make_rng"];

fn impurities(path: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let tests = TestCode::of(&code);
    let mut findings = Vec::new();
    let mut note = |line: usize, what: &str| {
        if !tests.covers(line) {
            findings.push(format!("{path}:{line}: `{what}` in pure code"));
        }
    };
    for (number, line) in (1..).zip(code.lines()) {
        let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for token in line.split(|c| !in_path(c)).filter(|t| !t.is_empty()) {
            let parts: Vec<&str> = token.split("::").collect();
            let banned = parts.iter().any(|part| BANNED_NAMES.contains(part))
                || (parts[0] == "std"
                    && parts.get(1).is_some_and(|part| BANNED_STD.contains(part)))
                || BANNED_PATHS.contains(&token);
            if banned {
                note(number, token);
            }
        }
    }
    // `use std::{fs, fmt};` names the module without its path.
    for (at, _) in code.match_indices("use std::{") {
        let group = code[at..].split(';').next().unwrap_or_default();
        let names = group
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|name| BANNED_STD.contains(name));
        names.for_each(|name| note(line_of(&code, at), name));
    }
    findings
}

#[test]
fn models_planner_and_checks_are_pure() {
    let files = rust_files();
    let test_modules = test_modules(&files);
    let pure: Vec<_> = files
        .iter()
        .filter(|(path, _)| {
            PURE.iter().any(|p| path.starts_with(p)) && !is_test_file(path, &test_modules)
        })
        .collect();
    assert!(pure.iter().any(|(path, _)| path.starts_with("models/")), "no model found");
    assert!(pure.iter().any(|(path, _)| path.contains("/planner")), "no planner found");
    let findings: Vec<String> =
        pure.iter().flat_map(|(path, text)| impurities(path, text)).collect();
    expect_none(&findings);
}

#[test]
fn impure_code_is_found() {
    for bad in [
        "use tokio::sync::mpsc;",
        "let t = std::time::Instant::now();",
        "fn f(at: SystemTime) {}",
        "let text = std::fs::read_to_string(p);",
        "use std::{\n    collections::BTreeMap,\n    net::TcpStream,\n};",
        "let x = rand::random();",
        "let mut rng = rand::rng();",
        "let m: HashMap<u8, u8> = HashMap::new();",
    ] {
        assert!(!impurities("models/src/x.rs", bad).is_empty(), "{bad}");
    }
}

#[test]
fn pure_code_is_left_alone() {
    let fine = "use std::{collections::BTreeMap, fmt};\n// an Instant in a comment\nfn environment(rng: &mut impl rand::RngExt, instant_ms: u64) {}\n\
                #[cfg(test)]\nmod tests {\n  use std::collections::HashMap;\n}\n";
    assert_eq!(impurities("models/src/x.rs", fine), Vec::<String>::new());
}
