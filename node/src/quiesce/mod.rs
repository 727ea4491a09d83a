//! Groups that nobody uses sleep: their timers stop, so that an idle shard costs memory and no processor.
//!
//! ```text
//! leader: unused, log held by all ─► own timers off ─► "sleep: term, last entry" ─► followers: timers off
//!                                                       (one message per node)
//! any request, vote or entry      ─► leader: timers on, heartbeat ─► followers: timers on
//! leader's node gone or restarted ─► followers: timers on, one after the other, election
//! ```
//! Sleep is about timers only. Who leads is decided by votes and terms as ever; a leader that slept has no lease, so it
//! is confirmed by a quorum before it reads or writes. Whatever is wrong about a sleep costs time, not a write.
//!
//! While a group sleeps, nodes watch each other in its stead: each asks those that it relies on twice a second whether
//! they live the same life. One message per pair of nodes replaces the heartbeats of all their sleeping groups.

mod messages;
mod rest;
#[cfg(test)]
mod tests;
mod watch;

#[cfg(test)]
pub(crate) use messages::decode_messages;
pub(crate) use rest::Rest;

use crate::{
    consensus::raft::types::encode, registry::Registry, replica::Replica, transport::FrameKind,
};
use isobar_api::NodeId;
use messages::{GROUPS_MAX, Proposal, SleepAnswer, SleepRequest};
use rest::{Settled, Watched, patience, settled};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between two looks for groups that nobody uses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Puts the idle groups of a node to sleep, and wakes them when a node that they rely on is gone. Cheap to clone.
#[derive(Clone)]
pub struct Quiesce {
    registry: Registry,
    incarnation: u64,
    after: Duration,
    heartbeat: Duration,
}

/// A leader whose timers are off already, while its followers are being asked.
struct Drowsy {
    replica: Arc<Replica>,
    number: u64,
    settled: Settled,
}

impl Quiesce {
    /// Nothing sleeps before [`Self::run`]. `incarnation` tells this life of the node from its earlier and later ones;
    /// `after_ms`: how long nobody must have used a group; 0: none ever sleeps on this node.
    pub fn new(registry: Registry, incarnation: u64, after_ms: u64, heartbeat_ms: u64) -> Self {
        let (after, heartbeat) =
            (Duration::from_millis(after_ms), Duration::from_millis(heartbeat_ms));
        Self { registry, incarnation, after, heartbeat }
    }

