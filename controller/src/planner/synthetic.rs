//! Made-up clusters of any size, from a seed: for tests, benches and figures.

use super::PlanInput;
use crate::view::{
    ArrivalForecast, ArrivalRate, ClusterView, Forecasts, InFlight, MoveHistory, NodeHealth,
    NodeView, ShardView,
};
use isobar_api::{
    Epoch, KeyRange, NodeId, Region, Replica, ReplicaId, ReplicaRole, ShardEntry, ShardId, TableId,
    Term,
    plan::Freeze,
    policy::{Mode, Policy},
    report::NodeLoad,
    rtt::RttMatrix,
    table::{AckLevel, TableInfo, TableRule, TableSpec, TableState},
};
use std::collections::{BTreeMap, BTreeSet};

/// When the made-up moment is, Unix milliseconds.
pub const NOW_UNIX_MS: u64 = 1_790_000_000_000;
const TABLE: &str = "orders";
const REPLICAS: u8 = 3;
const DISK_BYTES: u64 = 1 << 40;

/// A planner input that owns its parts. Change any of them, then call [`Synthetic::input`].
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// The view.
    pub view: ClusterView,
    /// The policy: the default one.
    pub policy: Policy,
    /// Forecasts: the view's arrivals, give or take 10 %.
    pub forecasts: Forecasts,
    /// The ledger: empty.
    pub ledger: Vec<InFlight>,
    /// The history: empty.
    pub history: MoveHistory,
    /// Freezes: none.
    pub freezes: Vec<Freeze>,
    /// Drains: none.
    pub drains: BTreeSet<NodeId>,
    /// Round trips between regions on a circle, 20 to 200 ms.
    pub rtt: RttMatrix,
    /// Busy shards: none.
    pub busy: BTreeSet<ShardId>,
    /// Directives that came to nothing a moment ago: none.
    pub quiet: BTreeSet<String>,
    /// Now.
    pub now_unix_ms: u64,
    /// Seed for ties.
    pub seed: u64,
}

impl Synthetic {
    /// The input to plan with.
    pub fn input(&self) -> PlanInput<'_> {
        PlanInput {
            view: &self.view,
            policy: &self.policy,
            policy_version: 1,
            forecasts: &self.forecasts,
            ledger: &self.ledger,
            history: &self.history,
            freezes: &self.freezes,
            drains: &self.drains,
            rtt: &self.rtt,
            busy: &self.busy,
            quiet: &self.quiet,
            controller_term: Term(1),
            mode: Mode::Act,
            now_unix_ms: self.now_unix_ms,
            seed: self.seed,
            parent: None,
        }
    }

    /// Lets time pass with everything reporting on: reports are young again.
    pub fn advance(&mut self, by_ms: u64) {
        self.now_unix_ms += by_ms;
        self.view.at_unix_ms = self.now_unix_ms;
        for node in self.view.nodes.values_mut().filter(|n| n.health == NodeHealth::Alive) {
            node.reported_unix_ms = Some(self.now_unix_ms);
        }
        for shard in self.view.shards.values_mut() {
            shard.reported_unix_ms = Some(self.now_unix_ms);
        }
    }

    /// Makes the forecasts anew from the view's arrivals.
    pub fn forecast(&mut self) {
        self.forecasts = forecasts_of(&self.view, 0.1);
    }
}

/// A seeded generator of numbers (SplitMix64), so that no global source of chance is needed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        super::score::tie(self.0, 0, 0)
    }

    /// A number below `n` (0 for `n = 0`).
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    /// A number from 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Forecasts that say what was seen, plus or minus a share of it.
fn forecasts_of(view: &ClusterView, spread_share: f64) -> Forecasts {
    let interval = |x: f64| [x * (1.0 - spread_share), x, x * (1.0 + spread_share)];
    let of_region = |(region, rate): (&Option<Region>, &ArrivalRate)| {
        let forecast = ArrivalForecast {
            reads_per_s: interval(rate.reads_per_s),
            writes_per_s: interval(rate.writes_per_s),
            model: "seasonal_naive".into(),
            age_ms: 1_000,
        };
        (region.clone(), forecast)
    };
    let of_shard =
        |(id, shard): (&ShardId, &ShardView)| (*id, shard.arrivals.iter().map(of_region).collect());
    view.shards.iter().map(of_shard).collect()
}

