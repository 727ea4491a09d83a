//! Reads of rows by key: grouped by shard, all groups at once, each with its own retries.

use crate::{
    attempts::Attempts,
    core::Core,
    failure::Failure,
    lane::{Answer, LaneKind},
    route::Need,
    row::{ReadLevel, Row, check_key},
};
use futures::future::try_join_all;
use isobar_api::{ApiError, ErrorCode, ShardEntry, proto, table::TableInfo};
use std::{collections::HashMap, sync::Arc};
use tokio::time::Instant;

/// Keys in one item: small enough that answers of ordinary rows fit into one message.
const ITEM_KEYS_MAX: usize = 256;
/// Keys in one call.
const CALL_KEYS_MAX: usize = 100_000;

impl ReadLevel {
    pub(crate) fn need(self) -> Need {
        match self {
            Self::Linearizable => Need::Leader,
            Self::Bounded(_) | Self::Local => Need::Any,
        }
    }
}

/// A read in progress: which keys, how, and until when.
struct Read<'a> {
    core: &'a Arc<Core>,
    table: &'a TableInfo,
    keys: &'a [&'a [u8]],
    level: ReadLevel,
    deadline: Instant,
}

/// Rows in the order of the keys; `None` where there is no row.
pub(crate) async fn multi_get(
    core: &Arc<Core>,
    table: &TableInfo,
    keys: &[&[u8]],
    level: ReadLevel,
    deadline: Instant,
) -> Result<Vec<Option<Row>>, ApiError> {
    for key in keys {
        check_key(key)?;
    }
    if keys.len() > CALL_KEYS_MAX {
        let message = format!("{} keys in one call, at most {CALL_KEYS_MAX}", keys.len());
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    if let ([key], Need::Leader) = (keys, level.need()) {
        core.admit(table.table_id, key, LaneKind::Reads)?;
    }
    let _permit = core.enter(LaneKind::Reads, deadline).await?;
    let read = Read { core, table, keys, level, deadline };
    let mut rows = vec![None; keys.len()];
    for (position, row) in read.positions((0..keys.len()).collect(), ITEM_KEYS_MAX).await? {
        rows[position] = row;
    }
    Ok(rows)
}

type Found = Vec<(usize, Option<Row>)>;

impl Read<'_> {
    /// Reads the keys at these positions, at most `chunk` in one item.
    async fn positions(&self, positions: Vec<usize>, chunk: usize) -> Result<Found, ApiError> {
        let (groups, unknown) = self.core.cache.group(self.table.table_id, self.keys, &positions);
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for (_, group) in &groups {
            parts.extend(group.chunks(chunk).map(<[usize]>::to_vec));
        }
        parts.extend(unknown.into_iter().map(|position| vec![position]));
        if let [only] = parts.as_mut_slice() {
            return self.part(std::mem::take(only)).await;
        }
        let found = try_join_all(parts.into_iter().map(|part| self.part(part))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Reads keys that one shard owns, or owned when they were grouped.
    async fn part(&self, positions: Vec<usize>) -> Result<Found, ApiError> {
        let mut attempts =
            Attempts::new(self.core, self.level.need(), LaneKind::Reads, self.deadline);
        loop {
            let first = self.keys[positions[0]];
            let Some(entry) = self.core.cache.find(self.table.table_id, first) else {
                attempts.lost_route(&self.table.spec.name).await?;
                continue;
            };
            let split = positions.iter().any(|p| !entry.range.contains(self.keys[*p]));
            if split {
                // The shard was split meanwhile.
                return Box::pin(self.positions(positions, ITEM_KEYS_MAX)).await;
            }
            let node = attempts.next_node(&entry).await?;
            let (item, size_bytes) = self.item(&entry, &positions);
            let failure = match attempts.send(node, item, size_bytes).await {
                Ok(Answer::Get(result)) => {
                    // A detour over a replica that does not lead: the next read goes straight.
                    self.core
                        .cache
                        .merge(&result.shard.map(ShardEntry::from).into_iter().collect::<Vec<_>>());
                    return Ok(self.match_rows(&positions, result.rows));
                }
                Ok(_) => Failure::Lost(format!("{node} answered a read with something else")),
                Err(Failure::Answered(error))
                    if error.code == ErrorCode::BatchSize && positions.len() > 1 =>
                {
                    // The answer is larger than a message may be: in smaller parts.
                    let chunk = positions.len().div_ceil(8);
                    return Box::pin(self.positions(positions, chunk)).await;
                }
                Err(failure) => failure,
            };
            attempts.failed(&entry, node, failure).await?;
        }
    }

    fn item(&self, entry: &ShardEntry, positions: &[usize]) -> (proto::KvItem, usize) {
        let keys: Vec<bytes::Bytes> =
            positions.iter().map(|p| bytes::Bytes::copy_from_slice(self.keys[*p])).collect();
        let size_bytes = keys.iter().map(|key| key.len() + 8).sum::<usize>() + 64;
        let op = proto::GetOp { keys, read: Some(self.level.to_proto()) };
        let item = proto::KvItem {
            shard_id: entry.shard_id.0,
            epoch: Some(entry.epoch.into()),
            op: Some(proto::kv_item::Op::Get(op)),
        };
        (item, size_bytes)
    }

    /// Pairs rows with positions by key: a node may leave absent rows out.
    fn match_rows(&self, positions: &[usize], rows: Vec<proto::Row>) -> Found {
        if let ([position], [_] | []) = (positions, rows.as_slice()) {
            return vec![(*position, rows.into_iter().next().and_then(Row::from_proto))];
        }
        let by_key: HashMap<bytes::Bytes, Row> =
            rows.into_iter().filter_map(Row::from_proto).map(|r| (r.key.clone(), r)).collect();
        positions.iter().map(|p| (*p, by_key.get(self.keys[*p]).cloned())).collect()
    }
}
