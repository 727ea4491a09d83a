//! Limits on files and functions, names that say nothing, and ways to crash.

use crate::{
    expect_none, rust_files,
    source::{TestCode, code_only, functions, is_test_file, test_modules},
};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const EMPTY_NAMES: [&str; 7] =
    ["util", "utils", "helper", "helpers", "manager", "managers", "common"];

/// Everything that is wrong with the size, names and habits of one file.
fn check_file(path: &str, text: &str, is_test: bool) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    for part in path.split('/') {
        if EMPTY_NAMES.contains(&part.trim_end_matches(".rs")) {
            findings.push(format!("{path}: `{part}` says nothing about what is inside"));
        }
    }
    let code = code_only(text);
    for function in functions(&code) {
        let length = function.lines.clone().count();
        if length > FUNCTION_LINES_MAX {
            let (line, name) = (function.lines.start(), &function.name);
            findings.push(format!(
                "{path}:{line}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    let tests = TestCode::of(&code);
    for (number, line) in (1..).zip(code.lines()) {
        let in_test = is_test || tests.covers(number);
        findings.extend(check_line(line, in_test).map(|what| format!("{path}:{number}: {what}")));
    }
    findings
}

fn check_line(line: &str, in_test: bool) -> Option<String> {
    for name in EMPTY_NAMES {
        if let Some(rest) =
            line.trim_start().trim_start_matches("pub ").strip_prefix(&format!("mod {name}"))
            && rest.trim_start().starts_with([';', '{'])
        {
            return Some(format!("module `{name}` says nothing about what is inside"));
        }
    }
    for bad in ["todo!", "unimplemented!", "dbg!", "allow(unsafe_code)"] {
        if line.contains(bad) {
            return Some(format!("`{bad}` is not for finished code"));
        }
    }
    if !in_test && line.contains(".unwrap()") {
        return Some(
            "`.unwrap()` outside tests: use `expect(\"why it cannot fail\")` or return the error"
                .into(),
        );
    }
    None
}

#[test]
fn files_and_functions_keep_to_the_limits() {
    let files = rust_files();
    let test_modules = test_modules(&files);
    let findings: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| check_file(path, text, is_test_file(path, &test_modules)))
        .collect();
    expect_none(&findings);
}

#[test]
fn what_breaks_a_limit_is_found() {
    let found = |path: &str, text: &str, wanted: &str| {
        let findings = check_file(path, text, false);
        assert!(findings.iter().any(|f| f.contains(wanted)), "{wanted}: {findings:?}");
    };
    found("a/src/x.rs", &"\n".repeat(501), "501 lines");
    found("a/src/x.rs", &format!("fn long() {{{}}}", "\n".repeat(70)), "`long` has 71 lines");
    found("a/src/util.rs", "", "`util.rs` says nothing");
    found("a/src/x.rs", "pub mod helpers;", "module `helpers`");
    found("a/src/x.rs", "fn f() { g().unwrap() }", "a/src/x.rs:1: `.unwrap()`");
    found("a/src/x.rs", "fn f() {\n  todo!()\n}", "a/src/x.rs:2: `todo!`");
    found("a/src/x.rs", "#[allow(unsafe_code)]", "allow(unsafe_code)");
}

#[test]
fn what_keeps_to_the_limits_is_left_alone() {
    let fine = "// x.unwrap() and todo!\nfn f() { g(\".unwrap()\").unwrap_or(1) }\n#[cfg(test)]\nmod tests {\n  fn t() { g().unwrap() }\n}\n";
    assert_eq!(check_file("a/src/x.rs", fine, false), Vec::<String>::new());
    assert_eq!(check_file("a/tests/x.rs", "fn t() { g().unwrap() }", true), Vec::<String>::new());
    assert_eq!(
        check_file("a/src/x.rs", &format!("fn f() {{{}}}", "\n".repeat(69)), false),
        Vec::<String>::new()
    );
}
