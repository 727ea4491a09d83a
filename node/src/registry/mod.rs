//! The replicas this node holds: opening, creating, starting after a split; taking away is in `removal`.

mod remote;
mod removal;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    config::RaftTiming,
    consensus::raft::{
        hearing::Hearing,
        log_store::RaftLogStore,
        network::GroupNetworks,
        shared_log::SharedLog,
        types::{Raft, TypeConfig, decode},
    },
    engine::{Engine, EngineError, Scan, Space, WriteBatch, offload},
    replica::{Replica, error_chain, fault_code},
    shard::{Host, LocalReplica, Seed, ShardEvent, ShardStateMachine, finish_interrupted, keys},
    transport::Transport,
    wall_clock::WallClock,
};
use isobar_api::{
    ApiError, ErrorCode, KeyRange, NodeId, ReplicaId, ShardDescriptor, ShardId, TableId,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// A replica that is out of service; others go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Faulted {
    /// What is known of it.
    pub local: LocalReplica,
    /// Why.
    pub error: ApiError,
}

/// All replicas of the node. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    state: Arc<dyn Engine>,
    log: SharedLog,
    transport: Transport,
    timing: RaftTiming,
    data_dir: PathBuf,
    clock: WallClock,
    cluster_id: OnceLock<String>,
    incarnation: OnceLock<u64>,
    host: Host,
    replicas: RwLock<BTreeMap<ShardId, Arc<Replica>>>,
    faulted: RwLock<BTreeMap<ShardId, Faulted>>,
    entries_replayed: AtomicU64,
    /// Creating and retiring replicas of overlapping ranges must not interleave.
    changing: tokio::sync::Mutex<Lifetime>,
}

/// Peers go on calling while the node stops. What they ask for must not start a group again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Running,
    Stopped,
}

