//! Replicas that have applied the same entries have the same state: rows, sessions, descriptor.

use super::{Invariant, Seen};
use isobar_api::{NodeId, ShardId};
use isobar_node::observe::{Position, stored_state};
use std::collections::BTreeMap;

/// Remembers the first hash of every state that was seen.
#[derive(Default)]
pub struct SameLogSameState {
    states: BTreeMap<(ShardId, Position), ([u8; 32], NodeId)>,
}

impl Invariant for SameLogSameState {
    fn name(&self) -> &'static str {
        "same_log_same_state"
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            let Ok(Some(stored)) = stored_state(&*node.running.state, replica.shard) else {
                continue;
            };
            let place = (replica.shard, stored.applied);
            let (hash, first) =
                *self.states.entry(place).or_insert((stored.hash, node.running.node));
            if hash != stored.hash {
                return Err(format!(
                    "{} at {:?} differs between {first} and {}",
                    replica.shard, stored.applied, node.running.node
                ));
            }
        }
        Ok(())
    }
}
