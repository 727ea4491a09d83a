//! Reads and writes of clients: checks, routing to the replica, freshness, acknowledgement.

mod pipeline;
#[cfg(test)]
mod tests;

use crate::{
    admission::{Admission, AdmissionLimits, Class, Reason},
    catalog::META_SHARD,
    engine::{Scan, Space},
    planted::{NO_EPOCH_CHECK, is_planted},
    registry::Registry,
    replica::{ReadFreshness, Replica},
    shard::{Mutation, WriteCommand, WriteOutcome, keys},
};
use futures::{FutureExt, future::BoxFuture};
use isobar_api::{
    ApiError, ErrorCode, Hlc, NodeId, Region, ShardDescriptor, ShardId, Version, limits,
    proto::{
        GetOp, GetResult, KvItem, ReadLevel, ReadOptions, Row, ScanOp, ScanResult, WriteOp,
        WriteResult, kv_item::Op, kv_result,
    },
    table::AckLevel,
};
use pipeline::Work;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// A read that waits longer for its freshness is worth a line in the log.
const SLOW: Duration = Duration::from_millis(1_000);
/// Of the largest message, for what is not rows.
const ANSWER_BYTES_SPARE: usize = 4 << 10;
/// Of a row in a message, for what is neither key nor value.
const ROW_BYTES_SPARE: usize = 64;
const TOO_LARGE: &str = "the answer is larger than a message may be; ask for fewer keys";

/// Serves rows. Cheap to clone.
#[derive(Clone)]
pub struct KvService {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    registry: Registry,
    clock: Mutex<Hlc>,
    admission: Arc<Admission>,
}

/// What the answer to one item may still hold. Rows are read into memory before the answer is found too large to send.
struct AnswerRoom {
    left_bytes: usize,
}

impl Default for AnswerRoom {
    fn default() -> Self {
        Self { left_bytes: limits::MESSAGE_BYTES_MAX - ANSWER_BYTES_SPARE }
    }
}

impl AnswerRoom {
    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.left_bytes = self
            .left_bytes
            .checked_sub(bytes + ROW_BYTES_SPARE)
            .ok_or_else(|| ApiError::new(ErrorCode::BatchSize, TOO_LARGE))?;
        Ok(())
    }
}

impl KvService {
    /// A service over the node's replicas that takes on so much at once.
    pub fn new(node: NodeId, registry: Registry, limits: impl Into<AdmissionLimits>) -> Self {
        let admission = Admission::new(limits.into());
        Self { inner: Arc::new(Inner { node, registry, clock: Mutex::default(), admission }) }
    }

    /// Items being worked on.
    pub fn in_flight(&self) -> usize {
        [Class::Read, Class::Write, Class::Meta]
            .map(|class| self.admission().items(class))
            .iter()
            .sum()
    }

