//! What requests do while the lead changes hands: they wait here instead of going from node to node. On links across
//! the world every refusal costs its client a round trip, and a hand-over takes two or three of them anyway.

use crate::{
    consensus::raft::types::LogId,
    replica::Replica,
    shard::{Command, CommandResult},
};
use isobar_api::{ApiError, ErrorCode};
use openraft::async_runtime::WatchReceiver;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Requests of one shard that may wait for its next leader; a further one is refused. A shard without a leader must
/// not take up the room of the node's other shards.
pub(crate) const WAITING_MAX: usize = 512;

/// A term and who leads in it, as far as a replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    term: u64,
    replica: Option<u64>,
}

impl Replica {
    /// Waits until a linearizable read may be served from this replica: confirmed by itself or by the leader.
    pub(crate) async fn linearizable_barrier(self: &Arc<Self>) -> Result<(), ApiError> {
        let until = self.patience();
        loop {
            let lead = self.lead();
            let barrier = match lead.replica {
                Some(id) if id == self.replica_id.0 && self.trusts_an_old_lease() => Ok(()),
                Some(id) if id == self.replica_id.0 => self.leader_barrier().await.map(|_| ()),
                Some(_) => self.follower_barrier().await,
                None => Err(self.error(ErrorCode::Unavailable, "no leader is known")),
            };
            let Err(refused) = barrier else { return Ok(()) };
            let leaderless = refused.code == ErrorCode::NotLeader || lead.replica.is_none();
            if !leaderless && self.lead() == lead {
                return Err(refused);
            }
            let Some(next) = self.lead_after(lead, until).await else { return Err(refused) };
            if lead.replica == Some(self.replica_id.0) {
                // Its client holds this replica for the leader: one answer sets it right for all reads to come.
                tracing::debug!(shard = %self.shard_id, ?next, "the lead went on; the reader is told");
                return Err(
                    self.error(ErrorCode::NotLeader, "the lead has gone to another replica")
                );
            }
        }
    }

    /// Puts a client's command through the log. Refuses only when it can say who leads, or nobody does for long.
    pub(crate) async fn propose_when_led(
        self: &Arc<Self>,
        command: Command,
    ) -> Result<(LogId, CommandResult), ApiError> {
        let until = self.patience();
        loop {
            let mut lead = self.lead();
            if lead.replica.is_none() {
                let Some(next) = self.lead_after(lead, until).await else {
                    return Err(self.error(ErrorCode::Unavailable, "no leader is known"));
                };
                lead = next;
            }
            let refused = match self.propose(command.clone()).await {
                Err(error) if error.code == ErrorCode::NotLeader => error,
                done => return done,
            };
            if lead.replica != Some(self.replica_id.0) {
                if self.lead() == lead || Instant::now() >= until {
                    return Err(refused);
                }
                // What was known of the leader was old.
                continue;
            }
            // A new leader takes no writes before a quorum has answered it. Should the refused one be in the log
            // after all, the state machine knows its sequence number and applies it once.
            if self.leader_barrier().await.is_ok() && Instant::now() < until {
                continue;
            }
            let _ = self.lead_after(lead, until).await;
            return Err(self.error(ErrorCode::NotLeader, "the lead has gone to another replica"));
        }
    }

    fn lead(&self) -> Lead {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Lead { term: metrics.current_term, replica: metrics.current_leader }
    }

    /// Waits for a leader other than, or elected after, the one that was seen.
    async fn lead_after(&self, seen: Lead, until: Instant) -> Option<Lead> {
        let _room = self.waiting.try_acquire().ok()?;
        let mut metrics = self.raft.metrics();
        let changed = async {
            loop {
                let lead = self.lead();
                if lead.replica.is_some() && lead != seen {
                    return Some(lead);
                }
                metrics.changed().await.ok()?;
            }
        };
        timeout_at(until, changed).await.ok().flatten()
    }

    /// As long as an election may take; after that the shard is not changing hands, it is without a quorum.
    fn patience(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.raft.config().election_timeout_max)
    }
}
