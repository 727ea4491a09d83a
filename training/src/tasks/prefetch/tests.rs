//! The lesson as a whole, on small made traces.

use super::*;
use crate::{Silent, flat};
use std::fs;

/// Loops over scattered keys, with other traffic between: nothing for LRU, everything for successors.
fn write_traces(folder: &Path) {
    let mut keys = String::new();
    let mut blocks = String::from("version,time,op,size,lbn\n");
    let mut state = 9_u64;
    for i in 0..12_000_u64 {
        let key = if i % 3 == 2 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            1_000_000 + (state >> 40) % 5000
        } else {
            (i - i / 3) % 1500 * 7919 % 65_536
        };
        keys += &format!("{key}\n");
        blocks += &format!("1,{i},28,4096,{}\n", i % 6000 * 8);
    }
    fs::create_dir(folder.join("a")).expect("a new folder");
    fs::write(folder.join("a/loops.keys.txt"), keys).expect("written");
    fs::write(folder.join("blocks.csv"), blocks).expect("written");
    fs::write(folder.join("README.md"), "# No trace\n").expect("written");
}

fn number(metrics: &Metrics, trace: &str, name: &str) -> f64 {
    let Some(Metric::Group(traces)) = metrics.get("traces") else { panic!("traces") };
    let Some(Metric::Group(figures)) = traces.get(trace) else { panic!("{trace}") };
    let Some(Metric::Number(figure)) = figures.get(name) else { panic!("{name}") };
    *figure
}

#[test]
fn trained_and_judged_it_beats_its_baselines_and_repeats() {
    let folder = tempfile::tempdir().expect("a folder");
    write_traces(folder.path());
    let lesson = Prefetch;
    let data = [folder.path().to_path_buf()];
    let trained = lesson.train(&data, 1, &mut Silent).expect("trained");
    assert_eq!(lesson.train(&data, 2, &mut Silent).expect("trained"), trained);
    let judge = || lesson.evaluate(&trained.parameters, folder.path(), &mut Silent);
    let evaluation = judge().expect("judged");
    assert_eq!(judge().expect("judged"), evaluation);
    assert_eq!(evaluation.n, 12_000);
    let of = |trace: &str, name: &str| number(&evaluation.metrics, trace, name);
    let lru = |trace: &str, name: &str| number(&evaluation.baselines["lru"], trace, name);
    for name in ["hit_ratio", "shuffled_hit_ratio"] {
        assert!(of("loops", name) > 0.55, "{name} {}", of("loops", name));
        assert!(lru("loops", name) < 0.1);
    }
    assert!(of("loops", "precision") > 0.7 && of("loops", "shuffled_precision") > 0.7);
    let all = flat(&evaluation.metrics);
    let above = ["loops", "blocks"].iter().flat_map(|trace| {
        let of = |name: &str| all[&format!("traces.{trace}.{name}")];
        let sizes = SIZES.map(|(_, suffix)| suffix);
        let kinds = ["hit_ratio", "shuffled_hit_ratio"];
        let each = move |kind: &str, size: &str| {
            of(&format!("{kind}{size}")) - of(&format!("lru_hit_ratio{size}"))
        };
        sizes.map(|size| kinds.map(|kind| each(kind, size))).into_iter().flatten()
    });
    assert_eq!(all["least_above_lru"], above.fold(f64::INFINITY, f64::min));
    // Requests that follow each other on the disk: the length tells where the next one begins.
    assert!(of("blocks", "hit_ratio") > 0.99 && of("blocks", "precision") > 0.99);
    assert_eq!(of("blocks", "lru_hit_ratio"), 0.0);
    let ahead = number(&evaluation.baselines["read_ahead_4"], "blocks", "hit_ratio");
    assert_eq!(ahead, 0.0, "4 numbers further there is no request");
}

#[test]
fn bad_settings_and_folders_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let judge = |parameters: serde_json::Value| {
        Prefetch.evaluate(&parameters, folder.path(), &mut Silent).map(|_| ())
    };
    let good = serde_json::to_value(Settings::default()).expect("plain numbers");
    assert!(matches!(judge(good.clone()), Err(Error::Unsuitable(_))), "no trace");
    fs::write(folder.path().join("t"), "1\n").expect("written");
    judge(good.clone()).expect("one request is enough");
    let hostile = [
        ("tracked_ids", serde_json::json!(4_000_000_000_u32)),
        ("tracked_ids", serde_json::json!(0)),
        ("window_requests", serde_json::json!(33)),
        ("threshold", serde_json::json!(1.5)),
        ("threshold", serde_json::json!(null)),
        ("priors", serde_json::json!([0.5])),
        ("unknown", serde_json::json!(1)),
    ];
    for (name, value) in hostile {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(matches!(judge(bad), Err(Error::Unsuitable(_))), "{name}");
    }
    fs::write(folder.path().join("t"), "1\nx\n").expect("written");
    let error = judge(good).expect_err("no number").to_string();
    assert!(error.contains("line 2") || error.contains(":2"), "{error}");
}
