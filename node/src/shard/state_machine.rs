//! The replicated state of one shard, as openraft drives it.

use super::{
    apply::{decode_applied, decode_descriptor},
    command::{Command, CommandResult},
    keys,
    merge::load_subsumed,
    session::Sessions,
    snapshot::{self, LocalSnapshot, ShardSnapshot, StagedSnapshot},
    state::{AppliedState, Host, LocalReplica, ShardEvent, ShardState},
};
use crate::{
    consensus::raft::types::{
        Entry, LogId, RaftNode, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, encode,
        seed_log_id,
    },
    engine::{Engine, EngineError, EngineErrorKind, Space, WriteBatch, offload},
};
use futures::{Stream, TryStreamExt};
use isobar_api::{Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId};
use openraft::{
    EntryPayload, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

/// The state machine of one replica.
pub struct ShardStateMachine {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) shard_id: ShardId,
    pub(super) replica_id: ReplicaId,
    pub(super) descriptor: Option<Arc<ShardDescriptor>>,
    pub(super) applied: AppliedState,
    pub(super) sessions: Sessions,
    /// The shards that are part of this one.
    pub(super) subsumed: Arc<BTreeSet<ShardId>>,
    /// What the registry is told once the batch being built is written.
    pub(super) news: Vec<ShardEvent>,
    pub(super) host: Host,
    state: Arc<ShardState>,
}

/// The first state of a replica that is made together with its shard.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The shard.
    pub descriptor: ShardDescriptor,
    /// Its first replicas.
    pub replicas: Vec<Replica>,
}

impl Seed {
    /// Puts the first state into a batch. Every first replica gets the same.
    pub fn write(&self, replica: ReplicaId, batch: &mut WriteBatch) -> Result<(), EngineError> {
        let voters = self.replicas.iter().filter(|r| r.role == ReplicaRole::Voter);
        let voters = voters.map(|r| r.replica_id.0).collect();
        let nodes: BTreeMap<u64, RaftNode> = self
            .replicas
            .iter()
            .map(|r| (r.replica_id.0, RaftNode { node_id: r.node_id.0 }))
            .collect();
        let membership = openraft::Membership::new(vec![voters], nodes).map_err(|why| {
            EngineError::new(EngineErrorKind::Internal, format!("first members: {why}"))
        })?;
        let applied = AppliedState {
            last_applied: Some(seed_log_id()),
            membership: StoredMembership::new(Some(seed_log_id()), membership),
            last_hlc: 0,
        };
        let shard = self.descriptor.shard_id;
        let stored = serde_json::to_vec(&self.descriptor).expect("plain data always encodes");
        batch.put(Space::Meta, keys::descriptor(shard), stored);
        batch.put(Space::Meta, keys::applied(shard), encode(&applied));
        LocalReplica::of(replica, &self.descriptor).put(shard, batch);
        Ok(())
    }
}

impl ShardStateMachine {
    /// Loads the state of a shard; finishes a snapshot installation that a crash interrupted.
    pub fn open(
        engine: Arc<dyn Engine>,
        shard_id: ShardId,
        replica_id: ReplicaId,
        host: Host,
    ) -> Result<Self, EngineError> {
        snapshot::finish_interrupted(&*engine, shard_id)?;
        let descriptor = match engine.get(Space::Meta, &keys::descriptor(shard_id))? {
            Some(stored) => Some(Arc::new(decode_descriptor(&stored)?)),
            None => None,
        };
        let applied = match engine.get(Space::Meta, &keys::applied(shard_id))? {
            Some(stored) => decode_applied(&stored)?,
            None => AppliedState::default(),
        };
        let state = Arc::new(ShardState::default());
        let subsumed = Arc::new(load_subsumed(&*engine, shard_id)?);
        state.set(descriptor.clone(), &applied, &subsumed);
        host.join(shard_id, &state);
        let sessions = Sessions::new(shard_id);
        Ok(Self {
            engine,
            shard_id,
            replica_id,
            descriptor,
            applied,
            sessions,
            subsumed,
            news: Vec::new(),
            host,
            state,
        })
    }

    /// What readers share.
    pub fn state(&self) -> Arc<ShardState> {
        self.state.clone()
    }

    /// How far the log has been applied.
    pub fn last_applied(&self) -> Option<LogId> {
        self.applied.last_applied
    }

    /// Applies one entry in one batch.
    pub(super) fn apply_entry(&mut self, entry: Entry) -> Result<CommandResult, EngineError> {
        let state = self.state.clone();
        let _held = state.hold_rows().ok_or_else(withdrawn)?;
        let mut batch = WriteBatch::default();
        let log_id = entry.log_id;
        let mut moved = false;
        let result = match entry.payload {
            EntryPayload::Blank => CommandResult::None,
            EntryPayload::Membership(membership) => {
                self.applied.membership = StoredMembership::new(Some(log_id), membership);
                moved = true;
                CommandResult::None
            }
            EntryPayload::Normal(command) => {
                moved = !matches!(command, Command::Write(_));
                self.apply_command(&command, log_id.index(), &mut batch)?
            }
        };
        self.applied.last_applied = Some(log_id);
        batch.put(Space::Meta, keys::applied(self.shard_id), encode(&self.applied));
        self.engine.write(batch)?;
        self.state.set_last_hlc(self.applied.last_hlc);
        if moved {
            self.state.set(self.descriptor.clone(), &self.applied, &self.subsumed);
        }
        for event in self.news.drain(..) {
            self.host.tell(event);
        }
        Ok(result)
    }

