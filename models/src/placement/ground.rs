//! A problem in whole numbers: microseconds, thousandths of a request, bytes, nanoseconds waited per second. Sums of
//! whole numbers do not depend on their order, so that a search may keep books by differences and stay exact.

use super::problem::{Invalid, NODES_MAX, NodeState, Problem, REPLICAS_MAX, Seats, Spread};

/// Stands for no limit; sums of a few stay far from an overflow.
pub(crate) const NO_LIMIT: i64 = i64::MAX / 8;
/// Most of an overflow of one node.
const OVERFLOW_MAX: i64 = 1 << 48;

/// Rounds to thousandths.
pub(crate) fn milli(x: f64) -> i64 {
    ((x * 1e3).round() as i64).min(NO_LIMIT)
}

/// A weight of one millisecond per second, in nanoseconds per second.
pub(crate) fn nanos(ms_per_s: f64) -> i64 {
    (ms_per_s * 1e6).round() as i64
}

/// What a search compares: overflow of hard limits first, then the objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Price {
    /// Billionths of the limits exceeded, summed over nodes.
    pub overflow: i64,
    /// Nanoseconds waited per second.
    pub ns_per_s: i64,
}

impl Price {
    pub(crate) const MAX: Self = Self { overflow: i64::MAX / 4, ns_per_s: i64::MAX / 4 };

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { overflow: self.overflow + other.overflow, ns_per_s: self.ns_per_s + other.ns_per_s }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { overflow: self.overflow - other.overflow, ns_per_s: self.ns_per_s - other.ns_per_s }
    }
}

/// The places of one shard. No places: it is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub nodes: [u16; REPLICAS_MAX],
    pub count: u8,
    /// Index into `nodes`.
    pub lead: u8,
}

impl Seat {
    pub(crate) const NONE: Self = Self { nodes: [0; REPLICAS_MAX], count: 0, lead: 0 };

    pub(crate) fn of(nodes: &[u16], lead: usize) -> Self {
        let mut seat = Self { count: nodes.len() as u8, lead: lead as u8, ..Self::NONE };
        seat.nodes[..nodes.len()].copy_from_slice(nodes);
        seat
    }

    pub(crate) fn nodes(&self) -> &[u16] {
        &self.nodes[..usize::from(self.count)]
    }

    pub(crate) fn leader(&self) -> u16 {
        self.nodes[usize::from(self.lead)]
    }

    /// As it is given out.
    pub(crate) fn seats(&self) -> Seats {
        let mut replicas: Vec<usize> = self.nodes().iter().map(|n| usize::from(*n)).collect();
        replicas.sort_unstable();
        Seats { replicas, leader: usize::from(self.leader()) }
    }

    /// Whether both put voters and leader on the same nodes.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.count == other.count
            && (self.count == 0 || self.leader() == other.leader())
            && self.nodes().iter().all(|n| other.nodes().contains(n))
    }
}

/// Load that each of the replicas gets, thousandths of a request per second.
pub(crate) type Loads = [i64; REPLICAS_MAX];

pub(crate) struct GroundNode {
    pub region: usize,
    pub zone: usize,
    pub bytes_max: i64,
    pub load_max: i64,
    pub load_target: i64,
    pub state: NodeState,
}

pub(crate) struct GroundRule {
    pub replicas: usize,
    pub acks: usize,
    pub spread: Spread,
    /// Nodes that are allowed and not leaving, closed ones included.
    pub nodes: Vec<u16>,
}

#[derive(Clone, Copy)]
pub(crate) struct Near {
    pub region: u32,
    pub rate: i64,
}

pub(crate) struct GroundShard {
    pub rule: u32,
    /// Where its part of `near` begins and ends.
    pub near: (u32, u32),
    pub bytes: i64,
    /// What a replica on a node that has none costs.
    pub copy_ns: i64,
    /// Writes, weighted: what a microsecond to the quorum costs.
    pub writes_weight: i64,
    /// Load of every replica, and what the leader has besides.
    pub load_all: i64,
    pub load_leader: i64,
    /// Where its part of `held` begins and ends.
    pub held: (u32, u32),
    /// As it is, if complete.
    pub now: Seat,
    pub leader_now: Option<u16>,
}

