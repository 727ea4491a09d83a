//! The storage node: stores, replicates, gossips, reports and carries out directives. It decides nothing about placement.

#![recursion_limit = "256"]

pub mod admission;
mod api;
pub mod caretaker;
pub mod catalog;
pub mod config;
pub mod consensus;
pub mod directive;
pub mod engine;
#[cfg(test)]
mod fuzz_tests;
pub mod gossip;
mod hand_over;
pub mod identity;
pub mod kv;
pub mod members;
pub mod merge;
mod metrics;
pub mod observe;
pub mod parts;
mod planted;
pub mod quiesce;
mod read_gate;
pub mod registry;
pub mod replica;
pub mod report;
pub mod service;
pub mod shard;
mod strangers;
pub mod transport;
pub mod wall_clock;
mod write_queue;

pub use config::NodeConfig;
pub use service::NodeService;