    /// Works until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        if self.after.is_zero() {
            return;
        }
        self.registry.rest_groups(self.incarnation);
        let both = async { tokio::join!(self.sleep_always(), self.watch_always()) };
        shutdown.run_until_cancelled(both).await;
    }

    async fn sleep_always(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sleep_unused().await;
        }
    }

    /// Has every group sleep that this node leads and nobody uses, if all its members agree.
    pub(crate) async fn sleep_unused(&self) {
        let begun = self.registry.all().into_iter().filter_map(|replica| self.begin(replica));
        let drowsy: Vec<Drowsy> = begun.collect();
        if drowsy.is_empty() {
            return;
        }
        // A heartbeat that is on its way must not wake a follower that has just agreed.
        tokio::time::sleep(self.heartbeat).await;
        let (still, not): (Vec<_>, Vec<_>) = drowsy.into_iter().partition(Drowsy::is_still);
        not.iter().for_each(Drowsy::give_up);
        let answers = self.ask_followers(&still).await;
        for (drowsy, watched) in still.iter().zip(answers) {
            let agreed = watched.len() == drowsy.settled.others.len();
            if !agreed || !drowsy.replica.rest.watch(drowsy.number, watched) {
                drowsy.give_up();
            }
        }
    }

    /// Stops the timers of a leader that nobody uses.
    fn begin(&self, replica: Arc<Replica>) -> Option<Drowsy> {
        if replica.rest.number().is_some() || replica.rest.unused_for() < self.after {
            return None;
        }
        let settled = settled(&replica)?;
        let number = replica.rest.begin(&replica.raft, None, Vec::new())?;
        // Whoever began to use the group meanwhile has either seen that it sleeps or is seen here.
        if replica.rest.unused_for() < self.after {
            replica.rest.end(&replica.raft, number);
            return None;
        }
        Some(Drowsy { replica, number, settled })
    }

    /// Asks all followers, with one message to each node; for each group the members that sleep.
    async fn ask_followers(&self, drowsy: &[Drowsy]) -> Vec<Vec<Watched>> {
        let mut by_node: BTreeMap<NodeId, Vec<(usize, Proposal)>> = BTreeMap::new();
        for (index, of) in drowsy.iter().enumerate() {
            for follower in &of.settled.others {
                let proposal = Proposal {
                    shard: of.replica.shard_id.0,
                    leader: of.replica.replica_id.0,
                    follower: follower.replica,
                    term: of.settled.term,
                    last: of.settled.last,
                };
                by_node.entry(follower.node).or_default().push((index, proposal));
            }
        }
        let parts = by_node
            .iter()
            .flat_map(|(node, asked)| asked.chunks(GROUPS_MAX).map(|part| (*node, part)));
        let asked =
            parts.map(async |(node, part)| (node, part, self.ask(node, part, drowsy).await));
        let mut asleep = vec![Vec::new(); drowsy.len()];
        for (node, part, answer) in futures::future::join_all(asked).await {
            let Some(SleepAnswer { incarnation, asleep: agreed }) = answer else { continue };
            for ((index, _), _) in part.iter().zip(agreed).filter(|(_, agreed)| *agreed) {
                asleep[*index].push(Watched { node, incarnation });
            }
        }
        asleep
    }

    async fn ask(
        &self,
        node: NodeId,
        part: &[(usize, Proposal)],
        drowsy: &[Drowsy],
    ) -> Option<SleepAnswer> {
        let transport = self.registry.transport();
        if transport.members().get(node).is_some_and(|member| !member.alive) {
            return None;
        }
        let request = SleepRequest {
            node: transport.members().own().node_id.0,
            incarnation: self.incarnation,
            proposals: part.iter().map(|(_, proposal)| proposal.clone()).collect(),
        };
        let within = patience(&drowsy.first()?.replica.raft, transport, node);
        messages::ask(transport, node, FrameKind::Sleep, encode(&request), within).await
    }
}

impl Drowsy {
    /// Nothing has happened since the timers stopped.
    fn is_still(&self) -> bool {
        self.replica.rest.number() == Some(self.number)
            && settled(&self.replica).as_ref() == Some(&self.settled)
    }

    /// Wakes up again; the next attempt comes when the group has been unused for as long again.
    fn give_up(&self) {
        self.replica.rest.use_now();
        self.replica.rest.end(&self.replica.raft, self.number);
    }
}

/// Replicas of a node whose group sleeps.
pub(crate) fn asleep(registry: &Registry) -> u32 {
    registry.all().iter().map(|replica| u32::from(replica.rest.number().is_some())).sum()
}

/// Answers a message about sleep that is for the node; none: it is for a group.
pub(crate) fn answer_node(
    registry: &Registry,
    kind: Option<FrameKind>,
    payload: &[u8],
) -> Option<Result<Vec<u8>, String>> {
    match kind {
        Some(kind @ (FrameKind::Sleep | FrameKind::Ping)) => {
            Some(messages::answer(registry, kind, payload))
        }
        _ => None,
    }
}

/// Does what a consensus message asks for, and wakes the group that it is for.
pub(crate) async fn waking<T>(
    replica: &Replica,
    kind: Option<FrameKind>,
    from_replica: u64,
    handled: impl Future<Output = T>,
) -> T {
    // The sleep that it found: one that begins while it is worked on goes on.
    let Some(number) = replica.rest.number() else { return handled.await };
    if kind == Some(FrameKind::PreVote) {
        replica.before_pre_vote(from_replica).await;
    }
    let done = handled.await;
    // Afterwards: by now the leader's message has renewed the lease that the timers look at.
    replica.rest.end(&replica.raft, number);
    done
}

/// Answers a replica whose leader this one is, or was: whether it leads.
pub(crate) async fn answer_rouse(replica: &Replica) -> Vec<u8> {
    encode(&replica.rouse_and_lead().await)
}
