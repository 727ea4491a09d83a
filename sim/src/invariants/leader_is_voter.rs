//! Who leads a shard votes in it, from the first entry of its term on that it has applied.
//!
//! Not before: votes are counted by the membership in the log, and what is judged here is the applied one. A learner whose
//! promotion is in its log and not yet applied may be elected: with its log up to 14 and 12 of it applied it leads, and
//! the shard as it knows it still calls it a learner. An entry of its own term is applied after all of these.

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
            let current = replica.applied.is_some_and(|(term, _)| term == replica.vote.0);
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
