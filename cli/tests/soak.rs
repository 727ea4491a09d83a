//! `isobar soak` in its shortest form: it injects faults, loses nothing, and leaves nothing behind.

use std::process::Command;

#[test]
fn a_short_soak_injects_faults_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    let args = ["soak", "--minutes", "0.5", "--rate", "200", "--fault-every", "5", "-o", "json"];
    let output = command.args(args).env("TMPDIR", folder.path()).output().expect("just built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let last = out.lines().last().expect("a line");
    let report: serde_json::Value = serde_json::from_str(last).expect("one document");
    let count = |name: &str| report[name].as_u64().expect("a number");
    assert_eq!((count("lost"), count("reads_wrong")), (0, 0), "{report}");
    assert!(count("writes_acknowledged") > 100 && count("keys") > 20, "{report}");
    assert!(report["injected"]["kills"].as_u64().is_some_and(|kills| kills > 0), "{report}");
    assert_eq!(report["processes"].as_array().map(Vec::len), Some(6), "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "files are left");
}
