//! Prices of the places of one shard while it is lifted off the books.

use super::anneal::Column;
use super::bound::NodePrice;
use super::ground::{Ground, Loads, Price, Seat};
use super::problem::REPLICAS_MAX;

/// Of the first so many replicas: for each row of near demand the key of the nearest, and which it is.
#[derive(Clone, Debug, Default)]
struct Level {
    keys: Vec<i64>,
    owner: Vec<u8>,
}

/// The books of the nodes, and room to reckon.
pub(crate) struct Desk<'a> {
    pub g: &'a Ground,
    /// Per node, without what is lifted.
    pub load: Vec<i64>,
    pub bytes: Vec<i64>,
    /// What nodes take besides, or instead.
    pub prices: Option<Vec<NodePrice>>,
    /// Whether the nodes' own limits and targets count.
    pub strict: bool,
    /// Places priced so far.
    pub spent: u64,
    levels: [Level; REPLICAS_MAX + 1],
    /// Nodes of the places under construction.
    pub nodes: [u16; REPLICAS_MAX],
}

impl<'a> Desk<'a> {
    pub(crate) fn new(g: &'a Ground) -> Self {
        let books = vec![0; g.nodes.len()];
        let (levels, nodes) = (Default::default(), [0; REPLICAS_MAX]);
        let (load, bytes) = (books.clone(), books);
        Self { g, load, bytes, prices: None, strict: true, spent: 0, levels, nodes }
    }

    /// A desk where nodes take the prices and have no limits of their own.
    pub(crate) fn priced(g: &'a Ground, prices: Vec<NodePrice>) -> Self {
        Self { prices: Some(prices), strict: false, ..Self::new(g) }
    }

    /// What is added to a node's strain by more load and bytes.
    fn strain(&self, n: u16, before: (i64, i64), more: (i64, i64)) -> Price {
        let mut price = Price::default();
        if self.strict {
            let after = self.g.strain(n, before.0 + more.0, before.1 + more.1);
            price = after.minus(self.g.strain(n, before.0, before.1));
        }
        if let Some(prices) = &self.prices {
            let node = prices[usize::from(n)];
            price.ns_per_s += node.load * more.0;
            if node.mib > 0 {
                price.ns_per_s += ((i128::from(node.mib) * i128::from(more.1)) >> 20) as i64;
            }
        }
        price
    }

    fn on(&self, n: u16) -> (i64, i64) {
        (self.load[usize::from(n)], self.bytes[usize::from(n)])
    }

    /// What places cost by themselves, and what they put on each node.
    pub(crate) fn column(&self, s: usize, seat: &Seat) -> Column {
        let (mut loads, near_ns) = self.near(s, seat.nodes());
        let (shard, lead) = (&self.g.shards[s], usize::from(seat.lead));
        let ns_per_s =
            near_ns + self.copies_ns(s, seat.nodes()) + self.lead_ns(s, seat.nodes(), lead);
        loads.iter_mut().take(seat.nodes().len()).for_each(|l| *l += shard.load_all);
        loads[lead] += shard.load_leader;
        Column { seat: *seat, ns_per_s, loads }
    }

    /// Books a shard on its places (`sign` 1) or lifts it off (-1).
    pub(crate) fn book(&mut self, s: usize, seat: &Seat, sign: i64) {
        if seat.nodes().is_empty() {
            return;
        }
        let column = self.column(s, seat);
        for (i, n) in seat.nodes().iter().map(|n| usize::from(*n)).enumerate() {
            self.load[n] += sign * column.loads[i];
            self.bytes[n] += sign * self.g.shards[s].bytes;
        }
    }

    /// What a lifted shard would cost at legal places.
    pub(crate) fn price(&mut self, s: usize, seat: &Seat) -> Price {
        self.spent += 1;
        let column = self.column(s, seat);
        let mut price = Price { overflow: 0, ns_per_s: column.ns_per_s };
        for (i, n) in seat.nodes().iter().enumerate() {
            let more = (column.loads[i], self.g.shards[s].bytes);
            price = price.plus(self.strain(*n, self.on(*n), more));
        }
        price
    }

    /// The load of near reads on each replica, and what they wait.
    pub(crate) fn near(&self, s: usize, nodes: &[u16]) -> (Loads, i64) {
        let (mut loads, mut ns) = ([0; REPLICAS_MAX], 0);
        for near in self.g.near(s) {
            let key = |i: usize| (self.g.key(near.region, nodes[i]), i);
            if let Some((key, i)) = (0..nodes.len()).map(key).min() {
                loads[i] += near.rate;
                ns += near.rate * self.g.key_us(key);
            }
        }
        (loads, ns)
    }

