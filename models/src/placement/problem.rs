//! What is to be placed, and where it may go.

use serde::{Deserialize, Serialize};

/// Most nodes of a problem.
pub const NODES_MAX: usize = 4_096;
/// Most replicas of a shard.
pub const REPLICAS_MAX: usize = 7;
/// Most shards times regions of a problem: a table of that many costs is kept.
pub const CELLS_MAX: usize = 1 << 28;

/// A placement problem: regions are numbered from 0, nodes, rules and shards by their place in the lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Regions that clients or nodes are in.
    pub regions: usize,
    /// Round-trip times, milliseconds: `rtt_ms[from * regions + to]`, all known, finite and at least 0.
    pub rtt_ms: Vec<f64>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Rules that shards share, usually one per table.
    pub rules: Vec<Rule>,
    /// The shards.
    pub shards: Vec<Shard>,
    /// What things are worth.
    pub weights: Weights,
}

/// What may happen to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It takes replicas and leaders.
    #[default]
    Open,
    /// It keeps what it holds and leads, and takes nothing more: frozen, or its report is old.
    Closed,
    /// Nothing may be on it: drained, or dead.
    Leaving,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its region.
    pub region: usize,
    /// Its zone. Zones are numbered over all regions: two nodes share a zone iff the numbers are equal.
    pub zone: usize,
    /// Bytes that it may hold, a hard limit. What it holds besides the shards of the problem is already taken off.
    pub size_bytes_max: u64,
    /// Requests per second that it may get, a hard limit.
    pub requests_per_s_max: f64,
    /// Requests per second above which each one counts as [`Weights::overload_ms`]. Usually the fair share and a tenth.
    pub requests_per_s_target: f64,
    /// What may happen to it.
    pub state: NodeState,
}

/// How far apart the replicas of a shard must be, a hard limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spread {
    /// On distinct nodes.
    #[default]
    Nodes,
    /// In distinct zones.
    Zones,
    /// In distinct regions.
    Regions,
}

/// What a table asks of the places of its shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Voters of each shard, 1 to [`REPLICAS_MAX`].
    pub replicas: usize,
    /// Voters, the leader included, that have to have a write before it is acknowledged. 2 is the majority of 3.
    pub acks: usize,
    /// How far apart they must be.
    pub spread: Spread,
    /// Per region: whether data may be there. Residency, a hard limit.
    pub regions_allowed: Vec<bool>,
}

/// Requests to a shard from one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Where they come from.
    pub region: usize,
    /// Reads per second that any replica may answer: the nearest does.
    pub reads_near_per_s: f64,
    /// Reads per second that the leader has to answer.
    pub reads_leader_per_s: f64,
    /// Writes per second: to the leader, and from there to the quorum.
    pub writes_per_s: f64,
}

/// A shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Index of its rule.
    pub rule: usize,
    /// What one replica takes on disk.
    pub size_bytes: u64,
    /// Requests by region.
    pub demand: Vec<Demand>,
    /// Nodes that hold it now. Empty: it is new.
    pub replicas_now: Vec<usize>,
    /// The node that leads it now, if any.
    pub leader_now: Option<usize>,
}

/// What things are worth, in the one currency of the objective: milliseconds that requests wait, per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// What a millisecond that a write waits counts beside one of a read.
    pub write: f64,
    /// A request per second above a node's target counts as one that waits so long, milliseconds.
    pub overload_ms: f64,
    /// Milliseconds of waiting per second that must be saved for each MiB that is copied.
    pub copy_ms_per_s_per_mib: f64,
    /// Milliseconds of waiting per second that must be saved for a change of a shard's leader.
    pub leader_change_ms_per_s: f64,
    /// The dead band: unless the objective falls by this share of its present value, everything stays. 0 to below 1.
    pub gain_share_min: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            write: 1.0,
            overload_ms: 50.0,
            copy_ms_per_s_per_mib: 0.0,
            leader_change_ms_per_s: 0.0,
            gain_share_min: 0.0,
        }
    }
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seats {
    /// The nodes with a voter, ascending.
    pub replicas: Vec<usize>,
    /// The one among them that leads.
    pub leader: usize,
}

/// Where every shard is, in the order of [`Problem::shards`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Per shard.
    pub seats: Vec<Seats>,
}

/// A figure of a problem that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("placement problem: {0}")]
pub struct Invalid(pub String);

const RTT_MS_MAX: f64 = 60_000.0;
const RATE_MAX: f64 = 1e9;

