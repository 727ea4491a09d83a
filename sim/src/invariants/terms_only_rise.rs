//! The term of a replica never falls, and in one term it votes for one candidate: not even a crash undoes a vote.
//!
//! One change in a term is right: who voted for a candidate that lost follows the other one, once it was elected. Two
//! replicas stand in the same term, each with its own vote; the third elects one, whose first append request puts its
//! committed vote in the place of the loser's own. After that nothing changes until the next term.

use super::{Invariant, Seen};
use isobar_api::{NodeId, ReplicaId, ShardId};
use std::collections::BTreeMap;

/// Remembers the last vote of each replica.
#[derive(Default)]
pub struct TermsOnlyRise {
    votes: BTreeMap<(NodeId, ShardId, ReplicaId), ((u64, u64), bool)>,
}

impl Invariant for TermsOnlyRise {
    fn name(&self) -> &'static str {
        "terms_only_rise"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas().filter(|(_, replica)| replica.runs) {
            let who = (node.running.node, replica.shard, replica.replica);
            let now = (replica.vote, replica.vote_committed);
            let (before, was_committed) = self.votes.insert(who, now).unwrap_or_default();
            let same_term = replica.vote.0 == before.0 && before.0 != 0;
            let changed = same_term && replica.vote != before;
            let elected = changed && !was_committed && replica.vote_committed;
            let uncommitted = same_term && was_committed && !replica.vote_committed;
            if replica.vote.0 < before.0 || (changed && !elected) || uncommitted {
                let (node, shard, id) = who;
                return Err(format!(
                    "{shard} {id} on {node} voted {before:?} (term, candidate; elected: {was_committed}), and then {:?} ({})",
                    replica.vote, replica.vote_committed
                ));
            }
        }
        Ok(())
    }
}
