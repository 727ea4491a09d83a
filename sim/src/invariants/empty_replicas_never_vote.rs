//! Who is made a voter has caught up: a replica without state, or far behind, does not count for a quorum.

use super::{Invariant, Seen};
use isobar_api::{ReplicaId, ReplicaRole, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Entries that a voter may be behind when it is first seen to vote: those of the rule, and what came since.
const BEHIND_MAX: u64 = 64 + 200;

/// Remembers who voted before.
#[derive(Default)]
pub struct EmptyReplicasNeverVote {
    voters: BTreeSet<(ShardId, ReplicaId)>,
}

impl Invariant for EmptyReplicasNeverVote {
    fn name(&self) -> &'static str {
        "empty_replicas_never_vote"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        let logs: BTreeMap<_, _> = seen
            .replicas()
            .map(|(_, replica)| ((replica.shard, replica.replica), replica))
            .collect();
        let leaders = seen.replicas().filter(|(_, replica)| replica.leads && replica.runs);
        for (_, leader) in leaders {
            let Some(entry) = &leader.entry else { continue };
            for member in entry.replicas.iter().filter(|m| m.role == ReplicaRole::Voter) {
                let who = (entry.shard_id, member.replica_id);
                if !self.voters.insert(who) {
                    continue;
                }
                let Some(voter) = logs.get(&who) else { continue };
                let behind =
                    leader.last_index.unwrap_or(0).saturating_sub(voter.last_index.unwrap_or(0));
                if voter.entry.is_none() || behind > BEHIND_MAX {
                    let empty = voter.entry.is_none();
                    let (shard, id) = who;
                    return Err(format!("{id} of {shard} votes: empty {empty}, {behind} behind"));
                }
            }
        }
        Ok(())
    }
}
