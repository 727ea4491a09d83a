//! What a node does for its replicas without being asked: publishes what it leads, notices replicas that were
//! removed while it was away, thaws what a merge left frozen, forgets silent clients.

#[cfg(test)]
mod tests;

use crate::{
    engine::offload,
    gossip::ShardHints,
    merge::Merges,
    registry::Registry,
    replica::{EntryMark, Replica},
    shard::{Command, any_silent},
};
use isobar_api::{Frozen, NodeId, ReplicaId, ShardEntry, ShardId, limits};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const PUBLISH_EVERY: Duration = Duration::from_millis(200);
const LOOK_FOR_REMOVED_EVERY: Duration = Duration::from_secs(3);
/// A replica without a leader for this long asks whether it is still a member.
const LEADERLESS_FOR: Duration = Duration::from_secs(10);
const LOOK_FOR_FROZEN_EVERY: Duration = Duration::from_secs(1);
/// A merge takes a second. One that has not ended after this time has nobody to end it.
const FROZEN_FOR: Duration = Duration::from_secs(10);
const EXPIRE_SESSIONS_EVERY: Duration = Duration::from_secs(600);
/// A group that has lost its quorum must not hold up the others.
const EXPIRE_WITHIN: Duration = Duration::from_secs(5);

/// What was last said of the replicas here.
#[derive(Default)]
struct Published {
    seen: BTreeMap<ShardId, (Option<u64>, EntryMark)>,
    /// The shards that this node leads.
    led: BTreeMap<ShardId, ShardEntry>,
}

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
            tokio::join!(
                self.publish_always(),
                self.retire_always(),
                self.thaw_always(),
                self.expire_always()
            );
        };
        shutdown.run_until_cancelled(all).await;
    }

    async fn publish_always(&self) {
        let (mut told, mut published) = (BTreeSet::new(), Published::default());
        let mut ticks = tokio::time::interval(PUBLISH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let replicas = self.registry.all();
            self.publish(&replicas, &mut published);
            tell_faults(&replicas, &mut told);
        }
    }

    async fn retire_always(&self) {
        let mut leaderless = BTreeMap::new();
        loop {
            self.retire_removed(&mut leaderless).await;
            tokio::time::sleep(LOOK_FOR_REMOVED_EVERY).await;
        }
    }

    async fn thaw_always(&self) {
        let merges = Merges::new(self.registry.clone(), self.hints.clone());
        let mut since: BTreeMap<(ShardId, u64), Instant> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK_FOR_FROZEN_EVERY).await;
            let frozen = |r: Arc<Replica>| r.state.frozen().map(|frozen| (r, frozen));
            let frozen: Vec<_> = self.registry.all().into_iter().filter_map(frozen).collect();
            let key = |(r, f): &(Arc<Replica>, Frozen)| (r.shard_id, f.index);
            let now: BTreeSet<_> = frozen.iter().map(key).collect();
            since.retain(|key, _| now.contains(key));
            for entry in frozen {
                let first = *since.entry(key(&entry)).or_insert_with(Instant::now);
                if first.elapsed() >= FROZEN_FOR {
                    merges.settle(&entry.0, entry.1).await;
                }
            }
        }
    }

    async fn expire_always(&self) {
        loop {
            tokio::time::sleep(EXPIRE_SESSIONS_EVERY).await;
            self.expire_sessions().await;
        }
    }

    /// Looks at every replica, and works only on those that have changed.
    fn publish(&self, replicas: &[Arc<Replica>], published: &mut Published) {
        let own = self.registry.transport().members().own().node_id;
        let mut changed = false;
        for replica in replicas {
            // Before the entry, and the sleep before the mark: what changes in between is seen at the next look.
            let sleep = replica.rest.number();
            let before = published.seen.get(&replica.shard_id);
            let sleeps_on = |(seen, mark): &(Option<u64>, EntryMark)| {
                sleep.is_some() && *seen == sleep && mark.is_of(replica)
            };
            if before.is_some_and(sleeps_on) {
                continue;
            }
            let mark = replica.entry_mark();
            let known = published.seen.insert(replica.shard_id, (sleep, mark));
            if known.is_some_and(|(_, known)| known == mark) {
                continue;
            }
            changed = true;
            published.led.remove(&replica.shard_id);
            let Some(entry) = replica.entry() else { continue };
            self.hints.merge(entry.clone());
            if entry.leader == Some(own) {
                published.led.insert(replica.shard_id, entry);
            }
        }
        if published.seen.len() > replicas.len() {
            changed = true;
            let held: BTreeSet<ShardId> = replicas.iter().map(|replica| replica.shard_id).collect();
            published.seen.retain(|shard, _| held.contains(shard));
            published.led.retain(|shard, _| held.contains(shard));
        }
        if changed {
            (self.tell_led)(published.led.values().cloned().collect());
        }
    }

    /// A replica that hears of no leader, while gossip knows a newer membership without it, asks that leader.
    async fn retire_removed(&self, leaderless: &mut BTreeMap<ShardId, Instant>) {
        let mut suspects: Vec<(ShardId, ReplicaId, NodeId)> = Vec::new();
        let merges = Merges::new(self.registry.clone(), self.hints.clone());
        for replica in self.registry.all() {
            // Who was away goes on believing in the leader it had: a learner never asks for votes, and a voter whose
            // pre-votes are refused keeps its term and with it the leader.
            let believed = replica.leader_node().is_some() && self.is_member(&replica);
            if believed && !self.is_superseded(&replica) && !self.is_left_out(&replica) {
                leaderless.remove(&replica.shard_id);
                continue;
            }
            let since = *leaderless.entry(replica.shard_id).or_insert_with(Instant::now);
            if since.elapsed() < LEADERLESS_FOR {
                continue;
            }
            if let Some(leader) = self.newer_leader_without(replica.shard_id, replica.replica_id) {
                suspects.push((replica.shard_id, replica.replica_id, leader));
            } else if merges.retire_if_subsumed(&replica).await {
                tracing::info!(shard = %replica.shard_id, "its shard became part of another one meanwhile");
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

    /// Whether gossip knows a later membership without it.
    fn is_left_out(&self, replica: &Replica) -> bool {
        self.hints.get(replica.shard_id).is_some_and(|entry| {
            entry.epoch.membership > replica.state.epoch().membership
                && entry.replicas.iter().all(|member| member.replica_id != replica.replica_id)
        })
    }

    /// Whether another shard is known to have its first key by now.
    fn is_superseded(&self, replica: &Replica) -> bool {
        let Some(descriptor) = replica.state.descriptor() else { return false };
        let owner = self.hints.owner_of(descriptor.table_id, &descriptor.range.start);
        owner.is_some_and(|owner| {
            owner.shard_id != replica.shard_id && owner.epoch.shape > descriptor.shape
        })
    }

    fn newer_leader_without(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        let entry = self.hints.get(shard)?;
        let listed = entry.replicas.iter().any(|m| m.replica_id == replica);
        let own = self.registry.transport().members().own().node_id;
        entry.leader.filter(|leader| !listed && *leader != own)
    }

    async fn has_silent_sessions(&self, replica: &Replica, before_hlc: u64) -> bool {
        let (shard, engine) = (replica.shard_id, replica.engine.clone());
        let found = offload(&replica.engine, move || any_silent(&*engine, shard, before_hlc)).await;
        match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%shard, error = %error.message(), "sessions cannot be read");
                false
            }
            Err(_) => false,
        }
    }

    async fn expire_sessions(&self) {
        let now_unix_ms = self.registry.clock().now_unix_ms();
        let before_hlc = now_unix_ms.saturating_sub(limits::SESSION_TTL_MS) << 16;
        for replica in self.registry.all() {
            if !replica.is_leader() || !self.has_silent_sessions(&replica, before_hlc).await {
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

/// Says once why a replica has stopped.
fn tell_faults(replicas: &[Arc<Replica>], told: &mut BTreeSet<(ShardId, ReplicaId)>) {
    // One that sleeps does nothing that could stop it.
    for replica in replicas.iter().filter(|r| r.rest.number().is_none()) {
        if let Err(error) = replica.check_running()
            && told.insert((replica.shard_id, replica.replica_id))
        {
            tracing::error!(%error, "a replica has stopped; others go on");
        }
    }
}
