//! Consensus groups. One per shard; today all of them are Raft groups.

pub mod raft;
