//! `isobar up`: the arguments; the work is done in `crate::up`.

use crate::{args::Global, commands::durable_engine, failure::Outcome, screen::Screen};
use clap::{Args, value_parser};
use isobar_node::config::EngineKind;
use std::path::PathBuf;

/// Real processes under one folder; Ctrl-C stops them cleanly, the next start goes on.
#[derive(Args, Debug)]
pub struct Up {
    /// Where configuration, data and logs lie
    #[arg(long, default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// How many nodes, at the first start [default: 3]
    #[arg(long, value_parser = value_parser!(u16).range(1..=9))]
    pub nodes: Option<u16>,
    /// Port of the first node, at the first start; the next ones follow, the controller has the tenth [default: 7411]
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Storage engine of the nodes, at the first start [default: rocksdb]
    #[arg(long, value_parser = durable_engine())]
    pub engine: Option<EngineKind>,
}

/// Runs the command.
pub async fn run(args: Up, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    crate::up::run(args, screen).await
}
