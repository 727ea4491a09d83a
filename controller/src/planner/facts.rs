//! The view, looked up once: nodes and regions become small integers, so that a plan costs about a million
//! lookups in arrays where it would cost as many in trees of strings.

use super::{PlanInput, gain, reject::Reject};
use crate::{
    freeze::{self, Scope},
    view::{ArrivalForecast, InFlight, NodeHealth, NodeView, ShardView},
};
use isobar_api::{
    NodeId, Region, ReplicaRole, ShardId, TableId,
    table::{AckLevel, TableRule, TableState},
};
use std::collections::{BTreeMap, BTreeSet};

/// The table of tables: its rows say where the others are. Its rule is not in the view.
const SYSTEM_TABLE: TableId = TableId(0);

/// One node, judged.
pub(crate) struct NodeFact<'a> {
    pub id: NodeId,
    pub view: &'a NodeView,
    pub region: usize,
    pub alive: bool,
    pub dead: bool,
    /// Dead for so long (or dead and to be drained) that its replicas are replaced.
    pub lost: bool,
    pub draining: bool,
    pub frozen: bool,
    /// Its report is young enough to plan by.
    pub fresh: bool,
}

impl NodeFact<'_> {
    /// Whether an optimisation may give it something.
    pub(crate) fn is_usable(&self) -> bool {
        self.alive && self.fresh && !self.draining && !self.frozen
    }
}

/// One table: its rule, and which regions it allows.
pub(crate) struct TableFact<'a> {
    pub name: &'a str,
    pub rule: TableRule,
    pub creating: bool,
    pub system: bool,
    pub allowed: Vec<bool>,
}

/// One shard.
pub(crate) struct ShardFact<'a> {
    pub id: ShardId,
    pub view: &'a ShardView,
    pub table: Option<usize>,
    pub leader: Option<usize>,
    pub forecast: Option<&'a BTreeMap<Option<Region>, ArrivalForecast>>,
    /// Requests per second with bounds; from the last window where there is no forecast.
    pub load: [f64; 3],
}

/// Scopes in which nothing may start.
#[derive(Default)]
struct Freezes {
    cluster: Option<String>,
    tables: BTreeMap<String, String>,
    shards: BTreeMap<ShardId, String>,
    nodes: BTreeSet<NodeId>,
    regions: BTreeSet<Region>,
}

impl Freezes {
    fn read(input: &PlanInput<'_>) -> Self {
        let mut out = Self::default();
        let in_force = |f: &&isobar_api::plan::Freeze| f.expires_at_unix_ms > input.now_unix_ms;
        for freeze in input.freezes.iter().filter(in_force) {
            let why = format!("{} by {}: {}", freeze.scope, freeze.owner, freeze.reason);
            match freeze::parse(&freeze.scope) {
                // A scope nobody can read was meant to stop something: it stops everything.
                None | Some(Scope::Cluster) => out.cluster = Some(why),
                Some(Scope::Table(name)) => drop(out.tables.insert(name, why)),
                Some(Scope::Shard(id)) => drop(out.shards.insert(id, why)),
                Some(Scope::Node(id)) => drop(out.nodes.insert(id)),
                Some(Scope::Region(region)) => drop(out.regions.insert(region)),
            }
        }
        out
    }
}

/// All of it.
pub(crate) struct Facts<'a> {
    pub input: &'a PlanInput<'a>,
    pub nodes: Vec<NodeFact<'a>>,
    pub nodes_by_region: Vec<Vec<usize>>,
    pub regions: Vec<&'a Region>,
    pub tables: Vec<TableFact<'a>>,
    pub shards: Vec<ShardFact<'a>>,
    pub mass_failure: Option<Reject>,
    /// Ledger entry per shard.
    pub in_flight: BTreeMap<ShardId, &'a InFlight>,
    rtt: Vec<Option<f64>>,
    /// Per region: some place where a leader could be lies at a known distance.
    measured: Vec<bool>,
    freezes: Freezes,
}

