//! Redis with an append-only file that is made durable before each answer; the second and third server replicate the
//! first one, and do the same.

use super::{make_folder, waits_for, words};
use crate::{
    commands::bench::Connections,
    processes::{ProcessSpec, find_program},
};
use futures::future::try_join_all;
use isobar_api::ApiError;
use isobar_benches::drivers::{Handle, RedisDriver, RedisOptions, ask_redis};
use std::{net::SocketAddr, path::Path, sync::Arc};

pub(super) const PROGRAM: &str = "redis-server";

pub(super) fn specs(folder: &Path, addresses: &[SocketAddr]) -> Result<Vec<ProcessSpec>, ApiError> {
    let program = find_program(PROGRAM)?;
    let first = addresses[0].port().to_string();
    let mut specs = Vec::new();
    for (n, address) in (1..).zip(addresses) {
        let data = folder.join(format!("server-{n}"));
        make_folder(&data)?;
        let mut args = words([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            // The append-only file is the durable copy; a second one now and then would only cost.
            "--save",
            "",
            // A replica gets its first copy at once, instead of after a wait for others.
            "--repl-diskless-sync-delay",
            "0",
        ]);
        if n > 1 {
            args.extend(words(["--replicaof", "127.0.0.1", &first]));
        }
        args.push("--dir".into());
        args.push(data.into());
        let log = folder.join(format!("server-{n}.log"));
        let name = format!("redis {n}");
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

/// Ready when the first server answers and has all its replicas.
pub(super) async fn ready(addresses: &[SocketAddr]) -> Result<(), String> {
    let info = ask_redis(addresses[0], &["INFO", "replication"]).await;
    let info = info.map_err(|error| waits_for(&error))?;
    let (online, wanted) = (info.matches("state=online").count(), addresses.len() - 1);
    if online >= wanted { Ok(()) } else { Err(format!("{online} of {wanted} replicas so far")) }
}

/// Connections to the first server; a write waits for so many replicas.
pub(super) async fn connect(
    server: SocketAddr,
    how: Connections,
    replicas: u8,
    count: usize,
) -> Result<Vec<Handle>, ApiError> {
    let options = RedisOptions { pipelined: how == Connections::Shared, replicas };
    try_join_all((0..count).map(|_| async move {
        Ok(Arc::new(RedisDriver::connect(server, options).await?) as Handle)
    }))
    .await
}
