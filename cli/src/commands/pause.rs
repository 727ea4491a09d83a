//! `isobar pause`: nothing new starts in a scope until it is resumed or the time is over.

use crate::{
    args::Global, failure::Outcome, reach, screen::Screen, units::parse_duration_ms, units::show_ms,
};
use clap::Args;

/// Freezes a scope. Repair goes on unless its own scope is frozen; the data path is never touched.
#[derive(Args, Debug)]
pub struct Pause {
    /// cluster, table:NAME, shard:ID, node:ID or region:NAME
    scope: String,
    /// Why, for the record
    #[arg(long)]
    reason: String,
    /// For how long, such as 10m
    #[arg(long = "for", value_parser = parse_duration_ms, value_name = "DURATION", default_value = "1h")]
    for_ms: u64,
}

/// Runs the command.
pub async fn run(args: Pause, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let seconds = args.for_ms.div_ceil(1_000).max(1);
    let controller = reach::controller(global)?;
    let freeze = controller.pause(&args.scope, &args.reason, &reach::owner(), seconds).await?;
    let now = screen.now_unix_ms;
    screen.show(&freeze, |freeze| {
        let left = show_ms(freeze.expires_at_unix_ms.saturating_sub(now));
        format!("{} is frozen for {left}: {}", freeze.scope, freeze.reason)
    })
}
