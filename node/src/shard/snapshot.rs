//! Snapshots: a consistent view sent as hashed chunks, verified before they are installed.
//!
//! Received chunks lie in the Staging space, durable and verified, before the first row is touched. An `installing` mark
//! goes in front of the change and is deleted by its last batch: a crash in between is finished on restart.

use super::{
    apply::decode_descriptor,
    keys,
    merge::{forget, held_here},
    state::{AppliedState, LocalReplica},
};
use crate::{
    consensus::raft::types::{LogId, SnapshotMeta, StoredMembership, decode, encode},
    engine::{Engine, EngineError, EngineErrorKind, EngineSnapshot, Scan, Space, WriteBatch},
    planted::{UNVERIFIED_SNAPSHOT, is_planted},
};
use isobar_api::{ApiError, ErrorCode, KeyRange, ShardDescriptor, ShardId, TableId, limits};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Snapshot data as the consensus library carries it.
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
    Subsumed,
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

    /// The next chunk: [`limits::SNAPSHOT_CHUNK_BYTES`], and at most one row more; `None` at the end.
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
        while bytes < limits::SNAPSHOT_CHUNK_BYTES && cursor.part <= 4 {
            let (kind, space, (start, end)) = match cursor.part {
                1 => (
                    RecordSpace::Row,
                    Space::Data,
                    keys::rows(descriptor.table_id, &descriptor.range),
                ),
                2 => (RecordSpace::Session, Space::Sessions, keys::sessions(self.shard)),
                3 => (RecordSpace::Step, Space::Meta, keys::steps(self.shard)),
                _ => (RecordSpace::Subsumed, Space::Meta, keys::all_subsumed(self.shard)),
            };
            let from = cursor.after.take().unwrap_or(start);
            let room = limits::SNAPSHOT_CHUNK_BYTES - bytes;
            let scan = keys::page(&from, &end, Scan::DEFAULT_LIMIT_ROWS).limit_bytes(room);
            let page = self.view.scan(space, &scan)?.rows;
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

/// What a staged snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The attempt whose chunks they are.
    attempt: Vec<u8>,
    /// How many chunks.
    chunks: u32,
    /// Hash over the chunks' hashes.
    root_hash: [u8; 32],
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

impl From<StagingError> for ApiError {
    fn from(error: StagingError) -> Self {
        match error {
            StagingError::Engine(error) => error.into(),
            other => Self::new(ErrorCode::Corruption, other.to_string()),
        }
    }
}

/// Attempts begun by this process. Those of an earlier one are cleared before a replica takes part again.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// The chunks of one attempt to receive a snapshot. A new leader may begin to send while the snapshot of the old one is
/// still being installed: each attempt has chunks of its own, and takes only those away when it ends.
struct Attempt {
    engine: Arc<dyn Engine>,
    shard: ShardId,
    id: [u8; 8],
    /// An `installing` mark refers to the chunks: they stay until the installation is complete.
    kept: bool,
}

impl Attempt {
    fn new(engine: Arc<dyn Engine>, shard: ShardId) -> Self {
        let id = ATTEMPTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self { engine, shard, id, kept: false }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut batch = WriteBatch::default();
        let (start, end) = keys::chunks_of(self.shard, &self.id);
        batch.delete_range(Space::Staging, start, end);
        if let Err(error) = self.engine.write(batch) {
            tracing::debug!(shard = %self.shard, error = %error.message(), "staged chunks stay for now");
        }
    }
}

/// Takes chunks in one by one. What it took goes away with it.
pub struct Staging {
    attempt: Attempt,
    chunks: u32,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Staging {
    /// Begins.
    pub fn begin(engine: Arc<dyn Engine>, shard: ShardId) -> Self {
        let attempt = Attempt::new(engine, shard);
        Self { attempt, chunks: 0, bytes: 0, hasher: blake3::Hasher::new() }
    }

    /// Verifies and stores a chunk.
    pub fn add(&mut self, index: u32, data: &[u8], hash: &[u8]) -> Result<(), StagingError> {
        if index != self.chunks {
            return Err(StagingError::Order { expected: self.chunks, got: index });
        }
        let computed = blake3::hash(data);
        if computed.as_bytes().as_slice() != hash && !is_planted(UNVERIFIED_SNAPSHOT) {
            return Err(StagingError::ChunkHash { index });
        }
        Ok(self.store(data, &computed)?)
    }

    fn store(&mut self, data: &[u8], hash: &blake3::Hash) -> Result<(), EngineError> {
        let Attempt { engine, shard, id, .. } = &self.attempt;
        let mut batch = WriteBatch::default();
        batch.put(Space::Staging, keys::chunk(*shard, id, self.chunks), data.to_vec());
        engine.write(batch)?;
        self.hasher.update(hash.as_bytes());
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
        let same_root = computed.as_bytes().as_slice() == root || is_planted(UNVERIFIED_SNAPSHOT);
        if chunks != self.chunks || bytes != self.bytes || !same_root {
            return Err(StagingError::Manifest);
        }
        Ok(self.seal()?)
    }

    fn seal(self) -> Result<StagedSnapshot, EngineError> {
        let Attempt { engine, shard, id, .. } = &self.attempt;
        let root_hash = *self.hasher.finalize().as_bytes();
        let manifest = Manifest { attempt: id.to_vec(), chunks: self.chunks, root_hash };
        let header = verify(&**engine, *shard, &manifest)?;
        engine.sync()?;
        Ok(StagedSnapshot { attempt: self.attempt, manifest, header })
    }
}

/// Chunks that lie verified and durable in the Staging space. They go away with it, installed or not.
pub struct StagedSnapshot {
    attempt: Attempt,
    manifest: Manifest,
    header: Header,
}

impl StagedSnapshot {
    /// Stages a view of our own, as if it had been received.
    pub(super) fn of(
        view: &LocalSnapshot,
        engine: Arc<dyn Engine>,
        shard: ShardId,
    ) -> Result<Self, EngineError> {
        let mut staging = Staging::begin(engine, shard);
        let mut cursor = Cursor::default();
        while let Some(chunk) = view.next_chunk(&mut cursor)? {
            staging.store(&chunk, &blake3::hash(&chunk))?;
        }
        staging.seal()
    }

    /// The shard as it will be.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Shards that are part of this one in the snapshot, and have a replica of their own here.
    pub(super) fn subsumed_here(&self) -> Result<Vec<ShardId>, EngineError> {
        held_here(&*self.attempt.engine, &self.header.subsumed)
    }

    /// Replaces the shard's state; durable when it returns. An error, like a crash, leaves the mark and the chunks;
    /// [`finish_interrupted`] goes on.
    pub(super) fn install(
        mut self,
        meta: &SnapshotMeta,
        old_range: Option<(TableId, KeyRange)>,
    ) -> Result<(Header, AppliedState), EngineError> {
        let (engine, shard) = (self.attempt.engine.clone(), self.attempt.shard);
        let installing = Installing {
            manifest: self.manifest.clone(),
            last_log_id: meta.last_log_id,
            last_membership: meta.last_membership.clone(),
            old_range: old_range.map(|(table, range)| (table.0, range.start, range.end)),
        };
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, keys::installing(shard), encode(&installing));
        // Before the write: if it fails, it may yet turn up after a crash.
        self.attempt.kept = true;
        engine.write(batch)?;
        replay(&*engine, shard, &installing, &self.header)
    }
}

/// What must be known to finish an installation after a crash.
#[derive(Serialize, Deserialize)]
struct Installing {
    manifest: Manifest,
    last_log_id: Option<LogId>,
    last_membership: StoredMembership,
    old_range: Option<(u64, Vec<u8>, Vec<u8>)>,
}

/// Finishes an installation whose mark is still there, and clears what broken attempts left. Nothing of the shard may
/// run yet.
pub fn finish_interrupted(engine: &dyn Engine, shard: ShardId) -> Result<(), EngineError> {
    if let Some(stored) = engine.get(Space::Meta, &keys::installing(shard))? {
        let installing: Installing = decode(&stored)
            .map_err(|why| EngineError::corruption(format!("installing mark: {why}")))?;
        tracing::warn!(%shard, "finishing a snapshot installation that was interrupted");
        let header = verify(engine, shard, &installing.manifest)?;
        replay(engine, shard, &installing, &header)?;
    }
    let (start, end) = keys::chunks(shard);
    if engine.scan(Space::Staging, &keys::page(&start, &end, 1))?.rows.is_empty() {
        return Ok(());
    }
    let mut batch = WriteBatch::default();
    batch.delete_range(Space::Staging, start, end);
    engine.write(batch)
}

/// What must be known of a snapshot before it is installed.
#[derive(Clone, Debug)]
pub struct Header {
    /// The shard.
    pub descriptor: ShardDescriptor,
    /// The shards that are part of it.
    pub subsumed: BTreeSet<ShardId>,
    /// Highest clock reading given to a row.
    last_hlc: u64,
}

fn replay(
    engine: &dyn Engine,
    shard: ShardId,
    installing: &Installing,
    header: &Header,
) -> Result<(Header, AppliedState), EngineError> {
    let (manifest, descriptor) = (&installing.manifest, &header.descriptor);
    clear(engine, shard, installing, header)?;
    for index in 0..manifest.chunks {
        let mut batch = WriteBatch::default();
        for record in decode_chunk(index, &load_chunk(engine, shard, manifest, index)?)? {
            put_record(shard, descriptor.table_id, record, &mut batch);
        }
        engine.write(batch)?;
    }
    let applied = AppliedState {
        last_applied: installing.last_log_id,
        membership: installing.last_membership.clone(),
        last_hlc: header.last_hlc,
    };
    let mut batch = WriteBatch::default();
    let stored = serde_json::to_vec(descriptor).expect("plain data always encodes");
    batch.put(Space::Meta, keys::descriptor(shard), stored);
    batch.put(Space::Meta, keys::applied(shard), encode(&applied));
    if let Some(local) = engine.get(Space::Meta, &keys::node::replica(shard))? {
        let local: LocalReplica = decode(&local)
            .map_err(|why| EngineError::corruption(format!("replica record: {why}")))?;
        LocalReplica::of(local.replica_id, descriptor).put(shard, &mut batch);
    }
    batch.delete(Space::Meta, keys::installing(shard));
    let (start, end) = keys::chunks_of(shard, &manifest.attempt);
    batch.delete_range(Space::Staging, start, end);
    engine.write(batch)?;
    engine.sync()?;
    Ok((header.clone(), applied))
}

/// Verifies all staged chunks before the first row is touched: they may have lain on disk since before a crash, and
/// whoever made them may have been wrong.
fn verify(engine: &dyn Engine, shard: ShardId, manifest: &Manifest) -> Result<Header, EngineError> {
    let mut hasher = blake3::Hasher::new();
    let mut found: Option<Header> = None;
    for index in 0..manifest.chunks {
        let chunk = load_chunk(engine, shard, manifest, index)?;
        hasher.update(blake3::hash(&chunk).as_bytes());
        let records = decode_chunk(index, &chunk)?;
        let header = match &mut found {
            Some(found) => found,
            None => found.insert(header(shard, &records)?),
        };
        let subsumed = records.iter().filter(|record| record.space == RecordSpace::Subsumed);
        header.subsumed.extend(subsumed.map(|record| keys::last_shard(&record.key)));
        let inside = |record: &Record| {
            record.space != RecordSpace::Row || header.descriptor.range.contains(&record.key)
        };
        if !records.iter().all(inside) {
            let what = format!("staged chunk {index} has a row outside its shard");
            return Err(EngineError::corruption(what));
        }
    }
    if hasher.finalize().as_bytes() != &manifest.root_hash {
        return Err(EngineError::corruption("staged snapshot does not match its hash"));
    }
    found.ok_or_else(|| EngineError::corruption("a snapshot without chunks"))
}

fn clear(
    engine: &dyn Engine,
    shard: ShardId,
    installing: &Installing,
    header: &Header,
) -> Result<(), EngineError> {
    let descriptor = &header.descriptor;
    let mut batch = WriteBatch::default();
    for right in held_here(engine, &header.subsumed)? {
        forget(right, &mut batch);
    }
    if let Some((table, start, end)) = &installing.old_range {
        let range = KeyRange { start: start.clone(), end: end.clone() };
        let (start, end) = keys::rows(TableId(*table), &range);
        batch.delete_range(Space::Data, start, end);
    }
    let (start, end) = keys::rows(descriptor.table_id, &descriptor.range);
    batch.delete_range(Space::Data, start, end);
    let (start, end) = keys::sessions(shard);
    batch.delete_range(Space::Sessions, start, end);
    for (start, end) in [keys::steps(shard), keys::all_subsumed(shard)] {
        batch.delete_range(Space::Meta, start, end);
    }
    engine.write(batch)
}

fn load_chunk(
    engine: &dyn Engine,
    shard: ShardId,
    manifest: &Manifest,
    index: u32,
) -> Result<Vec<u8>, EngineError> {
    let stored = engine.get(Space::Staging, &keys::chunk(shard, &manifest.attempt, index))?;
    stored.ok_or_else(|| EngineError::corruption(format!("staged chunk {index} is missing")))
}

fn decode_chunk(index: u32, stored: &[u8]) -> Result<Vec<Record>, EngineError> {
    decode(stored).map_err(|why| EngineError::corruption(format!("staged chunk {index}: {why}")))
}

fn header(shard: ShardId, records: &[Record]) -> Result<Header, EngineError> {
    let bad = || EngineError::corruption("a snapshot does not begin with its shard's descriptor");
    let [descriptor, clock, ..] = records else { return Err(bad()) };
    if descriptor.space != RecordSpace::Descriptor || clock.space != RecordSpace::Clock {
        return Err(bad());
    }
    let clock: [u8; 8] = clock.value.as_slice().try_into().map_err(|_| bad())?;
    let descriptor = decode_descriptor(&descriptor.value)?;
    if descriptor.shard_id != shard {
        return Err(bad());
    }
    let last_hlc = u64::from_be_bytes(clock);
    Ok(Header { descriptor, subsumed: BTreeSet::new(), last_hlc })
}

fn put_record(shard: ShardId, table: TableId, record: Record, batch: &mut WriteBatch) {
    let under = |prefix: u64| [prefix.to_be_bytes().as_slice(), &record.key].concat();
    match record.space {
        RecordSpace::Descriptor | RecordSpace::Clock => {}
        RecordSpace::Row => batch.put(Space::Data, under(table.0), record.value),
        RecordSpace::Session => batch.put(Space::Sessions, under(shard.0), record.value),
        RecordSpace::Step | RecordSpace::Subsumed => {
            batch.put(Space::Meta, under(shard.0), record.value);
        }
    }
}
