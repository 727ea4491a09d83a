//! Isobar through its client library.

use super::Driver;
use async_trait::async_trait;
use bytes::Bytes;
use isobar_api::{ApiError, KeyRange};
use isobar_client::{ReadLevel, TableHandle};

/// A table, read at one level.
#[derive(Clone, Debug)]
pub struct IsobarDriver {
    table: TableHandle,
    level: ReadLevel,
}

impl IsobarDriver {
    /// Drives this table.
    pub fn new(table: TableHandle, level: ReadLevel) -> Self {
        Self { table, level }
    }
}

#[async_trait]
impl Driver for IsobarDriver {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), ApiError> {
        self.table.put(key, value).await.map(|_| ())
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, ApiError> {
        Ok(self.table.get(&key, self.level).await?.map(|row| row.value))
    }

    async fn scan(&self, from: Bytes, rows: u32) -> Result<u64, ApiError> {
        let range = KeyRange { start: from.into(), end: Vec::new() };
        let page = self.table.scan(&range, rows as usize, self.level).await?;
        Ok(page.rows.len() as u64)
    }
}
