//! Everything the planner may look at.

use crate::view::{ClusterView, Forecasts, InFlight, MoveHistory};
use isobar_api::{
    NodeId, PlanId, ShardId, Term,
    plan::Freeze,
    policy::{Mode, Policy},
    rtt::RttMatrix,
};
use std::{collections::BTreeSet, io::BufWriter};

/// The input of one plan. Equal input, equal plan, byte for byte: there is no clock and no other source of chance.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What is known of the cluster.
    pub view: &'a ClusterView,
    /// What may be done.
    pub policy: &'a Policy,
    /// Version of the policy.
    pub policy_version: u64,
    /// Expected arrivals with their intervals.
    pub forecasts: &'a Forecasts,
    /// Effects that are under way or not yet confirmed by telemetry.
    pub ledger: &'a [InFlight],
    /// When each shard was moved or cut.
    pub history: &'a MoveHistory,
    /// Scopes in which nothing may start.
    pub freezes: &'a [Freeze],
    /// Nodes that an operator wants empty.
    pub drains: &'a BTreeSet<NodeId>,
    /// Round-trip times between regions.
    pub rtt: &'a RttMatrix,
    /// Shards with an open directive.
    pub busy: &'a BTreeSet<ShardId>,
    /// Fingerprints of directives that came to nothing a moment ago. They would not be carried out now, so they take
    /// nobody's turn.
    pub quiet: &'a BTreeSet<String>,
    /// Term of the controller that plans.
    pub controller_term: Term,
    /// Mode of autonomy. Plans are made in every mode; the executor decides what runs.
    pub mode: Mode,
    /// Now, Unix milliseconds.
    pub now_unix_ms: u64,
    /// Seed for ties.
    pub seed: u64,
    /// The plan before this one.
    pub parent: Option<PlanId>,
}

impl PlanInput<'_> {
    /// A stable hash over all of the input, 16 hexadecimal digits.
    ///
    /// It covers every field, so that equal hashes mean equal plans. A compact binary form is hashed, not JSON:
    /// at a million shards the text alone would cost more than planning does.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut sink = BufWriter::with_capacity(1 << 16, &mut hasher);
        let world = (self.view, self.forecasts, self.ledger, self.history);
        let shards = (self.busy, self.quiet);
        let rules = (self.policy, self.policy_version, self.freezes, self.drains, self.rtt, shards);
        let frame = (self.controller_term, self.mode, self.now_unix_ms, self.seed, self.parent);
        postcard::to_io(&(world, rules, frame), &mut sink)
            .expect("plain data into memory cannot fail");
        drop(sink);
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Milliseconds since a moment; `None` stays unknown. A moment in the future counts as now.
    pub(crate) fn age_ms(&self, moment_unix_ms: Option<u64>) -> Option<u64> {
        moment_unix_ms.map(|at| self.now_unix_ms.saturating_sub(at))
    }
}
