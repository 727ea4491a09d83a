//! Folds reports and shard maps into what the controller knows. Time is an argument.

use super::{
    health::{Sightings, health},
    windows::{ClosedWindow, Expected, Windows},
};
use crate::view::{ClusterView, NodeHealth, NodeView, ShardView};
use isobar_api::{
    NodeId, Region, ReplicaId, ShardEntry, ShardId, TableId, Term, limits,
    map::ShardMap,
    policy::ObservePolicy,
    report::{MemberInfo, NodeLoad, NodeReport, ReplicaReport},
    table::TableInfo,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was learned of a node; also stored, so that a restarted controller knows the regions of dead ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownNode {
    /// Where it serves.
    pub(crate) address: String,
    /// Its region.
    pub(crate) region: Region,
    /// Its zone.
    pub(crate) zone: String,
}

#[derive(Debug)]
struct NodeFacts {
    known: KnownNode,
    seen: Sightings,
    load: NodeLoad,
    /// Highest controller term it says that it has accepted.
    term: Term,
}

/// What to do about a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ingest {
    /// It was taken in.
    Taken,
    /// It is of another cluster and was ignored.
    OtherCluster,
}

/// The picture so far.
#[derive(Debug)]
pub(crate) struct Fold {
    started_unix_ms: u64,
    cluster_id: String,
    nodes: BTreeMap<NodeId, NodeFacts>,
    tables: BTreeMap<TableId, TableInfo>,
    table_names: BTreeMap<TableId, String>,
    map: ShardMap,
    changed: BTreeMap<ShardId, u64>,
    first_seen: BTreeMap<ShardId, u64>,
    replicas: BTreeMap<(ShardId, NodeId), ReplicaReport>,
    windows: Windows,
    reports: u64,
    gaps: u64,
}

impl Fold {
    /// An empty picture of a cluster; an empty id takes the first cluster that answers.
    pub(crate) fn new(cluster_id: String, started_unix_ms: u64) -> Self {
        Self {
            started_unix_ms,
            cluster_id,
            nodes: BTreeMap::new(),
            tables: BTreeMap::new(),
            table_names: BTreeMap::new(),
            map: ShardMap::default(),
            changed: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            replicas: BTreeMap::new(),
            windows: Windows::default(),
            reports: 0,
            gaps: 0,
        }
    }

    /// Puts back what an earlier run knew.
    pub(crate) fn restore(&mut self, nodes: BTreeMap<NodeId, KnownNode>, windows: &[ClosedWindow]) {
        for (id, known) in nodes {
            self.learn(id, known, self.started_unix_ms);
        }
        if let Some(last) = windows.last() {
            self.windows.set_length(last.window_ms);
        }
        for window in windows {
            self.windows.remember(window);
        }
    }

    /// Highest controller term that any node has accepted. A claim so far above ours that no node
    /// would take a leap there is a lie or a damaged node, and is left out.
    pub(crate) fn highest_term(&self, ours: Term) -> Term {
        let reachable = ours.0.saturating_add(limits::CONTROLLER_TERM_LEAP_MAX);
        let claims = self.nodes.values().map(|n| n.term);
        claims.filter(|term| term.0 < reachable).max().unwrap_or_default()
    }

