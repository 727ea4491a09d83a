//! Export to the classic layout of MLflow's file store (`mlruns`), which MLflow's own client reads.
//!
//! One experiment, one run with parameters, figures, tags and the package as its artifact `model`, and one registered model
//! with the version and its aliases. MLflow 3.13 and later read this layout where `MLFLOW_ALLOW_FILE_STORE=true` is set.

use crate::{Error, Metric, Metrics, Result, package};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is exported beside the package itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// Number of the experiment.
    pub experiment_id: u64,
    /// The model's name, which is the experiment's too.
    pub name: String,
    /// Version of the model.
    pub version: u64,
    /// 32 hexadecimal digits.
    pub run_id: String,
    /// Who added it.
    pub owner: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Aliases of this version.
    pub aliases: Vec<String>,
    /// SHA-256 over the files it was trained on.
    pub data_hash: String,
    /// The champion when it was added.
    pub parent: Option<u64>,
    /// Why it is what it is, for the description; empty: nothing was said.
    pub why: String,
}

/// Writes a package and what the registry knows of it below `to`; returns the folder of the run. Files of another export
/// there stay, those of the same run are written again.
pub fn export(package_folder: &Path, export: &Export, to: &Path) -> Result<PathBuf> {
    check(export)?;
    let package = package::read(package_folder)?;
    let root = absolute(to)?;
    let experiment = root.join(export.experiment_id.to_string());
    let run = experiment.join(&export.run_id);
    let artifacts = run.join("artifacts");
    let at = export.at_unix_ms;
    put(
        &experiment.join("meta.yaml"),
        &yaml(&[
            ("artifact_location", text(&address(&experiment))),
            ("creation_time", at.to_string()),
            ("experiment_id", text(&export.experiment_id.to_string())),
            ("last_update_time", at.to_string()),
            ("lifecycle_stage", "active".into()),
            ("name", text(&export.name)),
        ]),
    )?;
    put(&run.join("meta.yaml"), &run_meta(export, &artifacts))?;
    let manifest = &package.manifest;
    let params = [
        ("task", manifest.task.name().to_owned()),
        ("seed", manifest.seed.to_string()),
        ("schema_hash", manifest.schema_hash.clone()),
        ("data_hash", export.data_hash.clone()),
    ];
    for (name, value) in params {
        put(&run.join("params").join(name), &value)?;
    }
    for (name, value) in figures(&package.metrics, "") {
        put(&run.join("metrics").join(name), &format!("{at} {value} 0\n"))?;
    }
    let tags = [
        ("mlflow.user", export.owner.clone()),
        ("mlflow.runName", format!("{}-{}", export.name, export.version)),
        ("mlflow.source.name", "isobar".into()),
        ("isobar.package_sha256", package.hash.clone()),
        ("isobar.parent_version", export.parent.map_or_else(String::new, |v| v.to_string())),
    ];
    for (name, value) in tags {
        put(&run.join("tags").join(name), &value)?;
    }
    let model = artifacts.join("model");
    for name in manifest.files.keys().map(String::as_str).chain(["manifest.json"]) {
        let from = package_folder.join(name);
        let bytes = fs::read(&from).map_err(|e| Error::io(&from, e))?;
        put_bytes(&model.join(name), &bytes)?;
    }
    put(&model.join("MLmodel"), &mlmodel(export, &package))?;
    registered(&root, export, &model)?;
    Ok(run)
}

/// Names become paths here too, whatever the registry has checked.
fn check(export: &Export) -> Result<()> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.len() <= 64
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let aliases = export.aliases.iter().all(|alias| plain(alias));
    if plain(&export.name) && aliases && export.run_id.len() == 32 && plain(&export.run_id) {
        return Ok(());
    }
    Err(Error::Unsuitable("a name or run id that cannot be a folder cannot be exported".into()))
}

fn absolute(to: &Path) -> Result<PathBuf> {
    fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    to.canonicalize().map_err(|e| Error::io(to, e))
}

fn run_meta(export: &Export, artifacts: &Path) -> String {
    // Types and states by MLflow's numbers: a local program, finished.
    yaml(&[
        ("artifact_uri", text(&address(artifacts))),
        ("end_time", export.at_unix_ms.to_string()),
        ("entry_point_name", "''".into()),
        ("experiment_id", text(&export.experiment_id.to_string())),
        ("lifecycle_stage", "active".into()),
        ("run_id", text(&export.run_id)),
        ("run_name", text(&format!("{}-{}", export.name, export.version))),
        ("run_uuid", text(&export.run_id)),
        ("source_name", "''".into()),
        ("source_type", "4".into()),
        ("source_version", "''".into()),
        ("start_time", export.at_unix_ms.to_string()),
        ("status", "3".into()),
        ("tags", "[]".into()),
        ("user_id", text(&export.owner)),
    ])
}

fn mlmodel(export: &Export, package: &package::Package) -> String {
    let inputs: Vec<serde_json::Value> = package
        .signature
        .features
        .iter()
        .map(|f| serde_json::json!({ "name": f.name, "type": "double", "required": true }))
        .collect();
    let inputs = serde_json::Value::Array(inputs).to_string();
    format!(
        "artifact_path: model\nflavors:\n  isobar:\n    format: {}\n    task: {}\nrun_id: {}\nsignature:\n  inputs: {}\n  \
         outputs: null\n  params: null\nutc_time_created: '{}'\n",
        package.manifest.format,
        package.manifest.task.name(),
        export.run_id,
        text(&inputs),
        utc(export.at_unix_ms)
    )
}