/// A healthy cluster: nodes spread over regions and zones, one table, shards placed by hash as a store without a
/// planner would, and readers of each shard mostly in one region. Everything follows from the arguments.
pub fn synthetic_input(nodes: u64, shards: u64, seed: u64) -> Synthetic {
    let mut dice = Dice::new(seed);
    let regions = regions(nodes);
    let mut view = ClusterView {
        at_unix_ms: NOW_UNIX_MS,
        cluster_id: "synthetic".into(),
        nodes: (1..=nodes).map(|n| (NodeId(n), node(n, &regions))).collect(),
        ..ClusterView::default()
    };
    view.tables.insert(TableId(1), table());
    for s in 1..=shards {
        let entry = entry(s, shards, nodes, &mut dice);
        for replica in &entry.replicas {
            if let Some(n) = view.nodes.get_mut(&replica.node_id) {
                n.load.replicas += 1;
                n.load.leaders += u32::from(entry.leader == Some(replica.node_id));
            }
        }
        view.shards.insert(ShardId(s), shard(entry, &regions, &mut dice));
    }
    Synthetic {
        forecasts: forecasts_of(&view, 0.1),
        view,
        policy: Policy::default(),
        ledger: Vec::new(),
        history: MoveHistory::new(),
        freezes: Vec::new(),
        drains: BTreeSet::new(),
        rtt: rtt(&regions),
        busy: BTreeSet::new(),
        quiet: BTreeSet::new(),
        now_unix_ms: NOW_UNIX_MS,
        seed,
    }
}

fn regions(nodes: u64) -> Vec<Region> {
    let count = (nodes / 2).clamp(1, 8);
    let name = |i: u64| Region::new(format!("region-{i}")).expect("a legal name");
    (1..=count).map(name).collect()
}

fn rtt(regions: &[Region]) -> RttMatrix {
    let mut rtt = RttMatrix::default();
    for (i, a) in regions.iter().enumerate() {
        for (j, b) in regions.iter().enumerate().skip(i + 1) {
            let steps = (j - i).min(regions.len() - (j - i));
            rtt.set(a, b, 20.0 + 180.0 * (steps as f64 - 1.0) / 4.0);
        }
    }
    rtt
}

fn node(n: u64, regions: &[Region]) -> NodeView {
    let i = (n - 1) as usize;
    NodeView {
        node_id: NodeId(n),
        address: format!("127.0.0.1:{}", 10_000 + n % 50_000),
        region: regions[i % regions.len()].clone(),
        zone: format!("zone-{}", (i / regions.len()) % 3),
        health: NodeHealth::Alive,
        reported_unix_ms: Some(NOW_UNIX_MS - 500),
        load: NodeLoad {
            disk_free_bytes: DISK_BYTES / 2,
            disk_total_bytes: DISK_BYTES,
            ..NodeLoad::default()
        },
    }
}

fn table() -> TableInfo {
    let rule = TableRule {
        regions: Vec::new(),
        replicas: REPLICAS,
        replicas_max: 5,
        ack: AckLevel::Majority,
    };
    TableInfo {
        table_id: TableId(1),
        spec: TableSpec { name: TABLE.into(), rule, split_keys: Vec::new(), placed_like: None },
        state: TableState::Ready,
        first_shards: Vec::new(),
    }
}

/// A key in the middle of numbers: shard `s` owns `key(s)` up to `key(s + 1)`.
fn key(s: u64, eighths: u64) -> String {
    format!("k{s:09}{eighths}")
}

fn entry(s: u64, shards: u64, nodes: u64, dice: &mut Dice) -> ShardEntry {
    let bound = |s: u64, open: bool| {
        if open { Vec::new() } else { key(s, 0).into_bytes() }
    };
    let mut holders: Vec<u64> = Vec::new();
    while holders.len() < usize::from(REPLICAS).min(nodes as usize) {
        let n = 1 + dice.below(nodes);
        if !holders.contains(&n) {
            holders.push(n);
        }
    }
    let replica = |(i, n): (usize, &u64)| Replica {
        replica_id: ReplicaId(i as u64 + 1),
        node_id: NodeId(*n),
        role: ReplicaRole::Voter,
    };
    ShardEntry {
        shard_id: ShardId(s),
        table_id: TableId(1),
        range: KeyRange { start: bound(s, s == 1), end: bound(s + 1, s == shards) },
        epoch: Epoch { shape: 1, membership: 1 },
        leader: holders.first().map(|n| NodeId(*n)),
        replicas: holders.iter().enumerate().map(replica).collect(),
        term: 1,
    }
}

fn shard(entry: ShardEntry, regions: &[Region], dice: &mut Dice) -> ShardView {
    // A few shards get most of the requests, as in real traces.
    let requests = 20.0 / (0.02 + dice.share());
    let home = dice.below(regions.len() as u64) as usize;
    let mut arrivals: BTreeMap<Option<Region>, ArrivalRate> = BTreeMap::new();
    for (r, region) in regions.iter().enumerate() {
        let share = if r == home { 0.7 } else { 0.3 / regions.len() as f64 };
        let rate = ArrivalRate {
            reads_per_s: requests * share * 0.9,
            writes_per_s: requests * share * 0.1,
        };
        arrivals.insert(Some(region.clone()), rate);
    }
    let s = entry.shard_id.0;
    ShardView {
        entry,
        table: TABLE.into(),
        reported_unix_ms: Some(NOW_UNIX_MS - 500),
        changed_unix_ms: NOW_UNIX_MS - 86_400_000,
        windows: 100,
        arrivals,
        size_bytes: 64 << 20,
        hot_keys: Vec::new(),
        access_octiles: (1..8).map(|e| key(s, e)).collect(),
        behind: BTreeMap::new(),
        faults: BTreeMap::new(),
    }
}
