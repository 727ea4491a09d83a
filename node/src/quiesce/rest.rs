//! Whether the group of one replica sleeps, and how it wakes.

use crate::{
    consensus::raft::types::{Raft, decode},
    replica::Replica,
    transport::{FrameKind, Message, Transport},
};
use isobar_api::{NodeId, ShardId};
use openraft::{ReadPolicy, async_runtime::WatchReceiver};
use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// A node that a sleeping replica relies on, in the life that it had when the group fell asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    /// The node.
    pub(crate) node: NodeId,
    /// Tells its lives apart.
    pub(crate) incarnation: u64,
}

/// A member of the group: its replica, and the node it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) node: NodeId,
    pub(super) replica: u64,
}

/// What a replica knows of its sleep.
#[derive(Clone, Debug, Default)]
struct Sleep {
    /// Number of the last sleep: tells one from the next.
    number: u64,
    /// Who leads, if it is another.
    leader: Option<Lead>,
    /// A follower relies on the leader's node to be there; a leader must know when a follower starts again.
    watched: Vec<Watched>,
}

/// Sleep and use of one replica's group.
pub(crate) struct Rest {
    began: Instant,
    used_ms: AtomicU64,
    /// The number of this sleep; 0: awake.
    asleep: AtomicU64,
    sleep: Mutex<Sleep>,
    /// Held while a leader wakes: those who need it wait for the quorum's answer together.
    waking: tokio::sync::Mutex<()>,
    /// Whether the leader is being asked to wake up.
    calling: AtomicBool,
}

impl Rest {
    /// Awake, and used just now.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            used_ms: AtomicU64::new(0),
            asleep: AtomicU64::new(0),
            sleep: Mutex::default(),
            waking: tokio::sync::Mutex::new(()),
            calling: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that somebody needs the group.
    pub(crate) fn use_now(&self) {
        // Before the look at `asleep`: who puts the group to sleep looks the other way round.
        self.used_ms.store(self.now_ms(), Ordering::SeqCst);
    }

    /// How long nobody has needed the group.
    pub(super) fn unused_for(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.used_ms.load(Ordering::SeqCst)))
    }

    /// The number of this sleep; none while awake.
    pub(crate) fn number(&self) -> Option<u64> {
        Some(self.asleep.load(Ordering::SeqCst)).filter(|number| *number != 0)
    }

    fn sleep(&self) -> MutexGuard<'_, Sleep> {
        self.sleep.lock().expect("no holder of this lock panics")
    }

    /// Stops the timers of a group that is awake; the number of the sleep.
    pub(super) fn begin(
        &self,
        raft: &Raft,
        leader: Option<Lead>,
        watched: Vec<Watched>,
    ) -> Option<u64> {
        let mut sleep = self.sleep();
        if self.number().is_some() {
            return None;
        }
        *sleep = Sleep { number: sleep.number + 1, leader, watched };
        self.asleep.store(sleep.number, Ordering::SeqCst);
        raft.runtime_config().tick(false);
        Some(sleep.number)
    }

    /// Ends this sleep, if it is not over: the timers run again. False: it was over.
    pub(crate) fn end(&self, raft: &Raft, number: u64) -> bool {
        let _until_done = self.sleep();
        if self.number() != Some(number) {
            return false;
        }
        raft.runtime_config().tick(true);
        self.asleep.store(0, Ordering::SeqCst);
        true
    }

    /// Names the nodes that this sleep relies on. False: it is over.
    pub(super) fn watch(&self, number: u64, watched: Vec<Watched>) -> bool {
        let mut sleep = self.sleep();
        let same = self.number() == Some(number);
        if same {
            sleep.watched = watched;
        }
        same
    }

    /// The leader during this sleep; none: this replica.
    pub(super) fn leader(&self) -> Option<Lead> {
        self.sleep().leader
    }

    /// The nodes that the present sleep relies on.
    pub(super) fn watched(&self) -> Option<(u64, Vec<Watched>)> {
        self.number()?;
        let sleep = self.sleep();
        Some((self.number()?, sleep.watched.clone()))
    }

    /// From now on nobody looks after this sleep: somebody is about to end it.
    pub(super) fn unwatch(&self, number: u64) -> bool {
        self.watch(number, Vec::new())
    }
}

/// Ends a sleep however the work on it ends, also when its caller goes away.
struct EndOfSleep<'a> {
    replica: &'a Replica,
    number: u64,
}

impl Drop for EndOfSleep<'_> {
    fn drop(&mut self) {
        self.replica.rest.end(&self.replica.raft, self.number);
    }
}

impl Replica {
    /// Notes that the group is needed, and wakes it. A leader that returns from here is confirmed by a quorum, if there
    /// is one; of a follower, the leader is asked to wake up.
    pub(crate) async fn rouse(&self) {
        self.rest.use_now();
        if self.rest.number().is_some() {
            self.wake().await;
        }
    }

