//! Writes: to the leader, with one sequence number for all attempts.

use crate::{
    attempts::Attempts,
    core::Core,
    failure::Failure,
    lane::{Answer, LaneKind},
    route::Need,
    row::{Mutation, WriteOutcome, check_batch},
    session::Ticket,
};
use isobar_api::{ApiError, ErrorCode, ShardEntry, proto, table::TableInfo};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

pub(crate) async fn write(
    core: &Arc<Core>,
    table: &TableInfo,
    mutations: &[Mutation],
    deadline: Instant,
) -> Result<WriteOutcome, ApiError> {
    check_batch(mutations)?;
    core.admit(table.table_id, &mutations[0].key, LaneKind::Writes)?;
    let _permit = core.enter(LaneKind::Writes, deadline).await?;
    let ticket = open_ticket(core, table, &mutations[0], deadline).await?;
    let size_bytes = mutations.iter().map(|m| m.size_bytes() + 64).sum();
    let mut attempts = Attempts::new(core, Need::Leader, LaneKind::Writes, deadline);
    loop {
        let Some(entry) = core.cache.find(table.table_id, &mutations[0].key) else {
            attempts.lost_route(&table.spec.name).await?;
            continue;
        };
        check_one_shard(&entry, mutations, &attempts)?;
        let node = attempts.next_node(&entry).await?;
        let item = item(core, &entry, table, &ticket, mutations);
        let failure = match attempts.send(node, item, size_bytes).await {
            Ok(Answer::Write(result)) => return Ok(result.into()),
            Ok(_) => Failure::Lost(format!("{node} answered a write with something else")),
            Err(failure) => failure,
        };
        attempts.failed(&entry, node, failure).await?;
    }
}

/// Takes a sequence number; waits while too many writes to the same shard are open.
async fn open_ticket(
    core: &Arc<Core>,
    table: &TableInfo,
    first: &Mutation,
    deadline: Instant,
) -> Result<Ticket, ApiError> {
    loop {
        let freed = core.session.freed();
        let range = core.cache.range_of(table.table_id, &first.key);
        if let Some(ticket) = core.session.begin(table.table_id, &first.key, &range) {
            return Ok(ticket);
        }
        if timeout_at(deadline, freed).await.is_err() {
            let message = "too many unanswered writes of this client to the shard";
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
    }
}

/// A batch is atomic inside one shard; the newest known map decides.
fn check_one_shard(
    entry: &ShardEntry,
    mutations: &[Mutation],
    attempts: &Attempts,
) -> Result<(), ApiError> {
    let Some(other) = mutations.iter().find(|m| !entry.range.contains(&m.key)) else {
        return Ok(());
    };
    let key = isobar_api::table::key_to_text(&other.key);
    if attempts.maybe_applied() {
        let message = format!(
            "the shard was split at or before `{key}` while the batch was under way; \
             it may or may not have been applied"
        );
        return Err(ApiError::new(ErrorCode::DeadlineExceeded, message));
    }
    let message = format!("`{key}` lies outside {} {}", entry.shard_id, entry.range);
    Err(ApiError::new(ErrorCode::CrossShard, message))
}

fn item(
    core: &Core,
    entry: &ShardEntry,
    table: &TableInfo,
    ticket: &Ticket,
    mutations: &[Mutation],
) -> proto::KvItem {
    let op = proto::WriteOp {
        client_id: core.session.client_id(),
        sequence: ticket.sequence,
        first_unacknowledged: ticket.first_unacknowledged(table.table_id, &entry.range),
        mutations: mutations.iter().map(Mutation::to_proto).collect(),
    };
    proto::KvItem {
        shard_id: entry.shard_id.0,
        epoch: Some(entry.epoch.into()),
        op: Some(proto::kv_item::Op::Write(op)),
    }
}
