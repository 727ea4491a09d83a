//! What a replica knows and what its node has stored, for those who judge a cluster from outside. Nothing here changes
//! anything.

use crate::{
    consensus::raft::{log_record, types::Entry},
    engine::{Engine, EngineError, EngineRead, Scan, Space},
    replica::Replica,
    shard::{decode_applied, decode_descriptor, keys},
};
use isobar_api::{ReplicaId, ShardEntry, ShardId};
use openraft::{ServerState, async_runtime::WatchReceiver, vote::RaftLeaderId};
use std::ops::ControlFlow;

/// A log position: term, then index.
pub type Position = (u64, u64);

/// One replica at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaObserved {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its group has not stopped.
    pub runs: bool,
    /// The vote that it last made durable: term, and the replica that it voted for.
    pub vote: (u64, u64),
    /// That replica is known to have been elected in this term.
    pub vote_committed: bool,
    /// It believes that it leads.
    pub leads: bool,
    /// The index of its last log entry.
    pub last_index: Option<u64>,
    /// The last entry that it knows to be committed.
    pub committed: Option<Position>,
    /// The last entry that it has applied.
    pub applied: Option<Position>,
    /// The last entry that it has dropped from its log.
    pub purged: Option<Position>,
    /// It takes no writes until its merge is done or called off.
    pub frozen: bool,
    /// The shard as it knows it; an empty replica knows nothing.
    pub entry: Option<ShardEntry>,
}

impl Replica {
    /// This replica now.
    pub fn observe(&self) -> ReplicaObserved {
        let entry = self.entry();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let position =
            |id: &crate::consensus::raft::types::LogId| (id.committed_leader_id().term, id.index());
        let leader = &metrics.vote.leader_id;
        ReplicaObserved {
            shard: self.shard_id,
            replica: self.replica_id,
            runs: metrics.running_state.is_ok(),
            vote: (leader.term, *leader.node_id()),
            vote_committed: metrics.vote.committed,
            leads: metrics.state == ServerState::Leader,
            last_index: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(position),
            applied: metrics.last_applied.as_ref().map(position),
            purged: metrics.purged.as_ref().map(position),
            frozen: self.state.frozen().is_some(),
            entry,
        }
    }
}

/// A log entry as a node has stored it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index.
    pub index: u64,
    /// The term in which a leader wrote it.
    pub term: u64,
    /// BLAKE3 of the whole entry.
    pub hash: [u8; 32],
}

/// The entries of a shard's log that an engine holds, from `from` to `to` (included), in order.
pub fn stored_entries(
    engine: &dyn EngineRead,
    shard: ShardId,
    from: u64,
    to: u64,
) -> Result<Vec<StoredEntry>, EngineError> {
    let bounds = (log_record::entry_key(shard.0, from), log_record::entry_key(shard.0, to + 1));
    let page = engine.scan(Space::Log, &Scan::range(bounds.0, Some(bounds.1)))?;
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let entry: Entry = log_record::decode(key, value)?;
        let hash = *blake3::hash(value).as_bytes();
        let (index, term) = (entry.log_id.index(), entry.log_id.committed_leader_id().term);
        Ok(StoredEntry { index, term, hash })
    };
    page.rows.iter().map(read).collect()
}

/// A shard's state as a node has stored it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The last entry applied to it.
    pub applied: Position,
    /// BLAKE3 of descriptor, rows, sessions and step results.
    pub hash: [u8; 32],
}

/// The state of a shard that an engine holds, in one view; none while it is empty or a snapshot is replacing it.
pub fn stored_state(
    engine: &dyn Engine,
    shard: ShardId,
) -> Result<Option<StoredState>, EngineError> {
    let view = engine.snapshot()?;
    let applied = view.get(Space::Meta, &keys::applied(shard))?;
    let descriptor = view.get(Space::Meta, &keys::descriptor(shard))?;
    let installing = view.get(Space::Meta, &keys::installing(shard))?;
    let (Some(applied), Some(stored), None) = (applied, descriptor, installing) else {
        return Ok(None);
    };
    let Some(applied) = decode_applied(&applied)?.last_applied else { return Ok(None) };
    let descriptor = decode_descriptor(&stored)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&stored);
    let parts = [
        (Space::Data, keys::rows(descriptor.table_id, &descriptor.range)),
        (Space::Sessions, keys::sessions(shard)),
        (Space::Meta, keys::steps(shard)),
    ];
    for (space, (start, end)) in parts {
        view.visit(space, &Scan::range(start, Some(end)), &mut |key, value| {
            for bytes in [key, value] {
                hasher.update(&(bytes.len() as u64).to_be_bytes());
                hasher.update(bytes);
            }
            ControlFlow::Continue(())
        })?;
    }
    let applied = (applied.committed_leader_id().term, applied.index());
    Ok(Some(StoredState { applied, hash: *hasher.finalize().as_bytes() }))
}
