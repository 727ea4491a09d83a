//! One file per command.

pub mod bench;
pub mod completions;
pub mod config;
pub mod controller;
pub mod dataset;
pub mod demo;
mod input;
pub mod kv;
pub mod mode;
pub mod model;
pub mod node;
pub mod node_drain;
pub mod node_list;
pub mod pause;
pub mod plan;
pub mod policy;
pub mod resume;
mod serve;
pub mod shard;
pub mod soak;
pub mod table;
pub mod up;
mod why;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use isobar_node::config::EngineKind;

/// Reads the name of a storage engine that outlives its process.
fn durable_engine() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new([EngineKind::Rocksdb, EngineKind::Redb].map(EngineKind::name))
        .try_map(|name| name.parse::<EngineKind>())
}
