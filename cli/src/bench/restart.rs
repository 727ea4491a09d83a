//! `isobar bench restart`: whether the time to start depends on what was ever written, or on the checkpoint interval.

use super::{GRACE, servers::isobar, temporary_folder};
use crate::{
    commands::bench::Restart,
    failure::{DONE, Failure, INTERRUPTED, Outcome, file_error},
    processes::{self, Process, ProcessSpec, stop_on_signal},
    screen::{Screen, table},
    units::show_bytes,
};
use isobar_api::{
    ApiError, ErrorCode,
    table::{AckLevel, TableRule, TableSpec, key_to_text},
};
use isobar_benches::{
    drivers::{Handle, IsobarDriver},
    load::preload,
    report::Spread,
    work::{Rows, TraceRows},
};
use isobar_client::{Client, ClientConfig, ReadLevel};
use isobar_datasets::ycsb::Distribution;
use isobar_node::{NodeConfig, config::RaftTiming};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const TABLE: &str = "bench";
/// No longer than a client may wait.
const READY_WITHIN: Duration = Duration::from_secs(300);
const REPLAYED: &str = "isobar_log_entries_replayed";
/// Between two looks at a metric that is not there yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a start after one history took.
#[derive(Serialize)]
struct History {
    /// How often every row was written.
    times: u64,
    /// Writes so far.
    writes: u64,
    /// Files of the log of the first node when it was killed, bytes.
    log_bytes: u64,
    /// Files of its rows, bytes.
    state_bytes: u64,
    /// Log entries that one node's rows were behind; the most of all nodes, in each round.
    entries_replayed: Spread,
    /// From the start of the processes until every node is ready, milliseconds.
    ready_ms: Spread,
    /// The same until every shard has answered a linearizable read.
    served_ms: Spread,
}