impl<'a> Facts<'a> {
    /// Looks everything up.
    pub(crate) fn new(input: &'a PlanInput<'a>) -> Self {
        let freezes = Freezes::read(input);
        let mut names: BTreeSet<&Region> = input.rtt.regions().collect();
        names.extend(input.view.nodes.values().map(|n| &n.region));
        let regions: Vec<&Region> = names.into_iter().collect();
        let mut rtt = Vec::with_capacity(regions.len() * regions.len());
        for a in &regions {
            for b in &regions {
                let known = input.rtt.get(a, b);
                rtt.push(known.filter(|ms| ms.is_finite() && *ms >= 0.0));
            }
        }
        let nodes = node_facts(input, &regions, &freezes);
        let mut nodes_by_region = vec![Vec::new(); regions.len()];
        for (i, node) in nodes.iter().enumerate() {
            nodes_by_region[node.region].push(i);
        }
        let elsewhere = |r: usize| {
            (0..regions.len())
                .filter(move |to| *to != r)
                .filter(|to| !nodes_by_region[*to].is_empty())
        };
        let known = |r: usize, to: usize| rtt[r * regions.len() + to].is_some();
        let measured = |r| elsewhere(r).next().is_none() || elsewhere(r).any(|to| known(r, to));
        let measured = (0..regions.len()).map(measured).collect();
        let tables = table_facts(input, &regions);
        let in_flight = strictest(input.ledger);
        let mut facts = Self {
            input,
            nodes,
            nodes_by_region,
            regions,
            tables,
            shards: Vec::new(),
            mass_failure: None,
            in_flight,
            rtt,
            measured,
            freezes,
        };
        facts.shards = facts.shard_facts();
        facts.mass_failure = facts.find_mass_failure();
        facts
    }

