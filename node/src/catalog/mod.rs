//! Tables: their definitions live in the meta shard, a shard like any other; every node keeps a copy.
//!
//! ```text
//! create table ──► CAS "table/NAME" (creating, with first placement) in the meta shard
//!                     └─► make the replicas on their nodes ──► leaders stand ──► CAS (ready)
//! ```
//! Whoever leads the meta shard drives tables that stayed behind in `creating`.

mod create;
mod founding;
mod meta;
mod placement;

pub use founding::{ClusterAdmission, Founding};
pub use meta::MetaClient;
pub use placement::{Placement, place};

use crate::registry::Registry;
use isobar_api::{
    ApiError, ErrorCode, ShardId, TableId, Version,
    table::{TableInfo, TableState},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The meta shard.
pub const META_SHARD: ShardId = ShardId(1);
/// The system table it belongs to.
pub const META_TABLE: TableId = TableId(0);
/// The system table's name.
pub const META_TABLE_NAME: &str = "system";

const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// All definitions are read so often even if nothing tells of a change: a node of an earlier build notes none.
const READ_ALL_EVERY: Duration = Duration::from_secs(60);
/// A row of the meta shard that is written together with each change of a table: its version is that of all definitions.
/// They may be large (the first placement of a thousand shards), and every node looks every second.
const CHANGED_KEY: &[u8] = b"tables-changed";

/// A table as the meta shard stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    pub(crate) info: TableInfo,
    /// Where its first shards were put.
    pub(crate) placements: Vec<Placement>,
}

/// The node's copy of the table definitions, and the way to change them. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    meta: MetaClient,
    registry: Registry,
    known: Arc<RwLock<Known>>,
}

/// The copy.
#[derive(Default)]
struct Known {
    tables: BTreeMap<TableId, TableInfo>,
    /// As of which change they were read, and when.
    read: Option<(Version, Instant)>,
}

impl Catalog {
    /// An empty copy; [`Self::run`] keeps it fresh.
    pub fn new(meta: MetaClient, registry: Registry) -> Self {
        Self { meta, registry, known: Arc::default() }
    }

    /// Tables known here, by id.
    pub fn tables(&self) -> Vec<TableInfo> {
        self.known().tables.values().cloned().collect()
    }

    /// A table's name, for people.
    pub fn name_of(&self, table: TableId) -> String {
        if table == META_TABLE {
            return META_TABLE_NAME.to_owned();
        }
        self.known().tables.get(&table).map_or_else(|| table.to_string(), |t| t.spec.name.clone())
    }

    /// A table by name.
    pub fn by_name(&self, name: &str) -> Option<TableInfo> {
        self.known().tables.values().find(|t| t.spec.name == name).cloned()
    }

    /// The way to the meta shard.
    pub fn meta(&self) -> &MetaClient {
        &self.meta
    }

    /// Reads the definitions from the meta shard, if any has changed. Stale ones do no harm: requests carry epochs.
    pub async fn refresh(&self) -> Result<(), ApiError> {
        // Before the definitions: what changes in between is read again the next time.
        let changed = self.meta.get(CHANGED_KEY).await?.map(|(_, version)| version);
        let now = Instant::now();
        let known = self.known().read;
        if let Some((version, read)) = known
            && changed == Some(version)
            && now < read + READ_ALL_EVERY
        {
            return Ok(());
        }
        let mut fresh = BTreeMap::new();
        for record in self.records().await? {
            fresh.insert(record.info.table_id, record.info);
        }
        let known = Known { tables: fresh, read: changed.zip(Some(now)) };
        *self.known.write().expect("no holder of this lock panics") = known;
        Ok(())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("no holder of this lock panics")
    }

    /// Writes a table's record if it still has the expected version; answers whether it did.
    async fn write_record(
        &self,
        key: &[u8],
        record: Vec<u8>,
        expected: Version,
    ) -> Result<bool, ApiError> {
        self.meta.compare_and_set_noted(key, record, expected, CHANGED_KEY).await
    }

    pub(crate) async fn records(&self) -> Result<Vec<TableRecord>, ApiError> {
        let rows = self.meta.scan_prefix(b"table/").await?;
        let decode = |(_, value, _): (_, Vec<u8>, _)| {
            serde_json::from_slice(&value)
                .map_err(|why| ApiError::new(ErrorCode::Internal, format!("table record: {why}")))
        };
        rows.into_iter().map(decode).collect()
    }

    /// Keeps the copy fresh, and, on the meta shard's leader, finishes tables that are not ready.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.run_always()).await;
    }

    async fn run_always(&self) {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "table definitions not refreshed");
                continue;
            }
            let leads = self.registry.get(META_SHARD).is_some_and(|meta| meta.is_leader());
            let waiting = self.tables().iter().any(|t| t.state == TableState::Creating);
            if leads
                && waiting
                && let Err(error) = self.finish_creating().await
            {
                tracing::warn!(%error, "a table is not ready yet");
            }
        }
    }
}
