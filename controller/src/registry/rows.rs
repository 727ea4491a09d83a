//! What the registry keeps, as people and programs read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was done in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// A model was trained.
    Train,
    /// A package was judged.
    Evaluate,
}

impl RunKind {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }

    pub(super) fn of(text: &str) -> Self {
        if text == "train" { Self::Train } else { Self::Evaluate }
    }
}

/// Runs that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// Number, from 1.
    pub experiment_id: u64,
    /// Name; that of the model.
    pub name: String,
    /// When it began, Unix milliseconds.
    pub at_unix_ms: u64,
}

/// One training or judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// 32 hexadecimal digits.
    pub run_id: String,
    /// Its experiment.
    pub experiment_id: u64,
    /// What was done.
    pub kind: RunKind,
    /// Who did it.
    pub owner: String,
    /// When it began, Unix milliseconds.
    pub started_unix_ms: u64,
    /// When it ended, Unix milliseconds.
    pub ended_unix_ms: u64,
    /// Its seed.
    pub seed: u64,
    /// SHA-256 over the data set's files; empty: not known.
    pub data_hash: String,
    /// SHA-256 of the package's manifest.
    pub package_hash: String,
    /// Its figures: metrics of a training, the document of a judgement.
    pub body: Value,
}

/// A model: versions under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name.
    pub name: String,
    /// Its experiment.
    pub experiment_id: u64,
    /// What it does.
    pub task: String,
    /// Who made it.
    pub owner: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Version by alias.
    pub aliases: BTreeMap<String, u64>,
    /// Versions, oldest first.
    pub versions: Vec<Version>,
    /// Moves of the champion, oldest first.
    pub changes: Vec<Change>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The model.
    pub name: String,
    /// Number, from 1.
    pub version: u64,
    /// The run that added it.
    pub run_id: String,
    /// SHA-256 of the package's manifest.
    pub package_hash: String,
    /// Hash of what it reads.
    pub schema_hash: String,
    /// SHA-256 over the files it was trained on; empty: not known.
    pub data_hash: String,
    /// The champion when it was added.
    pub parent: Option<u64>,
    /// Who added it.
    pub owner: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
}

/// A move of the champion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// `promote` or `rollback`.
    pub action: String,
    /// The champion before.
    pub from: Option<u64>,
    /// The champion since.
    pub to: u64,
    /// Who.
    pub owner: String,
    /// Why.
    pub why: String,
}

/// A package to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    /// The model's name.
    pub name: String,
    /// What it does.
    pub task: String,
    /// The package's seed.
    pub seed: u64,
    /// SHA-256 of the package's manifest.
    pub package_hash: String,
    /// Hash of what it reads.
    pub schema_hash: String,
    /// SHA-256 over the files it was trained on; empty: not known.
    pub data_hash: String,
    /// Its figures where it was trained.
    pub metrics: Value,
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'a> {
    /// Who.
    pub owner: &'a str,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
}