    fn shard_facts(&self) -> Vec<ShardFact<'a>> {
        let ids: Vec<TableId> = self.input.view.tables.keys().copied().collect();
        let view = self.input.view;
        let fact = |(id, shard): (&ShardId, &'a ShardView)| {
            let table = shard.entry.table_id;
            let system = (table == SYSTEM_TABLE).then_some(self.tables.len() - 1);
            let forecast = self.input.forecasts.get(id);
            ShardFact {
                id: *id,
                view: shard,
                table: ids.binary_search(&table).ok().or(system),
                leader: shard.entry.leader.and_then(|n| self.node(n)),
                forecast,
                load: load_of(shard, forecast),
            }
        };
        view.shards.iter().map(fact).collect()
    }

    fn find_mass_failure(&self) -> Option<Reject> {
        if !self.nodes.iter().any(|n| n.dead) {
            return None;
        }
        // Nodes that are dead and hold nothing were retired long ago and are no sign of a failure.
        let mut holds = vec![false; self.nodes.len()];
        for shard in &self.shards {
            for replica in &shard.view.entry.replicas {
                if let Some(i) = self.node(replica.node_id) {
                    holds[i] = true;
                }
            }
        }
        let dead = (0..self.nodes.len()).filter(|&i| self.nodes[i].dead && holds[i]).count();
        let nodes = self.nodes.iter().filter(|n| !n.dead).count() + dead;
        let share_max = self.input.policy.repair.dead_share_max;
        (dead as f64 > share_max * nodes as f64).then_some(Reject::MassFailure { dead, nodes })
    }

    /// Position of a node.
    pub(crate) fn node(&self, id: NodeId) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |n| n.id).ok()
    }

    /// Position of a region.
    pub(crate) fn region(&self, region: &Region) -> Option<usize> {
        self.regions.binary_search(&region).ok()
    }

    /// Round-trip time between two regions.
    pub(crate) fn rtt(&self, a: usize, b: usize) -> Option<f64> {
        self.rtt[a * self.regions.len() + b]
    }

    /// The table of a shard.
    pub(crate) fn table(&self, s: usize) -> Option<&TableFact<'a>> {
        self.shards[s].table.map(|t| &self.tables[t])
    }

    /// Voters the shard must have at least. A system shard keeps what it has.
    pub(crate) fn floor(&self, s: usize) -> usize {
        match self.table(s) {
            Some(t) if !t.system => usize::from(t.rule.replicas),
            _ => self.shards[s].view.entry.voters().count(),
        }
    }

    /// The freeze that covers the shard itself, if one does.
    pub(crate) fn frozen(&self, s: usize) -> Option<Reject> {
        let shard = &self.shards[s];
        let frozen = self.freezes.cluster.as_ref();
        let frozen = frozen.or_else(|| self.freezes.shards.get(&shard.id));
        let frozen = frozen.or_else(|| self.freezes.tables.get(shard.view.table.as_str()));
        let by_name = || self.table(s).and_then(|t| self.freezes.tables.get(t.name));
        frozen.or_else(by_name).cloned().map(Reject::Frozen)
    }

    /// Whether a node is frozen, by itself or by its region. Unknown nodes count as frozen by name only.
    pub(crate) fn node_frozen(&self, id: NodeId) -> bool {
        match self.node(id) {
            Some(i) => self.nodes[i].frozen,
            None => self.freezes.nodes.contains(&id),
        }
    }

    /// Whether a replica's node may still be alive and its storage has not failed.
    pub(crate) fn may_vote(&self, s: usize, id: NodeId) -> bool {
        let shard = &self.shards[s].view;
        let faulty =
            shard.entry.replica_on(id).is_some_and(|r| shard.faults.contains_key(&r.replica_id));
        !faulty && self.node(id).is_none_or(|i| !self.nodes[i].dead)
    }

    /// Voters that may vote.
    pub(crate) fn voters_alive(&self, s: usize) -> usize {
        let entry = &self.shards[s].view.entry;
        entry.voters().filter(|id| self.may_vote(s, *id)).count()
    }

    /// Replicas of the shard that vote, as positions; nodes that are not in the view are left out.
    pub(crate) fn voters(&self, s: usize) -> impl Iterator<Item = usize> + '_ {
        self.shards[s].view.entry.voters().filter_map(|id| self.node(id))
    }

    /// The first learner of a shard.
    pub(crate) fn learners(&self, s: usize) -> impl Iterator<Item = NodeId> + '_ {
        let replicas = self.shards[s].view.entry.replicas.iter();
        replicas.filter(|r| r.role == ReplicaRole::Learner).map(|r| r.node_id)
    }

    /// The leader, unless its node is dead or its storage has failed: then one is being elected.
    pub(crate) fn live_leader(&self, s: usize) -> Option<usize> {
        let leader = self.shards[s].leader?;
        self.may_vote(s, self.nodes[leader].id).then_some(leader)
    }

    /// Reads per second by region of the reader, for regions at a known distance from any place; and the share of
    /// reads they are.
    pub(crate) fn readers(&self, s: usize) -> (Vec<(usize, [f64; 3])>, f64) {
        let mut known: Vec<(usize, [f64; 3])> = Vec::new();
        let (mut total, mut placed) = (0.0, 0.0);
        for (region, forecast) in self.shards[s].forecast.into_iter().flatten() {
            let reads = gain::tidy(forecast.reads_per_s);
            total += reads[1];
            let home = region.as_ref().and_then(|r| self.region(r));
            if let Some(r) = home.filter(|r| self.measured[*r]) {
                placed += reads[1];
                known.push((r, reads));
            }
        }
        (known, if total > 0.0 { placed / total } else { 0.0 })
    }

    /// The mean round trip of the readers to a region, at their expected weights; `None` where one is unknown.
    pub(crate) fn wait_ms(&self, readers: &[(usize, [f64; 3])], to: usize) -> Option<f64> {
        let (mut reads, mut sum) = (0.0, 0.0);
        for (r, w) in readers {
            sum += w[1] * self.rtt(*r, to)?;
            reads += w[1];
        }
        (reads > 0.0).then(|| sum / reads)
    }

    /// Each reader region's weight with the round-trip time to `to`; `None` where one is unknown.
    pub(crate) fn trips(
        &self,
        readers: &[(usize, [f64; 3])],
        to: usize,
    ) -> Option<Vec<([f64; 3], f64)>> {
        readers.iter().map(|(r, w)| Some((*w, self.rtt(*r, to)?))).collect()
    }
}

