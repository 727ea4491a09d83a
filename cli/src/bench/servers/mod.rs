//! The servers under load: started as processes on free loopback ports, in fresh folders.

mod etcd;
pub(super) mod isobar;
mod redis;

use crate::{
    commands::bench::{Connections, Kv},
    processes::{self, Process},
};
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::{
    drivers::Handle,
    usage::{process_cpu, process_rss_bytes},
    work::Rows,
};
use isobar_node::config::RaftTiming;
use std::{net::SocketAddr, path::Path, time::Duration};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Isobar's nodes and each of the peers' servers.
const MEMBERS: usize = 3;

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Three nodes.
    Isobar,
    /// Three members.
    Etcd,
    /// One server.
    Redis,
    /// One server with two replicas; a write waits for one of them.
    RedisWait,
}

impl Kind {
    /// Its name in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Isobar => "isobar",
            Self::Etcd => "etcd",
            Self::Redis => "redis",
            Self::RedisWait => "redis-wait",
        }
    }

    /// An error if its program is not installed.
    pub(super) fn check_installed(self) -> Result<(), ApiError> {
        match self {
            Self::Isobar => Ok(()),
            Self::Etcd => processes::find_program(etcd::PROGRAM).map(|_| ()),
            Self::Redis | Self::RedisWait => processes::find_program(redis::PROGRAM).map(|_| ()),
        }
    }
}

/// Servers that belong together. Dropped, they are killed.
pub(super) struct Servers {
    pub(super) kind: Kind,
    processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    /// Starts them; nothing is ready yet.
    pub(super) fn start(kind: Kind, folder: &Path) -> Result<Self, ApiError> {
        let folder = folder.join(kind.name());
        make_folder(&folder)?;
        let members = if kind == Kind::Redis { 1 } else { MEMBERS };
        let ports = if kind == Kind::Etcd { 2 * members } else { members };
        let mut addresses = processes::free_addresses(ports)?;
        let peers = addresses.split_off(members);
        let specs = match kind {
            Kind::Isobar => isobar::specs(&folder, &addresses, &RaftTiming::default())?,
            Kind::Etcd => etcd::specs(&folder, &addresses, &peers)?,
            Kind::Redis | Kind::RedisWait => redis::specs(&folder, &addresses)?,
        };
        let processes = specs.into_iter().map(Process::start).collect::<Result<_, _>>()?;
        Ok(Self { kind, processes, addresses })
    }

    /// Waits until they serve, and loads the rows.
    pub(super) async fn prepare(&mut self, args: &Kv, rows: &Rows) -> Result<(), ApiError> {
        let addresses = &self.addresses;
        match self.kind {
            Kind::Isobar => {
                for node in &mut self.processes {
                    node.wait_ready(READY_WITHIN).await?;
                }
                isobar::create_table(addresses, args, rows).await?;
            }
            Kind::Etcd => {
                let probe = || etcd::ready(addresses);
                self.processes[0].wait_until(READY_WITHIN, probe).await?;
            }
            Kind::Redis | Kind::RedisWait => {
                let probe = || redis::ready(addresses);
                self.processes[0].wait_until(READY_WITHIN, probe).await?;
            }
        }
        let loader = self.connect(Connections::Shared, args).await?;
        isobar_benches::load::preload(&loader[0], rows).await
    }

    /// Handles of the clients: one, or one for each.
    pub(super) async fn connect(
        &self,
        how: Connections,
        args: &Kv,
    ) -> Result<Vec<Handle>, ApiError> {
        let count = if how == Connections::Shared { 1 } else { args.clients };
        match self.kind {
            Kind::Isobar => isobar::connect(&self.addresses, args, count).await,
            Kind::Etcd => etcd::connect(&self.addresses, count).await,
            Kind::Redis => redis::connect(self.addresses[0], how, 0, count).await,
            Kind::RedisWait => redis::connect(self.addresses[0], how, 1, count).await,
        }
    }

    /// An error if one of them has ended.
    pub(super) fn check(&mut self) -> Result<(), ApiError> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// CPU time of all of them until now, and the memory that they have, bytes.
    pub(super) fn usage(&self) -> (Duration, u64) {
        let ids = || self.processes.iter().filter_map(Process::id);
        let cpu = ids().filter_map(|id| process_cpu(id).ok()).sum();
        (cpu, ids().filter_map(|id| process_rss_bytes(id).ok()).sum())
    }

    /// Gives the processes away, to be stopped.
    pub(super) fn into_processes(self) -> Vec<Process> {
        self.processes
    }
}

fn make_folder(folder: &Path) -> Result<(), ApiError> {
    std::fs::create_dir_all(folder).map_err(|why| crate::failure::file_error(folder, &why))
}

/// Words of a command line.
fn words<const N: usize>(words: [&str; N]) -> Vec<std::ffi::OsString> {
    words.iter().map(Into::into).collect()
}

/// What a probe waits for, when it failed.
fn waits_for(error: &ApiError) -> String {
    match error.code {
        ErrorCode::Unreachable => "no answer yet".into(),
        _ => error.to_string(),
    }
}
