//! The durable term of a replica never falls: not even a crash undoes a vote.

use super::{Invariant, Seen};
use isobar_api::{NodeId, ReplicaId, ShardId};
use std::collections::BTreeMap;

/// Remembers the last vote of each replica.
#[derive(Default)]
pub struct TermsOnlyRise {
    votes: BTreeMap<(NodeId, ShardId, ReplicaId), (u64, u64)>,
}

impl Invariant for TermsOnlyRise {
    fn name(&self) -> &'static str {
        "terms_only_rise"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas().filter(|(_, replica)| replica.runs) {
            let who = (node.running.node, replica.shard, replica.replica);
            let before = self.votes.insert(who, replica.vote).unwrap_or_default();
            if replica.vote.0 < before.0 {
                let (node, shard, id) = who;
                return Err(format!(
                    "{shard} {id} on {node} voted {before:?} (term, candidate), and then {:?}",
                    replica.vote
                ));
            }
        }
        Ok(())
    }
}
