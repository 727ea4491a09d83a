//! Two tables with equal keys: made, filled, one of them frozen, and read back at the end.

use super::{
    inputs::Inputs,
    ledger::{KeyAt, Ledger, Table, Tally, id_of, value_of},
};
use futures::{StreamExt, TryStreamExt, stream};
use isobar_api::{
    ApiError, ErrorCode, Version,
    table::{AckLevel, TableRule, TableSpec},
};
use isobar_client::{Client, ControllerClient, Mutation, ReadLevel, TableHandle};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// Batches under way at once while filling.
const BATCHES_AT_ONCE: usize = 16;
/// Keys in one read of the final check.
const READ_KEYS: usize = 250;
/// How long the freeze may take to be accepted: a new controller first takes its lease.
const FREEZE_WITHIN: Duration = Duration::from_secs(10);

/// A key: fixed width, so that the order of keys is the order of ranks.
pub(super) fn key_of(rank: u64) -> Vec<u8> {
    format!("k{rank:08}").into_bytes()
}

/// Makes both tables, with a shard for each neighbourhood of readers.
pub(super) async fn create(client: &Client, inputs: &Inputs) -> Result<[TableHandle; 2], ApiError> {
    let text = |rank: u64| String::from_utf8_lossy(&key_of(rank)).into_owned();
    let split_keys: Vec<String> = inputs.cuts().into_iter().map(text).collect();
    let spec = |table: Table| TableSpec {
        name: table.name().into(),
        rule: TableRule {
            regions: Vec::new(),
            replicas: 3,
            replicas_max: 5,
            ack: AckLevel::Majority,
        },
        split_keys: split_keys.clone(),
        // Shard by shard on the same nodes as `control`, so that chance in the hashing favours neither.
        placed_like: (table == Table::Orders).then(|| Table::Control.name().into()),
    };
    for table in Table::BOTH {
        client.create_table(&spec(table)).await?;
    }
    handles(client).await
}

/// Handles in the order of [`Table::BOTH`].
pub(super) async fn handles(client: &Client) -> Result<[TableHandle; 2], ApiError> {
    let [control, orders] = Table::BOTH.map(Table::name);
    Ok([client.table(control).await?, client.table(orders).await?])
}

/// Writes every key once to both tables.
pub(super) async fn fill(
    tables: &[TableHandle; 2],
    inputs: &Inputs,
    ledger: &Ledger,
) -> Result<(), ApiError> {
    let mut ranks: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for rank in 0..inputs.keys {
        ranks.entry(inputs.readers.neighbourhood_of(rank)).or_default().push(rank);
    }
    let most = isobar_api::limits::BATCH_MUTATIONS_MAX;
    let chunks = ranks.values().flat_map(|ranks| ranks.chunks(most));
    let batches =
        chunks.flat_map(|ranks| Table::BOTH.iter().zip(tables).map(move |(t, h)| (*t, h, ranks)));
    let sent = stream::iter(batches)
        .map(|(table, handle, ranks)| fill_shard(table, handle, ranks, ledger));
    sent.buffer_unordered(BATCHES_AT_ONCE).try_collect::<Vec<()>>().await.map(|_| ())
}

async fn fill_shard(
    table: Table,
    handle: &TableHandle,
    ranks: &[u64],
    ledger: &Ledger,
) -> Result<(), ApiError> {
    let ids: Vec<u64> = ranks.iter().map(|rank| ledger.begin((table, *rank))).collect();
    let put = |(rank, id): (&u64, &u64)| Mutation::put(key_of(*rank), value_of(*id));
    let mutations: Vec<Mutation> = ranks.iter().zip(&ids).map(put).collect();
    let version = handle.batch(&mutations).await?.version;
    for (rank, id) in ranks.iter().zip(ids) {
        ledger.acknowledge((table, *rank), id, version);
    }
    Ok(())
}

/// Keeps the controller's hands off one table, for the whole run.
pub(super) async fn freeze(
    controller: &ControllerClient,
    table: Table,
    seconds: u64,
) -> Result<(), ApiError> {
    let scope = format!("table:{}", table.name());
    let deadline = Instant::now() + FREEZE_WITHIN;
    loop {
        let frozen = controller
            .pause(&scope, "shows what hashing alone gives", "isobar demo", seconds)
            .await;
        match frozen {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() < deadline && waits(error.code) => {}
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn waits(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Fenced | ErrorCode::Unreachable | ErrorCode::Unavailable)
}

/// Reads back every key that has an acknowledged write, and counts. The error is of the first read that failed.
pub(super) async fn verify(
    tables: &[TableHandle; 2],
    ledger: &Ledger,
) -> (Tally, Option<ApiError>) {
    let mut rows = BTreeMap::new();
    let mut first_error = None;
    for (table, handle) in Table::BOTH.into_iter().zip(tables) {
        let ranks = ledger.ranks(table);
        let chunks = stream::iter(ranks.chunks(READ_KEYS));
        let read = chunks.map(|ranks| read_back(table, handle, ranks)).buffer_unordered(4);
        for part in read.collect::<Vec<_>>().await {
            match part {
                Ok(part) => rows.extend(part),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
    (ledger.judge(&rows), first_error)
}

type Found = (KeyAt, Option<(Version, u64)>);

async fn read_back(
    table: Table,
    handle: &TableHandle,
    ranks: &[u64],
) -> Result<Vec<Found>, ApiError> {
    let keys: Vec<Vec<u8>> = ranks.iter().map(|rank| key_of(*rank)).collect();
    let rows = handle.multi_get(&keys, ReadLevel::Linearizable).await?;
    let found = |(rank, row): (&u64, Option<isobar_client::Row>)| {
        ((table, *rank), row.map(|row| (row.version, id_of(&row.value))))
    };
    Ok(ranks.iter().zip(rows).map(found).collect())
}
