//! Who leads a shard votes in it.

use super::{Invariant, Seen};

/// Remembers nothing.
#[derive(Default)]
pub struct LeaderIsVoter;

impl Invariant for LeaderIsVoter {
    fn name(&self) -> &'static str {
        "leader_is_voter"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            // Who votes is decided by the log, and what is known here is what was applied of it.
            let current = replica.applied.map(|(_, index)| index) == replica.last_index;
            let Some(entry) = replica.entry.as_ref().filter(|_| current && replica.runs) else {
                continue;
            };
            if entry.leader == Some(node.running.node) {
                isobar_api::invariant::leader_is_voter(entry)
                    .map_err(|why| format!("{}: {why}", entry.shard_id))?;
            }
        }
        Ok(())
    }
}
