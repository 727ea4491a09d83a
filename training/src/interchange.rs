//! Models from other tools, and ours for them: ONNX files and what a package makes of them.
//!
//! A model that was trained with scikit-learn or LightGBM comes as an ONNX file. [`import`] makes a package of it: the
//! file itself as `model.onnx`, a signature with the names of its features, a card. From then on it is a package like
//! others: it is registered, promoted and applied to rows ([`crate::serve`]).

use crate::{
    Error, Feature, Reason, Result, Signature, Task, Trained,
    package::{self, Manifest, Package, limited},
    serve::{Foreign, row_model},
};
use isobar_models::onnx::OnnxModel;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// Largest ONNX file, bytes: what the reader takes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Under this key a file may name its features: a JSON list of texts.
pub const FEATURE_NAMES: &str = "feature_names";

/// Whether parameters are those of an imported model.
pub(crate) fn is_foreign(parameters: &Value) -> bool {
    parameters.get("onnx").is_some_and(Value::is_object)
}

/// What a person says of a model that is imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Import<'a> {
    /// What it was trained for.
    pub task: Task,
    /// Names of its features in order; those in the file's metadata, or made from its inputs' names, where `None`.
    pub features: Option<Vec<String>>,
    /// For the card: where it comes from, what it is for.
    pub note: &'a str,
}

/// Makes a package of an ONNX file, in a new or empty folder. Refuses what cannot be read or run.
pub fn import(file: &Path, import: &Import, out: &Path) -> Result<Manifest> {
    package::check_free(out)?;
    let bytes = limited(file, FILE_BYTES_MAX)?;
    let model = OnnxModel::read(&bytes).map_err(|e| Error::package(file, e.to_string()))?;
    let names = names(file, &model, import.features.as_deref())?;
    let outputs = tried(file, &model, names.len())?;
    let kinds = model.feature_types(names.len());
    let feature = |(name, kind): (&String, &str)| Feature {
        name: name.clone(),
        kind: kind.to_owned(),
        unit: unit(name),
    };
    let signature = Signature { features: names.iter().zip(kinds).map(feature).collect() };
    let about = json!({
        "producer": model.producer(), "operators": model.operators(), "outputs": outputs,
        "classes": model.classes(),
    });
    let card = card(file, &model, &outputs, import);
    let parameters = json!({ "onnx": about });
    let trained = Trained { parameters, signature, card, onnx: Some(bytes), ..Trained::default() };
    package::write(out, import.task, 0, &trained)
}

/// Names that people gave, checked.
fn names(file: &Path, model: &OnnxModel, given: Option<&[String]>) -> Result<Vec<String>> {
    let bad = |what: String| Error::package(file, what);
    let in_file = match model.metadata().get(FEATURE_NAMES) {
        Some(text) => Some(serde_json::from_str::<Vec<String>>(text).map_err(|e| {
            bad(format!("its metadata `{FEATURE_NAMES}` is no JSON list of names: {e}"))
        })?),
        None => None,
    };
    let names = given.map(<[String]>::to_vec).or(in_file).or_else(|| model.feature_names());
    let Some(names) = names else {
        return Err(bad("it does not say how many features it reads: name them".into()));
    };
    if let Some(wanted) = model.features().filter(|wanted| *wanted != names.len()) {
        return Err(bad(format!("it reads {wanted} features, {} are named", names.len())));
    }
    let different: BTreeSet<&String> = names.iter().collect();
    if names.is_empty() || different.len() != names.len() || different.iter().any(|n| n.is_empty())
    {
        return Err(bad("the names of its features are none, empty or twice the same".into()));
    }
    Ok(names)
}

/// Units come last in names.
fn unit(name: &str) -> String {
    const UNITS: [&str; 7] = ["h", "s", "ms", "bytes", "tb", "per_s", "per_day"];
    let unit = UNITS.into_iter().rev().find(|unit| name.ends_with(&format!("_{unit}")));
    unit.map_or_else(String::new, |unit| unit.replace("per_", "1/"))
}

/// The columns that it answers with. A file may be well formed and yet contradict itself: it is run once here.
fn tried(file: &Path, model: &OnnxModel, features: usize) -> Result<Vec<String>> {
    let columns = model.predict(&vec![0.0; features], features);
    let columns = columns.map_err(|e| Error::package(file, e.to_string()))?;
    Ok(columns.into_iter().map(|column| column.name).collect())
}

fn card(file: &Path, model: &OnnxModel, outputs: &[String], import: &Import) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let operators: Vec<String> =
        model.operators().iter().map(|(name, count)| format!("{name} ({count})")).collect();
    let producer = if model.producer().is_empty() { "an unknown tool" } else { model.producer() };
    let note = if import.note.trim().is_empty() {
        "Who imported it did not say what it is for.".to_owned()
    } else {
        import.note.trim().to_owned()
    };
    format!(
        "{note}\n\n\
         - Imported from `{name}`, written by {producer}. Task: {}.\n\
         - Operators: {}.\n\
         - Answers: {}.\n\
         - Limits: what it was trained on, and how it does on data that it has not seen, is not known here.\n",
        import.task.name(),
        operators.join(", "),
        outputs.join(", "),
    )
}

/// The model of an imported package.
pub(crate) fn foreign(package: &Package) -> Result<Foreign> {
    let path = Path::new("model.onnx");
    let Some(bytes) = package.onnx.clone() else {
        return Err(Error::package(path, "not in the package"));
    };
    let model = OnnxModel::read(&bytes).map_err(|e| Error::package(path, e.to_string()))?;
    let names: Vec<String> =
        package.signature.features.iter().map(|feature| feature.name.clone()).collect();
    if model.features().is_some_and(|features| features != names.len()) {
        return Err(Error::package(path, "it reads other features than the signature names"));
    }
    Ok(Foreign { names, model, bytes })
}

/// What weighs how much in a package, the heaviest first.
pub fn reasons(package: &Package) -> Result<Vec<Reason>> {
    if !is_foreign(&package.parameters) {
        return package.manifest.task.lesson().reasons(&package.parameters);
    }
    let Foreign { names, model, .. } = foreign(package)?;
    let asked = model.asked(names.len());
    let of = "branches that ask for it".to_owned();
    let reason = |(name, weight)| Reason { name, weight, of: of.clone() };
    let mut reasons: Vec<Reason> =
        names.into_iter().zip(asked).filter(|(_, asked)| *asked > 0.0).map(reason).collect();
    reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.name.cmp(&b.name)));
    Ok(reasons)
}

/// The ONNX file of a package's model; where it has several, `kind` names one.
pub fn onnx(package: &Package, kind: Option<&str>) -> Result<Vec<u8>> {
    let model = row_model(package, kind, &|_| true)?;
    model.onnx().ok_or_else(|| Error::Unsuitable("the model cannot be said in ONNX".into()))
}
