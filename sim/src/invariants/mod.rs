//! What must hold at every moment, one file each, named after the property. Where production has the same check, it is
//! the function of `isobar_api::invariant`.

mod applied_within_committed;
mod committed_never_changes;
mod election_safety;
mod empty_replicas_never_vote;
mod epochs_only_rise;
mod leader_completeness;
mod leader_is_voter;
mod log_matching;
mod one_replica_per_node;
mod replica_ids_never_reused;
mod residency;
mod same_log_same_state;
mod terms_only_rise;
mod voters_never_below_floor;

use crate::{node::Running, world::World};
use isobar_api::{NodeId, Region, ShardEntry, TableId, table::TableRule};
use isobar_node::observe::ReplicaObserved;
use std::{collections::BTreeMap, sync::Arc};

/// One running node at one moment.
pub struct NodeSeen {
    /// The node.
    pub running: Arc<Running>,
    /// Its replicas.
    pub replicas: Vec<ReplicaObserved>,
}

/// The cluster at one moment.
pub struct Seen {
    /// The nodes that run.
    pub nodes: Vec<NodeSeen>,
    /// Their regions.
    pub regions: BTreeMap<NodeId, Region>,
    /// The rules of the tables.
    pub rules: BTreeMap<TableId, TableRule>,
}

impl Seen {
    /// Looks at the cluster.
    pub fn of(world: &World, rules: &BTreeMap<TableId, TableRule>) -> Self {
        let mut nodes = Vec::new();
        for running in world.all_running() {
            let all = running.parts.registry.all();
            let replicas = all.iter().map(|replica| replica.observe()).collect();
            nodes.push(NodeSeen { running, replicas });
        }
        let inner = world.lock();
        let region = |slot: &crate::node::Slot| (slot.member.node_id, slot.member.region.clone());
        let regions = inner.slots.values().map(region).collect();
        Self { nodes, regions, rules: rules.clone() }
    }

    /// Every replica with its node.
    pub fn replicas(&self) -> impl Iterator<Item = (&NodeSeen, &ReplicaObserved)> {
        self.nodes.iter().flat_map(|node| node.replicas.iter().map(move |replica| (node, replica)))
    }

    /// What every replica knows of its shard.
    pub fn entries(&self) -> impl Iterator<Item = (NodeId, &ShardEntry)> {
        let entry = |(node, replica): (&NodeSeen, _)| (node.running.node, replica);
        self.replicas().map(entry).filter_map(|(node, replica): (_, &ReplicaObserved)| {
            Some((node, replica.entry.as_ref()?))
        })
    }

    /// The rule of a shard's table.
    pub fn rule(&self, entry: &ShardEntry) -> Option<&TableRule> {
        self.rules.get(&entry.table_id)
    }
}

/// A property of the cluster. It may remember what it saw before.
pub trait Invariant {
    /// Its name, that of its file.
    fn name(&self) -> &'static str;

    /// Says what contradicts it.
    fn check(&mut self, seen: &Seen) -> Result<(), String>;

    /// Whether looking costs more, so that it is done less often.
    fn is_costly(&self) -> bool {
        false
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<applied_within_committed::AppliedWithinCommitted>::default(),
        Box::<committed_never_changes::CommittedNeverChanges>::default(),
        Box::<election_safety::ElectionSafety>::default(),
        Box::<empty_replicas_never_vote::EmptyReplicasNeverVote>::default(),
        Box::<epochs_only_rise::EpochsOnlyRise>::default(),
        Box::<leader_completeness::LeaderCompleteness>::default(),
        Box::<leader_is_voter::LeaderIsVoter>::default(),
        Box::<log_matching::LogMatching>::default(),
        Box::<one_replica_per_node::OneReplicaPerNode>::default(),
        Box::<replica_ids_never_reused::ReplicaIdsNeverReused>::default(),
        Box::<residency::Residency>::default(),
        Box::<same_log_same_state::SameLogSameState>::default(),
        Box::<terms_only_rise::TermsOnlyRise>::default(),
        Box::<voters_never_below_floor::VotersNeverBelowFloor>::default(),
    ]
}
