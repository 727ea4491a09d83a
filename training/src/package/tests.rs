//! What a package must hold, and what is refused.

use super::*;
use crate::{Curve, Shape, drift::Reference, evidence::fingerprint};

fn trained() -> Trained {
    let feature =
        |name: &str| Feature { name: name.into(), kind: "f64".into(), unit: "1/s".into() };
    Trained {
        parameters: serde_json::json!({ "weights": [0.1, 1e-300, 3.0] }),
        signature: Signature { features: vec![feature("reads_per_s"), feature("writes_per_s")] },
        metrics: Metrics::from([("mase".into(), 0.7.into())]),
        card: "What it is for.\n".into(),
        ..Trained::default()
    }
}

#[test]
fn the_same_model_gives_the_same_bytes_and_is_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let manifest = write(&a, Task::Forecast, 7, &trained()).expect("written");
    assert_eq!(write(&b, Task::Forecast, 7, &trained()).expect("written"), manifest);
    for name in manifest.files.keys().map(String::as_str).chain([MANIFEST]) {
        assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap(), "{name}");
    }
    let package = read(&a).expect("whole");
    assert_eq!(package.parameters, trained().parameters);
    assert_eq!((package.manifest.task, package.manifest.seed), (Task::Forecast, 7));
    assert!(write(&a, Task::Forecast, 7, &trained()).is_err(), "nothing is written over");
}

#[test]
fn any_changed_file_is_refused() {
    for name in [PARAMETERS, SIGNATURE, METRICS, CARD] {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), Task::Hazard, 1, &trained()).expect("written");
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = read(folder.path()).expect_err(name).to_string();
        assert!(error.contains("SHA-256"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(read(folder.path()).is_err(), "{name}");
    }
}

#[test]
fn a_newer_format_and_another_signature_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), Task::Hazard, 1, &trained()).expect("written");
    let path = folder.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = read(folder.path()).expect_err("newer").to_string();
    assert!(error.contains("newer than 1"), "{error}");
    let hash = trained().signature.schema_hash();
    fs::write(&path, text.replace(&hash, &"0".repeat(64))).unwrap();
    let error = read(folder.path()).expect_err("another").to_string();
    assert!(error.contains("another signature"), "{error}");
}

/// All that a package can have.
fn complete() -> (Trained, Evidence) {
    let set = tempfile::tempdir().expect("a folder");
    fs::write(set.path().join("a.csv"), "x\n1\n2\n").expect("written");
    let source = Source { name: "planted".into(), ..fingerprint(set.path()).expect("files") };
    let reliability =
        Curve::new(Shape::Reliability, "p", "share").with("the model", [[0.1, 0.2], [0.8, 0.7]]);
    let trained = Trained { curves: [("reliability".into(), reliability)].into(), ..trained() };
    let values = (0..100).map(f64::from).collect();
    let reference = Reference::of(&[("x".into(), values)].into());
    (trained, Evidence { sources: vec![source], reference })
}

#[test]
fn evidence_is_written_read_back_and_named_in_the_card() {
    let folder = tempfile::tempdir().expect("a folder");
    let (trained, evidence) = complete();
    let from = folder.path().join("a");
    let manifest = write_with(&from, Task::Hazard, 3, &trained, &evidence).expect("written");
    assert_eq!(manifest.files.len(), 7, "{:?}", manifest.files.keys());
    let package = read(&from).expect("whole");
    assert_eq!((&package.sources, &package.reference), (&evidence.sources, &evidence.reference));
    for text in ["What it is for.", "planted", &manifest.data_hash, "seed 3", "mase", "0.7"] {
        assert!(package.card.contains(text), "{text}: {}", package.card);
    }
    let svg = fs::read_to_string(from.join(CALIBRATION)).expect("drawn");
    assert!(svg.starts_with("<svg") && svg.contains("xmlns"), "{svg}");
    let copied = copy(&from, &folder.path().join("b")).expect("copied");
    assert_eq!(copied, package);
}

