//! The lesson on planted anomalies.

use super::*;
use crate::{Metric, Metrics, Silent};
use std::fmt::Write;
use std::fs;

const DAY: usize = 288;
const POINTS: usize = DAY * 21;

/// Three weeks at five minutes; from each point of `at` on, six hours upside down.
fn value(point: usize, seed: usize, at: &[usize]) -> (f64, bool) {
    let planted = at.iter().any(|at| (*at..at + 72).contains(&point));
    let phase = (point % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
    let noise = ((point * 7919 + seed * 104_729) % 1009) as f64 / 1009.0;
    let wave = 20.0 * phase.sin();
    (50.0 * (1 + seed) as f64 + if planted { -wave } else { wave } + noise, planted)
}

fn time(point: usize) -> String {
    let minute = point * 5;
    format!("2024-05-{:02} {:02}:{:02}:00", 1 + minute / 1440, minute / 60 % 24, minute % 60)
}

/// A folder in the benchmark's format: per file a window of a day around each planted incident.
fn nab(files: &[(&str, &[usize])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut windows = BTreeMap::new();
    for (seed, (name, at)) in files.iter().enumerate() {
        let mut text = "timestamp,value\n".to_owned();
        for point in 0..POINTS {
            writeln!(text, "{},{}", time(point), value(point, seed, at).0).expect("a text");
        }
        let path = folder.path().join("data").join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
        let around = |at: &usize| [time(at - DAY / 4), time(at + DAY / 2)];
        windows.insert((*name).to_owned(), at.iter().map(around).collect::<Vec<_>>());
    }
    fs::create_dir_all(folder.path().join("labels")).expect("made");
    let text = serde_json::to_string(&windows).expect("text");
    fs::write(folder.path().join("labels/combined_windows.json"), text).expect("written");
    folder
}

fn number(metrics: &Metrics, name: &str) -> f64 {
    match metrics.get(name) {
        Some(Metric::Number(number)) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

const PLANTED: [(&str, &[usize]); 4] = [
    ("a/one.csv", &[DAY * 12 + 60]),
    ("a/two.csv", &[DAY * 9 + 40, DAY * 17 + 40]),
    ("b/three.csv", &[DAY * 15 + 180]),
    ("b/quiet.csv", &[]),
];

#[test]
fn planted_incidents_are_found_and_the_same_data_give_the_same_model() {
    let folder = nab(&PLANTED);
    let train = || Anomaly.train(&[folder.path().to_owned()], 1, &mut Silent).expect("trained");
    let trained = train();
    assert_eq!(train(), trained);
    assert_eq!(trained.metrics.len(), 2, "in the sample and across: {:?}", trained.metrics);
    // Other series, other times.
    let other = nab(&[("x.csv", &[DAY * 11 + 40]), ("y.csv", &[DAY * 16 + 200])]);
    let judged = Anomaly.evaluate(&trained.parameters, other.path(), &mut Silent).expect("judged");
    assert!(number(&judged.metrics, "nab_standard") > 70.0, "{:?}", judged.metrics);
    assert!(number(&judged.metrics, "nab_low_fp") > 60.0, "{:?}", judged.metrics);
    assert!(number(&judged.metrics, "false_alerts_per_day") < 0.1, "{:?}", judged.metrics);
    let gaussian = &judged.baselines["windowed_gaussian"];
    assert!(number(gaussian, "nab_standard") < 10.0, "each value is usual: {gaussian:?}");
    assert_eq!(judged.n as usize, 2 * POINTS);
    for figures in judged.baselines.values() {
        assert!(figures.keys().all(|name| judged.metrics.contains_key(name)), "{figures:?}");
    }
}

#[test]
fn marked_points_are_judged_on_the_last_part_and_their_labels_are_not_learnt() {
    let set = |label_all: bool| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = "timestamp,value,label\n".to_owned();
        for point in 0..POINTS {
            let (value, planted) = value(point, 0, &[DAY * 5, DAY * 16 + 30]);
            let early = point < test_begins(POINTS);
            let label = u8::from(if early { label_all } else { planted });
            writeln!(text, "{},{value},{label}", 1_700_000_000 + point * 300).expect("a text");
        }
        fs::write(folder.path().join("x.csv"), text).expect("written");
        folder
    };
    let (none, all) = (set(false), set(true));
    let train = |folder: &tempfile::TempDir| {
        Anomaly.train(&[folder.path().to_owned()], 1, &mut Silent).expect("trained").parameters
    };
    let parameters = train(&none);
    assert_eq!(parameters, train(&all));
    let judged = Anomaly.evaluate(&parameters, none.path(), &mut Silent).expect("judged");
    assert!(number(&judged.metrics, "auc_pr") > 0.5, "{:?}", judged.metrics);
    let gaussian = number(&judged.baselines["windowed_gaussian"], "auc_pr");
    assert!(gaussian < 0.2, "{gaussian}");
    assert_eq!(judged.n as usize, POINTS - test_begins(POINTS));
}

#[test]
fn hostile_parameters_are_refused() {
    let folder = nab(&PLANTED[..1]);
    let trained = Anomaly.train(&[folder.path().to_owned()], 1, &mut Silent).expect("trained");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut parameters = trained.parameters.clone();
        change(&mut parameters);
        Anomaly.evaluate(&parameters, folder.path(), &mut Silent).expect_err("refused").to_string()
    };
    assert!(refused(&|p| p["settings"]["grouping_points"] = 0.into()).contains("grouping_points"));
    assert!(refused(&|p| p["settings"]["half_life_points"] = 1e300.into()).contains("half_life"));
    assert!(refused(&|p| p["settings"]["threshold"] = "x".into()).contains("invalid type"));
    assert!(refused(&|p| p["baselines"]["none"] = 1.into()).contains("none"));
    assert!(refused(&|p| *p = serde_json::Value::Null).contains("parameters"));
}
