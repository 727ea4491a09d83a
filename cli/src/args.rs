//! The command line's grammar.

use crate::{commands, units::parse_duration_ms};
use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};
use std::path::PathBuf;

/// A replicated, range-sharded database whose data placement is run by a learning controller.
#[derive(Debug, Parser)]
#[command(
    name = "isobar",
    version,
    arg_required_else_help = true,
    after_help = "Data goes to stdout, everything else to stderr.\n\
                  Exit codes: 0 done, 1 failed, 2 misused; see `isobar policy set --help` for its own."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Nodes to ask first [default: 127.0.0.1:7411]
    #[arg(
        long,
        global = true,
        env = "ISOBAR_CONNECT",
        hide_env_values = true,
        value_name = "HOST:PORT,...",
        value_delimiter = ','
    )]
    pub connect: Vec<String>,
    /// The controller [default: 127.0.0.1:7420]
    #[arg(
        long = "controller",
        global = true,
        env = "ISOBAR_CONTROLLER",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    pub controller: Option<String>,
    /// Configuration file
    #[arg(
        long,
        global = true,
        env = "ISOBAR_CONFIG",
        hide_env_values = true,
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        value_hint = ValueHint::FilePath
    )]
    pub config: Option<PathBuf>,
    /// Form of the output
    // What the values mean would make every help page three times as long.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub output: Format,
    /// No colours and no progress bars
    #[arg(long, global = true)]
    pub plain: bool,
    /// Longest wait for an answer, such as 5s [default: 10s]
    #[arg(long, global = true, value_parser = parse_duration_ms, value_name = "DURATION")]
    pub timeout: Option<u64>,
}

impl Global {
    /// A variable of the environment that is set to nothing is one that is not set.
    pub(crate) fn drop_empty(&mut self) {
        self.connect.retain(|address| !address.is_empty());
        self.controller.take_if(|address| address.is_empty());
        self.config.take_if(|path| path.as_os_str().is_empty());
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole thing at work: five nodes, three regions, a controller that learns
    Demo(commands::demo::Demo),
    /// Start three durable nodes and a controller on this machine
    Up(commands::up::Up),
    /// Run one storage node
    Node(commands::node::Node),
    /// Run one controller
    Controller(commands::controller::Controller),
    /// Read and write rows
    #[command(subcommand)]
    Kv(commands::kv::Kv),
    /// Create and show tables
    #[command(subcommand)]
    Table(commands::table::Table),
    /// Show shards: ranges, replicas, leaders
    #[command(subcommand)]
    Shard(commands::shard::Shard),
    /// List the nodes and their load
    NodeList,
    /// Empty a node, or show how far that has come
    NodeDrain(commands::node_drain::NodeDrain),
    /// Show, explain and decide what the controller plans
    #[command(subcommand)]
    Plan(commands::plan::Plan),
    /// Freeze a scope: nothing new starts there
    Pause(commands::pause::Pause),
    /// Lift a freeze
    Resume(commands::resume::Resume),
    /// Show or change how much the controller does by itself
    Mode(commands::mode::ModeArgs),
    /// Show or replace the controller's policy
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// Show and check configuration
    #[command(subcommand)]
    Config(commands::config::Config),
    /// List, describe and fetch public data sets
    #[command(subcommand)]
    Dataset(commands::dataset::Dataset),
    /// Train models on data sets, judge, compare and register them
    #[command(subcommand)]
    Model(commands::model::Model),
    /// Time reads, writes and planning on this machine
    #[command(subcommand)]
    Bench(commands::bench::Bench),
    /// Load and faults for an hour: nothing may be lost, nothing may grow
    Soak(commands::soak::Soak),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let line = ["isobar", "kv", "get", "orders", "k", "-o", "json", "--connect", "a:1,b:2"];
        let cli = Cli::try_parse_from(line).expect("a legal line");
        assert_eq!(cli.global.output, Format::Json);
        assert_eq!(cli.global.connect, ["a:1", "b:2"]);
        let line = ["isobar", "--timeout", "250ms", "node-list"];
        let cli = Cli::try_parse_from(line).expect("a legal line");
        assert_eq!(cli.global.timeout, Some(250));
    }

    #[test]
    fn misuse_is_refused() {
        for line in [
            &["isobar", "kv"][..],
            &["isobar", "kv", "put", "orders", "k"],
            &["isobar", "kv", "put", "orders", "k", "v", "--value-file", "f"],
            &["isobar", "plan", "why", "x"],
            &["isobar", "pause", "cluster"],
            &["isobar", "mode", "run"],
            &["isobar", "node-list", "--timeout", "soon"],
            &["isobar", "table", "create", "t", "--ack", "none"],
        ] {
            let error = Cli::try_parse_from(line).expect_err("misused");
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
