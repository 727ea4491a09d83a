//! Models that other tools trained, added and asked as a data scientist does it; and ours, for other tools.

mod support;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::{isobar, refused, text};

/// A folder with tables, models and a registry.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = PathBuf::from(self.path(name));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, contents).expect("written");
        path.display().to_string()
    }

    /// `isobar model …`, with a registry of its own where the verb has one.
    fn command(&self, args: &[&str]) -> Vec<String> {
        let mut all =
            [&["model"], args].concat().iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        if !["train", "import"].contains(&args[0]) {
            all.extend(["--database".to_owned(), self.path("registry/controller.db")]);
        }
        all
    }

    /// Runs it with `-o json`.
    fn model(&self, args: &[&str]) -> Value {
        let mut all = self.command(args);
        all.extend(["-o".to_owned(), "json".to_owned()]);
        let output = isobar(&all);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    fn refused(&self, args: &[&str], code: &str) -> String {
        let said = refused(self.command(args));
        assert!(said.contains(&format!("error {code}: ")), "{args:?}: {said}");
        said
    }

    /// What stands on stdout without `-o json`.
    fn csv(&self, args: &[&str]) -> String {
        let output = isobar(self.command(args));
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

/// Boosted trees of three features, as `onnxruntime` was given them.
fn file(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/onnx/exported");
    fs::read(fixtures.join(format!("{name}.onnx"))).expect("a fixture")
}

/// What `onnxruntime` said of the fixtures' rows, of which some have missing and infinite values.
fn said_by_onnxruntime(name: &str) -> (Vec<Value>, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/onnx/exported.json");
    let cases = fs::read_to_string(path).expect("a fixture");
    let mut cases = cases.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let case = cases.find(|case| case["name"] == name).expect("one of this name");
    (case["rows"].as_array().expect("rows").clone(), case["outputs"].clone())
}

fn table(rows: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    };
    let line = |(at, row): (usize, &Value)| {
        let cells: Vec<String> = row.as_array().expect("a row").iter().map(cell).collect();
        format!("\"d,{at}\",{},{},{},x\n", cells[2], cells[0], cells[1])
    };
    // Columns in another order than the model's, and one that it does not know.
    let lines: String = rows.iter().enumerate().map(line).collect();
    format!("disk,c,a,b,note\n{lines}")
}

#[test]
fn an_onnx_file_is_added_promoted_and_says_what_onnxruntime_says() {
    let bench = Bench::new();
    let onnx = bench.write("disks.onnx", file("logistic"));
    let added =
        bench.model(&["add", &onnx, "--name", "disks", "--task", "hazard", "--note", "planted"]);
    assert_eq!(added["version"], 1);
    assert_eq!(bench.model(&["explain", "disks@1"])["manifest"]["task"], "hazard");
    // The same file again is the same version.
    let again =
        bench.model(&["add", &onnx, "--name", "disks", "--task", "hazard", "--note", "planted"]);
    assert_eq!(again["version"], 1);
    bench.model(&["promote", "disks", "1", "--why", "first"]);
    fs::remove_file(&onnx).expect("removed");
    let (rows, wanted) = said_by_onnxruntime("logistic");
    let data = bench.write("rows.csv", table(&rows));
    let said = bench.model(&["predict", "disks@champion", "--data", &data, "--copy", "disk"]);
    let columns = ["disk", "label", "probabilities_0", "probabilities_1"];
    assert_eq!(said["columns"], serde_json::json!(columns));
    assert_eq!((&said["n"], &said["undefined"]), (&rows.len().into(), &0.into()));
    for (at, row) in said["rows"].as_array().expect("rows").iter().enumerate() {
        assert_eq!(row[0], format!("d,{at}"));
        assert_eq!(row[1], wanted["label"][at]);
        for class in 0..2 {
            let wanted = &wanted[format!("probabilities#{class}")][at];
            let apart = row[2 + class].as_f64().expect("a number") - wanted.as_f64().expect("one");
            assert!(apart.abs() <= 1e-5, "row {at}, class {class}: {row} for {wanted}");
        }
    }
    let csv = bench.csv(&["predict", "disks@champion", "--data", &data, "--copy", "disk"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        (lines[0], lines.len()),
        ("disk,label,probabilities_0,probabilities_1", rows.len() + 1)
    );
    assert!(lines[1].starts_with("\"d,0\",0,0."), "{csv}");
    let explained = bench.model(&["explain", "disks"]);
    assert_eq!(explained["signature"]["features"][2]["name"], "c");
    assert_eq!(explained["reasons"].as_array().map(Vec::len), Some(3), "{}", explained["reasons"]);
    assert!(explained["card"].as_str().expect("a card").contains("planted"));
    // And out again, byte for byte.
    let out = bench.path("again.onnx");
    bench.model(&["export", "disks", "champion", "--onnx", &out]);
    assert_eq!(fs::read(out).expect("written"), file("logistic"));
}

#[test]
fn features_are_named_by_the_caller_or_by_the_file() {
    let bench = Bench::new();
    let onnx = bench.write("v.onnx", file("quantile"));
    let package = bench.path("package");
    let named = ["import", &onnx, "--out", &package, "--task", "forecast", "--features", "x,y_h,z"];
    bench.model(&named);
    let explained = bench.model(&["explain", &package]);
    let unit = |at: usize| explained["signature"]["features"][at]["unit"].clone();
    assert_eq!((unit(0), unit(1)), ("".into(), "h".into()));
    let data = bench.write("rows.csv", "x,y_h,z\n0,0,0\n");
    let said = bench.model(&["predict", &package, "--data", &data]);
    let (_, wanted) = said_by_onnxruntime("quantile");
    let apart =
        said["rows"][0][0].as_f64().expect("one") - wanted["value"][0].as_f64().expect("one");
    assert!(apart.abs() < 1e-5, "{said}");
    let other = bench.path("other");
    bench.refused(
        &["import", &onnx, "--out", &other, "--task", "forecast", "--features", "x,y"],
        "ISO-6004",
    );
    bench.refused(
        &["import", &onnx, "--out", &other, "--task", "forecast", "--features", "x,y,y"],
        "ISO-6004",
    );
    assert!(!Path::new(&other).exists(), "nothing is made of a refused file");
    bench.refused(&named, "ISO-6004");
}

#[test]
fn what_cannot_be_read_or_asked_is_refused_with_a_reason() {
    let bench = Bench::new();
    let onnx = bench.write("m.onnx", file("logistic"));
    let add = |file: &str| ["add", file, "--name", "m", "--task", "hazard"].map(str::to_owned);
    let refused = |args: &[String], code: &str| {
        bench.refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    bench.refused(&["add", &onnx, "--name", "m"], "ISO-1001");
    let mut cut = file("logistic");
    cut.truncate(cut.len() - 7);
    refused(&add(&bench.write("cut.onnx", cut)), "ISO-6004");
    refused(&add(&bench.write("text.onnx", "no model at all")), "ISO-6004");
    let mut unknown = file("logistic");
    while let Some(at) = unknown.windows(4).position(|bytes| bytes == b"Tree") {
        unknown[at..at + 4].copy_from_slice(b"Wood");
    }
    let said = refused(&add(&bench.write("unknown.onnx", unknown)), "ISO-6004");
    assert!(said.contains("operator WoodEnsembleClassifier of domain ai.onnx.ml"), "{said}");
    assert!(!Path::new(&bench.path("registry/controller.db")).exists(), "nothing was registered");
    let package = bench.path("package");
    bench.model(&["import", &onnx, "--out", &package, "--task", "hazard"]);
    bench.refused(&["add", &package, "--name", "m", "--task", "hazard"], "ISO-1001");
    let lacking = bench.write("lacking.csv", "a,b\n1,2\n");
    let said = bench.refused(&["predict", &package, "--data", &lacking], "ISO-6002");
    assert!(said.contains("no column `c`"), "{said}");
    let words = bench.write("words.csv", "a,b,c\n1,2,3\n1,two,3\n");
    let said = bench.refused(&["predict", &package, "--data", &words], "ISO-6002");
    assert!(said.contains("line 3: `two` in column `b` is not a number"), "{said}");
    // The model in a package is as much held by the manifest as its other files.
    fs::write(Path::new(&package).join("model.onnx"), file("quantile")).expect("written");
    let rows = bench.write("rows.csv", "a,b,c\n1,2,3\n");
    let said = bench.refused(&["predict", &package, "--data", &rows], "ISO-6004");
    assert!(said.contains("SHA-256"), "{said}");
}

/// Days of drives of which some count errors before they fail.
fn drives() -> String {
    let mut days =
        String::from("date,serial_number,model,capacity_bytes,failure,smart_5_raw,smart_9_raw\n");
    for drive in 0..60 {
        let fails_on = if drive % 4 == 0 { 24 + drive % 3 } else { 99 };
        for day in 1..=28.min(fails_on) {
            let errors = if day + 6 > fails_on { 10 * (day + 6 - fails_on) } else { 0 };
            let failed = u8::from(day == fails_on);
            days += &format!(
                "2013-04-{day:02},Z{drive},ST3000,3000000000000,{failed},{errors},{}\n",
                1_000 + drive * 7 + day * 24
            );
        }
    }
    days
}

#[test]
fn a_package_trained_here_serves_and_its_onnx_says_the_same() {
    let bench = Bench::new();
    bench.write("set/days.csv", drives());
    let (set, package) = (bench.path("set"), bench.path("package"));
    bench.model(&["train", "hazard", "--data", &set, "--out", &package]);
    let bytes = fs::read(Path::new(&package).join("model.onnx")).expect("one kind of rows");
    let out = bench.path("out.onnx");
    bench.model(&["export", &package, "--onnx", &out]);
    // Made anew from the parameters, whose numbers come from JSON: the last bit of one may differ. What both say is below.
    assert_eq!(fs::read(&out).expect("written").len(), bytes.len());
    let features = bench.model(&["explain", &package]);
    let features = features["signature"]["features"].as_array().expect("features").clone();
    // In the signature the kind of rows stands before each name.
    let bare =
        |name: &Value| name.as_str().expect("a name").split_once('.').expect("a kind").1.to_owned();
    let names: Vec<String> = features.iter().map(|feature| bare(&feature["name"])).collect();
    let mut rows = names.join(",") + "\n";
    for row in 0..40_usize {
        let cell = |at: usize| match (row * 31 + at * 17) % 11 {
            0 => String::new(),
            n => (n * n * (1 + row % 3)).to_string(),
        };
        rows += &((0..names.len()).map(cell).collect::<Vec<_>>().join(",") + "\n");
    }
    let data = bench.write("rows.csv", rows);
    let ours = bench.model(&["predict", &package, "--data", &data]);
    let foreign = bench.path("foreign");
    bench.model(&["import", &out, "--out", &foreign, "--task", "hazard"]);
    let theirs = bench.model(&["predict", &foreign, "--data", &data]);
    assert_eq!(ours["columns"], theirs["columns"]);
    assert_eq!(ours["columns"][1], "probability_168h");
    let mut different = std::collections::BTreeSet::new();
    let pairs =
        ours["rows"].as_array().expect("rows").iter().zip(theirs["rows"].as_array().expect("rows"));
    for (ours, theirs) in pairs {
        for at in 0..4 {
            let number = |row: &Value| row[at].as_f64().expect("a number");
            assert!((number(ours) - number(theirs)).abs() <= 1e-9, "{ours} {theirs}");
        }
        different.insert(ours[1].to_string());
    }
    assert!(different.len() > 1, "the rows were told apart: {different:?}");
}
