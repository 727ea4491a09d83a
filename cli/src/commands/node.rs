//! `isobar node`: run one storage node until it is told to stop.

use super::serve::{Given, Serve};
use crate::{
    args::Global,
    config::Flag,
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::{NodeId, Region};
use isobar_node::service::NodeService;
use std::net::SocketAddr;

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
    // A text, as configuration is: a path that is none would be changed without a word.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<String>,
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
    /// Storage engine: rocksdb, redb or memory
    #[arg(long)]
    pub engine: Option<String>,
    /// Options that a controller has too.
    #[command(flatten)]
    pub serve: Serve,
}

impl Node {
    /// The options as configuration.
    fn flags(&self) -> Vec<Flag> {
        let mut given = Given::default();
        given.take("node.node_id", self.node_id.map(|id| id.0));
        given.take("node.listen", self.listen.map(|a| a.to_string()));
        given.take("node.advertise", self.advertise.clone());
        given.take("node.data_dir", self.data_dir.clone());
        given.take("node.region", self.region.clone().map(String::from));
        given.take("node.zone", self.zone.clone());
        given.take("node.cluster_name", self.cluster_name.clone());
        given.take("node.engine", self.engine.clone());
        given.take_list("node.seeds", &self.seeds);
        let founders: Vec<u64> = self.founders.iter().map(|id| id.0).collect();
        given.take("node.founders", (!founders.is_empty()).then_some(founders));
        self.serve.flags(given.0)
    }
}

/// Runs the command: returns when the node has stopped.
pub async fn run(args: Node, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let settings = reach::settings(global, args.flags())?;
    settings.node.validate()?;
    let id = settings.node.node_id;
    let (_traces, stop) = args.serve.begin(&settings, "isobar-node", &id.to_string())?;
    refuse_huge_pages();
    let service = NodeService::start(settings.node.clone()).await?;
    screen.say(&format!("node {id} listens on {}", settings.node.listen));
    service.run(stop).await?;
    Ok(DONE)
}

/// Each group has buffers with room for thousands of commands, nearly all of it never touched. In huge pages, which the
/// allocator asks for, a touched byte takes 2 MiB: ten times the memory of a sleeping shard.
fn refuse_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(why) = nix::sys::prctl::set_thp_disable(true) {
        tracing::warn!(%why, "shards take more memory than they need");
    }
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
