//! Clients: they route by what they have heard, repeat what got no answer under the same number, and record everything.

use crate::{
    history::{Operation, Outcome},
    network::{exchange, execute},
    node::Running,
    world::{CLIENTS, World},
};
use isobar_api::{
    ApiError, Epoch, ErrorCode, NodeId, TableId, Version,
    map::ShardMap,
    proto::{
        self, GetOp, KvItem, KvRequest, ReadLevel, ReadOptions, WriteOp, kv_item::Op, kv_result,
    },
};
use isobar_client::Mutation;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Groups of keys; the keys of one are written together by batches, and no split parts them.
pub const GROUPS: u64 = 6;
/// Attempts of one operation.
const ATTEMPTS_MAX: u32 = 6;
const ATTEMPT_WITHIN: Duration = Duration::from_millis(700);
/// Where groups sleep, no client asks for anything in the first part of each such time.
const LULL_EVERY_MS: u64 = 4_000;
const LULL_MS: u64 = 2_000;
const VALUE_BYTES: usize = 160;
/// How far a bounded read may be behind.
const BOUND_MS: u64 = 400;

/// A key of a group.
pub fn key(group: u64, member: u64) -> Vec<u8> {
    format!("k{group:02}/{member}").into_bytes()
}

/// All keys.
pub fn all_keys() -> Vec<Vec<u8>> {
    (0..GROUPS).flat_map(|group| [key(group, 0), key(group, 1)]).collect()
}

/// One client.
pub struct Client {
    world: Arc<World>,
    number: u64,
    table: TableId,
    map: ShardMap,
    sequence: u64,
    /// It never writes, so nothing but an answer tells it that a leader has gone.
    reads_only: bool,
    /// Versions seen, for conditions.
    versions: BTreeMap<Vec<u8>, Version>,
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(world: Arc<World>, number: u64, table: TableId) -> Self {
        let map = ShardMap::default();
        let versions = BTreeMap::new();
        Self { world, number, table, map, sequence: 0, reads_only: false, versions }
    }

    /// The same, for one that reads all the time: it stays with a leader that others have left.
    pub fn reader(world: Arc<World>, number: u64, table: TableId) -> Self {
        Self { reads_only: true, ..Self::new(world, number, table) }
    }