pub(crate) struct Ground {
    pub regions: usize,
    rtt_us: Vec<i64>,
    /// Region × node: the round trip and the number in one, so that the smallest is the nearest of the lowest number.
    keys: Vec<i64>,
    pub nodes: Vec<GroundNode>,
    pub rules: Vec<GroundRule>,
    pub shards: Vec<GroundShard>,
    near: Vec<Near>,
    held: Vec<u16>,
    /// Shard × region: what a leader there costs in ways from and to clients.
    lead_ns: Vec<i64>,
    pub overload_ns: i64,
    pub leader_change_ns: i64,
}

impl Ground {
    pub(crate) fn new(problem: &Problem) -> Result<Self, Invalid> {
        problem.check()?;
        let limit = |x: u64| i64::try_from(x).unwrap_or(NO_LIMIT).min(NO_LIMIT);
        let nodes: Vec<GroundNode> = problem
            .nodes
            .iter()
            .map(|n| GroundNode {
                region: n.region,
                zone: n.zone,
                bytes_max: limit(n.size_bytes_max),
                load_max: milli(n.requests_per_s_max),
                load_target: milli(n.requests_per_s_target),
                state: n.state,
            })
            .collect();
        let rule = |r: &super::problem::Rule| {
            let fit = |n: &usize| {
                r.regions_allowed[nodes[*n].region] && nodes[*n].state != NodeState::Leaving
            };
            let fit = (0..nodes.len()).filter(fit).map(|n| n as u16).collect();
            GroundRule { replicas: r.replicas, acks: r.acks, spread: r.spread, nodes: fit }
        };
        let mut ground = Self {
            regions: problem.regions,
            rtt_us: problem.rtt_ms.iter().map(|ms| milli(*ms)).collect(),
            rules: problem.rules.iter().map(rule).collect(),
            keys: Vec::with_capacity(problem.regions * nodes.len()),
            nodes,
            shards: Vec::with_capacity(problem.shards.len()),
            near: Vec::new(),
            held: Vec::new(),
            lead_ns: Vec::with_capacity(problem.shards.len() * problem.regions),
            overload_ns: (problem.weights.overload_ms * 1e3).round() as i64,
            leader_change_ns: nanos(problem.weights.leader_change_ms_per_s),
        };
        for region in 0..problem.regions {
            for (n, node) in ground.nodes.iter().enumerate() {
                let us = ground.rtt_us[region * problem.regions + node.region];
                ground.keys.push(us * NODES_MAX as i64 + n as i64);
            }
        }
        (0..problem.shards.len()).for_each(|s| ground.add(problem, s));
        Ok(ground)
    }

    fn add(&mut self, problem: &Problem, s: usize) {
        let (shard, weights) = (&problem.shards[s], &problem.weights);
        let begin = self.near.len() as u32;
        let row = self.lead_ns.len();
        self.lead_ns.resize(row + self.regions, 0);
        let (mut writes, mut load_leader) = (0, 0);
        for d in &shard.demand {
            let lead = milli(d.reads_leader_per_s) + milli(d.writes_per_s * weights.write);
            for x in 0..self.regions {
                self.lead_ns[row + x] += lead * self.rtt_us[d.region * self.regions + x];
            }
            writes += milli(d.writes_per_s);
            load_leader += milli(d.reads_leader_per_s);
            let rate = milli(d.reads_near_per_s);
            if rate > 0 {
                self.near.push(Near { region: d.region as u32, rate });
            }
        }
        let writes_weight =
            shard.demand.iter().map(|d| milli(d.writes_per_s * weights.write)).sum();
        let mib = shard.size_bytes as f64 / (1 << 20) as f64;
        let now = problem.seats_now(s).map_or(Seat::NONE, |seats| {
            let nodes: Vec<u16> = seats.replicas.iter().map(|n| *n as u16).collect();
            let lead = seats.replicas.iter().position(|n| *n == seats.leader);
            Seat::of(&nodes, lead.unwrap_or(0))
        });
        let held = self.held.len() as u32;
        self.held.extend(shard.replicas_now.iter().map(|n| *n as u16));
        self.shards.push(GroundShard {
            held: (held, self.held.len() as u32),
            rule: shard.rule as u32,
            near: (begin, self.near.len() as u32),
            bytes: shard.size_bytes as i64,
            // A new shard has to be written somewhere: nothing is copied.
            copy_ns: match shard.replicas_now.is_empty() {
                true => 0,
                false => nanos(mib * weights.copy_ms_per_s_per_mib),
            },
            writes_weight,
            load_all: writes,
            load_leader,
            now,
            leader_now: shard.leader_now.map(|l| l as u16),
        });
    }

