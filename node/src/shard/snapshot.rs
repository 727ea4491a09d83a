//! Snapshots: a consistent view sent as hashed chunks, verified before they are installed.
//!
//! Received chunks lie in the Staging space, durable, before the first row is touched. An `installing` mark
//! goes in front of the change and is deleted by its last batch: a crash in between is finished on restart.

use super::{apply::decode_descriptor, keys, state::AppliedState};
use crate::{
    consensus::raft::types::{SnapshotMeta, decode, encode},
    engine::{Engine, EngineError, EngineErrorKind, EngineSnapshot, Space, WriteBatch},
};
use isobar_api::{KeyRange, ShardDescriptor, ShardId, TableId, limits};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Snapshot data as the consensus library carries it.
#[derive(Clone)]
pub enum ShardSnapshot {
    /// A view of this node's own state, to be sent.
    Local(Arc<LocalSnapshot>),
    /// Chunks received and verified, to be installed.
    Staged(StagedSnapshot),
}

/// A view of one shard at one moment.
pub struct LocalSnapshot {
    view: Box<dyn EngineSnapshot>,
    shard: ShardId,
    descriptor: Option<ShardDescriptor>,
}

/// One record of a chunk.
#[derive(Serialize, Deserialize)]
struct Record {
    space: RecordSpace,
    /// Key without the shard's or table's own prefix.
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum RecordSpace {
    Descriptor,
    Clock,
    Row,
    Session,
    Step,
}

/// How far the sending of a snapshot has come.
#[derive(Debug, Default)]
pub struct Cursor {
    part: usize,
    after: Option<Vec<u8>>,
}

impl LocalSnapshot {
    pub(super) fn take(
        engine: &Arc<dyn Engine>,
        shard: ShardId,
        descriptor: Option<&ShardDescriptor>,
    ) -> Result<Self, EngineError> {
        Ok(Self { view: engine.snapshot()?, shard, descriptor: descriptor.cloned() })
    }

    /// The next chunk, about [`limits::SNAPSHOT_CHUNK_BYTES`] long; `None` at the end.
    pub fn next_chunk(&self, cursor: &mut Cursor) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(descriptor) = &self.descriptor else {
            return Err(EngineError::new(
                EngineErrorKind::Internal,
                "an empty replica has no snapshot",
            ));
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        if cursor.part == 0 {
            let value = serde_json::to_vec(descriptor).expect("plain data always encodes");
            records.push(Record { space: RecordSpace::Descriptor, key: Vec::new(), value });
            let applied = self.view.get(Space::Meta, &keys::applied(self.shard))?;
            let last_hlc = match applied {
                Some(stored) => super::apply::decode_applied(&stored)?.last_hlc,
                None => 0,
            };
            let value = last_hlc.to_be_bytes().to_vec();
            records.push(Record { space: RecordSpace::Clock, key: Vec::new(), value });
            cursor.part = 1;
        }
        while bytes < limits::SNAPSHOT_CHUNK_BYTES && cursor.part <= 3 {
            let (kind, space, (start, end)) = match cursor.part {
                1 => (
                    RecordSpace::Row,
                    Space::Data,
                    keys::rows(descriptor.table_id, &descriptor.range),
                ),
                2 => (RecordSpace::Session, Space::Sessions, keys::sessions(self.shard)),
                _ => (RecordSpace::Step, Space::Meta, keys::steps(self.shard)),
            };
            let from = cursor.after.take().unwrap_or(start);
            let page = self.view.scan(space, &keys::page(&from, &end, 256))?.rows;
            let Some((last, _)) = page.last() else {
                cursor.part += 1;
                continue;
            };
            cursor.after = Some([last.as_slice(), &[0]].concat());
            for (key, value) in page {
                bytes += key.len() + value.len();
                records.push(Record { space: kind, key: key[8..].to_vec(), value });
            }
        }
        Ok((!records.is_empty()).then(|| encode(&records)))
    }
}

/// Chunks that lie verified in the Staging space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSnapshot {
    /// Names the snapshot among those staged for the shard.
    pub id: Vec<u8>,
    /// How many chunks.
    pub chunks: u32,
    /// Hash over the chunks' hashes.
    pub root_hash: [u8; 32],
}

