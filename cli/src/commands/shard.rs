//! `isobar shard`: ranges, replicas, leaders.

use crate::{
    args::Global,
    failure::{Outcome, invalid},
    reach,
    screen::{Screen, table as grid},
    units::{show_bytes, show_number},
};
use clap::Subcommand;
use futures::future::join_all;
use isobar_api::{
    NodeId, Region, ReplicaRole, ShardEntry, ShardId,
    report::{MemberInfo, ReplicaReport},
    table::TableInfo,
};
use isobar_client::Client;
use serde::Serialize;

/// The verbs of `shard`.
#[derive(Debug, Subcommand)]
pub enum Shard {
    /// List the shards
    List {
        /// Only of this table
        #[arg(long)]
        table: Option<String>,
    },
    /// Show one shard, with what each of its replicas says
    Describe {
        /// Shard, such as s12
        shard: ShardId,
    },
}

/// A replica in the words of its node.
#[derive(Debug, Serialize)]
struct ReplicaLine {
    node: NodeId,
    region: Option<Region>,
    role: ReplicaRole,
    /// `None`: the node did not answer, or does not hold it.
    report: Option<ReplicaReport>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Description {
    shard: ShardEntry,
    table: Option<String>,
    replicas: Vec<ReplicaLine>,
}

/// Runs a verb.
pub async fn run(verb: Shard, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let client = reach::cluster(global).await?;
    let tables = client.list_tables().await?;
    match verb {
        Shard::List { table } => {
            let mut shards = client.shard_map().await?;
            if let Some(name) = table {
                let id = client.table(&name).await?.info().table_id;
                shards.retain(|shard| shard.table_id == id);
            }
            shards.sort_by(|a, b| (a.table_id, &a.range).cmp(&(b.table_id, &b.range)));
            screen.show(&shards, |shards| listing(shards, &tables))
        }
        Shard::Describe { shard } => {
            let entry = client.shard_map().await?.into_iter().find(|entry| entry.shard_id == shard);
            let entry = entry.ok_or_else(|| {
                invalid(format!("there is no shard {shard}: see `isobar shard list`"))
            })?;
            let table = name_of(&entry, &tables);
            let replicas = ask_replicas(&client, &entry).await;
            screen.show(&Description { shard: entry, table, replicas }, describe)
        }
    }
}

async fn ask_replicas(client: &Client, entry: &ShardEntry) -> Vec<ReplicaLine> {
    let members: Vec<MemberInfo> = client.cached_members();
    let ask = |replica: &isobar_api::Replica| {
        let (node, role) = (replica.node_id, replica.role);
        let region = members.iter().find(|m| m.node_id == node).map(|m| m.region.clone());
        async move {
            let (report, problem) = match client.node_status(node).await {
                Ok(status) => {
                    let found =
                        status.replicas.into_iter().find(|r| r.shard.shard_id == entry.shard_id);
                    let problem = found.is_none().then(|| "holds no replica".to_owned());
                    (found, problem)
                }
                Err(error) => (None, Some(error.message)),
            };
            ReplicaLine { node, region, role, report, problem }
        }
    };
    join_all(entry.replicas.iter().map(ask)).await
}

fn name_of(entry: &ShardEntry, tables: &[TableInfo]) -> Option<String> {
    let table = tables.iter().find(|table| table.table_id == entry.table_id);
    table.map(|table| table.spec.name.clone())
}

/// One line per shard.
pub(super) fn listing(shards: &[ShardEntry], tables: &[TableInfo]) -> String {
    let rows = shards.iter().map(|entry| {
        [
            entry.shard_id.to_string(),
            name_of(entry, tables).unwrap_or_else(|| entry.table_id.to_string()),
            entry.range.to_string(),
            entry.leader.map_or_else(|| "none".into(), |leader| leader.to_string()),
            replicas(entry),
            entry.epoch.to_string(),
        ]
    });
    grid(["shard", "table", "range", "leader", "replicas", "epoch"], &[], rows)
}

/// Nodes of the replicas; learners in brackets.
fn replicas(entry: &ShardEntry) -> String {
    let show = |replica: &isobar_api::Replica| match replica.role {
        ReplicaRole::Voter => replica.node_id.to_string(),
        ReplicaRole::Learner => format!("({})", replica.node_id),
    };
    entry.replicas.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn describe(description: &Description) -> String {
    let entry = &description.shard;
    let table = description.table.clone().unwrap_or_else(|| entry.table_id.to_string());
    let rows = description.replicas.iter().map(|line| {
        let role = match (line.role, entry.leader == Some(line.node)) {
            (_, true) => "leader",
            (ReplicaRole::Voter, false) => "voter",
            (ReplicaRole::Learner, false) => "learner",
        };
        let report = line.report.as_ref();
        let figure = |f: fn(&ReplicaReport) -> String| report.map_or_else(|| "-".into(), f);
        let fault = report.and_then(|r| r.fault.clone()).or_else(|| line.problem.clone());
        [
            line.node.to_string(),
            line.region.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            role.into(),
            figure(|r| r.applied_index.to_string()),
            figure(|r| show_bytes(r.size_bytes)),
            figure(|r| show_number(r.latency.p99_ms)),
            fault.unwrap_or_else(|| "ok".into()),
        ]
    });
    format!(
        "shard  {} of {table}\nrange  {}\nepoch  {}, term {}\n\n{}",
        entry.shard_id,
        entry.range,
        entry.epoch,
        entry.term,
        grid(["node", "region", "role", "applied", "size", "p99 ms", "state"], &[3, 4, 5], rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Epoch, KeyRange, Replica, ReplicaId, TableId};

    #[test]
    fn a_shard_is_one_line() {
        let replica = |n, role| Replica { replica_id: ReplicaId(n), node_id: NodeId(n), role };
        let entry = ShardEntry {
            shard_id: ShardId(4),
            table_id: TableId(1),
            range: KeyRange { start: "a".into(), end: vec![] },
            epoch: Epoch { shape: 2, membership: 9 },
            replicas: vec![replica(1, ReplicaRole::Voter), replica(2, ReplicaRole::Learner)],
            leader: None,
            term: 3,
        };
        assert_eq!(
            listing(&[entry], &[]),
            "SHARD  TABLE  RANGE   LEADER  REPLICAS  EPOCH\n\
             s4     t1     [a, ∞)  none    n1 (n2)   2.9\n"
        );
    }
}
