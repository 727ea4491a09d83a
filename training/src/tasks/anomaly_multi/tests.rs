//! A small folder of made-up machines: trained, judged, and beaten by nothing simpler.

use super::*;
use crate::{Metric, Silent};
use std::fmt::Write;
use std::fs;

/// Two signals that move together, one on its own; faults break the relation for ten steps, and the second half of
/// the test part has a lasting shift in the third signal.
fn machine(folder: &Path, name: &str, seed: u64) {
    let mut state = seed;
    let mut even = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    for (part, steps) in [("train", 1500), ("test", 1000)] {
        let mut text = "a,b,c".to_owned() + if part == "test" { ",label\n" } else { "\n" };
        for step in 0..steps {
            let (a, e, c) = (even(), 0.02 * even(), 0.1 * even());
            let fault = part == "test" && step % 200 > 189;
            let b = if fault { 1.0 - a } else { a + e };
            let shift = if part == "test" && step >= 500 { 0.3 } else { 0.0 };
            write!(text, "{a:.4},{b:.4},{:.4}", c + shift).expect("a string");
            text += match (part, fault) {
                ("train", _) => "\n",
                (_, true) => ",1\n",
                _ => ",0\n",
            };
        }
        fs::create_dir_all(folder.join(part)).expect("made");
        fs::write(folder.join(part).join(format!("{name}.csv")), text).expect("written");
    }
}

fn number(metrics: &Metrics, name: &str) -> f64 {
    match metrics[name] {
        Metric::Number(number) => number,
        Metric::Group(_) => panic!("{name} is a group"),
    }
}

#[test]
fn what_was_trained_is_judged_beside_its_baselines() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, seed) in [("one", 1), ("two", 2), ("three", 3)] {
        machine(folder.path(), name, seed);
    }
    let train =
        || AnomalyMulti.train(&[folder.path().to_path_buf()], 1, &mut Silent).expect("trained");
    let trained = train();
    assert_eq!(trained, train());
    assert_eq!(trained.signature.features.len(), 3);
    assert!(number(&trained.metrics, "auc_pr_checked_on") > 0.5, "{:?}", trained.metrics);
    let judged =
        AnomalyMulti.evaluate(&trained.parameters, folder.path(), &mut Silent).expect("judged");
    assert_eq!(judged.n, 3000);
    let ours = number(&judged.metrics, "auc_pr");
    for (name, theirs) in &judged.baselines {
        assert!(ours > number(theirs, "auc_pr") + 0.05, "{name}: {theirs:?}, ours {ours}");
    }
    assert!(!judged.metrics.contains_key("hit_at_3"), "this set does not say what was at fault");
}

#[test]
fn hostile_parameters_and_folders_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    machine(folder.path(), "one", 1);
    let judge = |json: serde_json::Value| AnomalyMulti.evaluate(&json, folder.path(), &mut Silent);
    assert!(judge(serde_json::json!({})).is_err());
    let mut huge = serde_json::to_value(Settings::default()).expect("plain");
    huge["smoothing_steps"] = serde_json::json!([1_u64 << 60]);
    assert!(judge(huge).expect_err("refused").to_string().contains("smoothing_steps"));
    let empty = tempfile::tempdir().expect("a folder");
    assert!(AnomalyMulti.train(&[empty.path().to_path_buf()], 1, &mut Silent).is_err());
}
