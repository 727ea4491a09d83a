//! A leader has every entry that was committed before its term.

use super::{Invariant, Seen};
use isobar_api::ShardId;
use std::collections::BTreeMap;

/// Remembers, for each shard and term, how far was committed by replicas of this term.
#[derive(Default)]
pub struct LeaderCompleteness {
    committed: BTreeMap<ShardId, BTreeMap<u64, u64>>,
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader_completeness"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (_, replica) in seen.replicas().filter(|(_, replica)| replica.runs) {
            let terms = self.committed.entry(replica.shard).or_default();
            if let Some((_, index)) = replica.committed {
                let known = terms.entry(replica.vote.0).or_default();
                *known = index.max(*known);
            }
        }
        for (node, leader) in seen.replicas().filter(|(_, replica)| replica.leads && replica.runs) {
            let Some(terms) = self.committed.get(&leader.shard) else { continue };
            let before = terms.range(..leader.vote.0).map(|(_, index)| *index).max();
            if leader.last_index < before {
                return Err(format!(
                    "{} {} on {} leads in term {} with a log up to {:?}, {before:?} was committed before",
                    leader.shard,
                    leader.replica,
                    node.running.node,
                    leader.vote.0,
                    leader.last_index
                ));
            }
        }
        Ok(())
    }
}
