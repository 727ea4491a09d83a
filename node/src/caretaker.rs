//! What a node does for its replicas without being asked: publishes what it leads, notices replicas that were
//! removed while it was away, forgets silent clients.

use crate::{gossip::ShardHints, registry::Registry, replica::Replica, shard::Command};
use isobar_api::{NodeId, ReplicaId, ShardEntry, ShardId, limits};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const PUBLISH_EVERY: Duration = Duration::from_millis(200);
const LOOK_FOR_REMOVED_EVERY: Duration = Duration::from_secs(3);
/// A replica without a leader for this long asks whether it is still a member.
const LEADERLESS_FOR: Duration = Duration::from_secs(10);
const EXPIRE_SESSIONS_EVERY: Duration = Duration::from_secs(600);
/// A group that has lost its quorum must not hold up the others.
const EXPIRE_WITHIN: Duration = Duration::from_secs(5);

/// The tasks.
pub struct Caretaker {
    /// The replicas.
    pub registry: Registry,
    /// Takes the shards that this node leads, to tell the other nodes.
    pub tell_led: Box<dyn Fn(Vec<ShardEntry>) + Send + Sync>,
    /// Who leads what, as this node knows it.
    pub hints: ShardHints,
}

impl Caretaker {
    /// Runs the tasks until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        // Side by side: a peer or a group that does not answer must not hold up the news of what this node leads.
        let all = async {
            tokio::join!(self.publish_always(), self.retire_always(), self.expire_always());
        };
        shutdown.run_until_cancelled(all).await;
    }

    async fn publish_always(&self) {
        let mut told = BTreeSet::new();
        let mut ticks = tokio::time::interval(PUBLISH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.publish();
            self.tell_faults(&mut told);
        }
    }

    async fn retire_always(&self) {
        let mut leaderless = BTreeMap::new();
        loop {
            self.retire_removed(&mut leaderless).await;
            tokio::time::sleep(LOOK_FOR_REMOVED_EVERY).await;
        }
    }

    async fn expire_always(&self) {
        loop {
            tokio::time::sleep(EXPIRE_SESSIONS_EVERY).await;
            self.expire_sessions().await;
        }
    }

    fn publish(&self) {
        let own = self.registry.transport().members().own().node_id;
        let entries = self.registry.all().iter().filter_map(|r| r.entry()).collect::<Vec<_>>();
        for entry in &entries {
            self.hints.merge(entry.clone());
        }
        let led = entries.into_iter().filter(|e| e.leader == Some(own));
        (self.tell_led)(led.collect());
    }

    /// Says once why a replica has stopped.
    fn tell_faults(&self, told: &mut BTreeSet<(ShardId, ReplicaId)>) {
        for replica in self.registry.all() {
            if let Err(error) = replica.check_running()
                && told.insert((replica.shard_id, replica.replica_id))
            {
                tracing::error!(%error, "a replica has stopped; others go on");
            }
        }
    }

    /// A replica that hears of no leader, while gossip knows a newer membership without it, asks that leader.
    async fn retire_removed(&self, leaderless: &mut BTreeMap<ShardId, Instant>) {
        let mut suspects: Vec<(ShardId, ReplicaId, NodeId)> = Vec::new();
        for replica in self.registry.all() {
            if replica.leader_node().is_some() && self.is_member(&replica) {
                leaderless.remove(&replica.shard_id);
                continue;
            }
            let since = *leaderless.entry(replica.shard_id).or_insert_with(Instant::now);
            if since.elapsed() < LEADERLESS_FOR {
                continue;
            }
            if let Some(leader) = self.newer_leader_without(replica.shard_id, replica.replica_id) {
                suspects.push((replica.shard_id, replica.replica_id, leader));
            }
        }
        for (shard, faulted) in self.registry.faulted() {
            if let Some(leader) = self.newer_leader_without(shard, faulted.local.replica_id) {
                suspects.push((shard, faulted.local.replica_id, leader));
            }
        }
        for (shard, replica, leader) in suspects {
            if let Err(error) = self.registry.retire_if_removed(shard, replica, leader).await {
                tracing::debug!(%shard, %error, "not clear whether this replica was removed");
            }
        }
    }

    fn is_member(&self, replica: &Replica) -> bool {
        replica.state.replicas().iter().any(|m| m.replica_id == replica.replica_id)
    }

    fn newer_leader_without(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        let entry = self.hints.get(shard)?;
        let listed = entry.replicas.iter().any(|m| m.replica_id == replica);
        let own = self.registry.transport().members().own().node_id;
        entry.leader.filter(|leader| !listed && *leader != own)
    }

    async fn expire_sessions(&self) {
        let now_unix_ms = self.registry.clock().now_unix_ms();
        let before_hlc = now_unix_ms.saturating_sub(limits::SESSION_TTL_MS) << 16;
        for replica in self.registry.all() {
            if !replica.is_leader() {
                continue;
            }
            let proposed = replica.propose(Command::ExpireSessions { before_hlc });
            match tokio::time::timeout(EXPIRE_WITHIN, proposed).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(shard = %replica.shard_id, %error, "sessions not expired");
                }
                Err(_) => {
                    tracing::debug!(shard = %replica.shard_id, "sessions not expired in time")
                }
            }
        }
    }
}
