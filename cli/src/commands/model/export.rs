//! `isobar model export`.

use super::{computed, place::Database};
use crate::{
    args::Global,
    failure::{Outcome, file_error, invalid},
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_controller::registry::CHAMPION;
use isobar_training::{interchange, mlflow};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `model export`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("format").required(true).args(["mlflow", "onnx"]))]
pub struct Export {
    /// Model; with --onnx also the folder of a package, or NAME@VERSION
    name: String,
    /// Version or alias; with --onnx the champion where none is named
    #[arg(required_unless_present = "onnx")]
    version: Option<String>,
    /// Write it below this folder as MLflow's file store has it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    mlflow: Option<PathBuf>,
    /// Write the model as an ONNX file
    #[arg(long, value_name = "FILE.onnx", value_hint = ValueHint::FilePath)]
    onnx: Option<PathBuf>,
    /// Which rows, where the package has models for several kinds
    #[arg(long, requires = "onnx")]
    kind: Option<String>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Export, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match (&args.mlflow, &args.onnx) {
        (Some(folder), _) => to_mlflow(args, folder, global, screen).await,
        (None, Some(file)) => to_onnx(args, file, global, screen).await,
        (None, None) => Err(invalid("--mlflow DIR or --onnx FILE says what to write").into()),
    }
}

async fn to_onnx(args: &Export, file: &Path, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let text = match &args.version {
        Some(version) => format!("{}@{version}", args.name),
        None => args.name.clone(),
    };
    let (_, package) = place.resolve(&text).await?.into_package(&text)?;
    let bytes = computed(screen, |_| interchange::onnx(&package, args.kind.as_deref()))?;
    std::fs::write(file, &bytes).map_err(|e| file_error(file, &e))?;
    screen.show(&json!({ "file": file, "size_bytes": bytes.len() }), |_| {
        format!("wrote {}", file.display())
    })
}

async fn to_mlflow(args: &Export, to: &Path, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let registry = place.open().await?;
    let model = registry.model(&args.name).await?;
    let wanted = args.version.as_deref().unwrap_or(CHAMPION);
    let version = registry.version(&args.name, wanted).await?;
    let why = model.changes.iter().rev().find(|change| change.to == version.version);
    let aliases = model.aliases.iter().filter(|(_, number)| **number == version.version);
    let export = mlflow::Export {
        experiment_id: model.experiment_id,
        name: model.name.clone(),
        version: version.version,
        run_id: version.run_id.clone(),
        owner: version.owner.clone(),
        at_unix_ms: version.at_unix_ms,
        aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
        data_hash: version.data_hash.clone(),
        parent: version.parent,
        why: why.map_or_else(String::new, |change| change.why.clone()),
    };
    let folder = place.folder(&version)?;
    let run = tokio::task::block_in_place(|| {
        place.package(&version)?;
        mlflow::export(&folder, &export, to).map_err(isobar_api::ApiError::from)
    })?;
    screen.show(&json!({ "run": run, "run_id": version.run_id }), |_| {
        format!("wrote {}", run.display())
    })
}
