//! Three members of etcd with the settings that they have by themselves, but for addresses and the level of the log.

use super::{make_folder, waits_for, words};
use crate::processes::{ProcessSpec, find_program};
use futures::future::try_join_all;
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::drivers::{EtcdDriver, Handle, etcd_leader};
use std::{net::SocketAddr, path::Path, sync::Arc};

pub(super) const PROGRAM: &str = "etcd";

pub(super) fn specs(
    folder: &Path,
    addresses: &[SocketAddr],
    peers: &[SocketAddr],
) -> Result<Vec<ProcessSpec>, ApiError> {
    let program = find_program(PROGRAM)?;
    let named = |(n, peer): (usize, &SocketAddr)| format!("m{}=http://{peer}", n + 1);
    let cluster = peers.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
    let mut specs = Vec::new();
    for ((n, address), peer) in (1..).zip(addresses).zip(peers) {
        let data = folder.join(format!("member-{n}"));
        make_folder(&data)?;
        let (name, client, peer) =
            (format!("m{n}"), format!("http://{address}"), format!("http://{peer}"));
        let mut args = words([
            "--name",
            &name,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &cluster,
            "--logger",
            "zap",
            "--log-level",
            "error",
            "--data-dir",
        ]);
        args.push(data.into());
        let log = folder.join(format!("member-{n}.log"));
        let name = format!("etcd {name}");
        specs.push(ProcessSpec {
            name,
            program: Some(program.clone()),
            args,
            log,
            address: *address,
        });
    }
    Ok(specs)
}

/// Ready when every member answers and knows who leads.
pub(super) async fn ready(addresses: &[SocketAddr]) -> Result<(), String> {
    match etcd_leader(addresses).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("no leader yet".into()),
        Err(error) => Err(waits_for(&error)),
    }
}

/// Connections to the leader, which is the best place to ask.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    count: usize,
) -> Result<Vec<Handle>, ApiError> {
    let leader = etcd_leader(addresses).await?;
    let leader =
        leader.ok_or_else(|| ApiError::new(ErrorCode::Unavailable, "etcd has no leader"))?;
    try_join_all(
        (0..count).map(|_| async {
            Ok(Arc::new(EtcdDriver::connect(addresses[leader]).await?) as Handle)
        }),
    )
    .await
}