    /// Wakes the group, if it sleeps.
    pub(super) async fn wake(&self) {
        if self.rest.leader().is_some() {
            self.call_leader(Duration::ZERO);
            return;
        }
        let _one = self.rest.waking.lock().await;
        let Some(number) = self.rest.number() else { return };
        let _end = EndOfSleep { replica: self, number };
        self.raft.runtime_config().tick(true);
        // The lease has run out: neither a write nor a read is taken before a quorum has answered. This also wakes the
        // followers; where another replica leads by now, it tells this one.
        if let Err(error) = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            tracing::debug!(shard = %self.shard_id, %error, "a group that woke up has no confirmed leader");
        }
    }

    /// Wakes the group and tells whether this replica leads it, confirmed by a quorum.
    pub(super) async fn rouse_and_lead(&self) -> bool {
        self.rouse().await;
        self.is_leader() && self.confirm_lead().await.is_ok()
    }

    /// A candidate asks a sleeping group. The timers of those who sleep say nothing about the leader, so it is asked
    /// first: where it answers, its heartbeat has renewed the leases, and the candidate is refused by them.
    pub(super) async fn before_pre_vote(&self, candidate: u64) {
        match self.rest.leader() {
            None => self.wake().await,
            // It has started again, and leads no more.
            Some(leader) if leader.replica == candidate => {}
            Some(leader) => drop(self.call(leader).ask().await),
        }
    }

    /// Has the leader of a sleeping group woken, after a while; if it does not answer, this replica stands for election.
    /// One at a time.
    pub(super) fn call_leader(&self, after: Duration) {
        let Some(number) = self.rest.number() else { return };
        let Some(leader) = self.rest.leader() else { return };
        if self.rest.calling.swap(true, Ordering::SeqCst) {
            return;
        }
        let (call, rest) = (self.call(leader), self.rest.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if rest.number() == Some(number) {
                call.wake_or_stand(&rest, number).await;
            }
            rest.calling.store(false, Ordering::SeqCst);
        });
    }

    fn call(&self, leader: Lead) -> Call {
        Call {
            shard: self.shard_id,
            from: self.replica_id.0,
            leader,
            raft: self.raft.clone(),
            transport: self.transport.clone(),
        }
    }
}

/// The way to a sleeping leader.
struct Call {
    shard: ShardId,
    from: u64,
    leader: Lead,
    raft: Raft,
    transport: Transport,
}

impl Call {
    /// Whether the leader answers that it leads, woken and confirmed.
    async fn ask(&self) -> bool {
        let message = Message {
            shard: self.shard,
            from_replica: self.from,
            to_replica: self.leader.replica,
            kind: FrameKind::Rouse,
            payload: Vec::new(),
        };
        let within = patience(&self.raft, &self.transport, self.leader.node);
        let answer = self.transport.call(self.leader.node, message, within).await;
        answer.is_ok_and(|bytes| decode::<bool>(&bytes).unwrap_or(false))
    }

    async fn wake_or_stand(&self, rest: &Rest, number: u64) {
        let led = self.ask().await;
        if !rest.end(&self.raft, number) || led {
            return;
        }
        tracing::debug!(shard = %self.shard, leader = %self.leader.node, "the sleeping leader does not answer");
        // The pre-vote asks the others whether they miss the leader, too.
        if let Err(error) = self.raft.trigger().elect(true).await {
            tracing::debug!(shard = %self.shard, %error, "the group has stopped");
        }
    }
}

/// As long as a node may take to answer for its groups: well below an election timeout, and the way to it.
pub(super) fn patience(raft: &Raft, transport: &Transport, node: NodeId) -> Duration {
    Duration::from_millis(raft.config().election_timeout_min / 2)
        + 2 * transport.members().one_way_delay_to(node)
}

/// What a leader that has nothing to do sleeps on: its log is whole, applied, and held by every member.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) term: u64,
    pub(super) last: crate::consensus::raft::types::LogId,
    pub(super) others: Vec<Lead>,
}

/// What a leader would sleep on; none if this replica does not lead, or something is under way.
pub(super) fn settled(replica: &Replica) -> Option<Settled> {
    let own = replica.replica_id.0;
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state == openraft::ServerState::Leader
        && metrics.current_leader == Some(own)
        && metrics.running_state.is_ok();
    let last = metrics.last_applied.filter(|_| leads)?;
    let whole = metrics.last_log_index == Some(last.index())
        && metrics.cluster_committed == Some(last)
        && last.committed_leader_id().term == metrics.current_term;
    let membership = metrics.membership_config.membership();
    let uniform = metrics.membership_config.log_id()
        == metrics.committed_membership_config.log_id()
        && membership.get_joint_config().len() == 1
        && membership.learner_ids().next().is_none();
    if !whole || !uniform {
        return None;
    }
    let matched = metrics.replication.as_ref()?;
    let mut others = Vec::new();
    for (id, node) in membership.nodes().filter(|(id, _)| **id != own) {
        if matched.get(id)? != &Some(last) {
            return None;
        }
        others.push(Lead { node: NodeId(node.node_id), replica: *id });
    }
    Some(Settled { term: metrics.current_term, last, others })
}

/// The replica of a follower is where its leader thinks it is.
pub(super) fn follows(replica: &Replica, leader: Lead, settled: &Settled) -> bool {
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.running_state.is_ok()
        && metrics.state == openraft::ServerState::Follower
        && metrics.current_term == settled.term
        && metrics.current_leader == Some(leader.replica)
        && metrics.last_applied == Some(settled.last)
        && metrics.last_log_index == Some(settled.last.index())
}