    fn apply_command(
        &mut self,
        command: &Command,
        index: u64,
        batch: &mut WriteBatch,
    ) -> Result<CommandResult, EngineError> {
        match command {
            Command::Write(writes) => self.apply_writes(writes, batch).map(CommandResult::Write),
            Command::Split(split) => self.apply_split(split, batch),
            Command::AllocateReplica => Ok(self.apply_allocate(batch)),
            Command::NoteStep(note) => self.note_step(note, batch).map(|()| CommandResult::None),
            Command::Freeze(freeze) => Ok(self.apply_freeze(freeze, index, batch)),
            Command::Thaw { index } => Ok(self.apply_thaw(*index, batch)),
            Command::Subsume(subsume) => self.apply_subsume(subsume, batch),
            Command::CallOff { right, round } => Ok(self.apply_call_off(*right, *round, batch)),
            Command::ExpireSessions { .. } if self.is_frozen() => Ok(CommandResult::None),
            Command::ExpireSessions { before_hlc } => {
                let engine = self.engine.clone();
                self.sessions.expire(&*engine, *before_hlc, batch)?;
                Ok(CommandResult::None)
            }
        }
    }

    fn is_frozen(&self) -> bool {
        self.descriptor.as_ref().is_some_and(|d| d.merging.frozen.is_some())
    }

    fn local_snapshot(&self) -> Result<LocalSnapshot, EngineError> {
        LocalSnapshot::take(&self.engine, self.shard_id, self.descriptor.as_deref())
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied.last_applied,
            last_membership: self.applied.membership.clone(),
        }
    }
}

fn withdrawn() -> EngineError {
    EngineError::new(EngineErrorKind::Closed, "the replica was removed or is damaged")
}

impl RaftStateMachine<TypeConfig> for ShardStateMachine {
    type SnapshotData = ShardSnapshot;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied.last_applied, self.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            if let EntryPayload::Normal(Command::Subsume(subsume)) = &entry.payload {
                self.withdraw_right(subsume).await?;
            }
            let result = self.apply_entry(entry)?;
            if let Some(responder) = responder {
                responder.send(result);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            engine: self.engine.clone(),
            meta: self.meta(),
            taken: Some(self.local_snapshot()),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: ShardSnapshot,
    ) -> Result<(), io::Error> {
        let old_range = self.descriptor.as_deref().map(|d| (d.table_id, d.range.clone()));
        let (engine, shard, meta) = (self.engine.clone(), self.shard_id, meta.clone());
        let (state, host) = (self.state.clone(), self.host.clone());
        let disk = engine.clone();
        let install = move || {
            let staged = match snapshot {
                ShardSnapshot::Staged(staged) => staged,
                ShardSnapshot::Local(view) => StagedSnapshot::of(&view, engine, shard)?,
            };
            // What became part of the shard meanwhile is still here, under its own name.
            let taken = staged.subsumed_here()?;
            for right in taken.iter().filter_map(|right| host.state_of(*right)) {
                right.withdraw_rows();
            }
            let mut broken = state.replace_rows().ok_or_else(withdrawn)?;
            let (header, applied) = staged.install(&meta, old_range)?;
            let (descriptor, subsumed) = (Arc::new(header.descriptor), Arc::new(header.subsumed));
            state.set(Some(descriptor.clone()), &applied, &subsumed);
            *broken = false;
            for right in taken {
                host.tell(ShardEvent::Subsumed { survivor: shard, right });
            }
            Ok::<_, EngineError>((descriptor, applied, subsumed))
        };
        let installed = offload(&disk, install).await.map_err(io::Error::other)??;
        let (descriptor, applied, subsumed) = installed;
        tracing::info!(shard = %self.shard_id, "a snapshot from another replica is installed");
        self.descriptor = Some(descriptor);
        self.applied = applied;
        self.subsumed = subsumed;
        self.sessions.reset();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.applied.last_applied.is_none() {
            return Ok(None);
        }
        let snapshot = ShardSnapshot::Local(Arc::new(self.local_snapshot()?));
        Ok(Some(Snapshot { meta: self.meta(), snapshot }))
    }
}

/// Makes the present state durable, so that the log before it may go.
pub struct SnapshotBuilder {
    engine: Arc<dyn Engine>,
    meta: SnapshotMeta,
    taken: Option<Result<LocalSnapshot, EngineError>>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = ShardSnapshot;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let engine = self.engine.clone();
        offload(&self.engine, move || engine.sync()).await.map_err(io::Error::other)??;
        let once = || io::Error::other("a snapshot builder builds once");
        let taken = self.taken.take().ok_or_else(once)??;
        let snapshot = ShardSnapshot::Local(Arc::new(taken));
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
