//! `isobar policy`: what the controller may do, how far and how fast.

use super::input;
use crate::{
    args::Global,
    failure::{DONE, Exit, Outcome, file_error},
    reach,
    screen::Screen,
};
use clap::{Args, Subcommand};
use isobar_api::policy::PolicyState;
use std::path::PathBuf;

/// Largest policy file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The verbs of `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Print the active policy as TOML
    Show,
    /// Compare a policy file with the active one; with --apply replace it
    #[command(
        after_help = "Exit codes: without --apply 0 same, 1 different; with --apply 0 done; \
                            3 for every error."
    )]
    Set(Set),
}

/// `policy set`
#[derive(Args, Debug)]
pub struct Set {
    /// TOML file; absent keys have their defaults; `-`: from stdin
    file: PathBuf,
    /// Make it active; without this nothing is changed
    #[arg(long, conflicts_with = "dry_run")]
    apply: bool,
    /// Only compare (the default)
    #[arg(long)]
    dry_run: bool,
}

impl Policy {
    /// The exit code of an error: `set` must not confuse "different" with "failed".
    pub fn exit_on_error(&self) -> Exit {
        match self {
            Self::Show => Exit(1),
            Self::Set(_) => Exit(3),
        }
    }
}

/// Runs a verb.
pub async fn run(verb: Policy, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match verb {
        Policy::Show => {
            let state = reach::controller(global)?.policy().await?;
            screen.show(&state, active)
        }
        Policy::Set(args) => set(args, global, screen).await,
    }
}

async fn set(args: Set, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let bytes = input::read(&args.file, FILE_BYTES_MAX + 1)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let error = std::io::Error::other(format!("a policy has at most {FILE_BYTES_MAX} bytes"));
        return Err(file_error(&args.file, &error).into());
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| file_error(&args.file, &std::io::Error::other(error)))?;
    let controller = reach::controller(global)?;
    let state = controller.set_policy(&text, !args.apply, &reach::owner()).await?;
    screen.show(&state, difference)?;
    if !args.apply && !state.changes.is_empty() {
        screen.say("nothing was changed; --apply makes it active");
        return Ok(Exit(1));
    }
    Ok(DONE)
}

fn active(state: &PolicyState) -> String {
    // The text of whoever wrote it, where there is one: it has the comments.
    let written = toml::to_string(&state.policy).unwrap_or_default();
    let text = if state.toml.trim().is_empty() { &written } else { &state.toml };
    format!("# policy version {}\n{text}", state.version)
}

fn difference(state: &PolicyState) -> String {
    if state.changes.is_empty() {
        return format!("same as the active policy, version {}", state.version);
    }
    let lines: String =
        state.changes.iter().map(|c| format!("{}: {} -> {}\n", c.key, c.old, c.new)).collect();
    if state.dry_run { lines } else { format!("{lines}policy version {} is active", state.version) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::policy::{Policy as Document, PolicyChange};

    #[test]
    fn a_difference_names_key_old_and_new() {
        let change =
            PolicyChange { key: "balance.dwell_s".into(), old: "300".into(), new: "60".into() };
        let mut state = PolicyState {
            version: 4,
            dry_run: true,
            changes: vec![change],
            policy: Document::default(),
            toml: String::new(),
        };
        assert_eq!(difference(&state), "balance.dwell_s: 300 -> 60\n");
        assert!(active(&state).contains("[balance]"));
        state.dry_run = false;
        assert!(difference(&state).ends_with("policy version 4 is active"));
        state.changes.clear();
        assert_eq!(difference(&state), "same as the active policy, version 4");
    }
}
