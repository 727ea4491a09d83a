//! One replica of one shard: its group, its state, and how reads and writes go through it.

use crate::{
    consensus::raft::types::{LogId, Raft, TypeConfig, decode},
    engine::{Engine, EngineError, Space},
    hand_over::WAITING_MAX,
    planted::{STALE_LEASE, is_planted},
    quiesce::Rest,
    read_gate::ReadGate,
    shard::{
        Command, CommandResult, LocalReplica, RowsHeld, ShardState, WriteCommand, keys, row::Row,
    },
    transport::Transport,
    write_queue::WriteQueue,
};
use isobar_api::{
    ApiError, Epoch, ErrorCode, NodeId, ReplicaId, ShardDescriptor, ShardEntry, ShardId,
    proto::ReadIndexRequest, table::AckLevel,
};
use isobar_telemetry::ShardMeter;
use openraft::{
    ReadPolicy,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// When to try again while a shard is being merged.
const MERGING_RETRY_MS: u64 = 20;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFreshness {
    /// Sees every write acknowledged before it began.
    Linearizable,
    /// Sees every write acknowledged longer ago than this.
    Bounded(Duration),
    /// Whatever this replica has applied.
    Local,
}

/// What an entry depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryMark {
    replica: ReplicaId,
    epoch: Epoch,
    leader: Option<u64>,
    term: u64,
}

impl EntryMark {
    /// Whether it was taken of this replica, and not of one of the same shard before it.
    pub(crate) fn is_of(&self, replica: &Replica) -> bool {
        self.replica == replica.replica_id
    }
}

/// A member of a running group.
pub struct Replica {
    /// The shard.
    pub shard_id: ShardId,
    /// This replica.
    pub replica_id: ReplicaId,
    /// What is counted for it.
    pub meter: ShardMeter,
    /// What this node wrote down when it made the replica: of an empty one all that is known.
    pub(crate) local: LocalReplica,
    pub(crate) raft: Raft,
    pub(crate) state: Arc<ShardState>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) transport: Transport,
    /// Everything acknowledged before this moment is applied here.
    fresh_as_of: Mutex<Option<Instant>>,
    refreshing: tokio::sync::Mutex<()>,
    /// Writes that wait for the log.
    pub(crate) writes: WriteQueue,
    /// Reads that wait for the leader to be confirmed.
    pub(crate) reads: ReadGate,
    /// Room for requests that wait for the next leader.
    pub(crate) waiting: Semaphore,
    /// Whether the group sleeps.
    pub(crate) rest: Arc<Rest>,
    /// Held by a split or a freeze until its outcome is known.
    splitting: Arc<tokio::sync::RwLock<()>>,
}

/// As long as it is held, neither a split nor a freeze gets into the log.
pub(crate) struct NoSplit<'a> {
    _until_dropped: tokio::sync::RwLockReadGuard<'a, ()>,
}

impl Replica {
    pub(crate) fn new(
        shard_id: ShardId,
        local: LocalReplica,
        raft: Raft,
        state: Arc<ShardState>,
        engine: Arc<dyn Engine>,
        transport: Transport,
    ) -> Self {
        let replica_id = local.replica_id;
        let seed = shard_id.0 ^ (replica_id.0 << 48);
        Self {
            shard_id,
            replica_id,
            meter: ShardMeter::new(seed),
            local,
            raft,
            state,
            engine,
            transport,
            fresh_as_of: Mutex::new(None),
            refreshing: tokio::sync::Mutex::new(()),
            writes: WriteQueue::default(),
            reads: ReadGate::default(),
            waiting: Semaphore::new(WAITING_MAX),
            rest: Arc::new(Rest::new()),
            splitting: Arc::default(),
        }
    }

    /// The descriptor; an empty replica has none yet.
    pub fn descriptor(&self) -> Result<Arc<ShardDescriptor>, ApiError> {
        self.state.descriptor().ok_or_else(|| {
            self.error(ErrorCode::ShardNotHere, "the replica is still empty and catching up")
        })
    }