    /// What is under way, and what was refused.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.inner.admission
    }

    async fn item(&self, item: KvItem, work: &Work) -> Result<kv_result::Result, ApiError> {
        let (region, deadline) = (work.region.as_ref(), work.deadline);
        let shard = ShardId(item.shard_id);
        let shape = item.epoch.unwrap_or_default().shape;
        let Some(op) = item.op else { return Err(invalid("an item without an operation")) };
        let registry = &self.inner.registry;
        let replica = registry.get(shard).ok_or_else(|| match registry.survivor_of(shard) {
            Some(survivor) => stale(&survivor, &format!("{shard} is part of it now")),
            None => ApiError::new(ErrorCode::ShardNotHere, format!("{shard} has no replica here")),
        })?;
        let began = Instant::now();
        // On the heap: what waits is moved several times before it is first polled, with all the room it may ever need.
        let done: BoxFuture<'_, _> = match op {
            Op::Get(get) => self.get(&replica, shape, get, region).boxed(),
            Op::Scan(scan) => self.scan(&replica, shape, scan, region).boxed(),
            Op::Write(write) => self.write(&replica, shape, write, work).boxed(),
        };
        let result = tokio::time::timeout(deadline, done).await.unwrap_or_else(|_| {
            let waited = format!("no result within {} ms", began.elapsed().as_millis());
            Err(replica.error(ErrorCode::DeadlineExceeded, waited))
        });
        match &result {
            Err(error) if error.code == ErrorCode::Corruption => {
                self.inner.registry.take_out(&replica, error);
            }
            Err(error) if error.code == ErrorCode::Overloaded => {
                self.inner.admission.note_refused(Reason::Shard);
            }
            _ => {}
        }
        result
    }

    async fn get(
        &self,
        replica: &Arc<Replica>,
        shape: u64,
        op: GetOp,
        region: Option<&Region>,
    ) -> Result<kv_result::Result, ApiError> {
        let began = Instant::now();
        if op.keys.is_empty() || op.keys.len() > limits::GET_KEYS_MAX {
            return Err(invalid(format!("{} keys in one get", op.keys.len())));
        }
        for key in &op.keys {
            check_key(key)?;
        }
        let freshness = freshness(op.read)?;
        self.fresh(replica, freshness, began).await?;
        let _held = replica.hold_rows()?;
        let descriptor = routed(replica, shape)?;
        let mut room = AnswerRoom::default();
        let mut rows = Vec::with_capacity(op.keys.len());
        for key in op.keys {
            inside(replica, &descriptor, &key)?;
            let row = replica.get(&descriptor, &key)?;
            room.take(key.len() + row.as_ref().map_or(0, |row| row.value.len()))?;
            rows.push(match row {
                Some(row) => wire_row(key.to_vec(), row),
                None => Row { key, ..Row::default() },
            });
        }
        let micros = elapsed_micros(began);
        replica.meter.record_read(&rows[0].key, region, rows.len() as u64, micros);
        for row in &rows[1..] {
            replica.meter.note_key(&row.key);
        }
        let detour = freshness == ReadFreshness::Linearizable && !replica.is_leader();
        let shard = if detour { replica.entry().as_ref().map(Into::into) } else { None };
        Ok(kv_result::Result::Get(GetResult { rows, shard }))
    }

    /// Waits for the freshness of a read; a long wait is logged with who led meanwhile.
    async fn fresh(
        &self,
        replica: &Arc<Replica>,
        freshness: ReadFreshness,
        began: Instant,
    ) -> Result<(), ApiError> {
        let led = replica.is_leader();
        let barrier = replica.read_barrier(freshness).await.and_then(|()| match freshness {
            ReadFreshness::Local => Ok(()),
            // Behind the barrier: who is not frozen now was not merged when the read began.
            _ => replica.check_unfrozen(),
        });
        if began.elapsed() > SLOW {
            let waited_ms = elapsed_micros(began) / 1_000;
            let (shard, leads) = (replica.shard_id, replica.is_leader());
            let error = barrier.as_ref().err().map(ToString::to_string).unwrap_or_default();
            tracing::info!(%shard, waited_ms, led, leads, error, "a read waited long for its freshness");
        }
        barrier
    }

    async fn scan(
        &self,
        replica: &Arc<Replica>,
        shape: u64,
        op: ScanOp,
        region: Option<&Region>,
    ) -> Result<kv_result::Result, ApiError> {
        let began = Instant::now();
        self.fresh(replica, freshness(op.read)?, began).await?;
        let _held = replica.hold_rows()?;
        let descriptor = routed(replica, shape)?;
        let range = &descriptor.range;
        let start = op.start.to_vec().max(range.start.clone());
        let end = match (op.end.is_empty(), range.end.is_empty()) {
            (true, _) => range.end.clone(),
            (false, true) => op.end.to_vec(),
            (false, false) => op.end.to_vec().min(range.end.clone()),
        };
        if !range.contains(&start) && start != range.start {
            return Err(stale(replica, "the scan begins outside the shard"));
        }
        let wanted = isobar_api::KeyRange { start: start.clone(), end };
        let (from, to) = keys::rows(descriptor.table_id, &wanted);
        let limit = op.limit.clamp(1, limits::SCAN_ROWS_MAX) as usize;
        let scan =
            Scan::range(from, Some(to)).limit_rows(limit).limit_bytes(limits::SCAN_BYTES_MAX);
        let page = replica.engine.scan(Space::Data, &scan).map_err(|e| replica.engine_error(e))?;
        let mut room = AnswerRoom::default();
        let mut rows = Vec::with_capacity(page.rows.len());
        for (key, stored) in &page.rows {
            room.take(key.len() + stored.len())?;
            rows.push(wire_row(keys::user_key(key).to_vec(), replica.row(stored)?));
        }
        let resume_key =
            rows.last().filter(|_| page.more).map(|row| [row.key.as_ref(), &[0]].concat().into());
        replica.meter.record_scan(&start, region, elapsed_micros(began));
        Ok(kv_result::Result::Scan(ScanResult { rows, resume_key }))
    }

    async fn write(
        &self,
        replica: &Arc<Replica>,
        shape: u64,
        op: WriteOp,
        work: &Work,
    ) -> Result<kv_result::Result, ApiError> {
        let (began, region) = (Instant::now(), work.region.as_ref());
        let descriptor = routed(replica, shape)?;
        replica.check_unfrozen()?;
        // Before anything is copied for it.
        replica.writes.room_for(payload_bytes(&op), work.deadline).map_err(|full| {
            let why = format!("{}: {}", replica.shard_id, full.why);
            ApiError::new(ErrorCode::Overloaded, why).retry_after_ms(full.retry_after_ms)
        })?;
        let command = self.command(replica, &descriptor, op)?;
        let first_key = command.mutations[0].key.clone();
        let count = command.mutations.len() as u64;
        let outcome = propose_write(replica, &descriptor, command).await?;
        replica.meter.record_write(&first_key, region, count, elapsed_micros(began));
        let written = |applied, version: Option<Version>, current: Vec<Version>, repeated| {
            kv_result::Result::Write(WriteResult {
                applied,
                version: version.map(Into::into),
                current: current.into_iter().map(Into::into).collect(),
                repeated_request: repeated,
            })
        };
        match outcome {
            WriteOutcome::Applied { version, repeated } => {
                Ok(written(true, Some(version), Vec::new(), repeated))
            }
            WriteOutcome::Conflict { current, repeated } => {
                Ok(written(false, None, current, repeated))
            }
            WriteOutcome::Frozen => {
                // It may have been thawed since; then the next try succeeds.
                replica.check_unfrozen()?;
                Err(replica.error(ErrorCode::Merging, "the merge was called off").retry_after_ms(1))
            }
            WriteOutcome::OutsideRange => Err(stale(replica, "a key is outside the shard now")),
            WriteOutcome::SequenceExpired => {
                Err(replica
                    .error(ErrorCode::SequenceExpired, "the sequence was acknowledged before"))
            }
        }
    }

    fn command(
        &self,
        replica: &Replica,
        descriptor: &ShardDescriptor,
        op: WriteOp,
    ) -> Result<WriteCommand, ApiError> {
        let client_id = op.client_id.as_ref().try_into();
        let client_id = client_id.map_err(|_| invalid("a client id has 16 bytes"))?;
        if op.sequence == 0 {
            return Err(invalid("sequences count from 1"));
        }
        let open = op.sequence.saturating_sub(op.first_unacknowledged);
        if op.first_unacknowledged > op.sequence || open > limits::CLIENT_WINDOW_MAX {
            return Err(invalid(format!("{open} unacknowledged requests of one client")));
        }
        let mutations = check_mutations(op.mutations)?;
        for mutation in &mutations {
            inside(replica, descriptor, &mutation.key)?;
        }
        let hlc = {
            let mut clock = self.inner.clock.lock().expect("no holder of this lock panics");
            clock.observe(replica.state.last_hlc());
            clock.tick(self.inner.registry.clock().now_unix_ms())
        };
        Ok(WriteCommand {
            client_id,
            sequence: op.sequence,
            first_unacknowledged: op.first_unacknowledged,
            hlc,
            origin: self.inner.node.0,
            mutations,
        })
    }
}