    /// Reports taken in, and reports lost, since start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reports, self.gaps)
    }

    /// Notes that reports were lost.
    pub(crate) fn add_gaps(&mut self, lost: u64) {
        self.gaps += lost;
    }

    /// Every node with its address, in id order.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.nodes.iter().map(|(id, n)| (*id, n.known.address.clone())).collect()
    }

    /// What is stored for the next start.
    pub(crate) fn known_nodes(&self) -> BTreeMap<NodeId, KnownNode> {
        self.nodes.iter().map(|(id, n)| (*id, n.known.clone())).collect()
    }

    /// Takes in a node's answer to `GetShardMap`.
    pub(crate) fn apply_map(
        &mut self,
        cluster_id: &str,
        members: Vec<MemberInfo>,
        tables: Vec<TableInfo>,
        shards: Vec<ShardEntry>,
        now_unix_ms: u64,
    ) -> Ingest {
        if !self.is_ours(cluster_id) {
            return Ingest::OtherCluster;
        }
        for member in members {
            let known =
                KnownNode { address: member.address, region: member.region, zone: member.zone };
            self.learn(member.node_id, known, now_unix_ms);
        }
        for table in tables {
            self.table_names.insert(table.table_id, table.spec.name.clone());
            self.tables.insert(table.table_id, table);
        }
        for entry in shards {
            self.merge(entry, now_unix_ms);
        }
        Ingest::Taken
    }

    /// Takes in one report.
    pub(crate) fn apply_report(&mut self, report: NodeReport, now_unix_ms: u64) -> Ingest {
        if !self.is_ours(&report.cluster_id) {
            return Ingest::OtherCluster;
        }
        self.reports += 1;
        let known = KnownNode {
            address: report.address.clone(),
            region: report.region.clone(),
            zone: report.zone.clone(),
        };
        self.learn(report.node_id, known, now_unix_ms);
        if let Some(node) = self.nodes.get_mut(&report.node_id) {
            node.seen.reported_unix_ms = Some(now_unix_ms);
            node.load = report.load.clone();
            node.term = report.controller_term;
        }
        for id in &report.alive {
            if let Some(node) = self.nodes.get_mut(id) {
                node.seen.gossip_unix_ms = Some(now_unix_ms);
            }
        }
        self.windows.add(&report);
        let node = report.node_id;
        if report.full {
            self.replicas.retain(|(_, holder), _| *holder != node);
        }
        for shard in &report.gone {
            self.replicas.remove(&(*shard, node));
        }
        for replica in report.replicas {
            self.table_names.insert(replica.shard.table_id, replica.table.clone());
            self.merge(replica.shard.clone(), now_unix_ms);
            self.replicas.insert((replica.shard.shard_id, node), replica);
        }
        Ingest::Taken
    }

    /// Closes the telemetry window if its time is over.
    pub(crate) fn close_window(
        &mut self,
        policy: &ObservePolicy,
        now_unix_ms: u64,
    ) -> Option<ClosedWindow> {
        self.forget_the_future(now_unix_ms);
        let window_ms = policy.window_s.saturating_mul(1_000);
        self.windows.set_length(window_ms);
        let witness = self.any_witness(policy, now_unix_ms);
        let mut expected = BTreeMap::new();
        for entry in self.map.iter() {
            let lives = |id: &NodeId| match self.health_of(*id, witness, policy, now_unix_ms) {
                Some(NodeHealth::Dead { .. }) | None => false,
                Some(_) => true,
            };
            let nodes = entry.replicas.iter().map(|r| r.node_id).filter(lives).collect();
            let first = self.first_seen.get(&entry.shard_id).copied().unwrap_or(0);
            let whole = first.saturating_add(window_ms) <= now_unix_ms;
            expected.insert(entry.shard_id, Expected { nodes, whole });
        }
        let closed = self.windows.close(&expected, now_unix_ms);
        if closed.is_some() {
            let present: BTreeSet<ShardId> = expected.into_keys().collect();
            self.windows.retain(&present);
        }
        closed
    }

    /// The view now.
    pub(crate) fn view(&self, policy: &ObservePolicy, now_unix_ms: u64) -> ClusterView {
        let witness = self.any_witness(policy, now_unix_ms);
        let mut reporting = BTreeSet::new();
        let mut nodes = BTreeMap::new();
        for (id, n) in &self.nodes {
            let view = NodeView {
                node_id: *id,
                address: n.known.address.clone(),
                region: n.known.region.clone(),
                zone: n.known.zone.clone(),
                health: health(n.seen, witness, stale_ms(policy), now_unix_ms),
                reported_unix_ms: n.seen.reported_unix_ms,
                load: n.load.clone(),
            };
            if view.health == NodeHealth::Alive {
                reporting.insert(*id);
            }
            nodes.insert(*id, view);
        }
        let shard = |entry: &ShardEntry| (entry.shard_id, self.shard_view(entry, &reporting));
        ClusterView {
            at_unix_ms: now_unix_ms,
            cluster_id: self.cluster_id.clone(),
            nodes,
            shards: self.map.iter().map(shard).collect(),
            tables: self.tables.clone(),
        }
    }

    /// `reporting`: nodes whose reports arrive.
    fn shard_view(&self, entry: &ShardEntry, reporting: &BTreeSet<NodeId>) -> ShardView {
        let id = entry.shard_id;
        let held = || {
            let all = self.replicas.range((id, NodeId(0))..=(id, NodeId(u64::MAX)));
            all.map(|((_, node), replica)| (*node, replica))
        };
        let leader = entry
            .leader
            .and_then(|node| self.replicas.get(&(id, node)))
            .filter(|replica| replica.is_leader);
        let reported = leader.and(entry.leader).and_then(|node| self.nodes.get(&node));
        let requests = |replica: &ReplicaReport| -> u64 {
            let counts = replica.arrivals.iter().flat_map(|a| [a.reads, a.writes, a.scans]);
            counts.fold(0, u64::saturating_add)
        };
        // What a silent node said last is not what is asked for now.
        let recent = held().filter(|(node, _)| reporting.contains(node)).map(|(_, r)| r);
        let busiest = recent.max_by_key(|r| (requests(r), r.is_leader));
        let (windows, arrivals) = self.windows.last(id);
        ShardView {
            table: self.table_names.get(&entry.table_id).cloned().unwrap_or_default(),
            reported_unix_ms: reported.and_then(|n| n.seen.reported_unix_ms),
            changed_unix_ms: self.changed.get(&id).copied().unwrap_or(0),
            windows,
            arrivals,
            size_bytes: leader
                .map(|r| r.size_bytes)
                .or_else(|| held().map(|(_, r)| r.size_bytes).max())
                .unwrap_or(0),
            hot_keys: busiest.map(|r| r.hot_keys.clone()).unwrap_or_default(),
            access_octiles: busiest.map(|r| r.access_octiles.clone()).unwrap_or_default(),
            behind: leader.map(behind).unwrap_or_default(),
            faults: held().filter_map(|(_, r)| Some((r.replica_id, r.fault.clone()?))).collect(),
            entry: entry.clone(),
        }
    }

    fn is_ours(&mut self, cluster_id: &str) -> bool {
        if self.cluster_id.is_empty() {
            cluster_id.clone_into(&mut self.cluster_id);
        }
        !cluster_id.is_empty() && self.cluster_id == cluster_id
    }

    fn learn(&mut self, id: NodeId, known: KnownNode, now_unix_ms: u64) {
        if let Some(facts) = self.nodes.get_mut(&id) {
            facts.known = known;
            return;
        }
        let seen = Sightings { first_unix_ms: now_unix_ms, ..Sightings::default() };
        self.nodes.insert(id, NodeFacts { known, seen, load: NodeLoad::default(), term: Term(0) });
    }

    fn merge(&mut self, entry: ShardEntry, now_unix_ms: u64) {
        let (id, epoch) = (entry.shard_id, entry.epoch);
        let before = self.map.get(id).map(|old| old.epoch);
        if !self.map.merge(entry) || before == Some(epoch) {
            return;
        }
        // What is found in the first moments was there before us; later, it is a change.
        let is_news = before.is_some() || now_unix_ms > self.started_unix_ms + 10_000;
        if is_news {
            self.changed.insert(id, now_unix_ms);
        }
        let first = if is_news { now_unix_ms } else { 0 };
        self.first_seen.entry(id).or_insert(first);
    }

    /// After the clock was set back, what was seen "later" counts as seen just now: a node that died
    /// then would otherwise seem alive until the clock has caught up.
    fn forget_the_future(&mut self, now_unix_ms: u64) {
        self.started_unix_ms = self.started_unix_ms.min(now_unix_ms);
        for node in self.nodes.values_mut() {
            node.seen.forget_the_future(now_unix_ms);
        }
        for at in self.changed.values_mut().chain(self.first_seen.values_mut()) {
            *at = now_unix_ms.min(*at);
        }
    }

    fn any_witness(&self, policy: &ObservePolicy, now_unix_ms: u64) -> bool {
        let fresh = |at: u64| now_unix_ms.saturating_sub(at) <= stale_ms(policy);
        self.nodes.values().any(|n| n.seen.reported_unix_ms.is_some_and(fresh))
    }

    fn health_of(
        &self,
        id: NodeId,
        witness: bool,
        policy: &ObservePolicy,
        now_unix_ms: u64,
    ) -> Option<NodeHealth> {
        let facts = self.nodes.get(&id)?;
        Some(health(facts.seen, witness, stale_ms(policy), now_unix_ms))
    }
}

fn stale_ms(policy: &ObservePolicy) -> u64 {
    policy.stale_after_s.saturating_mul(1_000)
}

/// Log entries that each replica is behind its leader.
fn behind(leader: &ReplicaReport) -> BTreeMap<ReplicaId, u64> {
    let last = leader.last_log_index;
    let mut behind: BTreeMap<ReplicaId, u64> =
        leader.matched.iter().map(|(id, index)| (*id, last.saturating_sub(*index))).collect();
    behind.insert(leader.replica_id, 0);
    behind
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
