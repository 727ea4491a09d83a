//! The lesson from files to judgement, on small fleets whose failures are planted.

use super::*;
use crate::random::Random;
use crate::{Metrics, Silent, Trained};
use std::fmt::Write;
use std::fs;

fn number(metrics: &Metrics, name: &str) -> f64 {
    match metrics.get(name) {
        Some(Metric::Number(number)) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn train(folder: &tempfile::TempDir, seed: u64) -> Result<Trained> {
    Hazard.train(&[folder.path().to_owned()], seed, &mut Silent)
}

fn evaluate(trained: &Trained, folder: &tempfile::TempDir) -> Result<Evaluation> {
    Hazard.evaluate(&trained.parameters, folder.path(), &mut Silent)
}

/// 200 drives of two makes over the 40 days of the set. One in five fails; three days before, its counter jumps. `told`
/// says whether it is the failing drives whose counters jump, or others.
fn drive_days(told: bool, seed: u64) -> tempfile::TempDir {
    let mut random = Random::new(seed);
    let mut text = String::from("date,serial_number,model,capacity_bytes,failure,smart_5_raw,");
    text += "smart_9_raw,smart_197_raw\n";
    for drive in 0..200 {
        let fails_on = (random.below(5) == 0).then(|| 4 + random.below(36));
        let jumps_on = if told { fails_on } else { (random.below(5) == 0).then(|| 10) };
        let make = if drive % 2 == 0 { "ST1" } else { "WD1" };
        let noise = if random.below(4) == 0 { 2 } else { 0 };
        for day in 0..=fails_on.unwrap_or(39) {
            let date = match day {
                0..21 => format!("2013-04-{:02}", 10 + day),
                _ => format!("2013-05-{:02}", day - 20),
            };
            let jumped = jumps_on.is_some_and(|on| day + 5 > on);
            let reallocated = if jumped { 60 + random.below(40) } else { noise };
            let failed = u8::from(fails_on == Some(day));
            writeln!(
                text,
                "{date},S{drive},{make},3e12,{failed},{reallocated},{},0",
                900 + 24 * day
            )
            .expect("text grows");
        }
    }
    folder(&[("any name.csv", text), ("README.md", "no table, passed over".into())])
}

/// 20 machines for a year; a failure comes 24 h after an `error2` at six o'clock, and after no other error.
fn machines() -> tempfile::TempDir {
    let mut random = Random::new(5);
    let mut errors = String::from("datetime,machineID,errorID\n");
    let mut failures = String::from("datetime,machineID,failure\n");
    let mut list = String::from("machineID,model,age\n");
    for machine in 1..=20 {
        writeln!(list, "{machine},model{},{}", 1 + machine % 3, machine % 9).expect("text grows");
        for month in 1..=12 {
            let day = 1 + random.below(20);
            writeln!(errors, "2020-{month:02}-{day:02} 06:00:00,{machine},error2").expect("grows");
            writeln!(failures, "2020-{month:02}-{:02} 06:00:00,{machine},comp1", day + 1)
                .expect("text grows");
            let (day, hour) = (1 + random.below(28), 7 + random.below(16));
            writeln!(errors, "2020-{month:02}-{day:02} {hour:02}:00:00,{machine},error1")
                .expect("text grows");
        }
    }
    folder(&[("e.csv", errors), ("f.csv", failures), ("m.csv", list)])
}

#[test]
fn counters_that_jump_before_failures_are_found_and_others_are_not() {
    let judged = |told| {
        let folder = drive_days(told, 3);
        let trained = train(&folder, 1).expect("it has failures");
        evaluate(&trained, &folder).expect("its test part has failures")
    };
    let (told, untold) = (judged(true), judged(false));
    let figure = |judged: &Evaluation, name: &str| number(&judged.metrics, name);
    assert!(figure(&told, "auc_pr") > 0.5, "{:?}", told.metrics);
    assert!(figure(&told, "drive_recall_at_far_0.01") > 0.5, "{:?}", told.metrics);
    let chance = figure(&untold, "base_rate");
    assert!(figure(&untold, "auc_pr") < 3.0 * chance, "{:?}", untold.metrics);
    for (name, metrics) in &told.baselines {
        assert!(metrics.keys().eq(told.metrics.keys()), "{name}: {metrics:?}");
    }
    // Those that failed before the test are not judged.
    assert!((120..200).contains(&told.units.len()), "{}", told.units.len());
    assert!(told.baseline_units.keys().eq(told.baselines.keys()));
    assert_eq!(
        told.curves.keys().collect::<Vec<_>>(),
        ["lead_h", "precision_recall", "reliability"]
    );
    assert!(told.curves.values().all(|curve| curve.series.len() == 1 + told.baselines.len()));
}

#[test]
fn machines_never_seen_are_warned_of_a_day_ahead() {
    let folder = machines();
    let trained = train(&folder, 2).expect("it has failures");
    let judged = evaluate(&trained, &folder).expect("its test part has failures");
    assert!(number(&judged.metrics, "f1") > 0.95, "{:?}", judged.metrics);
    assert!(number(&judged.metrics, "event_recall") > 0.95, "{:?}", judged.metrics);
    assert_eq!(number(&judged.metrics, "lead_median_h"), 24.0);
    let trained_on = trained.parameters["kinds"]["machines"]["trained_units"].as_array();
    let trained_on = trained_on.expect("a list").iter().filter_map(|name| name.as_str());
    assert!(trained_on.clone().count() > 5);
    assert!(trained_on.clone().all(|name| !judged.units.contains_key(name)), "{:?}", judged.units);
    let reasons = Hazard.reasons(&trained.parameters).expect("its own parameters");
    assert!(reasons[0].name.contains("error2"), "{:?}", &reasons[..3]);
    let whole: f64 = reasons.iter().map(|reason| reason.weight).sum();
    assert!((whole - 1.0).abs() < 1e-9 && reasons.windows(2).all(|r| r[0].weight >= r[1].weight));
}

#[test]
fn the_same_seed_gives_the_same_model_and_later_days_change_nothing() {
    let folder = drive_days(true, 7);
    let first = train(&folder, 4).expect("it has failures");
    assert_eq!(first, train(&folder, 4).expect("it has failures"));
    assert_ne!(first.parameters, train(&folder, 5).expect("it has failures").parameters);
    // The same set as it was known when the test began.
    let path = folder.path().join("any name.csv");
    let text = fs::read_to_string(&path).expect("written above");
    let known = |line: &&str| !line.starts_with("2013-05") || line < &"2013-05-06";
    let cut: Vec<&str> = text.lines().filter(known).collect();
    assert!(cut.len() + 1_000 < text.lines().count());
    fs::write(&path, cut.join("\n")).expect("written");
    assert_eq!(first.parameters, train(&folder, 4).expect("it has failures").parameters);
}

#[test]
fn what_cannot_be_learned_or_judged_is_said() {
    let code = |error: Error| error.code().to_string();
    let good = drive_days(true, 3);
    let trained = train(&good, 1).expect("it has failures");
    let text = fs::read_to_string(good.path().join("any name.csv")).expect("written above");
    let healthy = text.replace(",1,", ",0,");
    let healthy = folder(&[("a.csv", healthy)]);
    assert_eq!(code(train(&healthy, 1).expect_err("no failure")), "ISO-6002");
    assert_eq!(code(evaluate(&trained, &healthy).expect_err("no failure")), "ISO-6002");
    let other = evaluate(&trained, &machines()).expect_err("not trained on machines");
    assert!(other.to_string().contains("not trained on machines"), "{other}");
    let twice = [good.path().to_owned(), good.path().to_owned()];
    assert!(Hazard.train(&twice, 1, &mut Silent).is_err());
    assert!(Hazard.train(&[], 1, &mut Silent).is_err());
    assert!(train(&folder(&[("a.csv", "x,y\n1,2\n".into())]), 1).is_err());
    let mut foreign = trained.clone();
    foreign.parameters["kinds"]["drive_days"]["features"][0] = "another".into();
    assert_eq!(code(evaluate(&foreign, &good).expect_err("other features")), "ISO-6002");
    foreign.parameters = serde_json::json!({ "seed": 1, "kinds": { "drive_days": {} } });
    assert_eq!(code(evaluate(&foreign, &good).expect_err("no model")), "ISO-6002");
}
