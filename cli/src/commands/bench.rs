//! `isobar bench`: timings on this machine. Figures are reported, nothing is asserted.

use crate::{args::Global, failure::Outcome, screen::Screen};
use clap::{Args, Subcommand, builder::RangedU64ValueParser, value_parser};
use isobar_api::limits;
use std::time::Duration;

/// What to time.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Reads and writes against three nodes of its own, with fsync on
    Kv(Kv),
    /// Plans per second for a made-up cluster
    Planner(Planner),
}

/// Load on a cluster that is started for it and removed afterwards.
#[derive(Args, Debug, Clone)]
pub struct Kv {
    /// Length of each run
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Tasks with one request in flight each, on one shared client
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64], value_name = "N,...",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    pub clients: Vec<usize>,
    /// Shards the keys are spread over
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_name = "N,...",
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: Vec<u64>,
    /// Distinct keys
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..100_000_000))]
    pub keys: u64,
    /// Length of a value
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Seed of keys and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Planning without a cluster.
#[derive(Args, Debug, Clone)]
pub struct Planner {
    /// Nodes
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    pub nodes: u64,
    /// Shards
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u64).range(1..))]
    pub shards: u64,
    /// Length of the run
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Seed of the made-up cluster
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the command.
pub async fn run(bench: Bench, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match bench {
        Bench::Kv(args) => crate::bench::kv(&args, screen).await,
        Bench::Planner(args) => {
            let length = Duration::from_secs(args.seconds);
            let figures = isobar_benches::planner::run(args.nodes, args.shards, args.seed, length);
            screen.show(&figures, |f| {
                format!(
                    "{} shards on {} nodes: {:.0} plans/s, median {:.2} ms, longest {:.2} ms, {} directives each\n",
                    f.shards, f.nodes, f.plans_per_s, f.p50_ms, f.max_ms, f.directives
                )
            })
        }
    }
}
