//! The cluster of a soak: nodes and a controller that are killed, stopped and started again.

use crate::{
    failure::file_error,
    processes::{Process, ProcessSpec, controller_toml, free_addresses, node_toml, stop_all},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region,
    policy::{BalancePolicy, Mode, ObservePolicy, Policy, RepairPolicy, SplitPolicy},
    rtt::RttMatrix,
};
use isobar_controller::ControllerConfig;
use isobar_node::{NodeConfig, config::StorageLimits};
use nix::sys::signal::Signal;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// How long a process may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// What the controller takes for the way between regions. Nothing is slowed down; it gives it a reason to move leaders.
const FAR_MS: f64 = 80.0;
/// The regions of the nodes, in turn.
const REGIONS: [&str; 3] = ["eu", "us", "asia"];

/// A process and all that is needed to start it again.
struct Place {
    name: String,
    spec: ProcessSpec,
    process: Option<Process>,
}

/// Places of processes: the nodes, and the controller last.
pub(super) struct Cluster {
    places: Vec<Place>,
    folder: TempDir,
}

impl Cluster {
    /// Writes the configuration and starts everything; nothing is ready yet. `split_per_s` are the requests a second
    /// above which a shard is cut.
    pub(super) fn start(nodes: u8, split_per_s: f64) -> Result<Self, ApiError> {
        let folder = tempfile::Builder::new().prefix("isobar-soak-").tempdir();
        let folder = folder.map_err(|why| {
            ApiError::new(ErrorCode::File, format!("no folder for temporary files: {why}"))
        })?;
        let mut addresses = free_addresses(usize::from(nodes) + 1)?;
        let controller = addresses.pop().expect("one more than nodes");
        let mut cluster = Self { places: Vec::new(), folder };
        for at in 0..addresses.len() {
            let toml = node_toml(&cluster.node_config(at, &addresses))?;
            cluster.add(&format!("n{}", at + 1), "node", &toml, addresses[at])?;
        }
        let policy = toml::to_string(&policy(split_per_s)).map_err(|why| {
            ApiError::new(ErrorCode::Internal, format!("writing the policy: {why}"))
        })?;
        cluster.write("policy.toml", &policy)?;
        let config = cluster.controller_config(controller, &addresses);
        cluster.add("controller", "controller", &controller_toml(&config)?, controller)?;
        Ok(cluster)
    }

    /// How many there are; the last one is the controller.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The name of one.
    pub(super) fn name(&self, at: usize) -> &str {
        &self.places[at].name
    }

    /// Where the nodes serve.
    pub(super) fn seeds(&self) -> Vec<String> {
        let nodes = &self.places[..self.places.len() - 1];
        nodes.iter().map(|place| place.spec.address.to_string()).collect()
    }

    /// Where the controller serves.
    pub(super) fn controller(&self) -> String {
        self.places[self.places.len() - 1].spec.address.to_string()
    }

    /// The regions that there are.
    pub(super) fn regions() -> Vec<Region> {
        REGIONS.into_iter().map(|name| Region::new(name).expect("a legal name")).collect()
    }

    /// Names and process ids of what runs.
    pub(super) fn running(&self) -> Vec<(String, u32)> {
        let id = |place: &Place| Some((place.name.clone(), place.process.as_ref()?.id()?));
        self.places.iter().filter_map(id).collect()
    }

    /// Where data, configuration and logs are.
    pub(super) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// An error if a process has ended that was not killed.
    pub(super) fn check(&mut self) -> Result<(), ApiError> {
        self.places.iter_mut().flat_map(|place| &mut place.process).try_for_each(Process::check)
    }

    /// Starts what does not run, and waits until all is ready.
    pub(super) async fn start_all(&mut self) -> Result<(), ApiError> {
        for place in &mut self.places {
            if place.process.is_none() {
                place.process = Some(Process::start(place.spec.clone())?);
            }
        }
        let all = self.places.iter_mut().flat_map(|place| &mut place.process);
        let ready = all.map(|process| process.wait_ready(READY_WITHIN));
        futures::future::try_join_all(ready).await.map(|_| ())
    }

    /// Sends a signal to one.
    pub(super) fn signal(&self, at: usize, signal: Signal) {
        if let Some(process) = &self.places[at].process {
            process.signal(signal);
        }
    }

