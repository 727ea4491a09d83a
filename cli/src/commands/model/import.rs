//! `isobar model import`, and what `add` does with an ONNX file.

use super::train::task;
use crate::{
    failure::{Outcome, invalid},
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::ApiError;
use isobar_training::{
    Task,
    interchange::{self, Import as Wanted},
    package::Manifest,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What a person says of a model that another tool wrote.
#[derive(Args, Debug, Default)]
pub(super) struct Foreign {
    /// What an ONNX file's model was trained for
    #[arg(long, value_parser = task())]
    task: Option<Task>,
    /// Names of an ONNX file's features, in order [default: its metadata `feature_names`, or its inputs' names]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    features: Option<Vec<String>>,
    /// For the card of an ONNX file: where it comes from, what it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// `model import`
#[derive(Args, Debug)]
pub struct Import {
    /// ONNX file
    #[arg(value_name = "FILE.onnx", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Folder of the package; new or empty
    #[arg(long, value_name = "PACKAGE", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    #[command(flatten)]
    foreign: Foreign,
}

pub(super) fn run(args: &Import, screen: &mut Screen<'_>) -> Outcome {
    let manifest = args.foreign.package(&args.file, &args.out)?;
    let shown = json!({ "package": args.out, "task": manifest.task, "files": manifest.files });
    screen.show(&shown, |_| format!("wrote {}", args.out.display()))
}

impl Foreign {
    /// Makes a package of a file.
    pub(super) fn package(&self, file: &Path, out: &Path) -> Result<Manifest, ApiError> {
        let Some(task) = self.task else {
            let message = format!("{}: --task says what the model was trained for", file.display());
            return Err(invalid(message));
        };
        let note = self.note.as_deref().unwrap_or_default();
        let import = Wanted { task, features: self.features.clone(), note };
        let made = tokio::task::block_in_place(|| interchange::import(file, &import, out));
        made.map_err(Into::into)
    }

    /// Refuses words about an ONNX file where there is none.
    pub(super) fn unused(&self, package: &Path) -> Result<(), ApiError> {
        let given = self.task.is_some() || self.features.is_some() || self.note.is_some();
        if given {
            let message = format!(
                "{} is a package, which says its task, features and card itself",
                package.display()
            );
            return Err(invalid(message));
        }
        Ok(())
    }
}