/// Why received chunks are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// A chunk's bytes are not what its hash says.
    #[error("chunk {index} does not match its hash")]
    ChunkHash {
        /// Which.
        index: u32,
    },
    /// A chunk came out of order.
    #[error("chunk {got} came where {expected} was due")]
    Order {
        /// Expected.
        expected: u32,
        /// Received.
        got: u32,
    },
    /// The manifest contradicts the chunks.
    #[error("the manifest does not match the chunks received")]
    Manifest,
    /// Storing failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Takes chunks in one by one.
pub struct Staging {
    engine: Arc<dyn Engine>,
    shard: ShardId,
    id: Vec<u8>,
    chunks: u32,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Staging {
    /// Begins, dropping what an earlier attempt left.
    pub fn begin(
        engine: Arc<dyn Engine>,
        shard: ShardId,
        id: Vec<u8>,
    ) -> Result<Self, EngineError> {
        let mut batch = WriteBatch::default();
        let (start, end) = keys::chunks(shard);
        batch.delete_range(Space::Staging, start, end);
        engine.write(batch)?;
        Ok(Self { engine, shard, id, chunks: 0, bytes: 0, hasher: blake3::Hasher::new() })
    }

    /// Verifies and stores a chunk.
    pub fn add(&mut self, index: u32, data: &[u8], hash: &[u8]) -> Result<(), StagingError> {
        if index != self.chunks {
            return Err(StagingError::Order { expected: self.chunks, got: index });
        }
        let computed = blake3::hash(data);
        if computed.as_bytes().as_slice() != hash {
            return Err(StagingError::ChunkHash { index });
        }
        self.hasher.update(computed.as_bytes());
        let mut batch = WriteBatch::default();
        batch.put(Space::Staging, keys::chunk(self.shard, &self.id, index), data.to_vec());
        self.engine.write(batch)?;
        self.chunks += 1;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Compares with the manifest and makes the chunks durable.
    pub fn finish(
        self,
        chunks: u32,
        bytes: u64,
        root: &[u8],
    ) -> Result<StagedSnapshot, StagingError> {
        let computed = self.hasher.finalize();
        if chunks != self.chunks || bytes != self.bytes || computed.as_bytes().as_slice() != root {
            return Err(StagingError::Manifest);
        }
        self.engine.sync()?;
        Ok(StagedSnapshot { id: self.id, chunks, root_hash: *computed.as_bytes() })
    }
}

/// What must be known to finish an installation after a crash.
#[derive(Serialize, Deserialize)]
struct Installing {
    staged: StagedSnapshot,
    last_log_id: Option<crate::consensus::raft::types::LogId>,
    last_membership: crate::consensus::raft::types::StoredMembership,
    old_range: Option<(u64, Vec<u8>, Vec<u8>)>,
}

/// Replaces the shard's state by a staged snapshot; durable when it returns.
pub(super) fn install(
    engine: &dyn Engine,
    shard: ShardId,
    meta: &SnapshotMeta,
    staged: &StagedSnapshot,
    old_range: Option<(TableId, KeyRange)>,
) -> Result<(ShardDescriptor, AppliedState), EngineError> {
    let installing = Installing {
        staged: staged.clone(),
        last_log_id: meta.last_log_id,
        last_membership: meta.last_membership.clone(),
        old_range: old_range.map(|(table, range)| (table.0, range.start, range.end)),
    };
    let mut batch = WriteBatch::default();
    batch.put(Space::Meta, keys::installing(shard), encode(&installing));
    engine.write(batch)?;
    replay(engine, shard, &installing)
}

/// Finishes an installation whose mark is still there.
pub(super) fn finish_interrupted(engine: &dyn Engine, shard: ShardId) -> Result<(), EngineError> {
    let Some(stored) = engine.get(Space::Meta, &keys::installing(shard))? else { return Ok(()) };
    let installing: Installing = decode(&stored)
        .map_err(|why| EngineError::corruption(format!("installing mark: {why}")))?;
    tracing::warn!(%shard, "finishing a snapshot installation that was interrupted");
    replay(engine, shard, &installing).map(|_| ())
}

fn replay(
    engine: &dyn Engine,
    shard: ShardId,
    installing: &Installing,
) -> Result<(ShardDescriptor, AppliedState), EngineError> {
    let staged = &installing.staged;
    verify(engine, shard, staged)?;
    let first = load_chunk(engine, shard, staged, 0)?;
    let (descriptor, last_hlc) = header(&first)?;
    clear(engine, shard, installing, &descriptor)?;
    for index in 0..staged.chunks {
        let mut batch = WriteBatch::default();
        for record in load_chunk(engine, shard, staged, index)? {
            put_record(shard, descriptor.table_id, record, &mut batch);
        }
        engine.write(batch)?;
    }
    let applied = AppliedState {
        last_applied: installing.last_log_id,
        membership: installing.last_membership.clone(),
        last_hlc,
    };
    let mut batch = WriteBatch::default();
    let stored = serde_json::to_vec(&descriptor).expect("plain data always encodes");
    batch.put(Space::Meta, keys::descriptor(shard), stored);
    batch.put(Space::Meta, keys::applied(shard), encode(&applied));
    batch.delete(Space::Meta, keys::installing(shard));
    let (start, end) = keys::chunks(shard);
    batch.delete_range(Space::Staging, start, end);
    engine.write(batch)?;
    engine.sync()?;
    Ok((descriptor, applied))
}

/// Verifies the staged chunks once more: they may have lain on disk since before a crash.
fn verify(engine: &dyn Engine, shard: ShardId, staged: &StagedSnapshot) -> Result<(), EngineError> {
    let mut hasher = blake3::Hasher::new();
    for index in 0..staged.chunks {
        let chunk = engine.get(Space::Staging, &keys::chunk(shard, &staged.id, index))?;
        let chunk = chunk
            .ok_or_else(|| EngineError::corruption(format!("staged chunk {index} is missing")))?;
        hasher.update(blake3::hash(&chunk).as_bytes());
    }
    if hasher.finalize().as_bytes() == &staged.root_hash {
        return Ok(());
    }
    Err(EngineError::corruption("staged snapshot does not match its hash"))
}

fn clear(
    engine: &dyn Engine,
    shard: ShardId,
    installing: &Installing,
    descriptor: &ShardDescriptor,
) -> Result<(), EngineError> {
    let mut batch = WriteBatch::default();
    if let Some((table, start, end)) = &installing.old_range {
        let range = KeyRange { start: start.clone(), end: end.clone() };
        let (start, end) = keys::rows(TableId(*table), &range);
        batch.delete_range(Space::Data, start, end);
    }
    let (start, end) = keys::rows(descriptor.table_id, &descriptor.range);
    batch.delete_range(Space::Data, start, end);
    let (start, end) = keys::sessions(shard);
    batch.delete_range(Space::Sessions, start, end);
    let (start, end) = keys::steps(shard);
    batch.delete_range(Space::Meta, start, end);
    engine.write(batch)
}

fn load_chunk(
    engine: &dyn Engine,
    shard: ShardId,
    staged: &StagedSnapshot,
    index: u32,
) -> Result<Vec<Record>, EngineError> {
    let stored = engine.get(Space::Staging, &keys::chunk(shard, &staged.id, index))?;
    let stored = stored
        .ok_or_else(|| EngineError::corruption(format!("staged chunk {index} is missing")))?;
    decode(&stored).map_err(|why| EngineError::corruption(format!("staged chunk {index}: {why}")))
}

fn header(records: &[Record]) -> Result<(ShardDescriptor, u64), EngineError> {
    let bad = || EngineError::corruption("a snapshot does not begin with its descriptor");
    let [descriptor, clock, ..] = records else { return Err(bad()) };
    if descriptor.space != RecordSpace::Descriptor || clock.space != RecordSpace::Clock {
        return Err(bad());
    }
    let clock: [u8; 8] = clock.value.as_slice().try_into().map_err(|_| bad())?;
    Ok((decode_descriptor(&descriptor.value)?, u64::from_be_bytes(clock)))
}

fn put_record(shard: ShardId, table: TableId, record: Record, batch: &mut WriteBatch) {
    let under = |prefix: u64| [prefix.to_be_bytes().as_slice(), &record.key].concat();
    match record.space {
        RecordSpace::Descriptor | RecordSpace::Clock => {}
        RecordSpace::Row => batch.put(Space::Data, under(table.0), record.value),
        RecordSpace::Session => batch.put(Space::Sessions, under(shard.0), record.value),
        RecordSpace::Step => batch.put(Space::Meta, under(shard.0), record.value),
    }
}
