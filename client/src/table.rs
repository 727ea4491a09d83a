//! Rows of one table.

use crate::{
    core::Core,
    read,
    row::{Mutation, ReadLevel, Row, ScanPage, WriteOutcome},
    scan, write,
};
use bytes::Bytes;
use isobar_api::{ApiError, KeyRange, ShardEntry, Version, table::TableInfo};
use std::sync::Arc;
use tokio::time::Instant;

/// A table of a cluster. Cloning is cheap.
#[derive(Clone)]
pub struct TableHandle {
    core: Arc<Core>,
    info: Arc<TableInfo>,
    timeout_ms: Option<u64>,
}

impl std::fmt::Debug for TableHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableHandle").field("name", &self.info.spec.name).finish_non_exhaustive()
    }
}

impl TableHandle {
    pub(crate) fn new(core: Arc<Core>, info: Arc<TableInfo>) -> Self {
        Self { core, info, timeout_ms: None }
    }

    /// The same table with another time limit per operation, milliseconds.
    #[must_use]
    pub fn with_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// What the table is.
    pub fn info(&self) -> &TableInfo {
        &self.info
    }

    /// The shard that owns a key, as far as the cache knows.
    pub fn shard_of(&self, key: &[u8]) -> Option<ShardEntry> {
        self.core.cache.find(self.info.table_id, key)
    }

    /// One row.
    pub async fn get(&self, key: &[u8], level: ReadLevel) -> Result<Option<Row>, ApiError> {
        let mut rows = self.multi_get(&[key], level).await?;
        Ok(rows.pop().flatten())
    }

    /// Many rows, in the order of the keys. Each shard's rows are read at the asked level; rows of
    /// different shards may be of different moments.
    pub async fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        level: ReadLevel,
    ) -> Result<Vec<Option<Row>>, ApiError> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        read::multi_get(&self.core, &self.info, &keys, level, self.deadline()).await
    }

    /// Rows of a range in key order, at most `limit`, and not many more than 64 MiB of them; `resume`
    /// of the answer starts the next call.
    /// Each shard's page is read at the asked level; the whole is not a snapshot.
    pub async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        level: ReadLevel,
    ) -> Result<ScanPage, ApiError> {
        scan::scan(&self.core, &self.info, range, limit, level, self.deadline()).await
    }

    /// Sets a row; returns its new version.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Version, ApiError> {
        Ok(self.batch(&[Mutation::put(key, value)]).await?.version)
    }

    /// Deletes a row, if there is one.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Version, ApiError> {
        Ok(self.batch(&[Mutation::delete(key)]).await?.version)
    }

    /// Sets (or with `None` deletes) a row only if it has the expected version
    /// ([`Version::ABSENT`]: only if there is no row). See [`WriteOutcome::applied`].
    pub async fn compare_and_set(
        &self,
        key: impl Into<Bytes>,
        expected: Version,
        value: Option<Bytes>,
    ) -> Result<WriteOutcome, ApiError> {
        let mutation = Mutation { value, ..Mutation::delete(key) };
        self.batch(&[mutation.expecting(expected)]).await
    }

    /// Applies all mutations or none. All keys must lie in one shard.
    pub async fn batch(&self, mutations: &[Mutation]) -> Result<WriteOutcome, ApiError> {
        write::write(&self.core, &self.info, mutations, self.deadline()).await
    }

    fn deadline(&self) -> Instant {
        self.core.deadline(self.timeout_ms)
    }
}
