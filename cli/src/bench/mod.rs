//! The cluster that `isobar bench kv` measures, and the runs on it.

use crate::{
    commands::bench::Kv,
    failure::Outcome,
    processes::{self, Process, ProcessSpec},
    screen::Screen,
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region,
    table::{AckLevel, TableRule, TableSpec, key_to_text},
};
use isobar_benches::{
    cpu::process_cpu,
    load::{self, Figures, Load, Work},
};
use isobar_client::{Client, ClientConfig, TableHandle};
use isobar_node::NodeConfig;
use serde::Serialize;
use std::{path::Path, time::Duration};

const NODES: u64 = 3;
const READY_WITHIN: Duration = Duration::from_secs(30);

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
struct Run {
    work: Work,
    shards: u64,
    clients: usize,
    #[serde(flatten)]
    figures: Figures,
    /// CPU of the three nodes together for one operation.
    node_cpu_us_per_op: f64,
    /// CPU of this process for one operation.
    client_cpu_us_per_op: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
struct Report {
    nodes: u64,
    replicas: u8,
    engine: &'static str,
    fsync: bool,
    profile: &'static str,
    cores: usize,
    keys: u64,
    value_bytes: usize,
    seconds: u64,
    runs: Vec<Run>,
}

/// Starts three nodes, loads them, stops them.
pub(crate) async fn kv(args: &Kv, screen: &mut Screen<'_>) -> Outcome {
    let folder = tempfile::Builder::new().prefix("isobar-bench-").tempdir();
    let folder = folder
        .map_err(|why| ApiError::new(ErrorCode::File, format!("a temporary folder: {why}")))?;
    let (mut nodes, seeds) = start_nodes(folder.path())?;
    let measured = measure(args, &mut nodes, seeds, screen).await;
    processes::stop_all(nodes, Duration::from_secs(5)).await;
    let report = measured?;
    screen.show(&report, describe)
}

fn start_nodes(folder: &Path) -> Result<(Vec<Process>, Vec<String>), ApiError> {
    let addresses = processes::free_addresses(NODES as usize)?;
    let seeds: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut nodes = Vec::new();
    for (node, address) in (1..=NODES).zip(addresses) {
        let config = NodeConfig {
            node_id: NodeId(node),
            listen: address,
            data_dir: folder.join(format!("node-{node}")),
            region: Region::new("local").expect("a legal name"),
            zone: format!("z{node}"),
            seeds: seeds.clone(),
            founders: (1..=NODES).map(NodeId).collect(),
            ..NodeConfig::default()
        };
        let file = folder.join(format!("node-{node}.toml"));
        std::fs::write(&file, processes::node_toml(&config)?)
            .map_err(|why| ApiError::new(ErrorCode::File, format!("{}: {why}", file.display())))?;
        let log = folder.join(format!("node-{node}.log"));
        let spec = ProcessSpec::of_config(&format!("node n{node}"), "node", &file, log, address);
        nodes.push(Process::start(spec)?);
    }
    Ok((nodes, seeds))
}

async fn measure(
    args: &Kv,
    nodes: &mut [Process],
    seeds: Vec<String>,
    screen: &mut Screen<'_>,
) -> Result<Report, ApiError> {
    for node in nodes.iter_mut() {
        node.wait_ready(READY_WITHIN).await?;
    }
    let client = Client::connect(ClientConfig::with_seeds(seeds)).await?;
    let mut report = Report {
        nodes: NODES,
        replicas: 3,
        engine: "rocksdb",
        fsync: true,
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        keys: args.keys,
        value_bytes: args.value_bytes,
        seconds: args.seconds,
        runs: Vec::new(),
    };
    for &shards in &args.shards {
        let table = make_table(&client, shards, args.keys).await?;
        let mut load = Load {
            work: Work::Write,
            clients: 1,
            length: Duration::from_secs(args.seconds),
            keys: args.keys,
            value_bytes: args.value_bytes,
            seed: args.seed,
        };
        load::preload(&table, &load).await?;
        for work in [Work::Write, Work::Read] {
            for &clients in &args.clients {
                load = Load { work, clients, ..load };
                let run = one_run(&table, &load, shards, nodes).await;
                screen.say(&line(&run));
                report.runs.push(run);
            }
        }
    }
    Ok(report)
}

async fn make_table(client: &Client, shards: u64, keys: u64) -> Result<TableHandle, ApiError> {
    let name = format!("bench-{shards}");
    let cut = |n| key_to_text(&load::key(n * keys / shards));
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 5, ack: AckLevel::Majority };
    let split_keys = (1..shards.max(1)).map(cut).collect();
    client
        .create_table(&TableSpec { name: name.clone(), rule, split_keys, placed_like: None })
        .await?;
    client.table(&name).await
}

async fn one_run(table: &TableHandle, load: &Load, shards: u64, nodes: &[Process]) -> Run {
    let of_nodes = || -> Duration {
        let ids = nodes.iter().filter_map(Process::id);
        ids.filter_map(|id| process_cpu(id).ok()).sum()
    };
    let own = || process_cpu(std::process::id()).unwrap_or_default();
    let before = (of_nodes(), own());
    let figures = load::run(std::slice::from_ref(table), load).await;
    let used = (of_nodes().saturating_sub(before.0), own().saturating_sub(before.1));
    let per_op = |used: Duration| used.as_secs_f64() * 1e6 / (figures.operations.max(1)) as f64;
    Run {
        work: load.work,
        shards,
        clients: load.clients,
        node_cpu_us_per_op: per_op(used.0),
        client_cpu_us_per_op: per_op(used.1),
        figures,
    }
}

fn line(run: &Run) -> String {
    let work = match run.work {
        Work::Write => "write",
        Work::Read => "read",
    };
    format!(
        "{work:<5} {:>3} shards {:>3} clients  {:>8.0} ops/s  p50 {:>7.2} ms  p99 {:>7.2} ms  cpu/op {:>6.0} us nodes + {:>5.0} us client  {} errors",
        run.shards,
        run.clients,
        run.figures.ops_per_s,
        run.figures.p50_ms,
        run.figures.p99_ms,
        run.node_cpu_us_per_op,
        run.client_cpu_us_per_op,
        run.figures.errors,
    )
}

fn describe(report: &Report) -> String {
    let mut text = format!(
        "{} nodes on {} cores, {} replicas, {}, fsync on, {}-byte values, {} keys, {} s a run, closed loop, profile {}\n",
        report.nodes,
        report.cores,
        report.replicas,
        report.engine,
        report.value_bytes,
        report.keys,
        report.seconds,
        report.profile,
    );
    for run in &report.runs {
        text.push_str(&line(run));
        text.push('\n');
    }
    text
}
