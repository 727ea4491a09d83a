//! The node's own client of the meta shard: finds its leader, retries, counts sequences.

use super::{META_SHARD, META_TABLE};
use crate::{gossip::ShardHints, kv::KvService, members::Members, transport::Transport};
use isobar_api::{
    ApiError, Epoch, ErrorCode, NodeId, Version,
    proto::{
        GetOp, KvItem, KvRequest, Mutation, ReadLevel, ReadOptions, ScanOp, WriteOp, kv_item::Op,
        kv_result,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(50);
const LINEARIZABLE: ReadOptions =
    ReadOptions { level: ReadLevel::Linearizable as i32, staleness_ms: 0 };

/// A row of the meta shard: key, value, version.
pub type MetaRow = (Vec<u8>, Vec<u8>, Version);

/// Reads and writes the meta shard. Cheap to clone.
#[derive(Clone)]
pub struct MetaClient {
    kv: KvService,
    transport: Transport,
    members: Members,
    hints: ShardHints,
    client_id: [u8; 16],
    /// One write at a time: then everything below its sequence is acknowledged.
    sequence: Arc<tokio::sync::Mutex<u64>>,
}

impl MetaClient {
    /// A client over the node's own service and its ways to others.
    pub fn new(kv: KvService, transport: Transport, hints: ShardHints) -> Self {
        let members = transport.members().clone();
        let client_id = rand::random();
        Self { kv, transport, members, hints, client_id, sequence: Arc::default() }
    }

    /// Every row under a prefix, page by page; each page is linearizable.
    pub async fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<MetaRow>, ApiError> {
        let mut rows = Vec::new();
        let mut start = prefix.to_vec();
        let end = crate::engine::prefix_end(prefix).unwrap_or_default();
        loop {
            let op = Op::Scan(ScanOp {
                start: start.clone().into(),
                end: end.clone().into(),
                limit: 1_000,
                read: Some(LINEARIZABLE),
            });
            let kv_result::Result::Scan(page) = self.call(op).await? else {
                return Err(unexpected());
            };
            for row in page.rows {
                let version = row.version.unwrap_or_default().into();
                rows.push((row.key.to_vec(), row.value.unwrap_or_default().to_vec(), version));
            }
            match page.resume_key {
                Some(resume) => start = resume.to_vec(),
                None => return Ok(rows),
            }
        }
    }

    /// Value and version of one row.
    pub async fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, ApiError> {
        let keys = vec![key.to_vec().into()];
        let op = Op::Get(GetOp { keys, read: Some(LINEARIZABLE) });
        let kv_result::Result::Get(found) = self.call(op).await? else {
            return Err(unexpected());
        };
        let row = found.rows.into_iter().next().ok_or_else(unexpected)?;
        let version = row.version.unwrap_or_default().into();
        Ok(row.value.map(|value| (value.to_vec(), version)))
    }

    /// Writes a row if it still has the expected version; answers whether it did.
    pub async fn compare_and_set(
        &self,
        key: &[u8],
        value: Vec<u8>,
        expected: Version,
    ) -> Result<bool, ApiError> {
        let mutation = mutation(key, value, Some(expected));
        self.write(vec![mutation]).await
    }

    /// The same, and with it, if it is done, writes another row, whatever that was: its version then tells of the change.
    pub async fn compare_and_set_noted(
        &self,
        key: &[u8],
        value: Vec<u8>,
        expected: Version,
        note: &[u8],
    ) -> Result<bool, ApiError> {
        let noted = mutation(note, key.to_vec(), None);
        self.write(vec![mutation(key, value, Some(expected)), noted]).await
    }

    /// Answers whether it was done: all of it or nothing.
    async fn write(&self, mutations: Vec<Mutation>) -> Result<bool, ApiError> {
        let mut sequence = self.sequence.lock().await;
        *sequence += 1;
        let op = Op::Write(WriteOp {
            client_id: self.client_id.to_vec().into(),
            sequence: *sequence,
            first_unacknowledged: *sequence,
            mutations,
        });
        match self.call(op).await? {
            kv_result::Result::Write(written) => Ok(written.applied),
            _ => Err(unexpected()),
        }
    }

    /// Takes `count` numbers from a counter; the first of them. They are never given out again.
    pub async fn allocate(
        &self,
        counter: &str,
        first_ever: u64,
        count: u64,
    ) -> Result<u64, ApiError> {
        let key = format!("counter/{counter}").into_bytes();
        for _ in 0..64 {
            let (next, version) = match self.get(&key).await? {
                Some((value, version)) => {
                    let text = String::from_utf8_lossy(&value).into_owned();
                    let next = text.parse().map_err(|_| {
                        ApiError::new(ErrorCode::Internal, format!("counter {counter} is `{text}`"))
                    })?;
                    (next, version)
                }
                None => (first_ever, Version::ABSENT),
            };
            let after: u64 = next + count;
            if self.compare_and_set(&key, after.to_string().into_bytes(), version).await? {
                return Ok(next);
            }
        }
        Err(ApiError::new(ErrorCode::Unavailable, format!("counter {counter} is contended")))
    }

    /// Who leads what, as gossip has it.
    pub fn hints(&self) -> &ShardHints {
        &self.hints
    }

    /// The leader of a shard, as gossip has it.
    pub fn hinted_leader(&self, shard: isobar_api::ShardId) -> Option<NodeId> {
        self.hints.get(shard).and_then(|entry| entry.leader)
    }

    /// Tries the leader, then every replica, until the deadline.
    async fn call(&self, op: Op) -> Result<kv_result::Result, ApiError> {
        let began = Instant::now();
        let mut last = ApiError::new(ErrorCode::Unavailable, "the meta shard is not known yet");
        let mut hinted: Option<NodeId> = None;
        while began.elapsed() < DEADLINE {
            let shape = self.hints.get(META_SHARD).map_or(1, |e| e.epoch.shape);
            for node in self.targets(hinted.take()) {
                match self.try_on(node, shape, op.clone()).await {
                    Ok(result) => return Ok(result),
                    // What is wrong with the request is wrong everywhere.
                    Err(error) if error.code.as_str().starts_with("ISO-1") => return Err(error),
                    Err(error) => {
                        hinted = error.shards.iter().find_map(|e| e.leader);
                        last = error;
                        if hinted.is_some_and(|leader| leader != node) {
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last)
    }

    fn targets(&self, hinted: Option<NodeId>) -> Vec<NodeId> {
        let entry = self.hints.get(META_SHARD);
        let mut targets: Vec<NodeId> = hinted.into_iter().collect();
        if let Some(entry) = entry {
            targets.extend(entry.leader);
            targets.extend(entry.replicas.iter().map(|r| r.node_id));
        }
        targets.push(self.members.own().node_id);
        targets.extend(self.members.all().into_iter().filter(|m| m.alive).map(|m| m.node_id));
        let mut seen = std::collections::BTreeSet::new();
        targets.retain(|node| seen.insert(*node));
        targets
    }

    async fn try_on(
        &self,
        node: NodeId,
        shape: u64,
        op: Op,
    ) -> Result<kv_result::Result, ApiError> {
        let item = KvItem {
            shard_id: META_SHARD.0,
            epoch: Some(Epoch { shape, membership: 0 }.into()),
            op: Some(op),
        };
        let request = KvRequest {
            items: vec![item],
            deadline_ms: 2_000,
            client_region: String::new(),
            first_item: 0,
        };
        let results = if node == self.members.own().node_id {
            let answer = self.kv.execute_all(request).await;
            answer.map_err(|status| ApiError::from_status(&status))?
        } else {
            self.transport.execute(node, request, Duration::from_millis(2_500)).await?
        };
        match results.into_iter().next().and_then(|r| r.result) {
            Some(kv_result::Result::Error(error)) => Err(error.into()),
            Some(result) => Ok(result),
            None => Err(unexpected()),
        }
    }
}

fn mutation(key: &[u8], value: Vec<u8>, expected: Option<Version>) -> Mutation {
    Mutation {
        key: key.to_vec().into(),
        value: Some(value.into()),
        expected: expected.map(Into::into),
        schema_version: 0,
    }
}

fn unexpected() -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("{META_TABLE}: an answer of another kind"))
}