    /// `kill -9` of some at once; returns when all of them are gone.
    pub(super) async fn kill(&mut self, which: &[usize]) -> Result<(), ApiError> {
        for at in which {
            self.signal(*at, Signal::SIGKILL);
        }
        let deadline = tokio::time::Instant::now() + GONE_WITHIN;
        for at in which {
            let place = &mut self.places[*at];
            while place.process.as_mut().is_some_and(|process| process.ended().is_none()) {
                if tokio::time::Instant::now() >= deadline {
                    let message = format!("{} outlives kill -9", place.name);
                    return Err(ApiError::new(ErrorCode::Internal, message));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            place.process = None;
        }
        Ok(())
    }

    /// Stops every process; the folder goes too unless it is to be kept.
    pub(super) async fn stop(self, keep: bool) {
        // One that was stopped by a fault hears nothing else.
        for at in 0..self.places.len() {
            self.signal(at, Signal::SIGCONT);
        }
        stop_all(self.places.into_iter().filter_map(|place| place.process), GRACE).await;
        if keep {
            let _ = self.folder.keep();
        } else if let Err(why) = self.folder.close() {
            tracing::warn!(%why, "the temporary folder could not be removed");
        }
    }

    fn add(
        &mut self,
        name: &str,
        command: &str,
        toml: &str,
        address: SocketAddr,
    ) -> Result<(), ApiError> {
        let file = format!("{name}.toml");
        // A line for each failed heartbeat says nothing that is not known.
        let telemetry = "\n[telemetry]\nlog_filter = \"info,openraft=error\"\n";
        self.write(&file, &format!("{toml}{telemetry}"))?;
        let log = self.path(&format!("{name}.log"));
        let spec = ProcessSpec::of_config(name, command, &self.path(&file), log, address);
        let process = Some(Process::start(spec.clone())?);
        self.places.push(Place { name: name.into(), spec, process });
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ApiError> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|why| file_error(&path, &why))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node_config(&self, at: usize, addresses: &[SocketAddr]) -> NodeConfig {
        let others = addresses.iter().filter(|address| **address != addresses[at]);
        NodeConfig {
            node_id: NodeId(at as u64 + 1),
            listen: addresses[at],
            data_dir: self.path(&format!("n{}", at + 1)),
            region: Region::new(REGIONS[at % REGIONS.len()]).expect("a legal name"),
            zone: format!("z{at}"),
            cluster_name: "isobar-soak".into(),
            seeds: others.map(ToString::to_string).collect(),
            founders: (1..=addresses.len() as u64).map(NodeId).collect(),
            // Small, so that they are full before the half that is judged.
            storage: StorageLimits { block_cache_bytes: 8 << 20, write_buffer_bytes: 2 << 20 },
            ..NodeConfig::default()
        }
    }

    fn controller_config(&self, listen: SocketAddr, nodes: &[SocketAddr]) -> ControllerConfig {
        let mut rtt = RttMatrix::default();
        for (at, a) in Self::regions().iter().enumerate() {
            for b in &Self::regions()[at..] {
                rtt.set(a, b, if a == b { 1.0 } else { FAR_MS });
            }
        }
        ControllerConfig {
            listen,
            data_dir: self.path("controller"),
            connect: nodes.iter().map(ToString::to_string).collect(),
            mode: Mode::Act,
            policy: Some(self.path("policy.toml")),
            rtt,
            tick_ms: 500,
            lease_ms: 2_000,
            ..ControllerConfig::default()
        }
    }
}

/// Looks every second, moves at the slightest cause, and replaces nobody: who is killed comes back.
fn policy(split_per_s: f64) -> Policy {
    Policy {
        observe: ObservePolicy {
            window_s: 1,
            windows_min: 2,
            stale_after_s: 3,
            horizon_windows: 2,
        },
        balance: BalancePolicy {
            gain_ms_min: 0.5,
            gain_share_min: 0.02,
            dwell_s: 10,
            moves_per_shard_hour: 1_000,
            reads_per_s_min: 0.1,
            ..BalancePolicy::default()
        },
        split: SplitPolicy {
            requests_per_s_max: split_per_s,
            dwell_s: 10,
            ..SplitPolicy::default()
        },
        repair: RepairPolicy { dead_after_s: 600, ..RepairPolicy::default() },
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_legal() {
        policy(100.0).validate().expect("it can work");
    }
}
