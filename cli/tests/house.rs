//! The rules of the house, held by reading the tree: floors between crates, limits on files and functions,
//! purity of models and planner, and documentation that keeps up with the code.
//!
//! Every check is a plain function from text to findings, and each has a test that feeds it a bad sample.

#[path = "house/commands.rs"]
mod commands;
#[path = "house/docs.rs"]
mod docs;
#[path = "house/floors.rs"]
mod floors;
#[path = "house/limits.rs"]
mod limits;
#[path = "house/purity.rs"]
mod purity;
#[path = "house/source.rs"]
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the repository.
fn root() -> PathBuf {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("the cli crate lies in the workspace").to_path_buf()
}

/// Reads a file, with its name in the panic where that fails.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Names of the workspace members, from the root manifest.
fn members() -> Vec<String> {
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().expect("valid TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    members.iter().map(|m| m.as_str().expect("a name").to_owned()).collect()
}

/// Every file below a directory with this ending, as paths relative to the root, in order.
fn files_below(dir: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
        for entry in entries {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == ending) {
                let short = path.strip_prefix(root()).expect("lies below the root");
                found.push(short.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of every member.
fn rust_files() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for member in members() {
        for file in files_below(&member, "rs") {
            let text = read(&root().join(&file));
            all.push((file, text));
        }
    }
    assert!(
        all.len() > 30,
        "only {} Rust files found: the test looks in the wrong place",
        all.len()
    );
    all
}

/// Fails with all findings at once, one a line.
fn expect_none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
