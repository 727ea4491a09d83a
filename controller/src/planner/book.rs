//! Who carries how much: loads of nodes with the effects of directives that are under way, and what is left of
//! the budgets. It is the one ledger that every stage looks at and writes to.

use super::facts::Facts;
use crate::ledger;
use isobar_api::{
    NodeId, ReplicaRole,
    directive::{Directive, DirectiveKind, Step},
};

/// Part of a disk that is kept free whatever is placed on it.
const DISK_RESERVE_SHARE: f64 = 0.05;

/// The book. Vectors are by position of the node in [`Facts`].
pub(crate) struct Book {
    /// Requests per second of the shards that a node leads, with effects under way.
    pub led_per_s: Vec<f64>,
    /// Replicas held or on their way.
    pub replicas: Vec<u32>,
    /// Copies that the node takes part in.
    pub copies: Vec<u32>,
    /// Bytes on their way to the node.
    pub incoming_bytes: Vec<u64>,
    active: u32,
    repairs: u32,
}

impl Book {
    /// Opens the book on a view and its ledger.
    pub(crate) fn open(facts: &Facts<'_>) -> Self {
        let n = facts.nodes.len();
        let mut book = Self {
            led_per_s: vec![0.0; n],
            replicas: vec![0; n],
            copies: vec![0; n],
            incoming_bytes: vec![0; n],
            active: 0,
            repairs: 0,
        };
        for shard in &facts.shards {
            if let Some(leader) = shard.leader {
                book.led_per_s[leader] += shard.load[1];
            }
            for replica in &shard.view.entry.replicas {
                if let Some(i) = facts.node(replica.node_id) {
                    book.replicas[i] += 1;
                }
            }
        }
        for entry in facts.input.ledger {
            book.count_in_flight(facts, entry);
        }
        book
    }

    fn count_in_flight(&mut self, facts: &Facts<'_>, entry: &crate::view::InFlight) {
        let shard = facts.input.view.shards.get(&entry.shard);
        let leader = shard.and_then(|s| s.entry.leader);
        // Loads above follow the view's leader. Once the view shows the new leader, the effect is in them.
        let shown = leader.is_some_and(|n| entry.load_delta.get(&n).is_some_and(|d| *d > 0.0));
        if !shown {
            for (node, delta) in &entry.load_delta {
                if let Some(i) = facts.node(*node).filter(|_| delta.is_finite()) {
                    self.led_per_s[i] = (self.led_per_s[i] + delta).max(0.0);
                }
            }
        }
        if entry.applied_unix_ms.is_some() {
            return;
        }
        match entry.kind {
            DirectiveKind::Repair => self.repairs += 1,
            _ => self.active += 1,
        }
        for node in &entry.copies {
            if let Some(i) = facts.node(*node) {
                self.copies[i] += 1;
                let Some(s) = shard else { continue };
                let role = s.entry.replica_on(*node).map(|r| r.role);
                self.replicas[i] += u32::from(role.is_none());
                // A learner is still being filled: what is missing of it is not in the node's disk figures yet.
                if role != Some(ReplicaRole::Voter) {
                    self.incoming_bytes[i] = self.incoming_bytes[i].saturating_add(s.size_bytes);
                }
            }
        }
    }

    /// The limit of directives under way that a further one would break.
    pub(crate) fn full(&self, facts: &Facts<'_>, kind: DirectiveKind) -> Option<u32> {
        let budget = &facts.input.policy.budget;
        let (used, max) = match kind {
            DirectiveKind::Repair => (self.repairs, budget.repair_active_max),
            _ => (self.active, budget.active_max),
        };
        (used >= max).then_some(max)
    }

    /// Whether the node already takes part in as many copies as it may.
    pub(crate) fn copies_full(&self, facts: &Facts<'_>, node: usize) -> bool {
        self.copies[node] >= facts.input.policy.budget.copies_per_node_max
    }

    /// Whether the node has room for that many bytes more, with what is on its way. Unknown is no room.
    pub(crate) fn has_room(&self, facts: &Facts<'_>, node: usize, size_bytes: u64) -> bool {
        let load = &facts.nodes[node].view.load;
        let reserve = (load.disk_total_bytes as f64 * DISK_RESERVE_SHARE) as u64;
        let needed = size_bytes.saturating_add(self.incoming_bytes[node]).saturating_add(reserve);
        load.disk_total_bytes > 0 && load.disk_free_bytes >= needed
    }

    /// Books a directive of this plan.
    pub(crate) fn take(&mut self, facts: &Facts<'_>, s: usize, directive: &Directive) {
        match directive.kind {
            DirectiveKind::Repair => self.repairs += 1,
            _ => self.active += 1,
        }
        let shard = &facts.shards[s];
        let leader = shard.view.entry.leader;
        for (node, delta) in ledger::load_delta(&directive.steps, leader, shard.load[1]) {
            if let Some(i) = facts.node(node) {
                self.led_per_s[i] = (self.led_per_s[i] + delta).max(0.0);
            }
        }
        for node in ledger::copies(&directive.steps, leader) {
            if let Some(i) = facts.node(node) {
                self.copies[i] += 1;
            }
        }
        for target in directive.steps.iter().filter_map(added) {
            if let Some(i) = facts.node(target) {
                self.replicas[i] += 1;
                self.incoming_bytes[i] =
                    self.incoming_bytes[i].saturating_add(shard.view.size_bytes);
            }
        }
    }
}

fn added(step: &Step) -> Option<NodeId> {
    match step {
        Step::AddLearner { node } => Some(*node),
        _ => None,
    }
}
