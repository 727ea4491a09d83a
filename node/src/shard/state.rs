//! What a replica knows of its shard besides the rows, shared between its group and its readers.

use super::keys;
use crate::{
    consensus::raft::types::{LogId, StoredMembership, encode},
    engine::{Space, WriteBatch},
};
use isobar_api::{
    Epoch, Frozen, KeyRange, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId,
    TableId,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// How far the log has been applied; stored with every change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppliedState {
    /// Last entry applied.
    pub last_applied: Option<LogId>,
    /// Newest membership applied.
    pub membership: StoredMembership,
    /// Highest clock reading given to a row.
    pub last_hlc: u64,
}

impl AppliedState {
    /// The replicas of the membership, in id order.
    pub fn replicas(&self) -> Vec<Replica> {
        let voters: Vec<u64> = self.membership.voter_ids().collect();
        let nodes = self.membership.nodes();
        nodes
            .map(|(id, node)| Replica {
                replica_id: ReplicaId(*id),
                node_id: NodeId(node.node_id),
                role: if voters.contains(id) { ReplicaRole::Voter } else { ReplicaRole::Learner },
            })
            .collect()
    }

    /// Log index of the membership.
    pub fn membership_epoch(&self) -> u64 {
        self.membership.log_id().as_ref().map_or(0, |id| id.index())
    }

    /// Whether a membership change is half-way.
    pub fn is_joint(&self) -> bool {
        self.membership.get_joint_config().len() > 1
    }
}

/// That this node holds a replica, and of which keys; kept by the node, not by the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalReplica {
    /// The replica.
    pub replica_id: ReplicaId,
    /// The table.
    pub table_id: TableId,
    /// Keys it holds, or waits for: no other replica here may overlap them.
    pub start: Vec<u8>,
    /// End of those keys.
    pub end: Vec<u8>,
}

impl LocalReplica {
    /// A replica of a shard as described.
    pub fn of(replica_id: ReplicaId, descriptor: &ShardDescriptor) -> Self {
        let KeyRange { start, end } = descriptor.range.clone();
        Self { replica_id, table_id: descriptor.table_id, start, end }
    }

    /// The keys.
    pub fn range(&self) -> KeyRange {
        KeyRange { start: self.start.clone(), end: self.end.clone() }
    }

    /// Puts it into a batch.
    pub fn put(&self, shard: ShardId, batch: &mut WriteBatch) {
        batch.put(Space::Meta, keys::node::replica(shard), encode(self));
    }
}

/// What the registry must know of an applied entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// A split was applied: the child's state is in the engine, its group must be started.
    SplitApplied {
        /// The parent.
        parent: ShardId,
        /// The child.
        child: ShardId,
    },
    /// A shard here became part of another one: its group must be stopped, its log destroyed.
    Subsumed {
        /// The one it is part of now.
        survivor: ShardId,
        /// The one that is no more.
        right: ShardId,
    },
}

/// What the shards of a node share: the way to tell the registry, and the states of their neighbours.
#[derive(Clone)]
pub struct Host {
    events: mpsc::UnboundedSender<ShardEvent>,
    states: Arc<RwLock<BTreeMap<ShardId, Weak<ShardState>>>>,
}

impl Host {
    /// A host without shards.
    pub fn new(events: mpsc::UnboundedSender<ShardEvent>) -> Self {
        Self { events, states: Arc::default() }
    }

    /// Tells the registry. It outlives its groups; when it is gone the node is stopping.
    pub(super) fn tell(&self, event: ShardEvent) {
        let _ = self.events.send(event);
    }

    pub(super) fn join(&self, shard: ShardId, state: &Arc<ShardState>) {
        let mut states = self.states.write().expect("no holder of this lock panics");
        states.retain(|_, state| state.strong_count() > 0);
        states.insert(shard, Arc::downgrade(state));
    }