/// The document of `-o json`.
#[derive(Serialize)]
struct Document<'a> {
    cores: usize,
    profile: &'static str,
    engine: &'static str,
    nodes: u8,
    shards: u64,
    keys: u64,
    value_bytes: usize,
    checkpoint_entries: u64,
    histories: &'a [History],
}

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn restart(args: &Restart, screen: &mut Screen<'_>) -> Outcome {
    let stop = stop_on_signal()?;
    let folder = temporary_folder(screen)?;
    let mut processes = Vec::new();
    let measured = tokio::select! {
        measured = measure(args, folder.path(), &mut processes, screen) => measured.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    processes::stop_all(processes, GRACE).await;
    if let Err(why) = folder.close() {
        screen.say(&format!("warning: the temporary folder could not be removed: {why}"));
    }
    match measured? {
        Some(histories) => show(args, &histories, screen),
        None => {
            screen.say("interrupted; all processes are stopped");
            Ok(INTERRUPTED)
        }
    }
}

async fn measure(
    args: &Restart,
    folder: &Path,
    processes: &mut Vec<Process>,
    screen: &mut Screen<'_>,
) -> Result<Vec<History>, ApiError> {
    let addresses = processes::free_addresses(args.nodes.into())?;
    let raft = RaftTiming { checkpoint_entries: args.checkpoint_entries, ..RaftTiming::default() };
    let settings = NodeConfig { engine: args.engine, raft, ..NodeConfig::default() };
    let specs = isobar::specs(folder, &addresses, &settings)?;
    let rows = |seed| Rows {
        count: args.keys,
        value_bytes: args.value_bytes,
        skew: Distribution::Uniform,
        seed,
        trace: TraceRows::default().into(),
    };
    let cuts = rows(args.seed).cuts(args.shards);
    start(&specs, processes).await?;
    let rule = TableRule {
        regions: vec![],
        replicas: args.nodes,
        replicas_max: 5,
        ack: AckLevel::Majority,
    };
    let split_keys = cuts.iter().map(|key| key_to_text(key)).collect();
    let spec = TableSpec { name: TABLE.into(), rule, split_keys, placed_like: None };
    client(&addresses).await?.create_table(&spec).await?;
    let mut wanted = args.histories.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let (mut histories, mut times) = (Vec::new(), 0);
    for history in wanted {
        let table = client(&addresses).await?.table(TABLE).await?;
        let handle: Handle = Arc::new(IsobarDriver::new(table, ReadLevel::Linearizable));
        while times < history {
            times += 1;
            preload(&handle, &rows(args.seed.wrapping_add(times))).await?;
        }
        drop(handle);
        let mut found = Vec::new();
        let mut sizes = (0, 0);
        for _ in 0..args.rounds {
            kill(processes).await;
            let of_first = folder.join("node-1");
            sizes = (files_bytes(&of_first.join("log"))?, files_bytes(&of_first.join("state"))?);
            found.push(time_start(&specs, &addresses, &cuts, processes).await?);
        }
        screen.say(&format!("every row written {times} times: started {} times", found.len()));
        let spread = |of: fn(&Started) -> f64| {
            Spread::of(found.iter().map(of)).expect("there is at least one round")
        };
        histories.push(History {
            times,
            writes: times * args.keys,
            log_bytes: sizes.0,
            state_bytes: sizes.1,
            entries_replayed: spread(|started| started.entries_replayed),
            ready_ms: spread(|started| started.ready_ms),
            served_ms: spread(|started| started.served_ms),
        });
    }
    Ok(histories)
}

/// One start.
struct Started {
    entries_replayed: f64,
    ready_ms: f64,
    served_ms: f64,
}

async fn start(specs: &[ProcessSpec], processes: &mut Vec<Process>) -> Result<(), ApiError> {
    for spec in specs {
        processes.push(Process::start(spec.clone())?);
    }
    let all = processes.iter_mut().map(|process| process.wait_ready(READY_WITHIN));
    futures::future::try_join_all(all).await.map(|_| ())
}

/// All signals go before the first process is waited for.
async fn kill(processes: &mut Vec<Process>) {
    processes.iter().for_each(|process| process.signal(Signal::SIGKILL));
    processes::stop_all(processes.drain(..), GRACE).await;
}

async fn time_start(
    specs: &[ProcessSpec],
    addresses: &[SocketAddr],
    cuts: &[bytes::Bytes],
    processes: &mut Vec<Process>,
) -> Result<Started, ApiError> {
    let began = Instant::now();
    let elapsed_ms = || began.elapsed().as_secs_f64() * 1_000.0;
    start(specs, processes).await?;
    let ready_ms = elapsed_ms();
    let table = client(addresses).await?.table(TABLE).await?;
    for key in [bytes::Bytes::new()].iter().chain(cuts) {
        table.get(&key_at(key), ReadLevel::Linearizable).await?;
    }
    let served_ms = elapsed_ms();
    let mut entries_replayed: f64 = 0.0;
    for process in processes.iter_mut() {
        let replayed = loop {
            process.check()?;
            match process.metric(REPLAYED).await {
                Ok(replayed) => break replayed,
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        entries_replayed = entries_replayed.max(replayed);
    }
    Ok(Started { entries_replayed, ready_ms, served_ms })
}

/// A key of the shard that begins there; the first one begins before all keys.
fn key_at(cut: &[u8]) -> Vec<u8> {
    if cut.is_empty() { vec![0] } else { cut.to_vec() }
}

async fn client(addresses: &[SocketAddr]) -> Result<Client, ApiError> {
    let config = ClientConfig {
        request_timeout_ms: READY_WITHIN.as_millis() as u64,
        ..ClientConfig::with_seeds(addresses.iter().map(ToString::to_string))
    };
    Client::connect(config).await
}

/// Bytes of all files of a folder. Nobody changes them meanwhile.
fn files_bytes(folder: &Path) -> Result<u64, ApiError> {
    let failed = |why| file_error(folder, &why);
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        bytes += entry.and_then(|entry| entry.metadata()).map_err(failed)?.len();
    }
    Ok(bytes)
}

fn show(args: &Restart, histories: &[History], screen: &mut Screen<'_>) -> Outcome {
    let document = Document {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        engine: args.engine.name(),
        nodes: args.nodes,
        shards: args.shards,
        keys: args.keys,
        value_bytes: args.value_bytes,
        checkpoint_entries: args.checkpoint_entries,
        histories,
    };
    let text = describe(&document);
    if !screen.json {
        write!(screen.out, "{text}")?;
        return Ok(DONE);
    }
    screen.say(&text);
    let json = serde_json::to_string(&document).map_err(|why| {
        Failure::from(ApiError::new(ErrorCode::Internal, format!("making JSON: {why}")))
    })?;
    writeln!(screen.out, "{json}")?;
    Ok(DONE)
}

fn describe(document: &Document<'_>) -> String {
    let spread = |of: &Spread| format!("{:.0} ({:.0} to {:.0})", of.median, of.min, of.max);
    let row = |history: &History| {
        [
            history.times.to_string(),
            history.writes.to_string(),
            show_bytes(history.log_bytes),
            show_bytes(history.state_bytes),
            spread(&history.entries_replayed),
            spread(&history.ready_ms),
            spread(&history.served_ms),
        ]
    };
    let header = ["history", "writes", "log", "rows", "replayed", "ready ms", "served ms"];
    let rows: Vec<_> = document.histories.iter().map(row).collect();
    format!(
        "{} nodes on {}, {} rows of {} bytes in {} shards, a checkpoint each {} entries; profile {}\n\n{}",
        document.nodes,
        document.engine,
        document.keys,
        document.value_bytes,
        document.shards,
        document.checkpoint_entries,
        document.profile,
        table(header, &[0, 1, 2, 3, 4, 5, 6], rows)
    )
}
