//! `isobar model` as a data scientist meets it: packages made here, a registry of its own, and what must be refused.

mod support;

use isobar_training::{
    Curve, Evaluation, Feature, Metrics, Shape, Signature, Task, Trained,
    evidence::{Evidence, fingerprint},
    package,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::{isobar, refused, text};

/// A folder with a data set, packages and a registry.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(bench.path("set")).expect("made");
        bench.write_set("set", 0.0);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A table with a column that moves by `shift`.
    fn write_set(&self, name: &str, shift: f64) {
        let rows = (0..400)
            .map(|i| format!("2024-01-01 00:{:02},{},7\n", i % 60, f64::from(i % 100) + shift));
        let table: String =
            std::iter::once("timestamp,load,node_id\n".to_owned()).chain(rows).collect();
        fs::create_dir_all(self.path(name)).expect("made");
        fs::write(self.path(name).join("a.csv"), table).expect("written");
    }

    /// A package whose only difference from the next one is a parameter.
    fn package(&self, name: &str, weight: f64) -> String {
        let feature = Feature { name: "load".into(), kind: "f64".into(), unit: "1/s".into() };
        let reliability = Curve::new(Shape::Reliability, "p", "share")
            .with("the model", [[0.1, 0.1], [0.9, 0.8]]);
        let trained = Trained {
            parameters: serde_json::json!({ "weight": weight }),
            signature: Signature { features: vec![feature] },
            metrics: [("auc_pr".into(), weight.into())].into(),
            card: "Planted for a test.".into(),
            curves: [("reliability".into(), reliability)].into(),
            ..Trained::default()
        };
        let lesson = Task::Forecast.lesson();
        let data = [self.path("set")];
        let sample = lesson.features(&data, 1_000, &mut isobar_training::Silent).expect("a table");
        let reference = isobar_training::drift::Reference::of(&sample);
        let evidence = Evidence { sources: vec![fingerprint(&data[0]).expect("files")], reference };
        let folder = self.path(name);
        package::write_with(&folder, Task::Forecast, 5, &trained, &evidence).expect("written");
        folder.display().to_string()
    }

    /// Runs `isobar model … --database … -o json`.
    fn model(&self, args: &[&str]) -> Value {
        let database = self.database();
        let all = [&["model"], args, &["--database", &database, "-o", "json"]].concat();
        let output = isobar(&all);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    fn refused(&self, args: &[&str], code: &str) -> String {
        let database = self.database();
        let said = refused([&["model"], args, &["--database", &database]].concat());
        assert!(
            said.contains(&format!("error {code}: ")) && said.contains("\n  next: "),
            "{args:?}: {said}"
        );
        said
    }

    fn database(&self) -> String {
        self.path("registry/controller.db").display().to_string()
    }
}

#[test]
fn versions_are_added_promoted_and_rolled_back() {
    let bench = Bench::new();
    assert_eq!(bench.model(&["list"]), serde_json::json!([]));
    let (one, two) = (bench.package("one", 0.5), bench.package("two", 0.6));
    assert_eq!(bench.model(&["add", &one, "--name", "shape"])["version"], 1);
    bench.model(&["promote", "shape", "1", "--why", "first"]);
    let second = bench.model(&["add", &two, "--name", "shape"]);
    assert_eq!((&second["version"], &second["parent"]), (&2.into(), &1.into()));
    // The folder that was added may go; the registry has its own copy.
    fs::remove_dir_all(&two).expect("removed");
    bench.model(&["promote", "shape", "2", "--why", "x"]);
    let explained = bench.model(&["explain", "shape@champion"]);
    assert_eq!(explained["metrics"]["auc_pr"], 0.6);
    assert_eq!(explained["sources"][0]["name"], "set");
    let back = bench.model(&["rollback", "shape", "--why", "worse at night"]);
    assert_eq!((&back["from"], &back["to"]), (&2.into(), &1.into()));
    let model = bench.model(&["list", "shape"]);
    assert_eq!(model["aliases"], serde_json::json!({ "champion": 1 }));
    assert_eq!(model["changes"][2]["why"], "worse at night");
    let listing = isobar(["model", "list", "shape", "--database", &bench.database()]);
    assert!(text(&listing.stdout).contains("worse at night"), "{}", text(&listing.stdout));
    bench.refused(&["rollback", "shape", "--why", "again"], "ISO-1001");
}

#[test]
fn what_is_damaged_or_unknown_is_refused_with_a_next_step() {
    let bench = Bench::new();
    let one = bench.package("one", 0.5);
    bench.refused(&["list", "shape"], "ISO-6005");
    assert!(!Path::new(&bench.database()).exists(), "looking makes no database");
    fs::write(bench.path("one/run.sh"), "rm").expect("written");
    bench.refused(&["add", &one, "--name", "shape"], "ISO-6004");
    assert!(!Path::new(&bench.database()).exists(), "a bad package leaves nothing behind");
    fs::remove_file(bench.path("one/run.sh")).expect("removed");
    bench.refused(&["add", &one, "--name", "../shape"], "ISO-1001");
    let added = bench.model(&["add", &one, "--name", "shape"]);
    bench.refused(&["promote", "shape", "2", "--why", "x"], "ISO-6005");
    bench.refused(&["promote", "shape", "1", "--why", " "], "ISO-1001");
    bench.refused(&["explain", "shape"], "ISO-6005");
    bench.refused(&["explain", "no/such/folder"], "ISO-5004");
    bench.refused(&["compare", &one, &one], "ISO-1001");
    // The kept copy is damaged: it does not become champion.
    let hash = added["package_hash"].as_str().expect("a hash");
    let kept = bench.path("registry/packages").join(hash).join("parameters.json");
    fs::write(&kept, "{}").expect("written");
    bench.refused(&["promote", "shape", "1", "--why", "x"], "ISO-6004");
}

#[test]
fn drift_is_seen_where_it_is_and_nowhere_else() {
    let bench = Bench::new();
    let one = bench.package("one", 0.5);
    let verdict = |set: &str| {
        let set = bench.path(set).display().to_string();
        let found = bench.model(&["drift", &one, "--data", &set]);
        assert_eq!(
            found["features"].as_array().expect("features").len(),
            1,
            "ids and times are none"
        );
        found["features"][0]["verdict"].clone()
    };
    assert_eq!(verdict("set"), "steady");
    bench.write_set("moved", 60.0);
    assert_eq!(verdict("moved"), "drifted");
}

#[test]
fn judgements_are_compared_in_pairs() {
    let bench = Bench::new();
    let judged = |name: &str, less: f64, n: u64| {
        let unit =
            |i: u32| Metrics::from([("mase".into(), (f64::from(i % 7) / 7.0 + 1.0 - less).into())]);
        let evaluation = Evaluation {
            task: "forecast".into(),
            dataset: "m4".into(),
            metrics: [("mase".into(), (1.4 - less).into())].into(),
            units: (0..30).map(|i| (format!("H{i}"), unit(i))).collect(),
            n,
            ..Evaluation::default()
        };
        let path = bench.path(name);
        fs::write(&path, serde_json::to_vec(&evaluation).expect("finite")).expect("written");
        path.display().to_string()
    };
    let (a, b) = (judged("a.json", 0.1, 30), judged("b.json", 0.0, 30));
    let compared = bench.model(&["compare", &a, &b]);
    let interval = &compared["intervals"][&b]["mase"];
    assert!((interval["difference"].as_f64().expect("a number") + 0.1).abs() < 1e-9, "{interval}");
    assert_eq!(interval["units"], 30);
    let shown = isobar(["model", "compare", &a, &b]);
    assert!(text(&shown.stdout).contains("better"), "{}", text(&shown.stdout));
    bench.refused(&["compare", &a, &judged("c.json", 0.0, 31)], "ISO-1001");
    bench.refused(&["compare", &a, &bench.path("set/a.csv").display().to_string()], "ISO-1001");
}

#[test]
fn a_version_is_exported_as_mlflow_has_it() {
    let bench = Bench::new();
    let one = bench.package("one", 0.5);
    bench.model(&["add", &one, "--name", "shape"]);
    bench.model(&["promote", "shape", "1", "--why", "first"]);
    let to = bench.path("mlruns").display().to_string();
    let run = bench.model(&["export", "shape", "champion", "--mlflow", &to]);
    let run = Path::new(run["run"].as_str().expect("a folder"));
    assert_eq!(fs::read_to_string(run.join("params/task")).expect("read"), "forecast");
    assert!(fs::read_to_string(run.join("metrics/auc_pr")).expect("read").ends_with(" 0.5 0\n"));
    assert!(run.join("artifacts/model/manifest.json").is_file());
    let alias = bench.path("mlruns/models/shape/aliases/champion");
    assert_eq!(fs::read_to_string(alias).expect("read"), "1");
}

/// One hour of requests that come in waves, as a file of arrivals.
fn arrivals(folder: &Path) {
    fs::create_dir_all(folder).expect("made");
    let mut text = String::from("TIMESTAMP,ContextTokens,GeneratedTokens\n");
    for second in 0..3_600_u32 {
        let wave = 2.0 + (f64::from(second) / 60.0).sin();
        for part in 0..wave.round() as u32 {
            let (minute, second) = (second / 60, second % 60);
            text += &format!("2023-11-16 18:{minute:02}:{second:02}.{part}00,10,20\n");
        }
    }
    fs::write(folder.join("hour.csv"), text).expect("written");
}

/// Names and contents of a folder's files.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let read = |path: PathBuf| {
        (path.strip_prefix(folder).expect("below").into(), fs::read(&path).expect("read"))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn the_same_data_and_seed_give_the_same_bytes_and_a_judgement_becomes_a_page() {
    let bench = Bench::new();
    arrivals(&bench.path("hour"));
    let data = bench.path("hour").display().to_string();
    let train = |name: &str| {
        let out = bench.path(name).display().to_string();
        let trained = isobar(["model", "train", "forecast", "--data", &data, "--out", &out]);
        assert!(trained.status.success(), "{}", text(&trained.stderr));
        bench.path(name)
    };
    let (one, two) = (train("one"), train("two"));
    assert_eq!(contents(&one), contents(&two));
    let report = bench.path("report.html");
    let judged = bench.model(&[
        "evaluate",
        &one.display().to_string(),
        "--data",
        &data,
        "--report",
        &report.display().to_string(),
    ]);
    assert!(judged["metrics"]["mase"].as_f64().is_some_and(|mase| mase > 0.0), "{judged}");
    assert!(judged["baselines"]["naive"]["mase"].is_number(), "{judged}");
    let page = fs::read_to_string(report).expect("written");
    assert!(page.contains("<svg") && !page.contains("<script"), "a page that runs nothing");
}

#[test]
fn a_survey_measures_what_is_there_names_the_rest_and_goes_on_where_it_was() {
    let bench = Bench::new();
    arrivals(&bench.path("root/azure_llm_arrivals"));
    let [root, work, page] =
        ["root", "work", "models.md"].map(|p| bench.path(p).display().to_string());
    let survey = |more: &[&str]| {
        let args = [
            "model",
            "survey",
            "--data-root",
            &root,
            "--work",
            &work,
            "--page",
            &page,
            "-o",
            "json",
        ];
        let done = isobar([&args[..], more].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        let document: Value = serde_json::from_slice(&done.stdout).expect("one document");
        (document["measured"].as_u64().expect("a number"), text(&done.stderr))
    };
    let (measured, said) = survey(&["--only", "arrivals"]);
    assert_eq!(measured, 1, "{said}");
    let text = fs::read_to_string(&page).expect("written");
    assert!(
        text.contains("### azure_llm_arrivals\n\n```sh\nisobar model train forecast"),
        "{text}"
    );
    assert!(text.contains("### nab\n\nNot measured"), "{text}");
    let kept = Path::new(&work).join("forecast-azure_llm_arrivals.json");
    let before = fs::metadata(&kept).and_then(|m| m.modified()).expect("kept");
    let (measured, said) = survey(&["--resume"]);
    assert_eq!(
        (measured, before),
        (1, fs::metadata(&kept).and_then(|m| m.modified()).expect("kept"))
    );
    assert!(said.contains("no nab in"), "{said}");
    let said = refused(["model", "survey", "--only", "nothing", "--work", &work, "--page", &page]);
    assert!(said.contains("error ISO-1001: ") && said.contains("hazard-lanl_failures"), "{said}");
}
