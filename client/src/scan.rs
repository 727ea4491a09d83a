//! Scans: shard after shard in key order, page after page.

use crate::{
    attempts::Attempts,
    core::Core,
    failure::Failure,
    lane::{Answer, LaneKind},
    row::{ReadLevel, Row, ScanPage},
};
use isobar_api::{ApiError, ErrorCode, KeyRange, ShardEntry, limits, proto, table::TableInfo};
use std::sync::Arc;
use tokio::time::Instant;

/// Rows of one call; more are had by going on at `resume`.
const CALL_ROWS_MAX: usize = 1_000_000;
/// Bytes of one call, keys and values, after which it ends early.
const CALL_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) async fn scan(
    core: &Arc<Core>,
    table: &TableInfo,
    range: &KeyRange,
    limit: usize,
    level: ReadLevel,
    deadline: Instant,
) -> Result<ScanPage, ApiError> {
    if limit == 0 || limit > CALL_ROWS_MAX {
        let message = format!("the limit must be 1 to {CALL_ROWS_MAX} rows, not {limit}");
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    if !range.end.is_empty() && range.end <= range.start {
        let message = "the scan's end does not lie behind its start";
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    let _permit = core.enter(LaneKind::Reads, deadline).await?;
    let mut page = ScanPage { rows: Vec::new(), resume: Some(range.start.clone()) };
    let mut bytes = 0;
    while let Some(cursor) = page.resume.take() {
        if page.rows.len() >= limit || bytes >= CALL_BYTES_MAX {
            page.resume = Some(cursor);
            break;
        }
        let want = (limit - page.rows.len()).min(limits::SCAN_ROWS_MAX as usize);
        let rest = KeyRange { start: cursor, end: range.end.clone() };
        let (rows, next) = shard_page(core, table, rest, want as u32, level, deadline).await?;
        bytes += rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>();
        page.rows.extend(rows);
        page.resume = next;
    }
    Ok(page)
}

/// The next rows of the shard that owns the start of the range, and where to go on.
async fn shard_page(
    core: &Arc<Core>,
    table: &TableInfo,
    range: KeyRange,
    limit: u32,
    level: ReadLevel,
    deadline: Instant,
) -> Result<(Vec<Row>, Option<Vec<u8>>), ApiError> {
    let mut attempts = Attempts::new(core, level.need(), LaneKind::Reads, deadline);
    loop {
        let Some(entry) = core.cache.find(table.table_id, &range.start) else {
            attempts.lost_route(&table.spec.name).await?;
            continue;
        };
        let node = attempts.next_node(&entry).await?;
        let item = item(&entry, &range, limit, level);
        let failure = match attempts.send(node, item, range.start.len() + 64).await {
            Ok(Answer::Scan(result)) => {
                let next = go_on(&entry, &range, result.resume_key.map(Into::into))?;
                let rows = result.rows.into_iter().filter_map(Row::from_proto).collect();
                return Ok((rows, next));
            }
            Ok(_) => Failure::Lost(format!("{node} answered a scan with something else")),
            Err(failure) => failure,
        };
        attempts.failed(&entry, node, failure).await?;
    }
}

/// Where the scan goes on after an answer of this shard; `None`: it is done.
fn go_on(
    entry: &ShardEntry,
    range: &KeyRange,
    resume: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let next = match resume {
        // Following it would make the scan endless, passing it over would lose rows.
        Some(key) if key <= range.start => {
            let message = format!("{} resumed a scan before where it began", entry.shard_id);
            return Err(ApiError::new(ErrorCode::Internal, message));
        }
        Some(key) => key,
        None => entry.range.end.clone(),
    };
    let done = next.is_empty() || (!range.end.is_empty() && next >= range.end);
    Ok((!done).then_some(next))
}

fn item(entry: &ShardEntry, range: &KeyRange, limit: u32, level: ReadLevel) -> proto::KvItem {
    let inside =
        entry.range.end.is_empty() || (!range.end.is_empty() && range.end < entry.range.end);
    let end = if inside { range.end.clone() } else { entry.range.end.clone() };
    let op = proto::ScanOp {
        start: range.start.clone().into(),
        end: end.into(),
        limit,
        read: Some(level.to_proto()),
    };
    proto::KvItem {
        shard_id: entry.shard_id.0,
        epoch: Some(entry.epoch.into()),
        op: Some(proto::kv_item::Op::Scan(op)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Epoch, ShardId, TableId};

    fn entry(start: &str, end: &str) -> ShardEntry {
        ShardEntry {
            shard_id: ShardId(1),
            table_id: TableId(1),
            range: range(start, end),
            epoch: Epoch::default(),
            replicas: vec![],
            leader: None,
            term: 0,
        }
    }

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange { start: start.into(), end: end.into() }
    }

    #[test]
    fn a_scan_goes_on_in_the_shard_then_in_the_next_and_then_ends() {
        let shard = entry("a", "m");
        let next = |shard: &ShardEntry, range: KeyRange, resume: Option<&str>| {
            go_on(shard, &range, resume.map(Into::into)).expect("a sane answer")
        };
        assert_eq!(next(&shard, range("a", ""), Some("c")), Some("c".into()));
        assert_eq!(next(&shard, range("a", ""), None), Some("m".into()));
        assert_eq!(next(&shard, range("a", "m"), None), None);
        assert_eq!(next(&shard, range("a", "k"), None), None);
        assert_eq!(next(&entry("m", ""), range("p", ""), None), None);
        go_on(&shard, &range("c", ""), Some("c".into())).expect_err("it does not advance");
    }

    #[test]
    fn an_item_never_reaches_beyond_its_shard() {
        let end =
            |scan: &KeyRange, shard: &ShardEntry| match item(shard, scan, 1, ReadLevel::Local).op {
                Some(proto::kv_item::Op::Scan(op)) => op.end,
                _ => panic!("not a scan"),
            };
        assert_eq!(end(&range("a", ""), &entry("a", "m")), "m");
        assert_eq!(end(&range("a", "k"), &entry("a", "m")), "k");
        assert_eq!(end(&range("a", "z"), &entry("a", "m")), "m");
        assert_eq!(end(&range("n", ""), &entry("m", "")), "");
    }
}