fn registered(root: &Path, export: &Export, model: &Path) -> Result<()> {
    let folder = root.join("models").join(&export.name);
    let at = export.at_unix_ms.to_string();
    put(
        &folder.join("meta.yaml"),
        &yaml(&[
            ("creation_timestamp", at.clone()),
            ("description", "''".into()),
            ("last_updated_timestamp", at.clone()),
            ("name", text(&export.name)),
        ]),
    )?;
    let version = format!("version-{}", export.version);
    let source = text(&address(model));
    put(
        &folder.join(version).join("meta.yaml"),
        &yaml(&[
            ("creation_timestamp", at.clone()),
            ("current_stage", "None".into()),
            ("description", text(&export.why)),
            ("last_updated_timestamp", at),
            ("name", text(&export.name)),
            ("run_id", text(&export.run_id)),
            ("run_link", "''".into()),
            ("source", source.clone()),
            ("status", "READY".into()),
            ("status_message", "''".into()),
            ("storage_location", source),
            ("user_id", text(&export.owner)),
            ("version", export.version.to_string()),
        ]),
    )?;
    for alias in &export.aliases {
        put(&folder.join("aliases").join(alias), &export.version.to_string())?;
    }
    Ok(())
}

/// Figures by names that MLflow allows: `/` makes folders there, and a name is a path.
fn figures(metrics: &Metrics, prefix: &str) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for (name, metric) in metrics {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
        let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).take(200).collect();
        match metric {
            Metric::Number(value) => all.push((format!("{prefix}{name}"), *value)),
            Metric::Group(group) => all.extend(figures(group, &format!("{prefix}{name}."))),
        }
    }
    all.retain(|(name, value)| value.is_finite() && !name.starts_with('.') && name.len() <= 240);
    all
}

fn yaml(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

/// A YAML string between single quotes, in which only they are doubled.
fn text(value: &str) -> String {
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", line.replace('\'', "''"))
}

/// `file://…`; what an address cannot hold is written as %XX.
fn address(path: &Path) -> String {
    let mut out = String::from("file://");
    for byte in path.display().to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b'+' => {
                out.push(byte as char)
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Date and time of day (Howard Hinnant's days from civil, backwards).
fn utc(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let month = (5 * doy + 2) / 153;
    let (day, m) =
        (doy - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = yoe + era * 400 + u64::from(m <= 2);
    let (h, min, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{m:02}-{day:02} {h:02}:{min:02}:{s:02}")
}

fn put(path: &Path, text: &str) -> Result<()> {
    put_bytes(path, text.as_bytes())
}

fn put_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("every path here has a folder");
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feature, Signature, Task, Trained};

    fn export_of(name: &str) -> Export {
        Export {
            experiment_id: 3,
            name: name.into(),
            version: 2,
            run_id: "0123456789abcdef0123456789abcdef".into(),
            owner: "ann o'hara".into(),
            at_unix_ms: 1_763_812_345_678,
            aliases: vec!["champion".into()],
            data_hash: "d".into(),
            parent: Some(1),
            why: "it's better: 2 %\nreally".into(),
        }
    }

    fn package(folder: &Path) {
        let feature = Feature { name: "load".into(), kind: "f64".into(), unit: "1/s".into() };
        let inner = Metrics::from([("hit ratio/2%".into(), 0.5.into())]);
        let trained = Trained {
            signature: Signature { features: vec![feature] },
            metrics: [("mase".into(), 0.7.into()), ("traces".into(), Metric::Group(inner))].into(),
            ..Trained::default()
        };
        package::write(folder, Task::Forecast, 7, &trained).expect("written");
    }

    /// The layout of the classic file store: folders, and `meta.yaml` in each.
    #[test]
    fn the_layout_is_the_one_that_mlflow_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("p"), folder.path().join("ml runs"));
        package(&from);
        let run = export(&from, &export_of("m4"), &to).expect("exported");
        let read = |path: &str| fs::read_to_string(to.join(path)).expect(path);
        assert!(run.ends_with("3/0123456789abcdef0123456789abcdef"));
        let base = "3/0123456789abcdef0123456789abcdef";
        assert!(read("3/meta.yaml").contains("name: 'm4'\n"));
        let meta = read(&format!("{base}/meta.yaml"));
        assert!(
            meta.contains("ml%20runs/3/0123456789abcdef0123456789abcdef/artifacts'\n"),
            "{meta}"
        );
        assert!(meta.contains("user_id: 'ann o''hara'\n") && meta.contains("status: 3\n"));
        assert_eq!(read(&format!("{base}/params/seed")), "7");
        assert_eq!(read(&format!("{base}/metrics/mase")), "1763812345678 0.7 0\n");
        assert_eq!(read(&format!("{base}/metrics/traces.hit ratio_2_")), "1763812345678 0.5 0\n");
        let mlmodel = read(&format!("{base}/artifacts/model/MLmodel"));
        assert!(mlmodel.contains("utc_time_created: '2025-11-22 11:52:25'"), "{mlmodel}");
        package::read(&from).expect("the package is as it was");
        let version = read("models/m4/version-2/meta.yaml");
        assert!(version.contains("description: 'it''s better: 2 % really'\n"), "{version}");
        assert_eq!(read("models/m4/aliases/champion"), "2");
        export(&from, &export_of("m4"), &to).expect("once more");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        package(&folder.path().join("p"));
        let refused = |export_: Export| {
            export(&folder.path().join("p"), &export_, &folder.path().join("out"))
                .expect_err("refused")
        };
        refused(export_of("../m4"));
        refused(export_of("m/../../m4"));
        refused(Export { run_id: "../../../../../../../../../../aa".into(), ..export_of("m4") });
        refused(Export { aliases: vec!["..".into()], ..export_of("m4") });
    }
}
