//! `isobar bench`: timings on this machine. Figures are reported, nothing is asserted.

use crate::{args::Global, commands::durable_engine, failure::Outcome, screen::Screen};
use clap::{Args, Subcommand, ValueEnum, builder::RangedU64ValueParser, value_parser};
use isobar_api::{limits, table::AckLevel};
use isobar_benches::work::Work;
use isobar_client::ReadLevel;
use isobar_node::config::{EngineKind, RaftTiming};
use std::{path::PathBuf, time::Duration};

/// What to time.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Reads and writes against servers started for it, with fsync on: Isobar's, and its peers' if asked for
    Kv(Box<Kv>),
    /// What shards cost that nobody uses: processor, memory, time to wake, time to start
    Idle(Idle),
    /// What each level of acknowledging writes, and of reading, takes
    Levels(Levels),
    /// More load than three nodes started for it can carry: what is answered, what is refused, how long it takes
    Overload(Overload),
    /// Plans per second for a made-up cluster
    Planner(Planner),
    /// Time to start again after kill -9, with more and more history behind it
    Restart(Restart),
}

/// Three nodes with many shards and no load.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Starts three nodes, makes one table of that many shards with a replica on each node, waits until all groups sleep, and then
measures. With `-o json` stdout is one JSON document. What is measured and how: docs/src/performance.md.")]
pub struct Idle {
    /// Shards
    #[arg(long, default_value_t = 1_000,
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: u64,
    /// Time over which the processor is measured
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Milliseconds after which an unused group sleeps; 0: none ever does
    #[arg(long, default_value_t = RaftTiming::default().quiesce_after_ms, value_name = "MILLISECONDS")]
    pub quiesce_after_ms: u64,
}

/// Load on servers that are started for it and removed afterwards.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Every system gets the same requests. Runs are interleaved: each round runs all systems, one after the other.
With `-o json` the last line of stdout is one JSON document. What is measured and how: docs/src/performance.md.")]
pub struct Kv {
    /// Peers to measure side by side; `etcd` and `redis-server` must be installed
    #[arg(long, value_delimiter = ',', value_name = "PEER,...")]
    pub against: Vec<Peer>,
    /// Kinds of work: write, read, ycsb-a to ycsb-f, trace
    #[arg(long, value_delimiter = ',', default_value = "write,read", value_name = "WORK,...")]
    pub work: Vec<Work>,
    /// Length of all rounds of one system at one kind of work together
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Rounds that the seconds are shared out to
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Clients; each has one request in flight, unless a rate is given
    #[arg(long, default_value_t = 64,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    pub clients: usize,
    /// Ways of connecting: one handle that all clients share, or one of its own for each
    #[arg(long, value_delimiter = ',', default_value = "shared,own", value_name = "WAY,...")]
    pub connections: Vec<Connections>,
    /// Requests that come per second, answered or not (open loop), instead of as fast as answers allow
    #[arg(long, value_name = "PER_SECOND", value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// Which rows `write` and `read` touch
    #[arg(long, value_enum, default_value = "uniform")]
    pub skew: Skew,
    /// Rows that are loaded first
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..100_000_000))]
    pub keys: u64,
    /// Length of a value
    #[arg(long, default_value_t = 256,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::VALUE_BYTES_MAX as u64))]
    pub value_bytes: usize,
    /// Access trace that `trace` follows, instead of the recorded one; at most a million accesses of it
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Shards that Isobar spreads the rows over
    #[arg(long, default_value_t = 1,
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: u64,
    /// Storage engine of Isobar's nodes
    #[arg(long, default_value = "rocksdb", value_parser = durable_engine())]
    pub engine: EngineKind,
    /// When Isobar acknowledges a write: majority, all, leader or a number of voters
    #[arg(long, default_value = "majority", value_name = "LEVEL")]
    pub ack: AckLevel,
    /// How Isobar reads: linearizable, bounded:MILLISECONDS or local
    #[arg(long, default_value = "linearizable", value_name = "LEVEL")]
    pub read: ReadLevel,
    /// Seed of requests and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The same load at each level.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Three nodes of their own for each level. Writes at each level of acknowledging; reads at each level, alone and, at a rate of
