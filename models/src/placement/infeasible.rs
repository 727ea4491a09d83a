//! What cannot be satisfied, said by name.

use super::desk::Desk;
use super::ground::{Ground, GroundRule};
use super::problem::{Invalid, Spread};
use std::fmt;

/// Most findings of one kind that are listed.
const LISTED_MAX: usize = 100;

/// A hard limit that no placement keeps, or that none was found to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsatisfied {
    /// The places that a shard's rule and the nodes' states allow are fewer than its replicas.
    Places {
        /// The shard.
        shard: usize,
        /// What the replicas must be distinct by.
        spread: Spread,
        /// Distinct nodes, zones or regions that are allowed.
        places: usize,
        /// Replicas wanted.
        replicas: usize,
    },
    /// There are places enough, but too few of them are large enough for one replica of the shard.
    Size {
        /// The shard.
        shard: usize,
        /// Distinct nodes, zones or regions with a node large enough.
        places: usize,
        /// Replicas wanted.
        replicas: usize,
    },
    /// No node that may hold the shard may lead it and can take the leader's requests.
    Leader {
        /// The shard.
        shard: usize,
    },
    /// What must be within the regions of a rule takes more bytes than the nodes there have.
    Bytes {
        /// The rule.
        rule: usize,
        /// Bytes to be placed, replicas included.
        needed: u64,
        /// Bytes that the allowed nodes may hold.
        available: u64,
    },
    /// What must be within the regions of a rule gets more requests than the nodes there may get.
    Requests {
        /// The rule.
        rule: usize,
        /// Thousandths of a request per second.
        needed_milli_per_s: u64,
        /// Thousandths of a request per second.
        available_milli_per_s: u64,
    },
    /// In the best placement found, a node holds or gets more than it may.
    Node {
        /// The node.
        node: usize,
        /// Bytes too many.
        bytes_over: u64,
        /// Thousandths of a request per second too many.
        milli_per_s_over: u64,
    },
}

impl fmt::Display for Unsatisfied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places { shard, spread, places, replicas } => {
                let what = match spread {
                    Spread::Nodes => "nodes",
                    Spread::Zones => "zones",
                    Spread::Regions => "regions",
                };
                write!(f, "shard {shard} wants {replicas} {what}, {places} are allowed")
            }
            Self::Size { shard, places, replicas } => {
                write!(f, "shard {shard} wants {replicas} places, {places} are large enough")
            }
            Self::Leader { shard } => write!(f, "no node may and can lead shard {shard}"),
            Self::Bytes { rule, needed, available } => {
                write!(f, "within rule {rule}, {needed} bytes are needed, {available} there")
            }
            Self::Requests { rule, needed_milli_per_s, available_milli_per_s } => write!(
                f,
                "within rule {rule}, {needed_milli_per_s} milli-requests/s come, {available_milli_per_s} can be served"
            ),
            Self::Node { node, bytes_over, milli_per_s_over } => write!(
                f,
                "node {node} would have {bytes_over} bytes and {milli_per_s_over} milli-requests/s too many"
            ),
        }
    }
}

/// Why there is no placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsolved {
    /// The problem makes no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It is certain that none exists.
    #[error("no placement exists: {}", list(.0))]
    Infeasible(Vec<Unsatisfied>),
    /// None was found. There may be one: deciding that is as hard as bin packing.
    #[error("no placement was found: {}", list(.0))]
    NotFound(Vec<Unsatisfied>),
}

