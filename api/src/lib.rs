//! The vocabulary of Isobar: what crosses the wire and what an operator edits.
//!
//! Everything here is a plain value with pure functions. No I/O, no clock, no global state.

pub mod directive;
pub mod error;
#[cfg(test)]
mod fuzz_tests;
pub mod hlc;
pub mod ids;
pub mod invariant;
pub mod limits;
pub mod map;
pub mod plan;
pub mod policy;
mod refusal;
pub mod report;
pub mod rtt;
pub mod shard;
pub mod table;
mod wire;

pub use error::{ApiError, ErrorCode};
pub use hlc::{Hlc, Version};
pub use ids::{DirectiveId, NodeId, PlanId, Region, ReplicaId, ShardId, TableId, Term};
pub use shard::{
    Epoch, Frozen, KeyRange, Merging, Replica, ReplicaRole, ShardDescriptor, ShardEntry,
};
pub use wire::{parse_key, show_key};

/// Generated protocol types and service stubs.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("isobar.v1");

    /// Metadata of a call: the cluster that its sender takes the receiver for a member of. Node and
    /// shard numbers are the same in every cluster; a node of another one refuses the call.
    pub const CLUSTER_HEADER: &str = "isobar-cluster";

    /// The encoded file descriptor set, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/isobar.bin"));
}
