//! `isobar demo`: the arguments; the work is done in `crate::demo`.

use crate::{args::Global, failure::Outcome, screen::Screen};
use clap::{Args, value_parser};
use std::path::PathBuf;

/// Five nodes in three regions and a controller, first looking, then acting; all figures measured.
#[derive(Args, Debug)]
#[command(after_help = "\
The last line of stdout with `-o json` is one JSON document. Exit code 1 if an acknowledged write is missing at the end.
What is measured, and how: docs/src/demo.md.")]
pub struct Demo {
    /// Seconds from the start to the end of the load, setting up included; the final check and the stop come on top
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(30..=3_600))]
    pub seconds: u64,
    /// Seed of everything random in the load
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Accesses of the trace per second, on the average of the day; each goes to both tables
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u64).range(1..=5_000))]
    pub rate: u64,
    /// Access trace instead of the recorded one
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Requests of each second, one number a line, instead of the readers' own day
    #[arg(long, value_name = "FILE")]
    pub arrivals: Option<PathBuf>,
    /// Round trips between regions instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub rtt: Option<PathBuf>,
    /// Folder with a table of cities, instead of the built-in population
    #[arg(long, value_name = "DIR")]
    pub population: Option<PathBuf>,
    /// Keep data, configuration and logs
    #[arg(long)]
    pub keep: bool,
}

/// Runs the command.
pub async fn run(args: Demo, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    crate::demo::run(args, screen).await
}
