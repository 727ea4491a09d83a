//! openraft's own suite of storage tests, over each engine.

use super::{
    log_store::{RaftLogStore, TailLimits},
    log_store_tests::{Config, SMALL, rocks, shared},
};
use crate::engine::{Engine, MemoryDisk};
use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use std::{io, sync::Arc};

type Store = RaftLogStore<Config>;
type Id = LogIdOf<Config>;

/// The least state machine the suite accepts: it remembers positions.
#[derive(Clone, Default)]
struct Positions {
    applied: Option<Id>,
    membership: StoredMembershipOf<Config>,
    snapshot: Arc<std::sync::Mutex<Option<SnapshotMetaOf<Config>>>>,
}

impl RaftSnapshotBuilder<Config> for Positions {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Config, ()>, io::Error> {
        let meta = SnapshotMetaOf::<Config> {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(SnapshotOf::<Config, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Config> for Positions {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<Id>, StoredMembershipOf<Config>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Config>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id());
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembershipOf::<Config>::new(self.applied, membership);
            }
            if let Some(responder) = responder {
                responder.send(String::new());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Config>,
        (): (),
    ) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Config, ()>>, io::Error> {
        let meta = self.snapshot.lock().unwrap().clone();
        Ok(meta.map(|meta| SnapshotOf::<Config, ()> { meta, snapshot: () }))
    }
}

/// Logs over one engine, each store another group, with little kept in memory, so that the suite reads both ways.
struct Builder<F>(F, TailLimits);

impl<G: Send + Sync, F: Fn() -> (G, Arc<dyn Engine>) + Send + Sync>
    StoreBuilder<Config, Store, Positions, G> for Builder<F>
{
    async fn build(&self) -> Result<(G, Store, Positions), StorageError<Config>> {
        let (guard, engine) = self.0();
        let log = shared(engine);
        let store = RaftLogStore::open_with(&log, 7, None, self.1).await.unwrap();
        Ok((guard, store, Positions::default()))
    }
}

#[tokio::test]
async fn openraft_suite_on_memory() {
    for limits in [SMALL, TailLimits::default()] {
        let builder =
            Builder(|| ((), Arc::new(MemoryDisk::new().open()) as Arc<dyn Engine>), limits);
        Suite::test_all(builder).await.unwrap();
    }
}

#[tokio::test]
async fn openraft_suite_on_rocksdb() {
    let builder = Builder(
        || {
            let dir = tempfile::tempdir().unwrap();
            let engine = rocks(dir.path());
            (dir, engine)
        },
        SMALL,
    );
    Suite::test_all(builder).await.unwrap();
}