async fn propose_write(
    replica: &Arc<Replica>,
    descriptor: &ShardDescriptor,
    command: WriteCommand,
) -> Result<WriteOutcome, ApiError> {
    let ack = descriptor.rule.ack;
    let conditional = command.mutations.iter().any(|m| m.expected.is_some());
    if ack == AckLevel::Leader
        && !conditional
        && let Some(no_split) = replica.no_split(descriptor)
    {
        let version = Version { hlc: command.hlc, origin: NodeId(command.origin) };
        replica.propose_leader_only(command, no_split).await?;
        return Ok(WriteOutcome::Applied { version, repeated: false });
    }
    let (log_id, outcome) = replica.submit(command).await?;
    replica.await_ack(ack, log_id).await?;
    Ok(outcome)
}

/// Keys and values of a write, bytes.
fn payload_bytes(op: &WriteOp) -> usize {
    op.mutations.iter().map(|m| m.key.len() + m.value.as_ref().map_or(0, |v| v.len())).sum()
}

/// What an item is, and how many bytes of its request it keeps in memory.
fn class_of(item: &KvItem) -> (Class, usize) {
    let (class, bytes) = match &item.op {
        Some(Op::Get(get)) => (Class::Read, get.keys.iter().map(|key| key.len()).sum()),
        Some(Op::Scan(scan)) => (Class::Read, scan.start.len() + scan.end.len()),
        Some(Op::Write(write)) => (Class::Write, payload_bytes(write)),
        None => (Class::Read, 0),
    };
    (if item.shard_id == META_SHARD.0 { Class::Meta } else { class }, bytes)
}

