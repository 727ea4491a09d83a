//! `isobar resume`: lift a freeze.

use crate::{args::Global, failure::Outcome, reach, screen::Screen};
use clap::Args;

/// Lifts the freeze of a scope.
#[derive(Args, Debug)]
pub struct Resume {
    /// cluster, table:NAME, shard:ID, node:ID or region:NAME, as it was paused
    scope: String,
}

/// Runs the command.
pub async fn run(args: Resume, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let lifted = reach::controller(global)?.resume(&args.scope, &reach::owner()).await?;
    screen.show(&lifted, |lifted| {
        if lifted.is_empty() {
            return format!("{} was not frozen", args.scope);
        }
        let line =
            |f: &isobar_api::plan::Freeze| format!("{} is free again ({})\n", f.scope, f.reason);
        lifted.iter().map(line).collect()
    })
}
