//! A shard has at most one replica on a node.

use super::{Invariant, Seen};

/// Remembers nothing.
#[derive(Default)]
pub struct OneReplicaPerNode;

impl Invariant for OneReplicaPerNode {
    fn name(&self) -> &'static str {
        "one_replica_per_node"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, entry) in seen.entries() {
            let held = isobar_api::invariant::one_replica_per_node(entry);
            held.map_err(|why| format!("{} on {node}: {why}", entry.shard_id))?;
        }
        Ok(())
    }
}