    /// Works until told to stop; the operation under way is ended first.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let operation = self.choose();
            self.perform(operation).await;
            tokio::time::sleep(self.world.millis(1..30)).await;
            self.rest().await;
        }
    }

    /// Where groups may sleep, all clients rest at the same times: else every group would be in use.
    async fn rest(&self) {
        let now_ms = self.world.elapsed().as_millis() as u64 % LULL_EVERY_MS;
        if self.world.habits.quiesce_after_ms > 0 && now_ms < LULL_MS {
            tokio::time::sleep(Duration::from_millis(LULL_MS - now_ms)).await;
        }
    }

    fn choose(&mut self) -> Operation {
        self.sequence += 1;
        let value = |at: u64| {
            let mut value = format!("c{}-{}-{at}.", self.number, self.sequence).into_bytes();
            value.resize(VALUE_BYTES, b'.');
            value
        };
        let hot = self.world.chance(0.5).then_some(self.world.habits.hot_group);
        let group = hot.unwrap_or_else(|| self.world.number(0..GROUPS));
        if self.reads_only {
            return Operation::get(key(group, self.world.number(0..2)));
        }
        let one = key(group, self.world.number(0..2));
        match self.world.number(0..100) {
            0..35 => Operation::get(one),
            35..47 => Operation::get_bounded(one, BOUND_MS * 1_000_000),
            47..70 => Operation::put(one, value(0)),
            70..78 => Operation::delete(one),
            78..90 => {
                let expected = self.versions.get(&one).copied().unwrap_or(Version::ABSENT);
                Operation::compare_and_set(one, expected, value(0))
            }
            _ => {
                let put = |at| Mutation::put(key(group, at), value(at));
                Operation::Write(vec![put(0), put(1)])
            }
        }
    }

    /// Reads every key, until each is answered or patience ends.
    pub async fn read_all(&mut self) {
        for key in all_keys() {
            self.sequence += 1;
            self.perform(Operation::get(key)).await;
        }
    }

    async fn perform(&mut self, operation: Operation) {
        let world = self.world.clone();
        for _ in 0..ATTEMPTS_MAX {
            let at_ns = world.now_ns();
            let (client, sequence) = (self.number, self.sequence);
            world.lock().history.invoke(client, sequence, operation.clone(), at_ns);
            let answered = self.attempt(&operation).await;
            let outcome = match answered {
                Ok(outcome) => outcome,
                Err(error) => {
                    world.note(format_args!("c{client} {sequence} {operation}: {error}"));
                    self.learn(&error);
                    match error.code {
                        ErrorCode::StaleEpoch | ErrorCode::ShardNotHere => Outcome::Failed,
                        ErrorCode::Overloaded | ErrorCode::TooStale => Outcome::Failed,
                        _ => Outcome::Unknown,
                    }
                }
            };
            world.lock().history.answer(client, sequence, outcome.clone(), world.now_ns());
            if outcome.is_definite() {
                world.note(format_args!("c{client} {sequence} {operation} -> {outcome}"));
                self.remember(&operation, &outcome);
                return;
            }
            tokio::time::sleep(world.millis(10..80)).await;
        }
    }

    fn remember(&mut self, operation: &Operation, outcome: &Outcome) {
        let version = match outcome {
            Outcome::Row(row) => row.as_ref().map_or(Version::ABSENT, |(_, version)| *version),
            Outcome::Applied(version) => *version,
            Outcome::Conflict(current) => current.first().copied().unwrap_or_default(),
            _ => return,
        };
        for key in operation.keys() {
            self.versions.insert(key.to_vec(), version);
        }
        if let Operation::Write(mutations) = operation {
            for gone in mutations.iter().filter(|m| m.value.is_none()) {
                self.versions.insert(gone.key.to_vec(), Version::ABSENT);
            }
        }
    }

    /// Takes over what an error says of routing; without that, any node is asked next time.
    fn learn(&mut self, error: &ApiError) {
        for entry in &error.shards {
            self.map.merge(entry.clone());
        }
    }

    async fn attempt(&mut self, operation: &Operation) -> Result<Outcome, ApiError> {
        let first = operation.keys().next().expect("an operation has a key").clone();
        let known = self.map.find(self.table, &first).cloned();
        let Some(entry) = known else {
            self.ask_for_map().await;
            return Err(ApiError::new(ErrorCode::ShardNotHere, "no shard is known for the key"));
        };
        let bounded = matches!(operation, Operation::Get { bound_ns: Some(_), .. });
        let replicas: Vec<NodeId> = entry.replicas.iter().map(|replica| replica.node_id).collect();
        let leader =
            entry.leader.filter(|_| !bounded && (self.reads_only || !self.world.chance(0.1)));
        let Some(node) = leader.or_else(|| self.world.pick(&replicas)) else {
            return Err(ApiError::new(ErrorCode::ShardNotHere, "the shard has no replica"));
        };
        let item = KvItem {
            shard_id: entry.shard_id.0,
            epoch: Some(Epoch { shape: entry.epoch.shape, membership: 0 }.into()),
            op: Some(self.wire(operation)),
        };
        let request = KvRequest {
            items: vec![item],
            deadline_ms: 600,
            client_region: String::new(),
            first_item: 0,
        };
        let what = format!("c{} {}", self.number, self.sequence);
        let way = (CLIENTS + self.number, node);
        let results = execute(&self.world, way, request, ATTEMPT_WITHIN, what).await;
        if results.is_err() {
            // Nobody answers there: look around again.
            self.map.remove(entry.shard_id);
        }
        let result = results?.into_iter().next().and_then(|result| result.result);
        outcome(result.ok_or_else(unexpected)?)
    }

    fn wire(&self, operation: &Operation) -> Op {
        match operation {
            Operation::Get { key, bound_ns } => {
                let level = match bound_ns {
                    None => ReadLevel::Linearizable,
                    Some(_) => ReadLevel::Bounded,
                };
                let staleness_ms = bound_ns.unwrap_or(0) / 1_000_000;
                let read = Some(ReadOptions { level: level as i32, staleness_ms });
                Op::Get(GetOp { keys: vec![key.clone()], read })
            }
            Operation::Write(mutations) => Op::Write(WriteOp {
                client_id: u128::from(self.number + 1).to_be_bytes().to_vec().into(),
                sequence: self.sequence,
                // One operation at a time: nobody waits for an earlier one any more.
                first_unacknowledged: self.sequence,
                mutations: mutations
                    .iter()
                    .map(|mutation| proto::Mutation {
                        key: mutation.key.clone(),
                        value: mutation.value.clone(),
                        expected: mutation.expected.map(Into::into),
                        schema_version: 0,
                    })
                    .collect(),
            }),
        }
    }

    async fn ask_for_map(&mut self) {
        let Some(node) = self.world.pick(&self.world.nodes()) else { return };
        let table = self.table;
        let serve = move |running: Arc<Running>| async move { running.parts.hints.of_table(table) };
        let way = (CLIENTS + self.number, node);
        let asked = exchange(&self.world, way, ATTEMPT_WITHIN, "shard map".into(), serve).await;
        for entry in asked.unwrap_or_default() {
            self.map.merge(entry);
        }
    }
}

fn unexpected() -> ApiError {
    ApiError::new(ErrorCode::Internal, "an answer of another kind")
}

fn outcome(result: kv_result::Result) -> Result<Outcome, ApiError> {
    match result {
        kv_result::Result::Error(error) => Err(error.into()),
        kv_result::Result::Get(found) => {
            let row = found.rows.into_iter().next().ok_or_else(unexpected)?;
            let version = row.version.unwrap_or_default().into();
            Ok(Outcome::Row(row.value.map(|value| (value, version))))
        }
        kv_result::Result::Write(written) if written.applied => {
            Ok(Outcome::Applied(written.version.unwrap_or_default().into()))
        }
        kv_result::Result::Write(written) => {
            Ok(Outcome::Conflict(written.current.into_iter().map(Into::into).collect()))
        }
        kv_result::Result::Scan(_) => Err(unexpected()),
    }
}
