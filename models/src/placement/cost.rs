//! What a placement costs, reckoned plainly from the problem: the search keeps its own books, and tests compare them.

use super::ground::{Ground, milli, nanos};
use super::problem::{Invalid, NodeState, Placement, Problem, Seats};
use serde::{Deserialize, Serialize};

/// What a placement costs. The order of the fields is their priority: the first that differs decides, less is better.
/// Everything from `read_wait_ns_per_s` on is a part of the objective or tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cost {
    /// Broken rules: replicas missing, surplus, too near to each other, outside the allowed regions, on a node that
    /// takes none; leaders that do not hold a replica or may not lead. 0 in what the solver gives.
    pub misplaced: u64,
    /// Hard limits of nodes exceeded, in billionths of the limit, summed. 0 in what the solver gives.
    pub overflow_ppb: u64,
    /// The objective: nanoseconds that requests wait per second, weighted, with overload and changes priced in.
    pub objective_ns_per_s: i64,
    /// Bytes to copy.
    pub copied_bytes: u64,
    /// Shards whose leader changes.
    pub leaders_changed: u64,
    /// Nanoseconds that reads wait, per second.
    pub read_wait_ns_per_s: i64,
    /// Nanoseconds that writes wait, from client to leader to quorum, per second, unweighted.
    pub write_wait_ns_per_s: i64,
    /// Requests above the nodes' targets, thousandths per second.
    pub overload_milli_per_s: i64,
    /// Requests that cross between regions, of clients only, thousandths per second.
    pub crossing_milli_per_s: i64,
}

/// What one node has under a placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUse {
    /// Bytes of its replicas.
    pub size_bytes: u64,
    /// Requests it gets, thousandths per second: writes of all its replicas, reads for leaders it has, near reads it answers.
    pub load_milli_per_s: i64,
    /// Replicas.
    pub replicas: u64,
    /// Leaders among them.
    pub leaders: u64,
}

/// What a placement costs. A placement of another number of shards or with nodes that do not exist is invalid.
pub fn evaluate(problem: &Problem, placement: &Placement) -> Result<Cost, Invalid> {
    let ground = Ground::new(problem)?;
    let uses = node_uses(problem, placement)?;
    let mut cost = Cost::default();
    for (s, seats) in placement.seats.iter().enumerate() {
        add_shard(problem, s, seats, &mut cost);
    }
    for (n, used) in uses.iter().enumerate() {
        let bytes = i64::try_from(used.size_bytes).unwrap_or(i64::MAX);
        let strain = ground.strain(n as u16, used.load_milli_per_s, bytes);
        cost.overflow_ppb += strain.overflow.unsigned_abs();
        cost.objective_ns_per_s += strain.ns_per_s;
        let target = milli(problem.nodes[n].requests_per_s_target);
        cost.overload_milli_per_s += (used.load_milli_per_s - target).max(0);
    }
    Ok(cost)
}

/// What each node has under a placement.
pub fn node_uses(problem: &Problem, placement: &Placement) -> Result<Vec<NodeUse>, Invalid> {
    problem.check()?;
    let (all, nodes) = (placement.seats.len(), problem.nodes.len());
    if all != problem.shards.len() {
        return Err(Invalid(format!("{all} shards placed of {}", problem.shards.len())));
    }
    let mut uses = vec![NodeUse::default(); nodes];
    for (s, seats) in placement.seats.iter().enumerate() {
        if seats.leader >= nodes || seats.replicas.iter().any(|n| *n >= nodes) {
            return Err(Invalid(format!("shard {s} is on nodes that do not exist")));
        }
        let shard = &problem.shards[s];
        let writes: i64 = shard.demand.iter().map(|d| milli(d.writes_per_s)).sum();
        for n in &seats.replicas {
            uses[*n].size_bytes += shard.size_bytes;
            uses[*n].load_milli_per_s += writes;
            uses[*n].replicas += 1;
        }
        uses[seats.leader].leaders += 1;
        for d in &shard.demand {
            uses[seats.leader].load_milli_per_s += milli(d.reads_leader_per_s);
            if let Some(n) = nearest(problem, d.region, seats) {
                uses[n].load_milli_per_s += milli(d.reads_near_per_s);
            }
        }
    }
    Ok(uses)
}

