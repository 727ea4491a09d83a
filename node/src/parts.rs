//! What every node consists of, whatever carries its messages and keeps its bytes. The service and the simulator build
//! it here, so that what is simulated is what runs.

use crate::{
    catalog::{Catalog, MetaClient},
    config::NodeConfig,
    consensus::raft::shared_log::{FlusherConfig, SharedLog},
    directive::{Directives, Terms},
    engine::Engine,
    gossip::ShardHints,
    kv::KvService,
    registry::Registry,
    transport::Transport,
    wall_clock::WallClock,
};
use isobar_api::ApiError;
use std::sync::Arc;

/// Where a node ends and its surroundings begin.
pub struct Surroundings {
    /// Keeps the log.
    pub log: Arc<dyn Engine>,
    /// Keeps everything else.
    pub state: Arc<dyn Engine>,
    /// The way to other nodes.
    pub transport: Transport,
    /// Who leads what, as far as is heard of.
    pub hints: ShardHints,
    /// The time of day.
    pub clock: WallClock,
}

/// The parts that do a node's work. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// The replicas.
    pub registry: Registry,
    /// Who leads what, as far as is heard of.
    pub hints: ShardHints,
    /// Reads and writes of clients.
    pub kv: KvService,
    /// Tables.
    pub catalog: Catalog,
    /// Orders of the controller.
    pub directives: Directives,
}

impl Parts {
    /// Opens the log and builds the parts over it. No replica is opened yet: [`Registry::open_all`] does that. Fails if
    /// the log or the fence of controller terms cannot be read.
    pub fn build(config: &NodeConfig, around: Surroundings) -> Result<Self, ApiError> {
        let Surroundings { log, state, transport, hints, clock } = around;
        let log = SharedLog::open(log, Some(state.clone()), FlusherConfig::default())?;
        let registry = Registry::new(
            config.node_id,
            state.clone(),
            log,
            transport.clone(),
            config.raft.clone(),
            config.data_dir.clone(),
            clock,
        );
        let kv = KvService::new(config.node_id, registry.clone(), config.admission());
        let meta = MetaClient::new(kv.clone(), transport, hints.clone());
        let catalog = Catalog::new(meta, registry.clone());
        let terms = Arc::new(Terms::open(state)?);
        let reserve = config.disk_reserve_bytes;
        let directives = Directives::new(registry.clone(), catalog.clone(), terms, reserve);
        Ok(Self { registry, hints, kv, catalog, directives })
    }
}