impl Registry {
    /// An empty registry; [`Self::open_all`] fills it from disk.
    pub fn new(
        node: NodeId,
        state: Arc<dyn Engine>,
        log: SharedLog,
        transport: Transport,
        timing: RaftTiming,
        data_dir: PathBuf,
        clock: WallClock,
    ) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one event per applied split or merge; apply must not wait for the registry"
        )]
        let (events, mut receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            node,
            state,
            log,
            transport,
            timing,
            data_dir,
            clock,
            cluster_id: OnceLock::new(),
            incarnation: OnceLock::new(),
            host: Host::new(events),
            replicas: RwLock::default(),
            faulted: RwLock::default(),
            entries_replayed: AtomicU64::new(0),
            changing: tokio::sync::Mutex::new(Lifetime::Running),
        };
        let registry = Self { inner: Arc::new(inner) };
        let weak = Arc::downgrade(&registry.inner);
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                let Some(inner) = weak.upgrade() else { return };
                let registry = Self { inner };
                match event {
                    ShardEvent::SplitApplied { parent, child } => {
                        registry.start_child(parent, child).await;
                    }
                    ShardEvent::Subsumed { survivor, right } => {
                        registry.end_subsumed(survivor, right).await;
                    }
                }
            }
        });
        registry
    }

    /// Opens every replica that the state engine lists. What cannot be opened is kept aside.
    pub async fn open_all(&self) -> Result<(), EngineError> {
        let _one = self.inner.changing.lock().await;
        let state = &self.inner.state;
        for shard in self.listed(keys::node::replicas())? {
            // It may take others over, so it comes before any of them is opened. Why it fails is told by the opening.
            if let Err(error) = finish_interrupted(&**state, shard) {
                tracing::error!(%shard, error = %error.message(), "an installation cannot be finished");
            }
        }
        let mut held = Vec::new();
        for shard in self.listed(keys::node::replicas())? {
            if let Some(stored) = state.get(Space::Meta, &keys::node::replica(shard))? {
                held.push((shard, read_local(&stored)?));
            }
        }
        // From the right: a group that runs may apply a merge, and its right neighbour must be open by then.
        held.sort_by(|(_, a), (_, b)| (b.table_id, &b.start).cmp(&(a.table_id, &a.start)));
        for (shard, local) in held {
            self.open_one(shard, local).await;
        }
        for shard in self.listed(keys::node::logs_left())? {
            if let Err(error) = self.destroy_log_left(shard).await {
                tracing::warn!(%shard, %error, "the log of a subsumed shard stays for now");
            }
        }
        Ok(())
    }

    /// The shards that keys of a range of the node's own facts end with.
    fn listed(&self, (start, end): (Vec<u8>, Vec<u8>)) -> Result<Vec<ShardId>, EngineError> {
        let mut shards = Vec::new();
        let mut scan = Some(Scan::range(start, Some(end)));
        while let Some(page_scan) = scan {
            let page = self.inner.state.scan(Space::Meta, &page_scan)?;
            shards.extend(page.rows.iter().map(|(key, _)| keys::last_shard(key)));
            scan = page_scan.after(&page);
        }
        Ok(shards)
    }

    async fn open_one(&self, shard: ShardId, local: LocalReplica) {
        if let Err(error) = self.start_group(shard, local.clone()).await {
            tracing::error!(%shard, %error, "a replica cannot be opened; it stays out of service");
            self.set_aside(shard, local, error);
        }
    }

    /// A replica.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.inner.replicas.read().expect("no holder of this lock panics").get(&shard).cloned()
    }

    /// All replicas in service, in shard id order.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.inner
            .replicas
            .read()
            .expect("no holder of this lock panics")
            .values()
            .cloned()
            .collect()
    }

    /// Log entries that the rows of all replicas together were behind when they were opened.
    pub fn entries_replayed(&self) -> u64 {
        self.inner.entries_replayed.load(Ordering::Relaxed)
    }

    /// Whether a replica of a shard is here, in service or not.
    pub fn holds(&self, shard: ShardId) -> bool {
        self.get(shard).is_some() || self.faulted().contains_key(&shard)
    }

    /// The replica here that a shard is part of now, if it was subsumed.
    pub fn survivor_of(&self, shard: ShardId) -> Option<Arc<Replica>> {
        let replicas = self.inner.replicas.read().expect("no holder of this lock panics");
        replicas.values().find(|replica| replica.state.subsumed().contains(&shard)).cloned()
    }

    /// Replicas out of service.
    pub fn faulted(&self) -> BTreeMap<ShardId, Faulted> {
        self.inner.faulted.read().expect("no holder of this lock panics").clone()
    }

    /// The state engine.
    pub fn state_engine(&self) -> &Arc<dyn Engine> {
        &self.inner.state
    }

    /// The shared log.
    pub fn log(&self) -> &SharedLog {
        &self.inner.log
    }

    /// The time of day.
    pub fn clock(&self) -> &WallClock {
        &self.inner.clock
    }

    /// The streams to other nodes.
    pub fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// Free space on the data disk; unknown counts as none.
    pub fn disk_free_bytes(&self) -> u64 {
        isobar_telemetry::process::disk_space(&self.inner.data_dir).map_or(0, |d| d.free_bytes)
    }

    /// Names the cluster, once it is known.
    pub fn set_cluster_id(&self, cluster_id: &str) {
        let _ = self.inner.cluster_id.set(cluster_id.to_owned());
        self.inner.transport.set_cluster_id(self.cluster_id());
    }

    /// The cluster; empty while it is not known.
    pub fn cluster_id(&self) -> &str {
        self.inner.cluster_id.get().map_or("", String::as_str)
    }

    /// From now on groups may sleep here. `incarnation` tells this life of the node from its other ones.
    pub fn rest_groups(&self, incarnation: u64) {
        let _ = self.inner.incarnation.set(incarnation);
    }

    /// Which life of the node this is; none: no group may sleep here.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        self.inner.incarnation.get().copied()
    }

    /// Creates a replica that is born together with its shard. Repeating it changes nothing.
    pub async fn create_seeded(&self, seed: &Seed, replica: ReplicaId) -> Result<bool, ApiError> {
        let (this, seed) = (self.clone(), seed.clone());
        to_the_end(async move {
            let shard = seed.descriptor.shard_id;
            let lifetime = this.inner.changing.lock().await;
            if this.get(shard).is_some() {
                return Ok(false);
            }
            this.admit(*lifetime, &seed.descriptor, replica)?;
            let mut batch = WriteBatch::new();
            seed.write(replica, &mut batch)?;
            this.write_durably(batch).await?;
            this.start_group(shard, LocalReplica::of(replica, &seed.descriptor)).await?;
            Ok(true)
        })
        .await
    }

    /// The first of a new shard's replicas stands for election at once, so that nobody waits for a timeout.
    pub async fn elect_if_first(&self, seed: &Seed, replica: ReplicaId) {
        let first = seed.replicas.first().map(|r| r.replica_id);
        if let Some(ours) = self.get(seed.descriptor.shard_id)
            && first == Some(replica)
            && ours.leader_node().is_none()
        {
            let _ = ours.raft.trigger().elect(false).await;
        }
    }

    /// Creates an empty replica that waits for the leader's log or snapshot. Repeating it changes nothing.
    pub async fn create_empty(
        &self,
        descriptor: &ShardDescriptor,
        replica: ReplicaId,
    ) -> Result<bool, ApiError> {
        let (this, descriptor) = (self.clone(), descriptor.clone());
        to_the_end(async move {
            let shard = descriptor.shard_id;
            let lifetime = this.inner.changing.lock().await;
            if let Some(present) = this.get(shard) {
                if present.replica_id == replica {
                    return Ok(false);
                }
                let message = format!("{shard} is here as {}, not {replica}", present.replica_id);
                return Err(ApiError::new(ErrorCode::Refused, message));
            }
            this.admit(*lifetime, &descriptor, replica)?;
            // A removal that a crash cut short may have left the log: without its state that cannot be opened.
            this.inner.log.destroy(shard.0).await?;
            let local = LocalReplica::of(replica, &descriptor);
            let mut batch = WriteBatch::new();
            local.put(shard, &mut batch);
            this.write_durably(batch).await?;
            this.start_group(shard, local).await?;
            Ok(true)
        })
        .await
    }

    /// Refuses a replica id that was removed from here, and keys that another replica here holds.
    fn admit(
        &self,
        lifetime: Lifetime,
        descriptor: &ShardDescriptor,
        replica: ReplicaId,
    ) -> Result<(), ApiError> {
        if lifetime == Lifetime::Stopped {
            return Err(ApiError::new(ErrorCode::Unavailable, "the node is stopping"));
        }
        let shard = descriptor.shard_id;
        let refused = |message: String| Err(ApiError::new(ErrorCode::Refused, message));
        let tombstone = self.inner.state.get(Space::Meta, &keys::node::tombstone(shard))?;
        let removed = tombstone.and_then(|t| t.try_into().ok()).map_or(0, u64::from_be_bytes);
        if replica.0 <= removed {
            return refused(format!("{replica} of {shard} was removed from this node"));
        }
        if self.faulted().contains_key(&shard) {
            return refused(format!("a faulted replica of {shard} is still here"));
        }
        self.check_unheld(descriptor, &BTreeSet::new())
    }

    /// Refuses keys that another replica here holds, unless that shard is part of this one.
    pub(crate) fn check_unheld(
        &self,
        descriptor: &ShardDescriptor,
        parts: &BTreeSet<ShardId>,
    ) -> Result<(), ApiError> {
        let mut others =
            self.holders_of(descriptor.shard_id, descriptor.table_id, &descriptor.range);
        others.retain(|other| !parts.contains(other));
        match others.first() {
            Some(other) => {
                let message = format!("{other} holds some of these keys here");
                Err(ApiError::new(ErrorCode::Refused, message))
            }
            None => Ok(()),
        }
    }

    /// Other replicas here, in service or not, that hold or wait for some of these rows.
    fn holders_of(&self, except: ShardId, table: TableId, range: &KeyRange) -> Vec<ShardId> {
        let running = self.all().into_iter().map(|r| (r.shard_id, r.extent()));
        let faulted = self.faulted().into_iter().map(|(shard, f)| (shard, f.local));
        let meets = |local: &LocalReplica| local.table_id == table && local.range().overlaps(range);
        running
            .chain(faulted)
            .filter(|(shard, local)| *shard != except && meets(local))
            .map(|(shard, _)| shard)
            .collect()
    }

    async fn write_durably(&self, batch: WriteBatch) -> Result<(), ApiError> {
        let state = self.inner.state.clone();
        let write = move || {
            state.write(batch)?;
            state.sync()
        };
        let written = offload(&self.inner.state, write).await;
        let written = written.map_err(|why| ApiError::new(ErrorCode::Internal, why.to_string()))?;
        Ok(written?)
    }

    /// Starts the group of a child whose state a split has written.
    async fn start_child(&self, parent: ShardId, child: ShardId) {
        let lifetime = self.inner.changing.lock().await;
        if *lifetime == Lifetime::Stopped || self.get(child).is_some() {
            return;
        }
        let stored = self.inner.state.get(Space::Meta, &keys::node::replica(child));
        let local = match stored.and_then(|stored| stored.as_deref().map(read_local).transpose()) {
            Ok(Some(local)) => local,
            // Retired meanwhile.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%parent, %child, %error, "a child cannot be started");
                return;
            }
        };
        self.open_one(child, local).await;
        let leads = self.get(parent).is_some_and(|parent| parent.is_leader());
        if let Some(child) = self.get(child)
            && leads
        {
            // The parent's leader stands first, so that the child is not without one for an election timeout.
            if let Err(fatal) = child.raft.trigger().elect(false).await {
                tracing::warn!(shard = %child.shard_id, error = %error_chain(&fatal), "no election after split");
            }
        }
    }

    async fn start_group(&self, shard: ShardId, local: LocalReplica) -> Result<(), ApiError> {
        let inner = &self.inner;
        let replica = local.replica_id;
        let machine =
            ShardStateMachine::open(inner.state.clone(), shard, replica, inner.host.clone())?;
        let state = machine.state();
        let log: RaftLogStore<TypeConfig> =
            RaftLogStore::open(&inner.log, shard.0, machine.last_applied()).await?;
        let behind = log.entries_after(machine.last_applied().as_ref());
        inner.entries_replayed.fetch_add(behind, Ordering::Relaxed);
        let config = group_config(&inner.timing, shard)?;
        let hearing = Arc::new(Hearing::default());
        let networks = GroupNetworks {
            shard,
            replica: replica.0,
            transport: inner.transport.clone(),
            on_unknown: self.on_unknown(shard),
            hearing: hearing.clone(),
            appended: log.appended(),
        };
        let raft = Raft::new(replica.0, Arc::new(config), networks, log, machine).await;
        let raft = raft.map_err(|fatal| match inner.log.fault_of(shard.0) {
            Some(fault) => fault.into(),
            None => {
                let why = error_chain(&fatal);
                ApiError::new(fault_code(&why), format!("{shard}: {why}"))
            }
        })?;
        hearing.attach(&raft);
        let engine = inner.state.clone();
        let opened = Replica::new(shard, local, raft, state, engine, inner.transport.clone());
        inner
            .replicas
            .write()
            .expect("no holder of this lock panics")
            .insert(shard, Arc::new(opened));
        Ok(())
    }

    /// Stops every group, for good. Their state stays.
    pub async fn shutdown(&self) {
        *self.inner.changing.lock().await = Lifetime::Stopped;
        let all = std::mem::take(
            &mut *self.inner.replicas.write().expect("no holder of this lock panics"),
        );
        futures::future::join_all(all.values().map(|replica| replica.raft.shutdown())).await;
        let state = self.inner.state.clone();
        let _ = offload(&self.inner.state, move || state.sync()).await;
    }
}