    fn copies_ns(&self, s: usize, nodes: &[u16]) -> i64 {
        let copy_ns = self.g.shards[s].copy_ns;
        if copy_ns == 0 {
            return 0;
        }
        let held = self.g.held(s);
        copy_ns * nodes.iter().filter(|n| !held.contains(n)).count() as i64
    }

    /// Everything but the leader's part.
    pub(crate) fn base(&self, s: usize, nodes: &[u16], loads: &Loads, near_ns: i64) -> Price {
        let shard = &self.g.shards[s];
        let mut price = Price { overflow: 0, ns_per_s: near_ns + self.copies_ns(s, nodes) };
        for (i, n) in nodes.iter().enumerate() {
            let more = (shard.load_all + loads[i], shard.bytes);
            price = price.plus(self.strain(*n, self.on(*n), more));
        }
        price
    }

    /// What clients and the quorum wait for a leader, and the change to it.
    fn lead_ns(&self, s: usize, nodes: &[u16], lead: usize) -> i64 {
        let (shard, n) = (&self.g.shards[s], nodes[lead]);
        let mut ns = self.g.lead_ns(s, n) + shard.writes_weight * self.quorum_us(s, nodes, lead);
        if shard.leader_now.is_some_and(|now| now != n) {
            ns += self.g.leader_change_ns;
        }
        ns
    }

    /// What is added if a certain replica leads.
    pub(crate) fn lead(&self, s: usize, nodes: &[u16], loads: &Loads, lead: usize) -> Price {
        let (shard, n) = (&self.g.shards[s], nodes[lead]);
        let price = Price { overflow: 0, ns_per_s: self.lead_ns(s, nodes, lead) };
        if shard.load_leader == 0 {
            return price;
        }
        let (load, bytes) = self.on(n);
        let with = (load + shard.load_all + loads[lead], bytes + shard.bytes);
        price.plus(self.strain(n, with, (shard.load_leader, 0)))
    }

    /// From the leader to the farthest of the nearest that make a quorum with it, microseconds.
    fn quorum_us(&self, s: usize, nodes: &[u16], lead: usize) -> i64 {
        let others = self.g.rule(s).acks - 1;
        if others == 0 || self.g.shards[s].writes_weight == 0 {
            return 0;
        }
        let region = self.g.nodes[usize::from(nodes[lead])].region as u32;
        let mut keys = [i64::MAX; REPLICAS_MAX];
        let mut count = 0;
        for (i, n) in nodes.iter().enumerate() {
            if i != lead {
                keys[count] = self.g.key(region, *n);
                count += 1;
            }
        }
        let keys = &mut keys[..count];
        if others > 1 {
            keys.sort_unstable();
        }
        let key = if others == 1 { keys.iter().min() } else { keys.get(others - 1) };
        key.map_or(0, |key| self.g.key_us(*key))
    }

    /// Makes the level above from a level and one more node.
    pub(crate) fn push(&mut self, s: usize, depth: usize, n: u16) {
        self.nodes[depth] = n;
        let near = self.g.near(s);
        let (below, above) = self.levels.split_at_mut(depth + 1);
        let (below, above) = (&below[depth], &mut above[0]);
        above.keys.clear();
        above.owner.clear();
        for (d, row) in near.iter().enumerate() {
            let key = self.g.key(row.region, n);
            let wins = depth == 0 || key < below.keys[d];
            above.keys.push(if wins { key } else { below.keys[d] });
            above.owner.push(if wins { depth as u8 } else { below.owner[d] });
        }
    }

    /// Near loads and waits of the nodes of a level with one more node.
    pub(crate) fn with(&mut self, s: usize, depth: usize, n: u16) -> (Loads, i64) {
        self.nodes[depth] = n;
        let level = &self.levels[depth];
        let (mut loads, mut ns) = ([0; REPLICAS_MAX], 0);
        if depth == 0 {
            return self.near(s, &[n]);
        }
        for ((row, below), owner) in self.g.near(s).iter().zip(&level.keys).zip(&level.owner) {
            let key = self.g.key(row.region, n);
            let i = if key < *below { depth } else { usize::from(*owner) };
            loads[i & 7] += row.rate;
            ns += row.rate * self.g.key_us(key.min(*below));
        }
        (loads, ns)
    }

    /// Whether a node can be added to the first ones under construction.
    pub(crate) fn fits(&self, s: usize, depth: usize, n: u16) -> bool {
        let spread = self.g.rule(s).spread;
        self.g.may_hold(s, n) && !self.nodes[..depth].iter().any(|m| self.g.too_near(spread, *m, n))
    }
}
