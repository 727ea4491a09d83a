//! `isobar bench`: starts servers, loads them or leaves them alone, shows what was measured, leaves nothing behind.

mod disk;
mod floors;
mod idle;
mod levels;
mod overload;
mod restart;
mod results;
mod runs;
mod servers;
mod show;

use crate::{
    commands::bench::{Connections, Kv, Peer, Skew},
    failure::{Exit, INTERRUPTED, Outcome},
    processes::{self, stop_on_signal},
    screen::Screen,
};
pub(crate) use idle::idle;
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::work::{Rows, TraceRows, Work};
use isobar_datasets::{read_trace, recorded_trace, ycsb::Distribution};
pub(crate) use levels::levels;
pub(crate) use overload::overload;
pub(crate) use restart::restart;
use results::{Machine, Results};
use runs::Runs;
use servers::{Kind, Servers};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(5);
/// Accesses of a trace that are kept in memory.
const ACCESSES_MAX: usize = 1_000_000;

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn kv(args: &Kv, screen: &mut Screen<'_>) -> Outcome {
    let kinds = kinds(args);
    kinds.iter().try_for_each(|kind| kind.check_installed())?;
    let rows = rows(args)?;
    let stop = stop_on_signal()?;
    let folder = temporary_folder(screen)?;
    let measured = with_servers(&stop, screen, async |servers, screen| {
        measure(args, &kinds, &rows, folder.path(), servers, screen).await
    })
    .await;
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
    match finish(folder, measured, screen)? {
        Ok(results) => show::show(args, &results, screen),
        Err(interrupted) => Ok(interrupted),
    }
}

/// Measures, and stops whatever servers there are by then. None: the user stopped it.
async fn with_servers<T>(
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
    measure: impl AsyncFnOnce(&mut Vec<Servers>, &mut Screen<'_>) -> Result<T, ApiError>,
) -> Result<Option<T>, ApiError> {
    let mut servers = Vec::new();
    let measured = tokio::select! {
        measured = measure(&mut servers, screen) => measured.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    processes::stop_all(servers.into_iter().flat_map(Servers::into_processes), GRACE).await;
    measured
}

/// Removes the files. What was measured, or the exit code if the user stopped it.
fn finish<T>(
    folder: TempDir,
    measured: Result<Option<T>, ApiError>,
    screen: &mut Screen<'_>,
) -> Result<Result<T, Exit>, ApiError> {
    if let Err(why) = folder.close() {
        screen.say(&format!("warning: the temporary folder could not be removed: {why}"));
    }
    Ok(measured?.ok_or_else(|| {
        screen.say("interrupted; all processes are stopped");
        INTERRUPTED
    }))
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
fn temporary_folder(screen: &mut Screen<'_>) -> Result<TempDir, ApiError> {
    let folder = tempfile::Builder::new()
        .prefix("isobar-bench-")
        .tempdir()
        .map_err(|why| ApiError::new(ErrorCode::File, format!("a temporary folder: {why}")))?;
    if let Some(remark) = disk::remark(folder.path()) {
        screen.say(&remark);
    }
    Ok(folder)
}

/// The name of a system in the results: its servers, and how it is connected to.
fn system_name(kind: Kind, how: Connections) -> String {
    match how {
        Connections::Shared => kind.name().into(),
        Connections::Own => format!("{}-own", kind.name()),
    }
}