fn read_local(stored: &[u8]) -> Result<LocalReplica, EngineError> {
    decode(stored).map_err(|why| EngineError::corruption(format!("replica record: {why}")))
}

/// Does the whole work even if the caller goes away, as that of a call does whose patience is over: a change done by half
/// would stay so until the next start.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|why| Err(ApiError::new(ErrorCode::Internal, why.to_string())))
}

fn group_config(timing: &RaftTiming, shard: ShardId) -> Result<openraft::Config, ApiError> {
    let config = openraft::Config {
        cluster_name: shard.to_string(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        // A leader that starts again in its old term does not know how much of its log was committed, and would
        // serve reads below that. A new election gives it a term whose first entry tells.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: 600_000,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(timing.checkpoint_entries),
        max_in_snapshot_log_to_keep: timing.keep_entries,
        // Looked at once after each checkpoint, so a larger one saves nothing: it only kept what both settings above
        // said should go, and a node that was away got a log where it should have got a snapshot.
        purge_batch_size: 1,
        // Followers are sent an entry while our own fsync of it runs, not after it.
        broadcast_submitted_on_append: Some(true),
        api_channel_size: Some(8_192),
        notification_channel_size: Some(8_192),
        ..openraft::Config::default()
    };
    config
        .validate()
        .map_err(|why| ApiError::new(ErrorCode::BadConfig, format!("raft timing: {why}")))
}