    /// The state of a shard, if a group of it is running here.
    pub(super) fn state_of(&self, shard: ShardId) -> Option<Arc<ShardState>> {
        self.states.read().expect("no holder of this lock panics").get(&shard)?.upgrade()
    }
}

/// The part that readers may look at at any time.
#[derive(Debug, Default)]
pub struct ShardState {
    inner: RwLock<Inner>,
    last_hlc: AtomicU64,
    /// Whether the rows are not whole: a snapshot is replacing them, or stopped half-way, or they are removed.
    broken: RwLock<bool>,
}

/// While it lives, the rows are neither replaced nor removed, and the descriptor fits them.
pub type RowsHeld<'a> = RwLockReadGuard<'a, bool>;

#[derive(Clone, Debug, Default)]
struct Inner {
    descriptor: Option<Arc<ShardDescriptor>>,
    replicas: Arc<Vec<Replica>>,
    membership_epoch: u64,
    joint: bool,
    subsumed: Arc<BTreeSet<ShardId>>,
}

impl ShardState {
    /// The descriptor; `None` while the replica is empty and waits for its first snapshot.
    pub fn descriptor(&self) -> Option<Arc<ShardDescriptor>> {
        self.read().descriptor
    }

    /// The replicas, in id order.
    pub fn replicas(&self) -> Arc<Vec<Replica>> {
        self.read().replicas
    }

    /// Whether a membership change is half-way.
    pub fn is_joint(&self) -> bool {
        self.read().joint
    }

    /// By what it is frozen, if it is.
    pub fn frozen(&self) -> Option<Frozen> {
        self.read().descriptor?.merging.frozen.clone()
    }

    /// The shards that are part of it.
    pub fn subsumed(&self) -> Arc<BTreeSet<ShardId>> {
        self.read().subsumed
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        let inner = self.read();
        Epoch { shape: inner.descriptor.map_or(0, |d| d.shape), membership: inner.membership_epoch }
    }

    /// Highest clock reading given to a row.
    pub fn last_hlc(&self) -> u64 {
        self.last_hlc.load(Ordering::Relaxed)
    }

    /// Holds the rows for a short read or for applying one entry; none while they are not whole. Never waits.
    pub fn hold_rows(&self) -> Option<RowsHeld<'_>> {
        self.broken.try_read().ok().filter(|broken| !**broken)
    }

    /// Keeps everyone else from the rows until the value is false again, even when nobody holds it any more; none if
    /// they were not whole before. Blocks until those who hold rows are done.
    pub(crate) fn replace_rows(&self) -> Option<RwLockWriteGuard<'_, bool>> {
        let mut broken = self.broken.write().ok().filter(|broken| !**broken)?;
        *broken = true;
        Some(broken)
    }

    /// Keeps everyone from the rows for ever: the replica is removed. A group that was told to stop may still be
    /// applying entries or a snapshot, so wait for this before deleting anything. Blocks as long as that takes.
    pub(crate) fn withdraw_rows(&self) {
        *self.broken.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Takes notice of a clock reading given to a row.
    pub(crate) fn set_last_hlc(&self, hlc: u64) {
        self.last_hlc.store(hlc, Ordering::Relaxed);
    }

    /// Takes over what was applied.
    pub(crate) fn set(
        &self,
        descriptor: Option<Arc<ShardDescriptor>>,
        applied: &AppliedState,
        subsumed: &Arc<BTreeSet<ShardId>>,
    ) {
        let mut inner = self.inner.write().expect("no holder of this lock panics");
        inner.descriptor = descriptor;
        inner.replicas = Arc::new(applied.replicas());
        inner.membership_epoch = applied.membership_epoch();
        inner.joint = applied.is_joint();
        inner.subsumed = subsumed.clone();
        self.set_last_hlc(applied.last_hlc);
    }

    fn read(&self) -> Inner {
        self.inner.read().expect("no holder of this lock panics").clone()
    }
}