fn list(unsatisfied: &[Unsatisfied]) -> String {
    unsatisfied.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Says what can be seen to be impossible without a search.
pub(crate) fn prove(g: &Ground) -> Result<(), Unsolved> {
    let mut found: Vec<Unsatisfied> =
        (0..g.shards.len()).filter_map(|s| shard(g, s)).take(LISTED_MAX).collect();
    found.extend((0..g.rules.len()).flat_map(|r| rule(g, r)).take(LISTED_MAX));
    if found.is_empty() { Ok(()) } else { Err(Unsolved::Infeasible(found)) }
}

fn shard(g: &Ground, s: usize) -> Option<Unsatisfied> {
    let (rule, shard) = (g.rule(s), &g.shards[s]);
    let may: Vec<u16> = rule.nodes.iter().copied().filter(|n| g.may_hold(s, *n)).collect();
    let large = |n: &u16| {
        let node = &g.nodes[usize::from(*n)];
        shard.bytes <= node.bytes_max && shard.load_all <= node.load_max
    };
    let (replicas, spread) = (rule.replicas, rule.spread);
    let places = distinct(g, spread, may.iter().copied());
    if places < replicas {
        return Some(Unsatisfied::Places { shard: s, spread, places, replicas });
    }
    let places = distinct(g, spread, may.iter().copied().filter(large));
    if places < replicas {
        return Some(Unsatisfied::Size { shard: s, places, replicas });
    }
    let served = shard.load_all + shard.load_leader;
    let leads = |n: &u16| g.may_lead(s, *n) && served <= g.nodes[usize::from(*n)].load_max;
    let leader = may.iter().any(leads);
    (!leader).then_some(Unsatisfied::Leader { shard: s })
}

fn distinct(g: &Ground, spread: Spread, nodes: impl Iterator<Item = u16>) -> usize {
    let place = |n: u16| match spread {
        Spread::Nodes => usize::from(n),
        Spread::Zones => g.nodes[usize::from(n)].zone,
        Spread::Regions => g.nodes[usize::from(n)].region,
    };
    let mut places: Vec<usize> = nodes.map(place).collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}

/// Sums over all shards whose nodes are among those of a rule.
fn rule(g: &Ground, r: usize) -> Vec<Unsatisfied> {
    let nodes = &g.rules[r].nodes;
    let within = |rule: &GroundRule| rule.nodes.iter().all(|n| nodes.contains(n));
    let within: Vec<bool> = g.rules.iter().map(within).collect();
    let (mut bytes, mut load) = (0_i128, 0_i128);
    for (s, shard) in g.shards.iter().enumerate().filter(|(_, x)| within[x.rule as usize]) {
        bytes += i128::from(shard.bytes) * g.rule(s).replicas as i128;
        load += i128::from(g.load_total(s));
    }
    let sum = |of: fn(&super::ground::GroundNode) -> i64| -> i128 {
        nodes.iter().map(|n| i128::from(of(&g.nodes[usize::from(*n)]))).sum()
    };
    let (bytes_max, load_max) = (sum(|n| n.bytes_max), sum(|n| n.load_max));
    let whole = |x: i128| u64::try_from(x).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    if bytes > bytes_max {
        let (needed, available) = (whole(bytes), whole(bytes_max));
        found.push(Unsatisfied::Bytes { rule: r, needed, available });
    }
    if load > load_max {
        let (needed_milli_per_s, available_milli_per_s) = (whole(load), whole(load_max));
        found.push(Unsatisfied::Requests { rule: r, needed_milli_per_s, available_milli_per_s });
    }
    found
}

/// The nodes that have too much.
pub(crate) fn overflowing(g: &Ground, desk: &Desk<'_>) -> Unsolved {
    let over = |used: i64, limit: i64| (used - limit).max(0).unsigned_abs();
    let node = |n: usize| Unsatisfied::Node {
        node: n,
        bytes_over: over(desk.bytes[n], g.nodes[n].bytes_max),
        milli_per_s_over: over(desk.load[n], g.nodes[n].load_max),
    };
    let bad = |n: &usize| g.strain(*n as u16, desk.load[*n], desk.bytes[*n]).overflow > 0;
    let found = (0..g.nodes.len()).filter(bad).map(node).take(LISTED_MAX).collect();
    Unsolved::NotFound(found)
}
