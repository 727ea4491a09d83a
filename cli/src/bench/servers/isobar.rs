//! Three nodes of ours in one region, with the settings that they have by themselves.

use crate::{
    commands::bench::Kv,
    failure::file_error,
    processes::{ProcessSpec, node_toml},
};
use futures::future::try_join_all;
use isobar_api::{
    ApiError, NodeId, Region,
    table::{TableRule, TableSpec, key_to_text},
};
use isobar_benches::{
    drivers::{Handle, IsobarDriver},
    work::Rows,
};
use isobar_client::{Client, ClientConfig};
use isobar_node::{NodeConfig, config::RaftTiming};
use std::{net::SocketAddr, path::Path, sync::Arc};

const TABLE: &str = "bench";

/// How to start the nodes; `raft` is their timing.
pub(in crate::bench) fn specs(
    folder: &Path,
    addresses: &[SocketAddr],
    raft: &RaftTiming,
) -> Result<Vec<ProcessSpec>, ApiError> {
    let mut specs = Vec::new();
    for (node, address) in (1..).zip(addresses) {
        let config = NodeConfig {
            node_id: NodeId(node),
            listen: *address,
            data_dir: folder.join(format!("node-{node}")),
            region: Region::new("local").expect("a legal name"),
            zone: format!("z{node}"),
            seeds: addresses.iter().map(ToString::to_string).collect(),
            founders: (1..=addresses.len() as u64).map(NodeId).collect(),
            raft: raft.clone(),
            ..NodeConfig::default()
        };
        let file = folder.join(format!("node-{node}.toml"));
        std::fs::write(&file, node_toml(&config)?).map_err(|why| file_error(&file, &why))?;
        let log = folder.join(format!("node-{node}.log"));
        specs.push(ProcessSpec::of_config(&format!("node n{node}"), "node", &file, log, *address));
    }
    Ok(specs)
}

pub(super) async fn create_table(
    addresses: &[SocketAddr],
    args: &Kv,
    rows: &Rows,
) -> Result<(), ApiError> {
    let rule = TableRule { regions: vec![], replicas: 3, replicas_max: 5, ack: args.ack };
    let split_keys = rows.cuts(args.shards).iter().map(|key| key_to_text(key)).collect();
    let spec = TableSpec { name: TABLE.into(), rule, split_keys, placed_like: None };
    client(addresses).await?.create_table(&spec).await.map(|_| ())
}

pub(super) async fn connect(
    addresses: &[SocketAddr],
    args: &Kv,
    count: usize,
) -> Result<Vec<Handle>, ApiError> {
    try_join_all((0..count).map(|_| async {
        let table = client(addresses).await?.table(TABLE).await?;
        Ok(Arc::new(IsobarDriver::new(table, args.read)) as Handle)
    }))
    .await
}

async fn client(addresses: &[SocketAddr]) -> Result<Client, ApiError> {
    Client::connect(ClientConfig::with_seeds(addresses.iter().map(ToString::to_string))).await
}
