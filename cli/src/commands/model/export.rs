//! `isobar model export`.

use super::place::Database;
use crate::{args::Global, failure::Outcome, screen::Screen};
use clap::{Args, ValueHint};
use isobar_training::mlflow;
use serde_json::json;
use std::path::PathBuf;

/// `model export`
#[derive(Args, Debug)]
pub struct Export {
    /// Model
    name: String,
    /// Version or alias
    version: String,
    /// Write it below this folder as MLflow's file store has it
    #[arg(long, required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    mlflow: PathBuf,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Export, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let registry = place.open().await?;
    let model = registry.model(&args.name).await?;
    let version = registry.version(&args.name, &args.version).await?;
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
        mlflow::export(&folder, &export, &args.mlflow).map_err(isobar_api::ApiError::from)
    })?;
    screen.show(&json!({ "run": run, "run_id": version.run_id }), |_| {
        format!("wrote {}", run.display())
    })
}