impl Problem {
    /// The present layout, for what is complete: `None` for a shard with other than its replicas, or without a leader.
    pub fn seats_now(&self, shard: usize) -> Option<Seats> {
        let Shard { rule, replicas_now, leader_now, .. } = &self.shards[shard];
        let mut replicas = replicas_now.clone();
        replicas.sort_unstable();
        replicas.dedup();
        let leader = leader_now.filter(|l| replicas.contains(l))?;
        let whole =
            replicas.len() == self.rules[*rule].replicas && replicas.len() == replicas_now.len();
        whole.then_some(Seats { replicas, leader })
    }

    /// Whether every index exists and every figure is one that can be reckoned with.
    pub fn check(&self) -> Result<(), Invalid> {
        let bad = |what: String| Err(Invalid(what));
        let (regions, nodes) = (self.regions, self.nodes.len());
        if nodes > NODES_MAX || self.shards.len().saturating_mul(regions) > CELLS_MAX {
            return bad(format!(
                "{nodes} nodes, {} shards × {regions} regions are too many",
                self.shards.len()
            ));
        }
        if regions.checked_mul(regions) != Some(self.rtt_ms.len()) {
            return bad(format!("{} round trips for {regions} regions", self.rtt_ms.len()));
        }
        if let Some(ms) = self.rtt_ms.iter().find(|ms| !(0.0..=RTT_MS_MAX).contains(*ms)) {
            return bad(format!("a round trip of {ms} ms"));
        }
        for (n, node) in self.nodes.iter().enumerate() {
            let rate = |x: f64| x >= 0.0 && !x.is_nan();
            if node.region >= regions
                || !rate(node.requests_per_s_max)
                || !rate(node.requests_per_s_target)
            {
                return bad(format!("node {n}: {node:?}"));
            }
        }
        for (r, rule) in self.rules.iter().enumerate() {
            let counts = (1..=REPLICAS_MAX).contains(&rule.replicas)
                && (1..=rule.replicas).contains(&rule.acks);
            if !counts || rule.regions_allowed.len() != regions {
                return bad(format!("rule {r}: {rule:?}"));
            }
        }
        self.check_weights()?;
        (0..self.shards.len()).try_for_each(|s| self.check_shard(s))?;
        self.check_sums()
    }

    /// Costs are whole numbers of nanoseconds: the worst placement must not overflow them.
    fn check_sums(&self) -> Result<(), Invalid> {
        let w = &self.weights;
        let rtt_ms = self.rtt_ms.iter().fold(0.0, |a: f64, b| a.max(*b));
        let (mut ms_per_s, mut bytes) = (0.0, 0.0);
        for shard in &self.shards {
            let mib = shard.size_bytes as f64 / (1 << 20) as f64;
            bytes += shard.size_bytes as f64;
            ms_per_s += mib * w.copy_ms_per_s_per_mib + w.leader_change_ms_per_s;
            for d in &shard.demand {
                let reads = d.reads_near_per_s + d.reads_leader_per_s;
                let waits = reads * rtt_ms + 2.0 * d.writes_per_s * rtt_ms * w.write.max(1.0);
                ms_per_s += waits + (reads + d.writes_per_s) * w.overload_ms.max(1.0);
            }
        }
        let replicas = REPLICAS_MAX as f64;
        if ms_per_s * 1e6 * replicas > 1e18 || bytes * replicas > 4e18 {
            return Err(Invalid("its sums are too large to reckon with".into()));
        }
        Ok(())
    }

    fn check_weights(&self) -> Result<(), Invalid> {
        let w = &self.weights;
        let all = [w.write, w.overload_ms, w.copy_ms_per_s_per_mib, w.leader_change_ms_per_s];
        if all.iter().all(|x| (0.0..=1e6).contains(x)) && (0.0..1.0).contains(&w.gain_share_min) {
            return Ok(());
        }
        Err(Invalid(format!("{w:?}")))
    }

    fn check_shard(&self, s: usize) -> Result<(), Invalid> {
        let shard = &self.shards[s];
        let exists = |n: &usize| *n < self.nodes.len();
        let known = shard.rule < self.rules.len()
            && shard.replicas_now.iter().all(exists)
            && shard.leader_now.iter().all(exists);
        let rate = |x: f64| (0.0..=RATE_MAX).contains(&x);
        let sane = |d: &Demand| {
            d.region < self.regions
                && rate(d.reads_near_per_s)
                && rate(d.reads_leader_per_s)
                && rate(d.writes_per_s)
        };
        if known && shard.demand.len() <= self.regions && shard.demand.iter().all(sane) {
            return Ok(());
        }
        Err(Invalid(format!("shard {s}: {shard:?}")))
    }
}
