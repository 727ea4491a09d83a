//! A small cluster by hand: n1, n2 in eu; n3, n4 in us; n5 in ap; round trips eu-us 80, eu-ap 160, us-ap 120 ms.

use crate::planner::{
    plan,
    synthetic::{Synthetic, synthetic_input},
};
use crate::view::{ArrivalRate, NodeHealth, ShardView};
use isobar_api::{
    NodeId, Region, Replica, ReplicaId, ReplicaRole, ShardId, TableId,
    directive::{Directive, DirectiveKind, Step},
    plan::{Freeze, Plan},
    rtt::RttMatrix,
};
use std::ops::{Deref, DerefMut};

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).expect("a legal name")
}

pub(crate) struct World(pub Synthetic);

impl Deref for World {
    type Target = Synthetic;
    fn deref(&self) -> &Synthetic {
        &self.0
    }
}
impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Synthetic {
        &mut self.0
    }
}

impl World {
    pub fn new() -> Self {
        let mut w = Self(synthetic_input(5, 0, 1));
        for (node, name) in [(1, "eu"), (2, "eu"), (3, "us"), (4, "us"), (5, "ap")] {
            let view = w.view.nodes.get_mut(&NodeId(node)).expect("five nodes");
            view.region = region(name);
            view.zone = format!("z{node}");
        }
        let mut rtt = RttMatrix::default();
        for (a, b, ms) in [("eu", "us", 80.0), ("eu", "ap", 160.0), ("us", "ap", 120.0)] {
            rtt.set(&region(a), &region(b), ms);
        }
        w.rtt = rtt;
        w
    }

    /// Adds a shard; the first voter leads. Then the forecasts are made anew.
    pub fn shard(&mut self, id: u64, voters: &[u64], readers: &[(&str, f64)]) -> &mut ShardView {
        let mut shard =
            synthetic_input(5, 1, 1).view.shards.remove(&ShardId(1)).expect("one shard");
        let key = |s: u64| format!("k{s:09}0").into_bytes();
        shard.entry.shard_id = ShardId(id);
        shard.entry.range.start = key(id);
        shard.entry.range.end = key(id + 1);
        shard.access_octiles = (1..8).map(|e| format!("k{id:09}{e}")).collect();
        shard.entry.leader = voters.first().map(|n| NodeId(*n));
        shard.entry.replicas.clear();
        shard.arrivals.clear();
        for (name, reads_per_s) in readers {
            let rate = ArrivalRate { reads_per_s: *reads_per_s, writes_per_s: 0.0 };
            shard.arrivals.insert(Some(region(name)), rate);
        }
        for n in voters {
            add(&mut shard, *n, ReplicaRole::Voter);
        }
        self.view.shards.insert(ShardId(id), shard);
        self.forecast();
        self.view.shards.get_mut(&ShardId(id)).expect("just put in")
    }

    pub fn learner(&mut self, shard: u64, node: u64) {
        let shard = self.view.shards.get_mut(&ShardId(shard)).expect("known");
        add(shard, node, ReplicaRole::Learner);
    }

    /// Declares a node dead since so many seconds.
    pub fn kill(&mut self, node: u64, dead_s: u64) {
        let since_unix_ms = self.now_unix_ms - dead_s * 1_000;
        let view = self.view.nodes.get_mut(&NodeId(node)).expect("known");
        view.health = NodeHealth::Dead { since_unix_ms };
    }

    pub fn allow(&mut self, regions: &[&str]) {
        let table = self.view.tables.get_mut(&TableId(1)).expect("one table");
        table.spec.rule.regions = regions.iter().map(|r| region(r)).collect();
    }

    pub fn freeze(&mut self, scope: &str) {
        let expires_at_unix_ms = self.now_unix_ms + 1_000;
        let freeze = Freeze {
            scope: scope.into(),
            reason: "test".into(),
            owner: "me".into(),
            expires_at_unix_ms,
        };
        self.freezes.push(freeze);
    }

    /// Plans, and insists that the linter has nothing fatal to say.
    pub fn plan(&self) -> Plan {
        let input = self.input();
        let plan = plan(&input);
        let notes = crate::check::check(&plan, &input);
        assert!(crate::check::stopped(&notes).is_empty(), "{notes:#?}");
        plan
    }

    /// The only directive of the plan.
    pub fn only(&self) -> Directive {
        let mut plan = self.plan();
        assert_eq!(plan.directives.len(), 1, "{plan:#?}");
        plan.directives.remove(0)
    }

    /// Why nothing is planned for the shard: every reason of the kind.
    pub fn refusal(&self, shard: u64, kind: DirectiveKind) -> String {
        let plan = self.plan();
        assert!(plan.directives.is_empty(), "{:#?}", plan.directives);
        let found = plan.candidates.iter().filter(|c| c.shard == ShardId(shard) && c.kind == kind);
        let reasons: Vec<String> = found.filter_map(|c| c.rejected.clone()).collect();
        assert!(!reasons.is_empty(), "no candidate: {:#?}", plan.candidates);
        reasons.join("; ")
    }
}

fn add(shard: &mut ShardView, node: u64, role: ReplicaRole) {
    let next = shard.entry.replicas.len() as u64 + 1;
    shard.entry.replicas.push(Replica { replica_id: ReplicaId(next), node_id: NodeId(node), role });
}

/// Steps in short: `+3` add learner, `^3` promote, `>3` transfer, `-3` remove, `/` split.
pub(crate) fn short(steps: &[Step]) -> String {
    let one = |s: &Step| match s {
        Step::AddLearner { node } => format!("+{}", node.0),
        Step::Promote { node } => format!("^{}", node.0),
        Step::TransferLeader { node } => format!(">{}", node.0),
        Step::RemoveReplica { node } => format!("-{}", node.0),
        Step::Split { at_key } => format!("/{at_key}"),
        Step::Merge { right, .. } => format!("&{}", right.0),
    };
    steps.iter().map(one).collect::<Vec<_>>().join(" ")
}