    /// Holds the rows while they are read; an error while a snapshot replaces them, or when they are removed.
    pub fn hold_rows(&self) -> Result<RowsHeld<'_>, ApiError> {
        self.state.hold_rows().ok_or_else(|| {
            self.error(ErrorCode::ShardNotHere, "the replica's rows are being replaced or removed")
        })
    }

    /// The rows it holds; of an empty replica, those it waits for.
    pub(crate) fn extent(&self) -> LocalReplica {
        match self.state.descriptor() {
            Some(descriptor) => LocalReplica::of(self.replica_id, &descriptor),
            None => self.local.clone(),
        }
    }

    /// Whether this replica leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow_watched().current_leader == Some(self.replica_id.0)
    }

    /// Why the group has stopped, if it has.
    pub fn fault(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().err().map(|fatal| error_chain(fatal))
    }

    /// The shard as this replica knows it.
    pub fn entry(&self) -> Option<ShardEntry> {
        let descriptor = self.state.descriptor()?;
        let replicas = self.state.replicas();
        let (leader, term) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_leader, metrics.current_term)
        };
        let leader = leader.and_then(|id| replicas.iter().find(|r| r.replica_id.0 == id));
        Some(ShardEntry {
            shard_id: self.shard_id,
            table_id: descriptor.table_id,
            range: descriptor.range.clone(),
            epoch: self.state.epoch(),
            leader: leader.map(|r| r.node_id),
            replicas: replicas.to_vec(),
            term,
        })
    }

    /// Differs from before if [`Self::entry`] does; costs less.
    pub(crate) fn entry_mark(&self) -> EntryMark {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        EntryMark {
            replica: self.replica_id,
            epoch: self.state.epoch(),
            leader: metrics.current_leader,
            term: metrics.current_term,
        }
    }

    /// The node that leads, as far as this replica knows.
    pub fn leader_node(&self) -> Option<NodeId> {
        self.entry().and_then(|entry| entry.leader)
    }

    /// An error that carries the shard's present routing.
    pub fn error(&self, code: ErrorCode, message: impl Into<String>) -> ApiError {
        let message = format!("{}: {}", self.shard_id, message.into());
        ApiError::new(code, message).with_shards(self.entry().into_iter().collect())
    }

    /// Why the group has stopped, if it has, as users see it. openraft says it in words only, and a line into the log
    /// for every further call, so callers look here first.
    pub fn check_running(&self) -> Result<(), ApiError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().map(|_| ()).map_err(|fatal| self.stopped(fatal))
    }

    fn stopped(&self, fatal: &dyn std::error::Error) -> ApiError {
        let why = error_chain(fatal);
        self.error(fault_code(&why), why)
    }

    /// Puts a command through the log and waits until it is committed and applied here.
    pub async fn propose(&self, command: Command) -> Result<(LogId, CommandResult), ApiError> {
        self.check_running()?;
        self.rouse().await;
        match self.raft.client_write(command).await {
            Ok(response) => Ok((response.log_id, response.data)),
            Err(error) => Err(self.write_error(&error)),
        }
    }

    /// Waits until enough voters hold an entry for the table's acknowledgement level.
    pub async fn await_ack(&self, ack: AckLevel, log_id: LogId) -> Result<(), ApiError> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let metrics = metrics.borrow_watched();
                let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
                let needed = match ack {
                    AckLevel::Majority | AckLevel::Leader => return Ok(()),
                    AckLevel::All => voters.len(),
                    AckLevel::Count(n) => usize::from(n),
                };
                let Some(replication) = &metrics.replication else {
                    return Err(self.error(
                        ErrorCode::Unavailable,
                        "leadership moved before every voter had it",
                    ));
                };
                let holds = |id: &&u64| {
                    **id == self.replica_id.0
                        || replication.get(*id).is_some_and(|matched| *matched >= Some(log_id))
                };
                if voters.iter().filter(holds).count() >= needed {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(self.error(ErrorCode::Unavailable, "the group stopped"));
            }
        }
    }

    /// Puts a split or a freeze through the log. Where the caller gives up, it stays under way until its outcome is known.
    pub async fn propose_alone(
        self: &Arc<Self>,
        command: Command,
    ) -> Result<CommandResult, ApiError> {
        let alone = self.splitting.clone().write_owned().await;
        let replica = self.clone();
        let proposing = tokio::spawn(async move {
            let answer = replica.propose(command).await;
            drop(alone);
            answer.map(|(_, result)| result)
        });
        let stopped =
            |why: tokio::task::JoinError| self.error(ErrorCode::Internal, why.to_string());
        proposing.await.map_err(stopped)?
    }

    /// Refuses while the shard is frozen for a merge.
    pub fn check_unfrozen(&self) -> Result<(), ApiError> {
        match self.state.frozen() {
            None => Ok(()),
            Some(frozen) => {
                let message = format!("it is about to become part of {}", frozen.into);
                Err(self.error(ErrorCode::Merging, message).retry_after_ms(MERGING_RETRY_MS))
            }
        }
    }

    /// Some, if no split or freeze is in the log that is not applied: neither one of ours nor one of an earlier leader. A
    /// write behind such an entry may turn out to be outside the shard, so its key inside the present range says nothing.
    pub(crate) fn no_split(&self, seen: &ShardDescriptor) -> Option<NoSplit<'_>> {
        let _until_dropped = self.splitting.try_read().ok()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = metrics.last_applied.as_ref()?.committed_leader_id().term;
        // Nor was one applied since the write was looked at.
        let same = self.state.descriptor().is_some_and(|now| now.shape == seen.shape)
            && self.state.frozen().is_none();
        (same && applied == metrics.current_term).then_some(NoSplit { _until_dropped })
    }

    /// Puts a write into the log and waits only until it is durable on this node.
    pub(crate) async fn propose_leader_only(
        &self,
        write: WriteCommand,
        no_split: NoSplit<'_>,
    ) -> Result<(), ApiError> {
        use openraft::impls::ProgressResponder;
        self.check_running()?;
        self.rouse().await;
        let (responder, mut answer) = ProgressResponder::complete_only();
        let sent =
            self.raft.client_write_ff(Command::Write(vec![write].into()), Some(responder)).await;
        drop(no_split);
        sent.map_err(|fatal| self.stopped(&fatal))?;
        // Queued behind the write: the last entry it sees is the write's or a later one.
        let last = self.raft.with_raft_state(|state| state.log_ids.last().copied()).await;
        let last = last.map_err(|fatal| self.stopped(&fatal))?;
        let mut flushed = self.raft.watch_log_progress();
        tokio::select! {
            // A refusal is here by now, and the log that this replica had anyway is durable: look at the answer first.
            biased;
            answer = &mut answer => match answer {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(self.client_write_error(&error)),
                Err(_) => Err(self.error(ErrorCode::Unavailable, "the group stopped")),
            },
            done = flushed.wait_until(|point| point.as_ref().is_some_and(|p| p.last_log_id >= last)) => {
                done.map(|_| ()).map_err(|_| self.error(ErrorCode::Unavailable, "the group stopped"))
            }
        }
    }

    /// Waits until a read of the wanted freshness may be served from this replica.
    pub async fn read_barrier(self: &Arc<Self>, freshness: ReadFreshness) -> Result<(), ApiError> {
        match freshness {
            ReadFreshness::Local => Ok(()),
            ReadFreshness::Linearizable => self.linearizable_barrier().await,
            ReadFreshness::Bounded(bound) => self.bounded_barrier(bound).await,
        }
    }

    /// The planted bug: who has led once, and has not heard of another leader, reads as if its lease had no end. Only
    /// reads: a write that is confirmed this way and refused by the group would be tried again without a pause.
    pub(crate) fn trusts_an_old_lease(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.last_applied.as_ref().map(|id| id.committed_leader_id().term);
        is_planted(STALE_LEASE) && term == Some(metrics.current_term)
    }

    /// Confirms leadership (by lease, else by asking a quorum) and waits for the apply; the read index.
    pub(crate) async fn confirm_lead(&self) -> Result<u64, ApiError> {
        self.rouse().await;
        let by_lease = self.raft.ensure_linearizable(ReadPolicy::LeaseRead).await;
        let confirmed = match by_lease {
            Ok(index) => Ok(index),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await
            }
            Err(error) => Err(error),
        };
        confirmed.map(|read| read.index()).map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => {
                self.error(ErrorCode::NotLeader, "this replica does not lead")
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
                self.error(ErrorCode::Unavailable, "no quorum confirms the leader")
            }
            RaftError::Fatal(fatal) => self.stopped(&fatal),
        })
    }

    /// Asks the leader for a read index and waits until it is applied here.
    pub(crate) async fn follower_barrier(&self) -> Result<(), ApiError> {
        let began = Instant::now();
        let Some(leader) = self.leader_node() else {
            return Err(self.error(ErrorCode::Unavailable, "no leader is known"));
        };
        let request =
            ReadIndexRequest { shard_id: self.shard_id.0, from_replica: self.replica_id.0 };
        let timeout = Duration::from_secs(2);
        let answer = self.transport.read_index(leader, request, timeout).await;
        if answer.is_err() {
            // Asleep, nobody else would find out that the leader is gone.
            self.rouse().await;
        }
        let answer = answer.map_err(|error| match error.code {
            // Removed, and not yet told so: for a reader just a node that does not hold the shard.
            ErrorCode::Refused => ApiError { code: ErrorCode::ShardNotHere, ..error },
            _ => error,
        })?;
        let index: u64 = decode(&answer.payload)
            .map_err(|why| self.error(ErrorCode::Internal, format!("read index: {why}")))?;
        let wait = self.raft.wait(Some(timeout));
        wait.applied_index_at_least(Some(index), "read index").await.map_err(|_| {
            self.error(ErrorCode::TooStale, "this replica is behind and does not catch up in time")
        })?;
        let mut fresh = self.fresh_as_of.lock().expect("no holder of this lock panics");
        *fresh = fresh.max(Some(began));
        Ok(())
    }

    /// Staleness is measured by our own clock alone: what a leader confirmed for a request that we sent at a
    /// moment covers every write acknowledged before that moment.
    async fn bounded_barrier(self: &Arc<Self>, bound: Duration) -> Result<(), ApiError> {
        if self.is_leader() && self.leader_barrier().await.is_ok() {
            return Ok(());
        }
        let age = || self.freshness_age().filter(|age| *age <= bound);
        match age() {
            Some(age) if age < bound / 2 => return Ok(()),
            Some(_) => {
                // Still good: renew it before it is not.
                let replica = self.clone();
                tokio::spawn(async move {
                    if let Ok(_one) = replica.refreshing.try_lock() {
                        let _ = replica.follower_barrier().await;
                    }
                });
                return Ok(());
            }
            None => {}
        }
        let _one = self.refreshing.lock().await;
        if age().is_some() {
            return Ok(());
        }
        self.follower_barrier().await
    }

    fn freshness_age(&self) -> Option<Duration> {
        self.fresh_as_of.lock().expect("no holder of this lock panics").map(|at| at.elapsed())
    }

    /// Reads a row without any barrier.
    pub fn get(&self, descriptor: &ShardDescriptor, key: &[u8]) -> Result<Option<Row>, ApiError> {
        let stored = self.engine.get(Space::Data, &keys::row(descriptor.table_id, key));
        stored.map_err(|e| self.engine_error(e))?.map(|stored| self.row(&stored)).transpose()
    }

    /// Decodes a stored row.
    pub fn row(&self, stored: &[u8]) -> Result<Row, ApiError> {
        Row::decode(stored).map_err(|why| self.error(ErrorCode::Corruption, why.to_string()))
    }

    /// An engine error with the shard's name.
    pub fn engine_error(&self, error: EngineError) -> ApiError {
        self.error(error.code(), error.message())
    }

    /// A failed write as users see it.
    pub(crate) fn write_error(
        &self,
        error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
    ) -> ApiError {
        match error {
            RaftError::APIError(error) => self.client_write_error(error),
            RaftError::Fatal(fatal) => self.stopped(fatal),
        }
    }

    fn client_write_error(&self, error: &ClientWriteError<TypeConfig>) -> ApiError {
        match error {
            ClientWriteError::ForwardToLeader(_) => {
                self.error(ErrorCode::NotLeader, "this replica does not lead")
            }
            ClientWriteError::LogEntryDiscarded(_) => {
                self.error(ErrorCode::Unavailable, "leadership moved; the outcome is unknown")
            }
            other => self.error(ErrorCode::Unavailable, other.to_string()),
        }
    }
}

/// The code of what stopped a group. Openraft passes on only the text of our own errors.
pub(crate) fn fault_code(why: &str) -> ErrorCode {
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if has(&["No space left", "StorageFull", "no space left", "quota exceeded"]) {
        ErrorCode::DiskFull
    } else if has(&["orrupt", "checksum mismatch"]) {
        ErrorCode::Corruption
    } else {
        ErrorCode::StorageFailed
    }
}

/// An error and its causes in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
