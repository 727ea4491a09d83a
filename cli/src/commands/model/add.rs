//! `isobar model add`.

use super::{
    import::Foreign,
    place::{Database, Place},
};
use crate::{
    args::Global,
    failure::{Outcome, invalid},
    reach,
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::ApiError;
use isobar_controller::registry::{Addition, Order, check_name};
use isobar_training::package::Package;
use std::path::{Path, PathBuf};

/// `model add`
#[derive(Args, Debug)]
pub struct Add {
    /// Folder of the package, or an ONNX file to make one of; a copy of it is kept beside the database
    #[arg(value_name = "PACKAGE|FILE.onnx", value_hint = ValueHint::AnyPath)]
    package: PathBuf,
    /// Model; made where there is none of this name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    foreign: Foreign,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Add, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    check_name(&args.name)?;
    let place = args.database.place(global)?;
    // Read before anything is made: a bad package leaves no database behind.
    let package = kept(args, &place)?;
    let addition = Addition {
        name: args.name.clone(),
        task: package.manifest.task.name().to_owned(),
        seed: package.manifest.seed,
        package_hash: package.hash,
        schema_hash: package.manifest.schema_hash,
        data_hash: package.manifest.data_hash,
        metrics: serde_json::to_value(&package.metrics)
            .map_err(|e| invalid(format!("the package's figures: {e}")))?,
    };
    let owner = reach::owner();
    let order = Order { owner: &owner, at_unix_ms: screen.now_unix_ms };
    let version = place.make().await?.add(&addition, order).await?;
    screen.show(&version, |v| {
        let parent =
            v.parent.map_or_else(|| "no champion yet".into(), |p| format!("champion: version {p}"));
        format!("{} version {}; {parent}", v.name, v.version)
    })
}

/// Keeps a copy of the package; of an ONNX file a package is made first.
fn kept(args: &Add, place: &Place) -> Result<Package, ApiError> {
    let keep = |folder: &Path| tokio::task::block_in_place(|| place.keep(folder));
    if !args.package.is_file() {
        args.foreign.unused(&args.package)?;
        return keep(&args.package);
    }
    let folder = std::env::temp_dir().join(format!("isobar-import-{}", std::process::id()));
    let made = args.foreign.package(&args.package, &folder).and_then(|_| keep(&folder));
    // What could not be removed is a few files in the folder for such.
    let _ = std::fs::remove_dir_all(&folder);
    made
}
