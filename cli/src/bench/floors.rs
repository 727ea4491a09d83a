//! What the machine could do at most, measured when the servers are gone.

use super::{
    results::Floors,
    runs::{TEMPLATE, round_length},
};
use crate::{commands::bench::Kv, screen::Screen};
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::{floor, report::Round, work::Rows};
use isobar_node::engine::{
    BlockCache, Engine, EngineError, RedbConfig, RedbEngine, RocksConfig, RocksEngine, Space,
    WriteBatch,
};
use std::{path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

/// A round needs no more to be known.
const LENGTH_MAX: Duration = Duration::from_secs(2);
const APPEND: &str = "append_4_kib_fdatasync";
const ROCKS_COMMIT: &str = "rocksdb_group_commit";
const REDB_COMMIT: &str = "redb_group_commit";
const ECHO: &str = "grpc_echo";

/// All floors in rounds like the systems; as many as were finished before the user stopped it.
pub(super) async fn measure(
    args: &Kv,
    rows: &Rows,
    folder: &Path,
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
) -> Result<Floors, ApiError> {
    let length = round_length(args).min(LENGTH_MAX);
    let bar = screen.progress(u64::from(args.rounds), TEMPLATE);
    let mut floors = Floors::new();
    for round in 1..=args.rounds {
        bar.set_message(format!("floors, round {round}"));
        for name in [APPEND, ROCKS_COMMIT, REDB_COMMIT, ECHO] {
            if stop.is_cancelled() {
                return Ok(floors);
            }
            let (path, rows) = (folder.join(format!("{name}-{round}")), rows.clone());
            let measured = match name {
                APPEND => blocking(move || floor::append(&path, length)).await?,
                ROCKS_COMMIT => blocking(move || group_commit(&path, rocks, &rows, length)).await?,
                REDB_COMMIT => blocking(move || group_commit(&path, redb, &rows, length)).await?,
                _ => floor::echo(&rows, length).await?,
            };
            floors.entry(name).or_default().push(measured);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(floors)
}

type Opened = Result<Box<dyn Engine>, EngineError>;

fn rocks(dir: &Path) -> Opened {
    Ok(Box::new(RocksEngine::open(dir, &RocksConfig::default(), &BlockCache::default())?))
}

fn redb(dir: &Path) -> Opened {
    Ok(Box::new(RedbEngine::open(dir, &RedbConfig::default())?))
}

/// Groups of writes into the engine of a node's log, each made durable by one fsync.
fn group_commit(
    dir: &Path,
    open: fn(&Path) -> Opened,
    rows: &Rows,
    length: Duration,
) -> Result<Round, ApiError> {
    let failed = |why: EngineError| {
        ApiError::new(why.code(), format!("{}: {}", dir.display(), why.message()))
    };
    let engine = open(dir).map_err(failed)?;
    floor::group_commit(
        rows,
        length,
        |index, value| {
            let mut batch = WriteBatch::new();
            batch.put(Space::Log, index.to_be_bytes(), value);
            engine.write(batch).map_err(failed)
        },
        || engine.sync().map_err(failed),
    )
}

async fn blocking(
    measure: impl FnOnce() -> Result<Round, ApiError> + Send + 'static,
) -> Result<Round, ApiError> {
    let done = tokio::task::spawn_blocking(measure).await;
    done.map_err(|why| ApiError::new(ErrorCode::Internal, format!("a floor: {why}")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_benches::work::TraceRows;
    use isobar_datasets::ycsb::Distribution;

    #[test]
    fn groups_go_through_the_engine() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let trace = TraceRows::default().into();
        let rows = Rows { count: 1, value_bytes: 256, skew: Distribution::Uniform, seed: 1, trace };
        let taken = dir.path().join("file");
        std::fs::write(&taken, "").expect("room");
        for (name, open) in [("rocks", rocks as fn(&Path) -> Opened), ("redb", redb)] {
            let length = Duration::from_millis(50);
            let round = group_commit(&dir.path().join(name), open, &rows, length).expect("room");
            assert!(round.samples.answered() >= floor::IN_FLIGHT as u64);
            assert!(group_commit(&taken, open, &rows, length).is_err());
        }
    }
}