#[test]
fn strangers_in_the_folder_are_refused() {
    let refused = |change: &dyn Fn(&Path), wanted: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let (trained, evidence) = complete();
        write_with(folder.path(), Task::Hazard, 3, &trained, &evidence).expect("written");
        change(folder.path());
        let error = read(folder.path()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    };
    let edit = |folder: &Path, from: &str, to: &str| {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    refused(
        &|folder| fs::write(folder.join("run.sh"), "rm").unwrap(),
        "`run.sh` is not in the manifest",
    );
    refused(
        &|folder| edit(folder, "\"data.json\"", "\"../../data.json\""),
        "is no file of a package",
    );
    refused(&|folder| edit(folder, "\"data_hash\": \"", "\"data_hash\": \"0"), "for other data");
    refused(&|folder| edit(folder, "\"format\": 1", "\"format\": 9, \"new\": 1"), "newer than 1");
    refused(&|folder| edit(folder, "\"seed\"", "\"side\""), "unknown field");
    refused(
        &|folder| fs::write(folder.join(MANIFEST), vec![b' '; 70 << 10]).unwrap(),
        "larger than",
    );
    #[cfg(unix)]
    refused(
        &|folder| {
            fs::remove_file(folder.join(DATA)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", folder.join(DATA)).unwrap();
        },
        "no plain file",
    );
}

#[test]
fn signatures_are_bounded_and_name_each_feature_once() {
    let refused = |features: Vec<Feature>| {
        let folder = tempfile::tempdir().expect("a folder");
        let trained = Trained { signature: Signature { features }, ..trained() };
        write(folder.path(), Task::Hazard, 3, &trained).expect("written");
        assert!(read(folder.path()).expect_err("refused").to_string().contains("signature"));
    };
    let feature =
        |name: &str| Feature { name: name.into(), kind: "f64".into(), unit: String::new() };
    refused(vec![feature("x"), feature("x")]);
    refused(vec![feature("")]);
    refused(vec![feature(&"x".repeat(257))]);
    refused((0..10_001).map(|i| feature(&i.to_string())).collect());
}

/// A lesson whose model is a mean of a seeded draw of rows.
struct Planted;

impl crate::Lesson for Planted {
    fn train(
        &self,
        data: &[std::path::PathBuf],
        seed: u64,
        progress: &mut dyn crate::Progress,
    ) -> Result<Trained> {
        let sample = self.features(data, 1_000, progress)?;
        let values = &sample["load"];
        let mut random = crate::random::Random::new(seed);
        let drawn: f64 = (0..50).map(|_| values[random.below(values.len())]).sum();
        Ok(Trained { parameters: serde_json::json!({ "mean": drawn / 50.0 }), ..trained() })
    }

    fn evaluate(
        &self,
        _: &serde_json::Value,
        _: &Path,
        _: &mut dyn crate::Progress,
    ) -> Result<crate::Evaluation> {
        Ok(crate::Evaluation::default())
    }
}

#[test]
fn the_same_seed_and_files_give_the_same_bytes_wherever_they_lie() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = |place: &str, rows: u32, seed: u64| -> BTreeMap<String, Vec<u8>> {
        let set = folder.path().join(place).join("set");
        fs::create_dir_all(&set).expect("made");
        let table = (0..rows).map(|i| format!("2024-01-0{},{}\n", i % 7 + 1, i * i % 101));
        fs::write(set.join("a.csv"), format!("date,load\n{}", table.collect::<String>()))
            .expect("written");
        let data = [set];
        let lesson: &dyn crate::Lesson = &Planted;
        let trained = lesson.train(&data, seed, &mut crate::Silent).expect("a table");
        let evidence = crate::evidence::gather(lesson, &data, &mut crate::Silent).expect("files");
        let out = folder.path().join(place).join(format!("out-{rows}-{seed}"));
        write_with(&out, Task::Forecast, seed, &trained, &evidence).expect("written");
        let names = fs::read_dir(&out).expect("there").map(|e| e.expect("read").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.map(|name| (name.clone(), fs::read(out.join(&name)).expect("read"))).collect()
    };
    let first = train("here", 300, 1);
    assert_eq!(train("elsewhere", 300, 1), first);
    assert!(first.contains_key(DRIFT) && first.contains_key(DATA), "{:?}", first.keys());
    let card = String::from_utf8(first[CARD].clone()).expect("text");
    assert!(card.contains("| 2024-01-01 | 2024-01-07 |"), "the window: {card}");
    assert_ne!(train("here", 300, 2)[PARAMETERS], first[PARAMETERS], "another seed");
    assert_ne!(train("third", 301, 1)[DATA], first[DATA], "other data");
}
