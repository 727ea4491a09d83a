//! `isobar completions`: a script that a shell reads.

use crate::{
    args::Cli,
    failure::{DONE, Outcome},
    screen::Screen,
};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Which script.
#[derive(Args, Debug)]
#[command(
    after_help = "For instance: isobar completions bash > ~/.local/share/bash-completion/completions/isobar"
)]
pub struct Completions {
    /// Shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Completions, screen: &mut Screen<'_>) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "isobar", &mut script);
    screen.raw(&script)?;
    Ok(DONE)
}