/// Round trip from a region to a node, microseconds.
fn way(problem: &Problem, region: usize, node: usize) -> i64 {
    milli(problem.rtt_ms[region * problem.regions + problem.nodes[node].region])
}

/// The replica that answers reads from a region: the nearest, of several as near the one of the lowest number.
fn nearest(problem: &Problem, region: usize, seats: &Seats) -> Option<usize> {
    seats.replicas.iter().copied().min_by_key(|n| (way(problem, region, *n), *n))
}

fn add_shard(problem: &Problem, s: usize, seats: &Seats, cost: &mut Cost) {
    let (shard, weights) = (&problem.shards[s], &problem.weights);
    let rule = &problem.rules[shard.rule];
    let home = problem.nodes[seats.leader].region;
    let mut to_quorum: Vec<i64> = seats
        .replicas
        .iter()
        .filter(|n| **n != seats.leader)
        .map(|n| way(problem, home, *n))
        .collect();
    to_quorum.sort_unstable();
    let quorum_us =
        if rule.acks < 2 { 0 } else { to_quorum.get(rule.acks - 2).copied().unwrap_or(0) };
    for d in &shard.demand {
        let (near, lead) = (milli(d.reads_near_per_s), milli(d.reads_leader_per_s));
        let (writes, weighed) = (milli(d.writes_per_s), milli(d.writes_per_s * weights.write));
        let to_leader = way(problem, d.region, seats.leader);
        let mut read = lead * to_leader;
        let mut crossing = if home == d.region { 0 } else { lead + writes };
        if let Some(n) = nearest(problem, d.region, seats) {
            read += near * way(problem, d.region, n);
            crossing += if problem.nodes[n].region == d.region { 0 } else { near };
        }
        cost.read_wait_ns_per_s += read;
        cost.write_wait_ns_per_s += writes * (to_leader + quorum_us);
        cost.objective_ns_per_s += read + weighed * (to_leader + quorum_us);
        cost.crossing_milli_per_s += crossing;
    }
    let new = seats.replicas.iter().filter(|n| !shard.replicas_now.contains(n)).count();
    // A new shard has to be written somewhere: nothing is copied.
    if !shard.replicas_now.is_empty() {
        let mib = shard.size_bytes as f64 / (1 << 20) as f64;
        cost.copied_bytes += shard.size_bytes * new as u64;
        cost.objective_ns_per_s += nanos(mib * weights.copy_ms_per_s_per_mib) * new as i64;
    }
    if shard.leader_now.is_some_and(|l| l != seats.leader) {
        cost.leaders_changed += 1;
        cost.objective_ns_per_s += nanos(weights.leader_change_ms_per_s);
    }
    cost.misplaced += broken(problem, s, seats);
}

/// How many rules the places of a shard break.
fn broken(problem: &Problem, s: usize, seats: &Seats) -> u64 {
    let shard = &problem.shards[s];
    let rule = &problem.rules[shard.rule];
    let place = |n: usize| match rule.spread {
        super::Spread::Nodes => n,
        super::Spread::Zones => problem.nodes[n].zone,
        super::Spread::Regions => problem.nodes[n].region,
    };
    let mut places: Vec<usize> = seats.replicas.iter().map(|n| place(*n)).collect();
    places.sort_unstable();
    places.dedup();
    let mut nodes = seats.replicas.clone();
    nodes.sort_unstable();
    nodes.dedup();
    let held = |n: &usize| shard.replicas_now.contains(n);
    let wrong = |n: &&usize| {
        let node = &problem.nodes[**n];
        let taken = match node.state {
            NodeState::Open => true,
            NodeState::Closed => held(n),
            NodeState::Leaving => false,
        };
        !taken || !rule.regions_allowed[node.region]
    };
    let state = problem.nodes[seats.leader].state;
    let may_lead = state == NodeState::Open
        || (state == NodeState::Closed && shard.leader_now == Some(seats.leader));
    let count = seats.replicas.len();
    (count.abs_diff(rule.replicas) + 2 * count - places.len() - nodes.len()) as u64
        + seats.replicas.iter().filter(wrong).count() as u64
        + u64::from(!seats.replicas.contains(&seats.leader))
        + u64::from(!may_lead)
}
