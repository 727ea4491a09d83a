//! `isobar mode`: how much the controller does by itself, and how it stands.

use crate::{args::Global, failure::Outcome, reach, screen::Screen, units::show_ms};
use clap::Args;
use isobar_api::{plan::ControllerStatus, policy::Mode};

/// Without a mode: shows the controller's status.
#[derive(Args, Debug)]
pub struct ModeArgs {
    /// observe (only look), propose (ask a person), act (within the budgets)
    mode: Option<Mode>,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true, requires = "mode")]
    reason: String,
}

/// Runs the command.
pub async fn run(args: ModeArgs, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let controller = reach::controller(global)?;
    let status = match args.mode {
        Some(mode) => controller.set_mode(mode, &reach::owner(), &args.reason).await?,
        None => controller.status().await?,
    };
    let now = screen.now_unix_ms;
    screen.show(&status, |status| describe(status, now))
}

fn describe(status: &ControllerStatus, now_unix_ms: u64) -> String {
    let lease = if status.leads { "holds the lease" } else { "stands by" };
    let age = status
        .oldest_report_age_ms
        .map_or_else(|| "no report yet".into(), |ms| format!("oldest report {} ago", show_ms(ms)));
    let states: Vec<String> =
        status.directives_by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let champions: Vec<String> =
        status.champions.iter().map(|(name, n)| format!("{name} ({n})")).collect();
    let or_none = |list: Vec<String>| {
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    };
    let mut text = format!(
        "mode        {}\ncontroller  {}, term {}, policy {}, version {}\n\
         view        {} nodes, {} shards, {age}, {} report gaps\n\
         directives  {} open; ever: {}\nchampions   {}\n",
        status.mode,
        lease,
        status.term,
        status.policy_version,
        status.version,
        status.nodes,
        status.shards,
        status.report_gaps,
        status.open_directives,
        or_none(states),
        or_none(champions),
    );
    for freeze in &status.freezes {
        let left = show_ms(freeze.expires_at_unix_ms.saturating_sub(now_unix_ms));
        text.push_str(&format!(
            "frozen      {} for {left} by {}: {}\n",
            freeze.scope, freeze.owner, freeze.reason
        ));
    }
    for drain in &status.drains {
        text.push_str(&format!(
            "{:<11} {}, {} replicas left\n",
            drain.state, drain.node, drain.replicas_left
        ));
    }
    text
}
