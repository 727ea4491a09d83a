//! `isobar node-drain`: empty a node, with an estimate and the list of what blocks it.

use crate::{
    args::Global,
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
    units::show_ms,
};
use clap::Args;
use isobar_api::{NodeId, plan::DrainStatus};
use isobar_client::ControllerClient;
use std::time::Duration;

/// Between two looks with `--watch`.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Moves every replica off a node, adding the new one before the old one goes.
#[derive(Args, Debug)]
pub struct NodeDrain {
    /// Node, such as n3
    node: NodeId,
    /// Stop emptying it
    #[arg(long, conflicts_with_all = ["watch", "status"])]
    cancel: bool,
    /// Only show how far it has come
    #[arg(long)]
    status: bool,
    /// Wait until it is empty, showing progress
    #[arg(long)]
    watch: bool,
}

/// Runs the command.
pub async fn run(args: NodeDrain, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let controller = reach::controller(global)?;
    let owner = reach::owner();
    let status = if args.cancel {
        controller.cancel_drain(args.node, &owner).await?
    } else if args.status {
        controller.drain_status(args.node).await?
    } else {
        controller.drain(args.node, &owner).await?
    };
    if args.watch {
        return watch(&controller, status, screen).await;
    }
    screen.show(&status, describe)
}

async fn watch(
    controller: &ControllerClient,
    mut status: DrainStatus,
    screen: &mut Screen<'_>,
) -> Outcome {
    let template = "{prefix} {bar:30} {pos}/{len} replicas moved  {msg}";
    let bar = screen.progress(u64::from(status.replicas_at_start), template);
    bar.set_prefix(format!("drain {}", status.node));
    let mut told = String::new();
    while status.state == "draining" {
        let moved = status.replicas_at_start.saturating_sub(status.replicas_left);
        bar.set_length(u64::from(status.replicas_at_start));
        bar.set_position(u64::from(moved));
        bar.set_message(eta(&status));
        let line = format!("{moved} of {} replicas moved", status.replicas_at_start);
        if bar.is_hidden() && line != told {
            screen.say(&line);
            told = line;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        status = controller.drain_status(status.node).await?;
    }
    bar.finish_and_clear();
    screen.show(&status, describe)?;
    Ok(DONE)
}

fn eta(status: &DrainStatus) -> String {
    match status.eta_s {
        Some(s) => format!("about {} left", show_ms((s.max(0.0) * 1_000.0) as u64)),
        None => "no estimate yet".into(),
    }
}

fn describe(status: &DrainStatus) -> String {
    let moved = status.replicas_at_start.saturating_sub(status.replicas_left);
    let mut text = format!(
        "{} {}: {moved} of {} replicas moved",
        status.node, status.state, status.replicas_at_start
    );
    if status.state == "draining" {
        text.push_str(&format!(", {}", eta(status)));
    }
    for blocker in &status.blockers {
        let directive = blocker.directive.map(|d| format!(" ({d})")).unwrap_or_default();
        text.push_str(&format!("\n  {}{directive}: {}", blocker.shard, blocker.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{ShardId, plan::DrainBlocker};

    #[test]
    fn blockers_are_listed_with_their_reasons() {
        let status = DrainStatus {
            node: NodeId(3),
            state: "draining".into(),
            replicas_left: 2,
            replicas_at_start: 5,
            eta_s: Some(64.0),
            blockers: vec![DrainBlocker {
                shard: ShardId(7),
                reason: "no other node in eu".into(),
                directive: None,
            }],
        };
        assert_eq!(
            describe(&status),
            "n3 draining: 3 of 5 replicas moved, about 1m 4s left\n  s7: no other node in eu"
        );
    }
}
