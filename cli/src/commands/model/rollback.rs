//! `isobar model rollback`.

use super::{place::Database, promote::moved};
use crate::{args::Global, failure::Outcome, reach, screen::Screen};
use clap::Args;
use isobar_controller::registry::Order;

/// `model rollback`
#[derive(Args, Debug)]
pub struct Rollback {
    /// Model
    name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Rollback, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let registry = args.database.place(global)?.open().await?;
    let owner = reach::owner();
    let order = Order { owner: &owner, at_unix_ms: screen.now_unix_ms };
    let change = registry.rollback(&args.name, &args.why, order).await?;
    screen.show(&change, |change| moved(&args.name, change))
}
