//! Whether a cluster without faults comes back whole, and keeps what it acknowledged.

use crate::{
    clients::all_keys,
    faults,
    history::{History, Operation, Outcome, Recorded},
    invariants::Seen,
    node,
    world::World,
};
use isobar_api::{ShardEntry, TableId, Version, table::TableRule};
use isobar_node::observe::{ReplicaObserved, stored_state};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Virtual time after which a cluster without faults must be whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

/// Waits until the cluster is whole; says what is missing if it does not become so.
pub async fn heal(world: &Arc<World>, rules: &BTreeMap<TableId, TableRule>) -> Result<(), String> {
    let until = world.elapsed() + WHOLE_WITHIN;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for node in world.nodes() {
            if world.running(node).is_some_and(|running| running.is_damaged()) {
                node::crash(world, node);
            }
            faults::start_again(world, node).await;
        }
        match whole(&Seen::of(world, rules)) {
            Ok(()) => return Ok(()),
            Err(missing) if world.elapsed() > until => return Err(missing),
            Err(_) => {}
        }
    }
}

/// Every shard is led and not frozen, every member of it holds the same state up to the end of the log, and the shards of each table
/// have every key once.
fn whole(seen: &Seen) -> Result<(), String> {
    let mut led: BTreeMap<_, &ReplicaObserved> = BTreeMap::new();
    let mut known = std::collections::BTreeSet::new();
    for (_, replica) in seen.replicas() {
        known.insert(replica.shard);
        let newer = led.get(&replica.shard).is_none_or(|other| other.vote.0 < replica.vote.0);
        if replica.leads && replica.runs && newer {
            led.insert(replica.shard, replica);
        }
    }
    if let Some(shard) = known.iter().find(|shard| !led.contains_key(shard)) {
        return Err(format!("{shard} has no leader"));
    }
    let mut entries = Vec::new();
    for leader in led.values() {
        let entry = leader.entry.as_ref().ok_or("a leader without state")?;
        if leader.frozen {
            return Err(format!("{} is frozen by a merge that nobody ends", entry.shard_id));
        }
        entries.push(entry);
        for member in &entry.replicas {
            same_state(seen, leader, entry, member.node_id)?;
        }
    }
    tiles(&entries)
}

fn same_state(
    seen: &Seen,
    leader: &ReplicaObserved,
    entry: &ShardEntry,
    on: isobar_api::NodeId,
) -> Result<(), String> {
    let shard = entry.shard_id;
    let found = seen.replicas().find(|(node, r)| node.running.node == on && r.shard == shard);
    let (node, replica) = found.ok_or(format!("{on} does not hold its replica of {shard}"))?;
    if replica.applied != leader.applied || replica.last_index != leader.last_index {
        let (at, end) = (replica.applied, leader.applied);
        return Err(format!("{shard} on {on} has applied {at:?}, its leader {end:?}"));
    }
    let leads = seen.replicas().find(|(_, r)| std::ptr::eq(*r, leader)).map(|(node, _)| node);
    let own = stored_state(&*node.running.state, shard);
    let its = leads.map(|node| stored_state(&*node.running.state, shard));
    match (own, its) {
        (Ok(Some(own)), Some(Ok(Some(its)))) if own == its => Ok(()),
        (own, its) => Err(format!("{shard} on {on} has another state: {own:?}, {its:?}")),
    }
}

/// The shards of each table have every key, and none twice.
fn tiles(entries: &[&ShardEntry]) -> Result<(), String> {
    let mut tables: BTreeMap<TableId, Vec<&ShardEntry>> = BTreeMap::new();
    for entry in entries {
        tables.entry(entry.table_id).or_default().push(entry);
    }
    for (table, mut shards) in tables {
        shards.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        let mut next: Option<&[u8]> = Some(b"");
        for shard in shards {
            if next != Some(shard.range.start.as_slice()) {
                return Err(format!("{table} has a gap or an overlap before {}", shard.shard_id));
            }
            next = Some(shard.range.end.as_slice()).filter(|end| !end.is_empty());
        }
        if next.is_some() {
            return Err(format!("no shard has the last keys of {table}"));
        }
    }
    Ok(())
}

/// Whether the last reads show every acknowledged write, or one that came after it.
pub fn acknowledged_is_durable(history: &History, reader: u64) -> Result<(), String> {
    for key in all_keys() {
        let last = history.operations().iter().rev().find(|operation| {
            operation.client == reader && operation.operation.keys().any(|k| **k == key)
        });
        let Some(Outcome::Row(row)) = last.map(Recorded::outcome) else {
            return Err(format!("{} was not read at the end", key.escape_ascii()));
        };
        let writes = history.operations().iter().filter(|operation| {
            matches!(&operation.operation, Operation::Write(m) if m.iter().any(|m| m.key == key))
        });
        let newest = writes.clone().filter_map(Recorded::applied_version).max();
        let Some(newest) = newest else { continue };
        let shown = row.as_ref().map(|(_, version)| *version);
        // A row that is gone does not say when it went: some delete must be able to explain it.
        let explains = |operation: &&Recorded| {
            let deletes = matches!(
                &operation.operation,
                Operation::Write(m) if m.iter().any(|m| m.key == key && m.value.is_none())
            );
            let later = operation.applied_version().is_none_or(|version| version >= newest);
            deletes && later && *operation.outcome() != Outcome::Failed
        };
        let held = match shown {
            Some(version) => version >= newest,
            None => writes.clone().any(|operation| explains(&operation)),
        };
        if !held {
            let shown = shown.unwrap_or(Version::ABSENT);
            let key = key.escape_ascii();
            return Err(format!("{key}: {newest} was acknowledged, at the end there is {shown}"));
        }
    }
    Ok(())
}
