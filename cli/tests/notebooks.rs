//! The notebooks for data scientists, run against this program where Python has what they need: `ISOBAR_PYTHON` names
//! an interpreter, else `python3` is tried. Without it nothing is tested and the test says so.

use std::{path::Path, process::Command};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the cli crate lies in the workspace")
}

/// An interpreter that has the packages.
fn python() -> Option<String> {
    let python = std::env::var("ISOBAR_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = "import lightgbm, onnx, onnxmltools, onnxruntime, pyarrow, skl2onnx, sklearn";
    let tried = Command::new(&python).args(["-c", imports]).output();
    tried.is_ok_and(|tried| tried.status.success()).then_some(python)
}

#[test]
fn classifiers_from_python_are_added_and_serve_what_onnxruntime_says() {
    let Some(python) = python() else {
        println!(
            "not run: no Python with scikit-learn, lightgbm, skl2onnx, onnxmltools, onnxruntime"
        );
        return;
    };
    let out = tempfile::tempdir().expect("a folder");
    let output = Command::new(python)
        .arg(root().join("training/notebooks/onnx_classifiers.py"))
        .args(["--isobar", env!("CARGO_BIN_EXE_isobar"), "--trees", "20", "--out"])
        .arg(out.path())
        .output()
        .expect("it was there a moment ago");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("the same answers to 1e-5"), "{said}");
    assert_eq!(said.matches("other labels 0").count(), 3, "{said}");
}
