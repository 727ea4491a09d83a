//! The cluster of the demo: five node processes and a controller in a folder of their own, on free ports.

use super::{inputs::Inputs, sites::NODES};
use crate::{
    failure::file_error,
    processes::{Process, ProcessSpec, controller_toml, free_addresses, node_toml, stop_all},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region,
    policy::{BalancePolicy, Mode, ObservePolicy, Policy},
};
use isobar_controller::ControllerConfig;
use isobar_node::{
    NodeConfig,
    config::{RaftTiming, StorageLimits},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// How long nodes may take to find each other, found the cluster and elect.
const READY_WITHIN: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(8);

/// One node.
#[derive(Clone, Debug)]
pub(super) struct NodeAt {
    pub(super) id: NodeId,
    pub(super) region: Region,
    pub(super) address: SocketAddr,
}

/// Running processes and their folder.
pub(super) struct Cluster {
    pub(super) nodes: Vec<NodeAt>,
    pub(super) controller: SocketAddr,
    processes: Vec<Process>,
    folder: TempDir,
}

impl Cluster {
    /// Writes the configuration and starts everything; nothing is ready yet.
    pub(super) fn start(inputs: &Inputs) -> Result<Self, ApiError> {
        let folder = tempfile::Builder::new().prefix("isobar-demo-").tempdir();
        let folder = folder.map_err(|why| {
            ApiError::new(ErrorCode::File, format!("no folder for temporary files: {why}"))
        })?;
        let mut addresses = free_addresses(NODES + 1)?;
        let controller = addresses.pop().expect("one more than nodes");
        let nodes: Vec<NodeAt> = (1..)
            .zip(inputs.node_regions.iter().cloned().zip(addresses))
            .map(|(id, (region, address))| NodeAt { id: NodeId(id), region, address })
            .collect();
        let mut cluster = Self { nodes, controller, processes: Vec::new(), folder };
        for node in cluster.nodes.clone() {
            let config = cluster.node_config(inputs, &node);
            let name = format!("node-{}", node.id.0);
            cluster.launch(&name, "node", &node_toml(&config)?, node.address)?;
        }
        let policy = toml::to_string(&policy()).map_err(|why| {
            ApiError::new(ErrorCode::Internal, format!("writing the policy: {why}"))
        })?;
        write(&cluster.path("policy.toml"), &policy)?;
        let config = cluster.controller_config(inputs);
        cluster.launch("controller", "controller", &controller_toml(&config)?, controller)?;
        Ok(cluster)
    }

    /// Waits until every process is ready.
    pub(super) async fn ready(&mut self) -> Result<(), ApiError> {
        let all = self.processes.iter_mut().map(|process| process.wait_ready(READY_WITHIN));
        futures::future::try_join_all(all).await.map(|_| ())
    }

    /// An error if a process has ended.
    pub(super) fn check(&mut self) -> Result<(), ApiError> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Addresses of the nodes.
    pub(super) fn seeds(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.to_string()).collect()
    }

    /// Which region each node is in.
    pub(super) fn homes(&self) -> BTreeMap<NodeId, Region> {
        self.nodes.iter().map(|node| (node.id, node.region.clone())).collect()
    }

    /// Where data, configuration and logs are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops every process; the folder goes too unless it is to be kept.
    pub(super) async fn stop(self, keep: bool) {
        stop_all(self.processes, GRACE).await;
        if keep {
            let _ = self.folder.keep();
        } else if let Err(why) = self.folder.close() {
            tracing::warn!(%why, "the temporary folder could not be removed");
        }
    }

    fn launch(
        &mut self,
        name: &str,
        command: &str,
        toml: &str,
        address: SocketAddr,
    ) -> Result<(), ApiError> {
        let config = self.path(&format!("{name}.toml"));
        write(&config, toml)?;
        let log = self.path(&format!("{name}.log"));
        self.processes
            .push(Process::start(ProcessSpec::of_config(name, command, &config, log, address))?);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node_config(&self, inputs: &Inputs, node: &NodeAt) -> NodeConfig {
        let seeds = self.nodes.iter().filter(|other| other.id != node.id);
        NodeConfig {
            node_id: node.id,
            listen: node.address,
            data_dir: self.path(&format!("node-{}", node.id.0)),
            region: node.region.clone(),
            zone: if node.id.0 > 3 { "b".into() } else { "a".into() },
            cluster_name: "isobar-demo".into(),
            seeds: seeds.map(|other| other.address.to_string()).collect(),
            founders: self.nodes.iter().map(|other| other.id).collect(),
            // Links across the world: a heartbeat may take 100 ms one way.
            raft: RaftTiming {
                heartbeat_ms: 400,
                election_min_ms: 1_500,
                election_max_ms: 2_500,
                ..RaftTiming::default()
            },
            storage: StorageLimits { block_cache_bytes: 16 << 20, write_buffer_bytes: 4 << 20 },
            wan: inputs.rtt.clone(),
            ..NodeConfig::default()
        }
    }

    fn controller_config(&self, inputs: &Inputs) -> ControllerConfig {
        ControllerConfig {
            listen: self.controller,
            data_dir: self.path("controller"),
            connect: self.seeds(),
            mode: Mode::Observe,
            policy: Some(self.path("policy.toml")),
            rtt: inputs.rtt.clone(),
            tick_ms: 500,
            ..ControllerConfig::default()
        }
    }
}

/// The default policy with its times scaled to a day that passes in a minute or two; docs/src/demo.md says why.
pub(super) fn policy() -> Policy {
    Policy {
        observe: ObservePolicy {
            window_s: 2,
            windows_min: 3,
            horizon_windows: 3,
            ..ObservePolicy::default()
        },
        balance: BalancePolicy {
            dwell_s: 4,
            moves_per_shard_hour: 1_000,
            ..BalancePolicy::default()
        },
        ..Policy::default()
    }
}

fn write(path: &Path, text: &str) -> Result<(), ApiError> {
    std::fs::write(path, text).map_err(|why| file_error(path, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scaled_policy_is_legal_and_keeps_what_is_not_time() {
        policy().validate().expect("it can work");
        let (ours, usual) = (policy(), Policy::default());
        assert_eq!(ours.balance.gain_ms_min, usual.balance.gain_ms_min);
        assert_eq!(ours.balance.gain_share_min, usual.balance.gain_share_min);
        assert_eq!(
            (ours.split, ours.repair, ours.budget),
            (usual.split, usual.repair, usual.budget)
        );
        let text = toml::to_string(&policy()).expect("plain data");
        assert_eq!(toml::from_str::<Policy>(&text).expect("own text"), policy());
    }
}
