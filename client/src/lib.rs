//! The smart client of Isobar.
//!
//! It keeps the shard map, sends each request straight to the replica that owns the key, joins
//! requests to one node into batches, and repeats what failed where repeating is safe: every write
//! carries a client id and a sequence number, so that a repeat is applied once.
//!
//! ```no_run
//! # async fn example() -> Result<(), isobar_api::ApiError> {
//! use isobar_client::{Client, ClientConfig, ReadLevel};
//! let client = Client::connect(ClientConfig::with_seeds(["127.0.0.1:7411"])).await?;
//! let orders = client.table("orders").await?;
//! orders.put("o-17", "3 apples").await?;
//! let row = orders.get(b"o-17", ReadLevel::Linearizable).await?;
//! # Ok(()) }
//! ```

mod attempts;
mod backoff;
mod cache;
mod client;
mod config;
mod controller;
mod core;
mod failure;
mod lane;
mod link;
mod read;
mod refresh;
mod room;
mod route;
mod row;
mod scan;
mod session;
mod table;
mod throttle;
mod write;

pub use client::Client;
pub use config::{ClientConfig, WanEmulation};
pub use controller::ControllerClient;
pub use row::{Mutation, ReadLevel, Row, ScanPage, WriteOutcome};
pub use table::TableHandle;
