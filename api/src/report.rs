//! What a node reports once a second, and what it says of itself when asked.

use crate::{
    ids::{NodeId, Region, ReplicaId, ShardId, Term},
    shard::ShardEntry,
};
use serde::{Deserialize, Serialize};

/// Load of a node as measured over its last interval; also gossiped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// CPU used by the process, in cores.
    pub cpu_cores: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Free space on the data disk.
    pub disk_free_bytes: u64,
    /// Size of the data disk.
    pub disk_total_bytes: u64,
    /// Requests answered per second.
    pub requests_per_s: f64,
    /// Requests being worked on now.
    pub in_flight: u64,
    /// 99th percentile of one durable log flush, milliseconds.
    pub fsync_ms_p99: f64,
    /// Replicas held.
    pub replicas: u32,
    /// Replicas that lead.
    pub leaders: u32,
}

/// Requests that arrived at one replica from one region during an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Region of the clients; `None` where they did not say.
    pub region: Option<Region>,
    /// Keys read.
    pub reads: u64,
    /// Mutations.
    pub writes: u64,
    /// Scans.
    pub scans: u64,
}

/// Service times inside the node (without the way to the client), milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Requests measured.
    pub count: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// A key that takes a large part of a shard's requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key, in printable form.
    pub key: String,
    /// Its share of the shard's requests in the interval, 0 to 1.
    pub share: f64,
}

/// One replica during one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The shard as this replica knows it.
    pub shard: ShardEntry,
    /// The table's name.
    pub table: String,
    /// This replica.
    pub replica_id: ReplicaId,
    /// Whether it leads.
    pub is_leader: bool,
    /// Last log index it holds.
    pub last_log_index: u64,
    /// Last log index it has applied.
    pub applied_index: u64,
    /// For a leader: log index that each other replica is known to hold.
    #[serde(default)]
    pub matched: Vec<(ReplicaId, u64)>,
    /// Approximate bytes of its rows.
    pub size_bytes: u64,
    /// Arrivals by region; empty where nothing arrived.
    pub arrivals: Vec<Arrivals>,
    /// Service times.
    pub latency: LatencySummary,
    /// Heavy hitters, largest first.
    pub hot_keys: Vec<HotKey>,
    /// Keys (printable form) that cut the shard's recent requests into eight equal parts, ascending.
    pub access_octiles: Vec<String>,
    /// Why the replica is out of service, if it is.
    pub fault: Option<String>,
}

/// One interval of one node. A gap in `sequence` means that reports were lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The cluster.
    pub cluster_id: String,
    /// The node.
    pub node_id: NodeId,
    /// Its region.
    pub region: Region,
    /// Its zone inside the region.
    pub zone: String,
    /// Where it serves.
    pub address: String,
    /// Changes at every start of the process.
    pub incarnation: u64,
    /// Counts up by one within one subscription.
    pub sequence: u64,
    /// When the interval ended, Unix milliseconds by the node's clock.
    pub at_unix_ms: u64,
    /// Length of the interval, milliseconds.
    pub interval_ms: u64,
    /// Highest controller term the node has accepted.
    pub controller_term: Term,
    /// Whether `replicas` lists all of them, or only those that changed or had requests.
    pub full: bool,
    /// Load of the node.
    pub load: NodeLoad,
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
    /// Shards it holds no more since the last report.
    pub gone: Vec<ShardId>,
    /// Who it believes to be alive, by gossip.
    pub alive: Vec<NodeId>,
}

/// A member of the cluster as gossip shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// The node.
    pub node_id: NodeId,
    /// Where it serves.
    pub address: String,
    /// Its region.
    pub region: Region,
    /// Its zone.
    pub zone: String,
    /// Whether gossip believes it to be alive.
    pub alive: bool,
    /// Its load, as last gossiped.
    pub load: NodeLoad,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Version of the program.
    pub version: String,
    /// The cluster; empty while it is not formed.
    pub cluster_id: String,
    /// The node.
    pub node_id: NodeId,
    /// Its region.
    pub region: Region,
    /// Storage engine.
    pub engine: String,
    /// Since when it runs, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Highest controller term it has accepted.
    pub controller_term: Term,
    /// Its load.
    pub load: NodeLoad,
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
    /// The members it knows.
    pub members: Vec<MemberInfo>,
}
