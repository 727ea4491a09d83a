//! `isobar node`: run one storage node until it is told to stop.

use crate::{
    args::Global,
    config::Flag,
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
};
use clap::Args;
use isobar_api::{ApiError, ErrorCode, NodeId, Region};
use isobar_node::service::NodeService;
use std::{net::SocketAddr, path::PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Options cover the file (--config) and the environment; `isobar config show` prints every key.
#[derive(Args, Debug, Default)]
pub struct Node {
    /// Its id: 1 or more, unique in the cluster, never given to another machine or an emptied disk
    #[arg(long, value_name = "ID")]
    pub node_id: Option<NodeId>,
    /// Where it serves and gossips
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where others reach it, if that is another address
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where its data lies
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Its region
    #[arg(long)]
    pub region: Option<Region>,
    /// Its zone inside the region
    #[arg(long)]
    pub zone: Option<String>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Some other members
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,...")]
    pub seeds: Vec<String>,
    /// Ids of the nodes that found the cluster together
    #[arg(long, value_delimiter = ',', value_name = "ID,...")]
    pub founders: Vec<NodeId>,
    /// Storage engine: rocksdb or memory
    #[arg(long)]
    pub engine: Option<String>,
    /// Any key of the configuration
    #[arg(long = "set", value_parser = Flag::parse, value_name = "KEY=VALUE")]
    pub set: Vec<Flag>,
    /// Stop when stdin ends: the parent holds it open as long as it lives
    #[arg(long)]
    pub exit_with_parent: bool,
}

impl Node {
    /// The flags as configuration.
    pub fn flags(self) -> Vec<Flag> {
        let mut flags = self.set;
        let mut text = |key: &str, value: Option<String>| {
            flags.extend(value.map(|value| Flag::new(key, value)));
        };
        text("node.listen", self.listen.map(|a| a.to_string()));
        text("node.advertise", self.advertise);
        text("node.data_dir", self.data_dir.map(|p| p.display().to_string()));
        text("node.region", self.region.map(String::from));
        text("node.zone", self.zone);
        text("node.cluster_name", self.cluster_name);
        text("node.engine", self.engine);
        flags.extend(self.node_id.map(|id| Flag::new("node.node_id", id.0)));
        if !self.seeds.is_empty() {
            flags.push(Flag::new("node.seeds", reach::list(&self.seeds)));
        }
        if !self.founders.is_empty() {
            let ids: Vec<u64> = self.founders.iter().map(|id| id.0).collect();
            flags.push(Flag::new("node.founders", ids));
        }
        flags
    }
}

/// Runs the command: returns when the node has stopped.
pub async fn run(args: Node, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let exit_with_parent = args.exit_with_parent;
    let settings = reach::settings(global, args.flags())?;
    settings.node.validate()?;
    let id = settings.node.node_id;
    let telemetry = settings.observability("isobar-node", &id.to_string());
    let _traces = isobar_telemetry::observability::init(&telemetry).map_err(ApiError::from)?;
    let stop = stop_on_signal()?;
    if exit_with_parent {
        crate::processes::exit_with_parent(stop.clone());
    }
    let service = NodeService::start(settings.node.clone()).await?;
    screen.say(&format!("node {id} listens on {}", settings.node.listen));
    service.run(stop).await?;
    Ok(DONE)
}

/// Cancelled by SIGINT (Ctrl-C) or SIGTERM.
pub fn stop_on_signal() -> Result<CancellationToken, ApiError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("no signal handler: {error}"))
        })?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        config::{Sources, load},
    };
    use clap::Parser;

    #[test]
    fn flags_become_the_nodes_configuration() {
        let line = "isobar node --node-id n3 --listen 127.0.0.1:7413 --data-dir d --region eu \
                    --seeds 127.0.0.1:7411,127.0.0.1:7412 --founders 1,2,3 --engine memory \
                    --set node.raft.heartbeat_ms=50";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a legal line");
        let Command::Node(node) = cli.command else { panic!("node") };
        let sources = Sources { flags: node.flags(), ..Sources::default() };
        let config = load(&sources).expect("it reads").node;
        assert_eq!(config.node_id, NodeId(3));
        assert_eq!(config.listen.port(), 7_413);
        assert_eq!(config.region.as_str(), "eu");
        assert_eq!(config.seeds.len(), 2);
        assert_eq!(config.founders, [NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(config.engine, isobar_node::config::EngineKind::Memory);
        assert_eq!(config.raft.heartbeat_ms, 50);
        config.validate().expect("it can work");
    }
}
