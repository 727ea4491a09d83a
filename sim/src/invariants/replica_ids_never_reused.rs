//! A replica id of a shard stands for one replica on one node, for ever.

use super::{Invariant, Seen};
use isobar_api::{NodeId, ReplicaId, ShardId};
use std::collections::BTreeMap;

/// Remembers where each replica id was seen.
#[derive(Default)]
pub struct ReplicaIdsNeverReused {
    nodes: BTreeMap<(ShardId, ReplicaId), NodeId>,
}

impl ReplicaIdsNeverReused {
    fn note(&mut self, shard: ShardId, replica: ReplicaId, node: NodeId) -> Result<(), String> {
        let first = *self.nodes.entry((shard, replica)).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("{replica} of {shard} was on {first} and is on {node}"))
    }
}

impl Invariant for ReplicaIdsNeverReused {
    fn name(&self) -> &'static str {
        "replica_ids_never_reused"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            self.note(replica.shard, replica.replica, node.running.node)?;
        }
        for (_, entry) in seen.entries() {
            for member in &entry.replicas {
                self.note(entry.shard_id, member.replica_id, member.node_id)?;
            }
        }
        Ok(())
    }
}
