//! One driver for each system under load. A driver does what a careful user of the system would write, no more.

mod etcd;
mod isobar;
mod redis;

use async_trait::async_trait;
use bytes::Bytes;
pub use etcd::{EtcdDriver, leader as etcd_leader};
pub use isobar::IsobarDriver;
use isobar_api::ApiError;
pub use redis::{RedisDriver, RedisOptions, ask as ask_redis};
use std::sync::Arc;

/// A connection to a system, as many tasks as wish on it at once.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Sets a key. Returns when the write is as durable as the system makes it.
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), ApiError>;

    /// The value of a key, linearizable where the system can.
    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, ApiError>;

    /// Reads so many rows in key order from this key on; returns how many there were.
    async fn scan(&self, from: Bytes, rows: u32) -> Result<u64, ApiError>;

    /// Whether the system keeps keys in order, so that [`Driver::scan`] works.
    fn can_scan(&self) -> bool {
        true
    }
}

/// A shared driver.
pub type Handle = Arc<dyn Driver>;
