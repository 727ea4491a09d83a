//! A model package: the folder in which a trained model travels.
//!
//! `parameters.json` is the model, `signature.json` what it reads, `metrics.json` how it did where it was trained,
//! `MODEL_CARD.md` what it is for, `data.json` what it was trained on, `drift_reference.json` how its features were
//! spread, `calibration.svg` whether its probabilities came true, `model.onnx` the model for other tools, or the model
//! itself where it was trained with others, and `manifest.json` the format, the task, the seed and the SHA-256
//! of every other file. The same model gives the same bytes. Nothing is used before its hash was checked.

mod card;
#[cfg(test)]
mod tests;

use crate::{
    Error, Metric, Metrics, Result, Task, Trained,
    drift::Reference,
    evidence::{Evidence, Source, data_hash},
    report,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    path::Path,
};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// No file of a package may be larger.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
const MANIFEST: &str = "manifest.json";
const PARAMETERS: &str = "parameters.json";
const SIGNATURE: &str = "signature.json";
const METRICS: &str = "metrics.json";
const CARD: &str = "MODEL_CARD.md";
const DATA: &str = "data.json";
const DRIFT: &str = "drift_reference.json";
const CALIBRATION: &str = "calibration.svg";
const ONNX: &str = "model.onnx";
/// Every file that a package may have beside its manifest.
const KNOWN: [&str; 8] = [PARAMETERS, SIGNATURE, METRICS, CARD, DATA, DRIFT, CALIBRATION, ONNX];
/// The manifest is a list of few files.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;
/// Features a model may read.
const FEATURES_MAX: usize = 10_000;
/// Longest name, type or unit of a feature, bytes.
const FEATURE_TEXT_BYTES_MAX: usize = 256;

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
    /// SHA-256 over the files it was trained on; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_hash: String,
    /// SHA-256 of each file beside this one.
    pub files: BTreeMap<String, String>,
}

/// A package whose hashes were right.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// SHA-256 of its manifest, and so of all of it.
    pub hash: String,
    /// Its manifest.
    pub manifest: Manifest,
    /// The model.
    pub parameters: serde_json::Value,
    /// What it reads.
    pub signature: Signature,
    /// How it did where it was trained.
    pub metrics: Metrics,
    /// What it is for, Markdown.
    pub card: String,
    /// What it was trained on.
    pub sources: Vec<Source>,
    /// How its features were spread there.
    pub reference: Reference,
    /// The model as ONNX, where it can be said so.
    pub onnx: Option<Vec<u8>>,
}

/// Writes a package without evidence of its data: see [`write_with`].
pub fn write(folder: &Path, task: Task, seed: u64, trained: &Trained) -> Result<Manifest> {
    write_with(folder, task, seed, trained, &Evidence::default())
}

/// Writes a package into a new or empty folder. The manifest comes last: a package that was cut short is none.
pub fn write_with(
    folder: &Path,
    task: Task,
    seed: u64,
    trained: &Trained,
    evidence: &Evidence,
) -> Result<Manifest> {
    check_free(folder)?;
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    if !finite(&trained.metrics) {
        return Err(Error::Unsuitable("a figure of the trained model is no number".into()));
    }
    let mut files = BTreeMap::new();
    let mut contents = vec![
        (PARAMETERS, json(&trained.parameters)),
        (SIGNATURE, json(&trained.signature)),
        (METRICS, json(&trained.metrics)),
        (CARD, card::text(task, seed, trained, evidence).into_bytes()),
    ];
    if !evidence.sources.is_empty() {
        contents.push((DATA, json(&evidence.sources)));
    }
    if !evidence.reference.features.is_empty() {
        contents.push((DRIFT, json(&evidence.reference)));
    }
    if let Some(curve) = trained.curves.get("reliability") {
        contents.push((CALIBRATION, report::standalone(curve).into_bytes()));
    }
    if let Some(onnx) = &trained.onnx {
        contents.push((ONNX, onnx.clone()));
    }
    for (name, bytes) in contents {
        let path = folder.join(name);
        fs::write(&path, &bytes).map_err(|e| Error::io(&path, e))?;
        files.insert(name.to_owned(), hex(&Sha256::digest(&bytes)));
    }
    let schema_hash = trained.signature.schema_hash();
    let data_hash = data_hash(&evidence.sources);
    let manifest = Manifest { format: FORMAT, task, seed, schema_hash, data_hash, files };
    let path = folder.join(MANIFEST);
    fs::write(&path, json(&manifest)).map_err(|e| Error::io(&path, e))?;
    Ok(manifest)
}

/// Refuses a folder in which something lies already.
pub fn check_free(folder: &Path) -> Result<()> {
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(folder, error)),
    };
    if taken {
        return Err(Error::package(folder, "the folder is not empty; name a new one"));
    }
    Ok(())
}

/// JSON has no words for what is not finite.
fn finite(metrics: &Metrics) -> bool {
    metrics.values().all(|metric| match metric {
        Metric::Number(value) => value.is_finite(),
        Metric::Group(group) => finite(group),
    })
}

