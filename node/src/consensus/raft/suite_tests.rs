//! openraft's own suite of storage tests: our log and our state machine together, over each engine.

use super::{
    log_store::RaftLogStore,
    log_store_tests::{SMALL, on_disk, redb},
    log_tail::TailLimits,
    shared_log::{FlusherConfig, SharedLog},
    types::TypeConfig,
};
use crate::{
    engine::{BlockCache, Engine, MemoryEngine, RocksConfig, RocksEngine},
    shard::{ShardStateMachine, tests as shards},
};
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

type Store = RaftLogStore<TypeConfig>;
/// Keeps files alive; the log's engine; the state's.
type Engines<G> = (G, Arc<dyn Engine>, Arc<dyn Engine>);

/// New engines for each test of the suite.
struct Builder<F>(F, TailLimits);

impl<G: Send + Sync, F: Fn() -> Engines<G> + Send + Sync>
    StoreBuilder<TypeConfig, Store, ShardStateMachine, G> for Builder<F>
{
    async fn build(&self) -> Result<(G, Store, ShardStateMachine), StorageError<TypeConfig>> {
        let (guard, log, state) = self.0();
        let machine = shards::unapplied(&state);
        let log = SharedLog::open(log, Some(state), FlusherConfig::default()).unwrap();
        let store = Store::open_with(&log, shards::SHARD.0, None, self.1).await.unwrap();
        Ok((guard, store, machine))
    }
}

#[tokio::test]
async fn openraft_suite_on_memory() {
    let engine = || Arc::new(MemoryEngine::new()) as Arc<dyn Engine>;
    // With little of the log in memory, so that the suite reads the engine, and with all of it.
    for limits in [SMALL, TailLimits::default()] {
        Suite::test_all(Builder(|| ((), engine(), engine()), limits)).await.unwrap();
    }
}

type Open = fn(&Path) -> Arc<dyn Engine>;

/// New directories with an engine each.
fn engines(log: Open, state: Open) -> Engines<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let (log, state) = (log(&dir.path().join("log")), state(&dir.path().join("state")));
    (dir, log, state)
}

#[tokio::test]
async fn openraft_suite_on_segments_and_rocksdb() {
    let rocks = |dir: &Path| {
        let state = RocksEngine::open(dir, &RocksConfig::default(), &BlockCache::new(8 << 20));
        Arc::new(state.unwrap()) as Arc<dyn Engine>
    };
    Suite::test_all(Builder(|| engines(on_disk, rocks), SMALL)).await.unwrap();
}

#[tokio::test]
async fn openraft_suite_on_segments_and_redb() {
    Suite::test_all(Builder(|| engines(on_disk, redb), SMALL)).await.unwrap();
}

/// Nodes keep no log in redb; it must be able to, as any engine.
#[tokio::test]
async fn openraft_suite_on_redb_alone() {
    Suite::test_all(Builder(|| engines(redb, redb), SMALL)).await.unwrap();
}
