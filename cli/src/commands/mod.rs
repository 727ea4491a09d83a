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
