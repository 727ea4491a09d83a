//! Safety properties as plain functions: one definition for production guards, tests and simulation.

use crate::{
    ids::{NodeId, Region},
    shard::{ReplicaRole, ShardEntry},
    table::TableRule,
};
use std::collections::BTreeMap;

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Fewer voters than the table's floor.
    #[error("{voters} voters, the floor is {floor}")]
    BelowVoterFloor {
        /// Voters there are.
        voters: usize,
        /// The table's floor.
        floor: usize,
    },
    /// A replica in a region that the table may not lie in.
    #[error("a replica on {node} in {region}, which is not allowed")]
    OutsideResidency {
        /// The node.
        node: NodeId,
        /// Its region.
        region: Region,
    },
    /// The leader is not a voter.
    #[error("{leader} leads but is not a voter")]
    LeaderNotVoter {
        /// The leader.
        leader: NodeId,
    },
    /// Two replicas on one node.
    #[error("two replicas on {node}")]
    TwoReplicasOnNode {
        /// The node.
        node: NodeId,
    },
}

/// Voters never below the table's floor.
pub fn voter_floor(entry: &ShardEntry, rule: &TableRule) -> Result<(), Violation> {
    let (voters, floor) = (entry.voters().count(), usize::from(rule.replicas));
    if voters < floor { Err(Violation::BelowVoterFloor { voters, floor }) } else { Ok(()) }
}

/// Every replica whose node's region is known lies in an allowed region.
pub fn residency(
    entry: &ShardEntry,
    rule: &TableRule,
    regions: &BTreeMap<NodeId, Region>,
) -> Result<(), Violation> {
    for replica in &entry.replicas {
        if let Some(region) = regions.get(&replica.node_id)
            && !rule.allows(region)
        {
            return Err(Violation::OutsideResidency {
                node: replica.node_id,
                region: region.clone(),
            });
        }
    }
    Ok(())
}

/// The leader, where one is known, is a voter.
pub fn leader_is_voter(entry: &ShardEntry) -> Result<(), Violation> {
    match entry.leader {
        Some(leader) if entry.replica_on(leader).is_none_or(|r| r.role != ReplicaRole::Voter) => {
            Err(Violation::LeaderNotVoter { leader })
        }
        _ => Ok(()),
    }
}

/// At most one replica of a shard on a node.
pub fn one_replica_per_node(entry: &ShardEntry) -> Result<(), Violation> {
    let mut nodes: Vec<NodeId> = entry.replicas.iter().map(|r| r.node_id).collect();
    nodes.sort_unstable();
    match nodes.windows(2).find(|w| w[0] == w[1]) {
        Some(pair) => Err(Violation::TwoReplicasOnNode { node: pair[0] }),
        None => Ok(()),
    }
}