fn check_mutations(mutations: Vec<isobar_api::proto::Mutation>) -> Result<Vec<Mutation>, ApiError> {
    if mutations.is_empty() {
        return Err(invalid("a write without mutations"));
    }
    if mutations.len() > limits::BATCH_MUTATIONS_MAX {
        let message = format!("{} mutations in one batch", mutations.len());
        return Err(ApiError::new(ErrorCode::BatchSize, message));
    }
    let mut bytes = 0;
    let mut checked = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        check_key(&mutation.key)?;
        let value_bytes = mutation.value.as_ref().map_or(0, |v| v.len());
        if value_bytes > limits::VALUE_BYTES_MAX {
            let message = format!("a value of {value_bytes} bytes");
            return Err(ApiError::new(ErrorCode::ValueSize, message));
        }
        bytes += mutation.key.len() + value_bytes;
        checked.push(Mutation {
            key: mutation.key.to_vec(),
            value: mutation.value.map(|v| v.to_vec()),
            expected: mutation.expected.map(Into::into),
            schema_version: mutation.schema_version,
        });
    }
    if bytes > limits::BATCH_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::BatchSize, format!("a batch of {bytes} bytes")));
    }
    Ok(checked)
}

fn check_key(key: &[u8]) -> Result<(), ApiError> {
    if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::KeySize, format!("a key of {} bytes", key.len())));
    }
    Ok(())
}

/// The descriptor, if the request was routed with its shape.
fn routed(replica: &Replica, shape: u64) -> Result<Arc<ShardDescriptor>, ApiError> {
    let descriptor = replica.descriptor()?;
    if descriptor.shape == shape || is_planted(NO_EPOCH_CHECK) {
        return Ok(descriptor);
    }
    Err(stale(replica, &format!("the shard has shape {}, the request {shape}", descriptor.shape)))
}

fn inside(replica: &Replica, descriptor: &ShardDescriptor, key: &[u8]) -> Result<(), ApiError> {
    if descriptor.range.contains(key) || is_planted(NO_EPOCH_CHECK) {
        Ok(())
    } else {
        Err(stale(replica, "a key is outside the shard"))
    }
}

fn stale(replica: &Replica, why: &str) -> ApiError {
    replica.error(ErrorCode::StaleEpoch, why)
}

fn freshness(read: Option<ReadOptions>) -> Result<ReadFreshness, ApiError> {
    let read = read.unwrap_or_default();
    match ReadLevel::try_from(read.level) {
        Ok(ReadLevel::Unspecified | ReadLevel::Linearizable) => Ok(ReadFreshness::Linearizable),
        Ok(ReadLevel::Bounded) => {
            Ok(ReadFreshness::Bounded(Duration::from_millis(read.staleness_ms)))
        }
        Ok(ReadLevel::Local) => Ok(ReadFreshness::Local),
        Err(_) => Err(invalid(format!("read level {} is unknown", read.level))),
    }
}

fn wire_row(key: Vec<u8>, row: crate::shard::row::Row) -> Row {
    Row {
        key: key.into(),
        value: Some(row.value.into()),
        version: Some(row.version.into()),
        schema_version: row.schema_version,
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}

fn elapsed_micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}
