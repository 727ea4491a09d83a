//! In one life of a node the epoch of a shard only rises. A crash may take it back to what was durable.

use super::{Invariant, Seen};
use isobar_api::{Epoch, NodeId, ReplicaId, ShardId};
use std::collections::BTreeMap;

/// Remembers the last epoch each replica knew.
#[derive(Default)]
pub struct EpochsOnlyRise {
    epochs: BTreeMap<(NodeId, u64, ShardId, ReplicaId), Epoch>,
}

impl Invariant for EpochsOnlyRise {
    fn name(&self) -> &'static str {
        "epochs_only_rise"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            let Some(entry) = &replica.entry else { continue };
            let life = (node.running.node, node.running.number, replica.shard, replica.replica);
            let before = self.epochs.insert(life, entry.epoch).unwrap_or_default();
            if entry.epoch.shape < before.shape || entry.epoch.membership < before.membership {
                let (node, _, shard, id) = life;
                return Err(format!(
                    "{shard} {id} on {node}: {before:?}, and then {:?}",
                    entry.epoch
                ));
            }
        }
        Ok(())
    }
}
