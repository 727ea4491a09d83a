//! Nothing is applied that is not committed, and in one life of a node both only rise.

use super::{Invariant, Seen};
use isobar_api::{NodeId, ReplicaId, ShardId};
use isobar_node::observe::Position;
use std::collections::BTreeMap;

type Life = (NodeId, u64, ShardId, ReplicaId);

/// Remembers how far each replica had applied.
#[derive(Default)]
pub struct AppliedWithinCommitted {
    applied: BTreeMap<Life, Option<Position>>,
}

impl Invariant for AppliedWithinCommitted {
    fn name(&self) -> &'static str {
        "applied_within_committed"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas().filter(|(_, replica)| replica.runs) {
            let who = format!("{} {} on {}", replica.shard, replica.replica, node.running.node);
            if replica.applied > replica.committed {
                let (applied, committed) = (replica.applied, replica.committed);
                return Err(format!("{who} applied {applied:?}, committed is {committed:?}"));
            }
            let life = (node.running.node, node.running.number, replica.shard, replica.replica);
            let before = self.applied.insert(life, replica.applied).flatten();
            if replica.applied < before {
                return Err(format!("{who} applied {before:?}, and then {:?}", replica.applied));
            }
        }
        Ok(())
    }
}