    /// Requests that any replica may answer, by region.
    pub(crate) fn near(&self, s: usize) -> &[Near] {
        let (begin, end) = self.shards[s].near;
        &self.near[begin as usize..end as usize]
    }

    /// Nodes that hold the shard now, whether or not they may.
    pub(crate) fn held(&self, s: usize) -> &[u16] {
        let (begin, end) = self.shards[s].held;
        &self.held[begin as usize..end as usize]
    }

    /// What all replicas of a shard get together, wherever they are; thousandths of a request per second.
    pub(crate) fn load_total(&self, s: usize) -> i64 {
        let near: i64 = self.near(s).iter().map(|near| near.rate).sum();
        let shard = &self.shards[s];
        shard.load_all * self.rule(s).replicas as i64 + shard.load_leader + near
    }

    pub(crate) fn rule(&self, s: usize) -> &GroundRule {
        &self.rules[self.shards[s].rule as usize]
    }

    /// What orders nodes by distance from a region.
    pub(crate) fn key(&self, region: u32, n: u16) -> i64 {
        self.keys[region as usize * self.nodes.len() + usize::from(n)]
    }

    /// The round trip of a key, microseconds.
    pub(crate) fn key_us(&self, key: i64) -> i64 {
        key / NODES_MAX as i64
    }

    /// What clients wait for a leader on the node.
    pub(crate) fn lead_ns(&self, s: usize, n: u16) -> i64 {
        self.lead_ns[s * self.regions + self.nodes[usize::from(n)].region]
    }

    /// Whether a replica may be put, or stay, on a node that the shard's rule allows.
    pub(crate) fn may_hold(&self, s: usize, n: u16) -> bool {
        self.nodes[usize::from(n)].state == NodeState::Open || self.held(s).contains(&n)
    }

    /// Whether the node may lead the shard, if it holds it.
    pub(crate) fn may_lead(&self, s: usize, n: u16) -> bool {
        self.nodes[usize::from(n)].state == NodeState::Open || self.shards[s].leader_now == Some(n)
    }

    /// Whether two nodes are too near to each other for two replicas of one shard.
    pub(crate) fn too_near(&self, spread: Spread, a: u16, b: u16) -> bool {
        let (x, y) = (&self.nodes[usize::from(a)], &self.nodes[usize::from(b)]);
        match spread {
            Spread::Nodes => a == b,
            Spread::Zones => a == b || x.zone == y.zone,
            Spread::Regions => a == b || x.region == y.region,
        }
    }

    /// The hard rules on a shard's places: count, distinct, far enough apart, allowed, and a leader that may lead.
    pub(crate) fn legal(&self, s: usize, seat: &Seat) -> bool {
        let (rule, nodes) = (self.rule(s), seat.nodes());
        let apart = |i: usize| !nodes[..i].iter().any(|b| self.too_near(rule.spread, nodes[i], *b));
        nodes.len() == rule.replicas
            && usize::from(seat.lead) < nodes.len()
            && (0..nodes.len()).all(apart)
            && nodes.iter().all(|n| rule.nodes.contains(n) && self.may_hold(s, *n))
            && self.may_lead(s, seat.leader())
    }

    /// What a node costs by itself with so much on it.
    pub(crate) fn strain(&self, n: u16, load: i64, bytes: i64) -> Price {
        let node = &self.nodes[usize::from(n)];
        let over = (load - node.load_target).max(0);
        let overflow = overflow(load, node.load_max) + overflow(bytes, node.bytes_max);
        Price { overflow, ns_per_s: self.overload_ns * over }
    }
}

/// Billionths of a limit by which something exceeds it; at least one if it does.
fn overflow(used: i64, limit: i64) -> i64 {
    if used <= limit {
        return 0;
    }
    let share = i128::from(used - limit) * 1_000_000_000 / i128::from(limit.max(1));
    i64::try_from(share).unwrap_or(OVERFLOW_MAX).min(OVERFLOW_MAX) + 1
}
