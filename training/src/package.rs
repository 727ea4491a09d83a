//! A model package: the folder in which a trained model travels.
//!
//! `parameters.json` is the model, `signature.json` what it reads, `metrics.json` how it did where it was trained,
//! `MODEL_CARD.md` what it is for, and `manifest.json` the format, the task, the seed and the SHA-256 of every other file. The
//! same model gives the same bytes. Nothing is used before its hash was checked.

use crate::{Error, Metrics, Result, Task, Trained};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// No file of a package may be larger.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
const MANIFEST: &str = "manifest.json";
const PARAMETERS: &str = "parameters.json";
const SIGNATURE: &str = "signature.json";
const METRICS: &str = "metrics.json";
const CARD: &str = "MODEL_CARD.md";

/// One thing a model reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Name, units last.
    pub name: String,
    /// Type, such as `f64`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unit; empty for counts and ratios.
    pub unit: String,
}

/// What a model reads, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The features.
    pub features: Vec<Feature>,
}

impl Signature {
    /// SHA-256 over names, types and units in order: equal exactly where a model may be applied.
    pub fn schema_hash(&self) -> String {
        let mut hash = Sha256::new();
        for feature in &self.features {
            for part in [&feature.name, &feature.kind, &feature.unit] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hex(&hash.finalize())
    }
}

/// What a package says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// What the model does.
    pub task: Task,
    /// The seed it was trained with.
    pub seed: u64,
    /// See [`Signature::schema_hash`].
    pub schema_hash: String,
    /// SHA-256 of each file beside this one.
    pub files: BTreeMap<String, String>,
}

/// A package whose hashes were right.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Its manifest.
    pub manifest: Manifest,
    /// The model.
    pub parameters: serde_json::Value,
    /// What it reads.
    pub signature: Signature,
    /// How it did where it was trained.
    pub metrics: Metrics,
}

/// Writes a package into a new or empty folder.
pub fn write(folder: &Path, task: Task, seed: u64, trained: &Trained) -> Result<Manifest> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    if fs::read_dir(folder).map_err(|e| Error::io(folder, e))?.next().is_some() {
        return Err(Error::package(folder, "the folder is not empty; name a new one"));
    }
    let mut files = BTreeMap::new();
    let contents = [
        (PARAMETERS, json(&trained.parameters)),
        (SIGNATURE, json(&trained.signature)),
        (METRICS, json(&trained.metrics)),
        (CARD, trained.card.clone().into_bytes()),
    ];
    for (name, bytes) in contents {
        let path = folder.join(name);
        fs::write(&path, &bytes).map_err(|e| Error::io(&path, e))?;
        files.insert(name.to_owned(), hex(&Sha256::digest(&bytes)));
    }
    let schema_hash = trained.signature.schema_hash();
    let manifest = Manifest { format: FORMAT, task, seed, schema_hash, files };
    let path = folder.join(MANIFEST);
    fs::write(&path, json(&manifest)).map_err(|e| Error::io(&path, e))?;
    Ok(manifest)
}

/// Reads a package; refuses a newer format, a wrong hash, a file too many, too few or too large.
pub fn read(folder: &Path) -> Result<Package> {
    let path = folder.join(MANIFEST);
    let manifest: Manifest = parse(&path, &limited(&path)?)?;
    if manifest.format > FORMAT {
        let what = format!("format {} is newer than {FORMAT}, the newest known", manifest.format);
        return Err(Error::package(folder, what));
    }
    let file = |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let wanted = manifest.files.get(name);
        let wanted = wanted.ok_or_else(|| Error::package(&path, "not in the manifest"))?;
        let bytes = limited(&path)?;
        if hex(&Sha256::digest(&bytes)) != *wanted {
            return Err(Error::package(&path, "its SHA-256 is not the manifest's"));
        }
        Ok(bytes)
    };
    let signature: Signature = parse(&folder.join(SIGNATURE), &file(SIGNATURE)?)?;
    if signature.schema_hash() != manifest.schema_hash {
        return Err(Error::package(folder, "the manifest is for another signature"));
    }
    file(CARD)?;
    let parameters = parse(&folder.join(PARAMETERS), &file(PARAMETERS)?)?;
    let metrics = parse(&folder.join(METRICS), &file(METRICS)?)?;
    Ok(Package { manifest, parameters, signature, metrics })
}

fn limited(path: &Path) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length > MAX_FILE_BYTES {
        return Err(Error::package(path, format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    fs::read(path).map_err(|e| Error::io(path, e))
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::package(path, e.to_string()))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("names are text and numbers finite");
    bytes.push(b'\n');
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> Trained {
        let feature =
            |name: &str| Feature { name: name.into(), kind: "f64".into(), unit: "1/s".into() };
        Trained {
            parameters: serde_json::json!({ "weights": [0.1, 1e-300, 3.0] }),
            signature: Signature {
                features: vec![feature("reads_per_s"), feature("writes_per_s")],
            },
            metrics: Metrics::from([("mase".into(), 0.7.into())]),
            card: "# A card\n".into(),
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
}
