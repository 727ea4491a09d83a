//! What a node is told at start. Every key has a default; unknown keys are refused.

use crate::admission::AdmissionLimits;
use isobar_api::{ApiError, ErrorCode, NodeId, Region, limits, rtt::RttMatrix};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// Configuration of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Its id: 1 or more, unique in the cluster, never given to another machine or an emptied disk.
    pub node_id: NodeId,
    /// Where it serves gRPC and HTTP (TCP) and gossips (UDP). Loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`; empty: as `listen`.
    pub advertise: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Its region.
    pub region: Region,
    /// Its zone inside the region.
    pub zone: String,
    /// Name of the cluster: keeps clusters that share a network apart.
    pub cluster_name: String,
    /// Some other members, `host:port`, to find the rest through.
    pub seeds: Vec<String>,
    /// The nodes that found the cluster together; the lowest of them does it. Others join and leave this empty.
    pub founders: Vec<NodeId>,
    /// Storage engine: `rocksdb`, `redb` or `memory` (loses everything at exit).
    pub engine: EngineKind,
    /// Consensus timing.
    pub raft: RaftTiming,
    /// Memory limits of the storage engine.
    pub storage: StorageLimits,
    /// Reads worked on at once; more are refused with `ISO-2006`.
    pub requests_max: usize,
    /// Writes worked on at once, apart from the reads; more are refused with `ISO-2006`.
    pub writes_max: usize,
    /// Bytes of all requests being worked on; more are refused with `ISO-2006`.
    pub request_bytes_max: usize,
    /// Free disk below which the node takes no new replica, bytes.
    pub disk_reserve_bytes: u64,
    /// Round-trip times to emulate towards other regions, for trials on one machine; empty: none.
    pub wan: RttMatrix,
}

/// Storage engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// RocksDB, on disk.
    #[default]
    Rocksdb,
    /// redb, on disk.
    Redb,
    /// In memory; for trials and tests.
    Memory,
}

impl EngineKind {
    /// Its name in configuration and in the identity of a data directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rocksdb => "rocksdb",
            Self::Redb => "redb",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = ApiError;

    fn from_str(name: &str) -> Result<Self, ApiError> {
        let all = [Self::Rocksdb, Self::Redb, Self::Memory];
        all.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let what = format!("no storage engine `{name}`: rocksdb, redb or memory");
            ApiError::new(ErrorCode::BadConfig, what)
        })
    }
}

/// Consensus timing. Longer on links across the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftTiming {
    /// Between heartbeats of a leader, milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest silence before a follower stands for election, milliseconds.
    pub election_min_ms: u64,
    /// Longest; also the length of the leader lease.
    pub election_max_ms: u64,
    /// Log entries after which the state is made durable and the log before it is dropped.
    pub checkpoint_entries: u64,
    /// Log entries kept behind a checkpoint, so that a follower a little behind needs no snapshot.
    pub keep_entries: u64,
    /// How long nobody must have used a shard before its group sleeps, milliseconds; 0: never.
    pub quiesce_after_ms: u64,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat_ms: 200,
            election_min_ms: 800,
            election_max_ms: 1_200,
            checkpoint_entries: 10_000,
            keep_entries: 2_000,
            quiesce_after_ms: 10_000,
        }
    }
}

/// Memory limits of the storage engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageLimits {
    /// Cache of blocks read from disk, bytes.
    pub block_cache_bytes: usize,
    /// Buffer of recent writes per engine, bytes.
    pub write_buffer_bytes: usize,
}

impl Default for StorageLimits {
    fn default() -> Self {
        Self { block_cache_bytes: 64 << 20, write_buffer_bytes: 16 << 20 }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node_id: NodeId(1),
            listen: SocketAddr::from(([127, 0, 0, 1], 7411)),
            advertise: String::new(),
            data_dir: PathBuf::from("data/node-1"),
            region: Region::new("local").expect("a legal name"),
            zone: "a".into(),
            cluster_name: "isobar".into(),
            seeds: Vec::new(),
            founders: Vec::new(),
            engine: EngineKind::Rocksdb,
            raft: RaftTiming::default(),
            storage: StorageLimits::default(),
            requests_max: 4_096,
            writes_max: 2_048,
            request_bytes_max: 64 << 20,
            disk_reserve_bytes: 256 << 20,
            wan: RttMatrix::default(),
        }
    }
}

impl NodeConfig {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ApiError> {
        let mut wrong = Vec::new();
        let mut need = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        need(self.node_id.0 >= 1, "node_id must be 1 or more");
        need(self.node_id.0 < 1 << 32, "node_id must be below 4294967296");
        need(self.listen.port() != 0 || cfg!(test), "listen needs a port");
        need(!self.cluster_name.is_empty(), "cluster_name must not be empty");
        need(!self.zone.is_empty(), "zone must not be empty");
        need(self.requests_max >= 1, "requests_max must be at least 1");
        need(self.writes_max >= 1, "writes_max must be at least 1");
        let message = limits::MESSAGE_BYTES_MAX;
        need(
            self.request_bytes_max >= message,
            &format!("request_bytes_max must be at least {message}, one message"),
        );
        let raft = &self.raft;
        need(raft.heartbeat_ms >= 10, "raft.heartbeat_ms must be at least 10");
        need(
            raft.election_min_ms >= raft.heartbeat_ms.saturating_mul(2),
            "raft.election_min_ms must be at least twice raft.heartbeat_ms",
        );
        need(
            raft.election_max_ms > raft.election_min_ms,
            "raft.election_max_ms must be above raft.election_min_ms",
        );
        need(
            raft.quiesce_after_ms == 0 || raft.quiesce_after_ms > raft.election_max_ms,
            "raft.quiesce_after_ms must be 0 or above raft.election_max_ms",
        );
        need(raft.checkpoint_entries >= 100, "raft.checkpoint_entries must be at least 100");
        need(self.founders.iter().all(|n| n.0 >= 1), "founders must be node ids of 1 or more");
        if wrong.is_empty() {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::BadConfig, wrong.join("; ")))
    }

    /// What it takes on at once.
    pub fn admission(&self) -> AdmissionLimits {
        AdmissionLimits {
            reads_max: self.requests_max,
            writes_max: self.writes_max,
            bytes_max: self.request_bytes_max,
        }
    }

    /// Where others reach it.
    pub fn advertised(&self) -> String {
        if self.advertise.is_empty() { self.listen.to_string() } else { self.advertise.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_has_one_name_everywhere() {
        for kind in [EngineKind::Rocksdb, EngineKind::Redb, EngineKind::Memory] {
            assert_eq!(kind.name().parse::<EngineKind>().expect("its own name"), kind);
            let json = serde_json::to_string(&kind).expect("plain data");
            assert_eq!(json, format!("\"{kind}\""));
        }
        let error = "rocks".parse::<EngineKind>().expect_err("no such engine");
        assert_eq!(error.code, ErrorCode::BadConfig);
    }

    #[test]
    fn defaults_hold_and_contradictions_are_named() {
        NodeConfig::default().validate().expect("defaults hold");
        let mut config = NodeConfig { node_id: NodeId(0), ..NodeConfig::default() };
        config.raft.election_min_ms = 10;
        config.raft.quiesce_after_ms = config.raft.election_max_ms;
        let error = config.validate().expect_err("three contradictions");
        assert!(error.message.contains("quiesce_after_ms"));
        assert!(error.message.contains("node_id") && error.message.contains("election_min_ms"));
    }
}
