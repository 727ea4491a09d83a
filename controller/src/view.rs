//! What the controller knows at one moment: an immutable value. Unknown is spelled out, never guessed.

use isobar_api::{
    DirectiveId, NodeId, Region, ReplicaId, ShardEntry, ShardId, TableId,
    report::{HotKey, NodeLoad},
    table::TableInfo,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything seen, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// When it was taken, Unix milliseconds.
    pub at_unix_ms: u64,
    /// The cluster.
    pub cluster_id: String,
    /// Nodes ever heard of, dead ones included.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// Shards, as their freshest report shows them.
    pub shards: BTreeMap<ShardId, ShardView>,
    /// Tables by id.
    pub tables: BTreeMap<TableId, TableInfo>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub node_id: NodeId,
    /// Where it serves.
    pub address: String,
    /// Its region.
    pub region: Region,
    /// Its zone.
    pub zone: String,
    /// What is known of its life.
    pub health: NodeHealth,
    /// When its newest report arrived, Unix milliseconds by the controller's clock.
    pub reported_unix_ms: Option<u64>,
    /// Its load, from that report.
    pub load: NodeLoad,
}

/// What is known of a node's life. Dead needs two witnesses: silence towards us and towards gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeHealth {
    /// Reports arrive.
    Alive,
    /// Reports are late, or only one witness misses it.
    Unknown,
    /// Neither reports nor gossip have seen it since this moment, Unix milliseconds.
    Dead {
        /// Since when.
        since_unix_ms: u64,
    },
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardView {
    /// Range, epoch, replicas, leader.
    pub entry: ShardEntry,
    /// Its table's name.
    pub table: String,
    /// When its leader's newest report arrived, Unix milliseconds; `None`: no leader has reported.
    pub reported_unix_ms: Option<u64>,
    /// When this shard's epoch was last seen to change, Unix milliseconds.
    pub changed_unix_ms: u64,
    /// Windows of arrivals seen so far.
    pub windows: u32,
    /// Requests in the last full window, per second, by region of the client, over all replicas.
    pub arrivals: BTreeMap<Option<Region>, ArrivalRate>,
    /// Bytes of its rows.
    pub size_bytes: u64,
    /// Heavy hitters, largest first.
    pub hot_keys: Vec<HotKey>,
    /// Keys that cut its recent requests into eight equal parts (printable form).
    pub access_octiles: Vec<String>,
    /// Log entries each replica is behind the leader, where known.
    pub behind: BTreeMap<ReplicaId, u64>,
    /// Replicas that reported a storage fault, with the reason.
    pub faults: BTreeMap<ReplicaId, String>,
}

/// Requests per second from one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArrivalRate {
    /// Reads (keys and scans).
    pub reads_per_s: f64,
    /// Mutations.
    pub writes_per_s: f64,
}

/// Forecast of one shard's arrivals from one region, averaged over the policy's horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalForecast {
    /// Reads per second: lower end of the 90 % interval, mean, upper end.
    pub reads_per_s: [f64; 3],
    /// Writes per second: lower end, mean, upper end.
    pub writes_per_s: [f64; 3],
    /// The champion forecaster behind it, for instance `seasonal_naive` or `holt_winters`.
    pub model: String,
    /// Age of the newest window it was made from, milliseconds.
    pub age_ms: u64,
}

/// Forecasts by shard and region of the client.
pub type Forecasts = BTreeMap<ShardId, BTreeMap<Option<Region>, ArrivalForecast>>;

/// A directive that is under way, with the effect it will have: counted until telemetry newer than its end shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// The directive.
    pub directive_id: DirectiveId,
    /// Its shard.
    pub shard: ShardId,
    /// What it is for.
    pub kind: isobar_api::directive::DirectiveKind,
    /// Requests per second it will take from nodes (negative) and bring to nodes (positive).
    pub load_delta: BTreeMap<NodeId, f64>,
    /// Nodes it copies data from or to.
    pub copies: Vec<NodeId>,
    /// When it was applied, Unix milliseconds; `None`: not yet.
    pub applied_unix_ms: Option<u64>,
}

/// When a shard was moved or cut, for dwell times and hourly budgets: Unix milliseconds, ascending.
pub type MoveHistory = BTreeMap<ShardId, Vec<u64>>;
