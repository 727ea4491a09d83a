//! Who leads a shard votes in it. A leader that is being removed leads until its successor is known, so only replicas
//! that themselves believe that they lead are asked.

use super::{Invariant, Seen};

/// Remembers nothing.
#[derive(Default)]
pub struct LeaderIsVoter;

impl Invariant for LeaderIsVoter {
    fn name(&self) -> &'static str {
        "leader_is_voter"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, entry) in seen.entries().filter(|(node, entry)| entry.leader == Some(*node)) {
            isobar_api::invariant::leader_is_voter(entry)
                .map_err(|why| format!("{} on {node}: {why}", entry.shard_id))?;
        }
        Ok(())
    }
}
