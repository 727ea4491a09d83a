//! `isobar bench kv` and `bench idle`: start servers, load them or leave them alone, show what was measured, leave nothing
//! behind.

mod disk;
mod floors;
mod idle;
mod restart;
mod results;
mod runs;
mod servers;
mod show;

use crate::{
    commands::bench::{Connections, Kv, Peer, Skew},
    failure::{INTERRUPTED, Outcome},
    processes::{self, stop_on_signal},
    screen::Screen,
};
pub(crate) use idle::idle;
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::work::{Rows, TraceRows, Work};
use isobar_datasets::{read_trace, recorded_trace, ycsb::Distribution};
pub(crate) use restart::restart;
use results::{Machine, Results};
use runs::Runs;
use servers::{Kind, Servers};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

const GRACE: Duration = Duration::from_secs(5);
/// Accesses of a trace that are kept in memory.
const ACCESSES_MAX: usize = 1_000_000;

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn kv(args: &Kv, screen: &mut Screen<'_>) -> Outcome {
    let kinds = kinds(args);
    kinds.iter().try_for_each(|kind| kind.check_installed())?;
    let rows = rows(args)?;
    let stop = stop_on_signal()?;
    let folder = temporary_folder()?;
    if let Some(remark) = disk::remark(folder.path()) {
        screen.say(&remark);
    }
    let mut servers = Vec::new();
    let measured = tokio::select! {
        measured = measure(args, &kinds, &rows, folder.path(), &mut servers, screen) => measured.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    processes::stop_all(servers.into_iter().flat_map(Servers::into_processes), GRACE).await;
    let measured = match measured {
        // The floors block, so they look for themselves whether to stop. Nothing else runs meanwhile.
        Ok(Some(mut results)) => {
            let floors = floors::measure(args, &rows, folder.path(), &stop, screen).await;
            floors.map(|floors| {
                results.floors = floors;
                (!stop.is_cancelled()).then_some(results)
            })
        }
        other => other,
    };
    let removed = folder.close();
    if let Err(why) = removed {
        screen.say(&format!("warning: the temporary folder could not be removed: {why}"));
    }
    match measured? {
        Some(results) => show::show(args, &results, screen),
        None => {
            screen.say("interrupted; all processes are stopped");
            Ok(INTERRUPTED)
        }
    }
}

/// Starts the servers and runs all rounds. What was started is in `servers` at any time.
async fn measure(
    args: &Kv,
    kinds: &[Kind],
    rows: &Rows,
    folder: &Path,
    servers: &mut Vec<Servers>,
    screen: &mut Screen<'_>,
) -> Result<Results, ApiError> {
    let bar = screen.progress(kinds.len() as u64, "{msg:40} {bar:30} {pos}/{len}");
    for kind in kinds {
        bar.set_message(format!("starting and loading {}", kind.name()));
        servers.push(Servers::start(*kind, folder, args.engine)?);
        let started = servers.last_mut().expect("it was just added");
        started.prepare(args, rows).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Runs::connect(args, rows, servers).await?.all(screen).await
}

/// What to start: Isobar first.
fn kinds(args: &Kv) -> Vec<Kind> {
    let mut kinds = vec![Kind::Isobar];
    for peer in &args.against {
        let more: &[Kind] = match peer {
            Peer::Etcd => &[Kind::Etcd],
            Peer::Redis => &[Kind::Redis, Kind::RedisWait],
        };
        kinds.extend(more.iter().filter(|kind| !kinds.contains(kind)).copied().collect::<Vec<_>>());
    }
    kinds
}

fn rows(args: &Kv) -> Result<Rows, ApiError> {
    let trace = match (args.work.contains(&Work::Trace), &args.trace) {
        (false, _) => TraceRows::default(),
        (true, None) => TraceRows::new(&recorded_trace()),
        (true, Some(path)) => TraceRows::new(&read_trace(path, ACCESSES_MAX)?),
    };
    let skew = match args.skew {
        Skew::Uniform => Distribution::Uniform,
        Skew::Zipfian => Distribution::Zipfian,
    };
    Ok(Rows {
        count: args.keys.max(trace.rows()),
        value_bytes: args.value_bytes,
        skew,
        seed: args.seed,
        trace: Arc::new(trace),
    })
}

/// Where data, configuration and logs of all servers are.
fn temporary_folder() -> Result<TempDir, ApiError> {
    let folder = tempfile::Builder::new().prefix("isobar-bench-").tempdir();
    folder.map_err(|why| ApiError::new(ErrorCode::File, format!("a temporary folder: {why}")))
}

/// The name of a system in the results: its servers, and how it is connected to.
fn system_name(kind: Kind, how: Connections) -> String {
    match how {
        Connections::Shared => kind.name().into(),
        Connections::Own => format!("{}-own", kind.name()),
    }
}
