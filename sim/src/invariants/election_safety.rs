//! In a term of a shard at most one replica leads.

use super::{Invariant, Seen};
use isobar_api::{ReplicaId, ShardId};
use std::collections::BTreeMap;

/// Remembers who led in which term.
#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<(ShardId, u64), ReplicaId>,
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election_safety"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (_, replica) in seen.replicas().filter(|(_, replica)| replica.leads && replica.runs) {
            let term = (replica.shard, replica.vote.0);
            let first = *self.leaders.entry(term).or_insert(replica.replica);
            if first != replica.replica {
                let (shard, term) = term;
                let second = replica.replica;
                return Err(format!("{first} and {second} of {shard} lead in term {term}"));
            }
        }
        Ok(())
    }
}
