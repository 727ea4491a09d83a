//! `isobar model promote`.

use super::place::Database;
use crate::{args::Global, failure::Outcome, reach, screen::Screen};
use clap::Args;
use isobar_controller::registry::{Change, Order};

/// `model promote`
#[derive(Args, Debug)]
pub struct Promote {
    /// Model
    name: String,
    /// Version
    version: u64,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Promote, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let registry = place.open().await?;
    let version = registry.version(&args.name, &args.version.to_string()).await?;
    // What is not whole any more does not serve.
    tokio::task::block_in_place(|| place.package(&version))?;
    let owner = reach::owner();
    let order = Order { owner: &owner, at_unix_ms: screen.now_unix_ms };
    let change = registry.promote(&args.name, args.version, &args.why, order).await?;
    screen.show(&change, |change| moved(&args.name, change))
}

/// What a person reads of a move.
pub(super) fn moved(name: &str, change: &Change) -> String {
    let from = change.from.map_or_else(String::new, |from| format!(", before it version {from}"));
    format!("champion of {name}: version {}{from}", change.to)
}