/// One ledger entry per shard: what is under way before what is applied, the newest of those.
fn strictest(ledger: &[InFlight]) -> BTreeMap<ShardId, &InFlight> {
    let mut out: BTreeMap<ShardId, &InFlight> = BTreeMap::new();
    let rank = |e: &InFlight| (e.applied_unix_ms.unwrap_or(u64::MAX), e.directive_id);
    for entry in ledger {
        let kept = out.entry(entry.shard).or_insert(entry);
        if rank(entry) > rank(kept) {
            *kept = entry;
        }
    }
    out
}

fn node_facts<'a>(
    input: &PlanInput<'a>,
    regions: &[&Region],
    freezes: &Freezes,
) -> Vec<NodeFact<'a>> {
    let stale_ms = input.policy.observe.stale_after_s.saturating_mul(1_000);
    let dead_ms = input.policy.repair.dead_after_s.saturating_mul(1_000);
    let fact = |(id, view): (&NodeId, &'a NodeView)| {
        let draining = input.drains.contains(id);
        let dead_for = match view.health {
            NodeHealth::Dead { since_unix_ms } => input.age_ms(Some(since_unix_ms)),
            _ => None,
        };
        NodeFact {
            id: *id,
            view,
            region: regions.binary_search(&&view.region).expect("every node's region was put in"),
            alive: view.health == NodeHealth::Alive,
            dead: dead_for.is_some(),
            lost: dead_for.is_some_and(|ms| draining || ms >= dead_ms),
            draining,
            frozen: freezes.nodes.contains(id) || freezes.regions.contains(&view.region),
            fresh: input.age_ms(view.reported_unix_ms).is_some_and(|ms| ms <= stale_ms),
        }
    };
    input.view.nodes.iter().map(fact).collect()
}

/// The tables in id order, then the system table unless the view describes it.
fn table_facts<'a>(input: &PlanInput<'a>, regions: &[&Region]) -> Vec<TableFact<'a>> {
    let fact = |(id, info): (&TableId, &'a isobar_api::table::TableInfo)| TableFact {
        name: &info.spec.name,
        rule: info.spec.rule.clone(),
        creating: info.state == TableState::Creating,
        system: *id == SYSTEM_TABLE,
        allowed: regions.iter().map(|r| info.spec.rule.allows(r)).collect(),
    };
    let mut tables: Vec<TableFact<'a>> = input.view.tables.iter().map(fact).collect();
    let max = isobar_api::limits::REPLICAS_MAX;
    tables.push(TableFact {
        name: "",
        rule: TableRule {
            regions: Vec::new(),
            replicas: 1,
            replicas_max: max,
            ack: AckLevel::Majority,
        },
        creating: false,
        system: true,
        allowed: vec![true; regions.len()],
    });
    tables
}

fn load_of(
    shard: &ShardView,
    forecast: Option<&BTreeMap<Option<Region>, ArrivalForecast>>,
) -> [f64; 3] {
    let mut load = [0.0; 3];
    if let Some(by_region) = forecast {
        for f in by_region.values() {
            let (reads, writes) = (gain::tidy(f.reads_per_s), gain::tidy(f.writes_per_s));
            for i in 0..3 {
                load[i] += reads[i] + writes[i];
            }
        }
        return load;
    }
    let seen: f64 = shard.arrivals.values().map(|a| a.reads_per_s + a.writes_per_s).sum();
    gain::tidy([seen; 3])
}