their own, among writes. With `-o json` the last line of stdout is one JSON document.
What is measured and how: docs/src/performance.md.")]
pub struct Levels {
    /// Length of all rounds of one level at one kind of work together
    #[arg(long, default_value_t = 6, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Rounds that the seconds are shared out to
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Clients; each has one request in flight
    #[arg(long, default_value_t = 64,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    pub clients: usize,
    /// Requests per second of the mixed work, answered or not: 95 reads of a hundred, the rest writes
    #[arg(long, default_value_t = 5_000, value_name = "PER_SECOND",
        value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub mixed_rate: u64,
    /// Rows that are loaded first
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..100_000_000))]
    pub keys: u64,
    /// Length of a value
    #[arg(long, default_value_t = 256,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::VALUE_BYTES_MAX as u64))]
    pub value_bytes: usize,
    /// Shards that the rows are spread over
    #[arg(long, default_value_t = 1,
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: u64,
    /// Seed of requests and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Load beyond what the cluster can do, on servers that are started for it and removed afterwards.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Each round begins with both peaks: of a closed loop, and of an open loop at the load beyond which answers become no more.
The loads are so many times the open peak, offered in an open loop. Requests that are tried again count once. With `-o json` the last line of stdout is one JSON document.
What is measured and how: docs/src/performance.md.")]
pub struct Overload {
    /// Kinds of work: write, read, ycsb-a to ycsb-f
    #[arg(long, value_delimiter = ',', default_value = "write,read", value_name = "WORK,...")]
    pub work: Vec<Work>,
    /// Loads, in times the peak; the others are compared with 0.5
    #[arg(long, value_delimiter = ',', default_value = "0.5,1,2,4", value_name = "TIMES,...",
        value_parser = load)]
    pub loads: Vec<f64>,
    /// Length of each load in each round
    #[arg(long, default_value_t = 5, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Clients of the cluster, each with connections of its own, that the requests are shared out to
    #[arg(long, default_value_t = 4,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    pub handles: usize,
    /// Rows that are loaded first
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..100_000_000))]
    pub keys: u64,
    /// Length of a value
    #[arg(long, default_value_t = 256,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::VALUE_BYTES_MAX as u64))]
    pub value_bytes: usize,
    /// Shards that the rows are spread over
    #[arg(long, default_value_t = 1,
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: u64,
    /// Seed of requests and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn load(text: &str) -> Result<f64, String> {
    let times = text.parse().ok().filter(|times: &f64| (0.01..=100.0).contains(times));
    times.ok_or_else(|| "a load is 0.01 to 100 times the peak".into())
}

/// A system to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Three members, as they come.
    Etcd,
    /// With an append-only file and `appendfsync always`: alone, and with two replicas and `WAIT 1`.
    Redis,
}

/// How clients share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Connections {
    /// One handle for all clients
    Shared,
    /// A handle for each client
    Own,
}

/// Which rows are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Skew {
    /// Each as often as any other
    Uniform,
    /// A few very often
    Zipfian,
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

/// A cluster that is killed and started again as its history grows; its rows stay the same.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Time to start: until every node is ready, and until a linearizable read of every shard is answered.
With `-o json` the last line of stdout is one JSON document. What was seen: docs/src/performance.md.")]
pub struct Restart {
    /// Rows; each is written once by the first history
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub keys: u64,
    /// Histories, as how often every row was written
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "TIMES,...",
        value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub histories: Vec<u64>,
    /// Starts at each history
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Length of a value
    #[arg(long, default_value_t = 256,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::VALUE_BYTES_MAX as u64))]
    pub value_bytes: usize,
    /// Nodes; every one holds every shard
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// Shards that the rows are spread over
    #[arg(long, default_value_t = 4,
        value_parser = value_parser!(u64).range(1..=u64::from(limits::INITIAL_SHARDS_MAX)))]
    pub shards: u64,
    /// Storage engine of the nodes
    #[arg(long, default_value = "rocksdb", value_parser = durable_engine())]
    pub engine: EngineKind,
    /// Log entries of a shard after which its rows are made durable and the log before is dropped
    #[arg(long, default_value_t = 10_000, value_name = "ENTRIES",
        value_parser = value_parser!(u64).range(100..))]
    pub checkpoint_entries: u64,
    /// Seed of the values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the command.
pub async fn run(bench: Bench, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match bench {
        Bench::Kv(args) => crate::bench::kv(&args, screen).await,
        Bench::Idle(args) => crate::bench::idle(&args, screen).await,
        Bench::Restart(args) => crate::bench::restart(&args, screen).await,
        Bench::Levels(args) => crate::bench::levels(&args, screen).await,
        Bench::Overload(args) => crate::bench::overload(&args, screen).await,
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