/// Reads a package; refuses a newer format, a wrong hash, a file too many, too few, too large or that is none.
pub fn read(folder: &Path) -> Result<Package> {
    let path = folder.join(MANIFEST);
    let bytes = limited(&path, MAX_MANIFEST_BYTES)?;
    newer(folder, &bytes)?;
    let manifest: Manifest = parse(&path, &bytes)?;
    let mut contents = contents(folder, &manifest)?;
    let mut take = |name: &str| {
        let path = folder.join(name);
        contents.remove(name).ok_or_else(|| Error::package(&path, "not in the manifest"))
    };
    let signature: Signature = parse(&folder.join(SIGNATURE), &take(SIGNATURE)?)?;
    check_signature(folder, &signature)?;
    if signature.schema_hash() != manifest.schema_hash {
        return Err(Error::package(folder, "the manifest is for another signature"));
    }
    let card = take(CARD)?;
    let card =
        String::from_utf8(card).map_err(|_| Error::package(&folder.join(CARD), "not UTF-8"))?;
    let parameters = parse(&folder.join(PARAMETERS), &take(PARAMETERS)?)?;
    let metrics = parse(&folder.join(METRICS), &take(METRICS)?)?;
    let sources: Vec<Source> = match take(DATA) {
        Ok(bytes) => parse(&folder.join(DATA), &bytes)?,
        Err(_) => Vec::new(),
    };
    if data_hash(&sources) != manifest.data_hash {
        return Err(Error::package(folder, "the manifest is for other data"));
    }
    let reference: Reference = match take(DRIFT) {
        Ok(bytes) => parse(&folder.join(DRIFT), &bytes)?,
        Err(_) => Reference::default(),
    };
    reference.check().map_err(|e| Error::package(&folder.join(DRIFT), e.to_string()))?;
    let onnx = take(ONNX).ok();
    let hash = hex(&Sha256::digest(&bytes));
    Ok(Package { hash, manifest, parameters, signature, metrics, card, sources, reference, onnx })
}

/// Copies a whole package to a new folder; what is copied has been checked, and is checked again.
pub fn copy(from: &Path, to: &Path) -> Result<Package> {
    let package = read(from)?;
    fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    let names = package.manifest.files.keys().map(String::as_str);
    for name in names.chain([MANIFEST]) {
        let path = from.join(name);
        fs::copy(&path, to.join(name)).map_err(|e| Error::io(&path, e))?;
    }
    let copied = read(to)?;
    if copied.hash != package.hash {
        return Err(Error::package(from, "changed while it was copied"));
    }
    Ok(copied)
}

/// The format is looked at first, by itself: a newer one may have fields that are not known here.
fn newer(folder: &Path, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { format }) if format > FORMAT => {
            let what = format!("format {format} is newer than {FORMAT}, the newest known");
            Err(Error::package(folder, what))
        }
        _ => Ok(()),
    }
}

/// Every file of the manifest, its hash checked; and no other file may be there.
fn contents(folder: &Path, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>> {
    let stray = manifest.files.keys().find(|name| !KNOWN.contains(&name.as_str()));
    if let Some(name) = stray {
        return Err(Error::package(folder, format!("`{}` is no file of a package", shown(name))));
    }
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        let name = name.to_string_lossy();
        if name != MANIFEST && !manifest.files.contains_key(name.as_ref()) {
            return Err(Error::package(
                folder,
                format!("`{}` is not in the manifest", shown(&name)),
            ));
        }
    }
    let mut all = BTreeMap::new();
    for (name, wanted) in &manifest.files {
        let path = folder.join(name);
        let bytes = limited(&path, MAX_FILE_BYTES)?;
        if hex(&Sha256::digest(&bytes)) != *wanted {
            return Err(Error::package(&path, "its SHA-256 is not the manifest's"));
        }
        all.insert(name.clone(), bytes);
    }
    Ok(all)
}

/// A name from a stranger's file, short enough for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn check_signature(folder: &Path, signature: &Signature) -> Result<()> {
    let long = |feature: &Feature| {
        let texts = [&feature.name, &feature.kind, &feature.unit];
        feature.name.is_empty() || texts.iter().any(|text| text.len() > FEATURE_TEXT_BYTES_MAX)
    };
    let names: BTreeSet<&String> = signature.features.iter().map(|feature| &feature.name).collect();
    if signature.features.len() > FEATURES_MAX || signature.features.iter().any(long) {
        return Err(Error::package(
            folder,
            "the signature has too many features or too long names",
        ));
    }
    if names.len() != signature.features.len() {
        return Err(Error::package(folder, "the signature names a feature twice"));
    }
    Ok(())
}

pub(crate) fn limited(path: &Path, most: u64) -> Result<Vec<u8>> {
    // A link could lead anywhere, a pipe never ends.
    let about = fs::symlink_metadata(path).map_err(|e| Error::io(path, e))?;
    if !about.is_file() {
        return Err(Error::package(path, "no plain file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > most {
        return Err(Error::package(path, format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::package(path, e.to_string()))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("names are text and numbers finite");
    bytes.push(b'\n');
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
