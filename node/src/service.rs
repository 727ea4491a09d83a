//! The node as a whole: opens its parts in order, serves on one port, stops in the reverse order.
//!
//! ```text
//! data directory ─► engines ─► shared log ─► members, gossip ─► registry (groups) ─► kv, catalog, directives
//!                                                                                      └─► one port: gRPC + HTTP
//! ```

use crate::{
    api::NodeApi,
    caretaker::Caretaker,
    catalog::{ClusterAdmission, Founding, META_SHARD},
    config::{EngineKind, NodeConfig},
    engine::{
        BlockCache, Engine, EngineError, MemoryEngine, RedbConfig, RedbEngine, RocksConfig,
        RocksEngine, SegmentConfig, SegmentEngine,
    },
    gossip::{Gossip, GossipConfig, ShardHints},
    identity::DataDir,
    members::Members,
    parts::{Parts, Surroundings},
    quiesce::Quiesce,
    report::Reporter,
    strangers::met_only_strangers,
    transport::{Transport, refuse_strangers, server::PeerServer},
    wall_clock::WallClock,
};
use isobar_api::{
    ApiError, ErrorCode, limits,
    proto::{
        FILE_DESCRIPTOR_SET, kv_server::KvServer, node_server::NodeServer,
        peer_server::PeerServer as PeerRpc,
    },
    report::{MemberInfo, NodeLoad},
};
use isobar_telemetry::{
    Metrics,
    http::{Readiness, ops_router},
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{service::interceptor::InterceptedService, transport::server::TcpIncoming};

/// HTTP/2's own limit of 16 KiB would cut the writes that wait together into several packets.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// What one stream may send before it hears that it was read.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// A running node.
pub struct NodeService {
    config: NodeConfig,
    listener: TcpListener,
    connected: Connected,
    readiness: Readiness,
    metrics: Metrics,
    /// The cluster that the data directory was of at the start; empty: none.
    own_cluster: String,
}

/// The parts of a node and what connects them to a real world. Cheap to clone.
#[derive(Clone)]
struct Connected {
    parts: Parts,
    gossip: Gossip,
    admission: ClusterAdmission,
    reporter: Reporter,
}

impl NodeService {
    /// Opens everything; nothing serves yet.
    pub async fn start(config: NodeConfig) -> Result<Self, ApiError> {
        config.validate()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|why| {
            ApiError::new(ErrorCode::BadAddress, format!("{}: {why}", config.listen))
        })?;
        let clock = WallClock::of_the_machine();
        let started_unix_ms = clock.now_unix_ms();
        let directory = Arc::new(DataDir::open(&config.data_dir, config.node_id, config.engine)?);
        let (log, state) = open_engines(&config, &directory).await?;
        let members = Members::new(own_member(&config), config.wan.clone());
        let hints = ShardHints::default();
        let mut gossip_config =
            GossipConfig::new(config.listen, config.seeds.clone(), config.cluster_name.clone());
        gossip_config.cluster_id = directory.cluster_id();
        let gossip =
            Gossip::start(gossip_config, members.clone(), hints.clone(), started_unix_ms).await?;
        let around = Surroundings { log, state, transport: Transport::new(members), hints, clock };
        let parts = Parts::build(&config, around)?;
        let registry = &parts.registry;
        let own_cluster = directory.cluster_id();
        let admission = ClusterAdmission::new(directory, registry.clone());
        gossip.set_cluster_id(registry.cluster_id());
        registry.open_all().await?;
        let reporter = Reporter::new(
            registry.clone(),
            parts.catalog.clone(),
            parts.kv.clone(),
            parts.directives.clone(),
            gossip.clone(),
            config.data_dir.clone(),
            started_unix_ms,
        );
        let metrics = Metrics::new(&[("node", &config.node_id.to_string())]);
        let readiness = Readiness::new(&["cluster", "meta shard"]);
        let connected = Connected { parts, gossip, admission, reporter };
        Ok(Self { config, listener, connected, readiness, metrics, own_cluster })
    }

    /// Serves until told to stop.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ApiError> {
        let Connected { parts, gossip, admission, reporter } = self.connected.clone();
        let router = self.router()?;
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let founding = Founding {
            node: self.config.node_id,
            founders: self.config.founders.iter().copied().collect(),
            gossip: gossip.clone(),
            admission,
            catalog: parts.catalog.clone(),
        };
        tasks.spawn(founding.run(stopping.clone()));
        tasks.spawn(parts.catalog.clone().run(stopping.clone()));
        tasks.spawn(reporter.clone().run(stopping.clone()));
        let caretaker = Caretaker {
            registry: parts.registry.clone(),
            tell_led: Box::new({
                let gossip = gossip.clone();
                move |led| gossip.set_led(led)
            }),
            hints: parts.hints.clone(),
        };
        tasks.spawn(caretaker.run(stopping.clone()));
        let raft = &self.config.raft;
        let quiesce = Quiesce::new(
            parts.registry.clone(),
            reporter.started_unix_ms(),
            raft.quiesce_after_ms,
            raft.heartbeat_ms,
        );
        tasks.spawn(quiesce.run(stopping.clone()));
        tasks.spawn(watch_readiness(parts.clone(), self.readiness.clone(), stopping.clone()));
        tasks.spawn(crate::metrics::run(
            self.metrics.clone(),
            parts.kv.clone(),
            parts.registry.clone(),
            reporter.clone(),
            stopping.clone(),
        ));
        tracing::info!(
            node = %self.config.node_id, listen = %self.config.listen,
            region = %self.config.region, "node serves"
        );
        let own_cluster = self.own_cluster.clone();
        let asked = shutdown.clone();
        let served = tokio::select! {
            served = serve(self.listener, router) => served,
            () = asked.cancelled() => Ok(()),
            error = met_only_strangers(&gossip, &own_cluster, &self.config.data_dir) => Err(error),
        };
        stopping.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the node has failed");
            }
        }
        parts.registry.shutdown().await;
        gossip.shutdown().await;
        tracing::info!("node stopped");
        served
    }

    fn router(&self) -> Result<axum::Router, ApiError> {
        let Connected { parts, admission, reporter, .. } = &self.connected;
        let peer = PeerServer::new(
            parts.registry.clone(),
            parts.registry.transport().members().clone(),
            admission.clone(),
            self.config.disk_reserve_bytes,
        );
        let node = NodeApi {
            config: self.config.clone(),
            catalog: parts.catalog.clone(),
            registry: parts.registry.clone(),
            hints: parts.hints.clone(),
            directives: parts.directives.clone(),
            reporter: reporter.clone(),
            kv: parts.kv.clone(),
        };
        let max = limits::MESSAGE_BYTES_MAX;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|why| ApiError::new(ErrorCode::Internal, format!("reflection: {why}")))?;
        let (_, health) = tonic_health::server::health_reporter();
        let mut routes = tonic::service::Routes::builder();
        routes
            .add_service(InterceptedService::new(
                KvServer::new(node.clone())
                    .max_decoding_message_size(max)
                    .max_encoding_message_size(max),
                refuse_strangers(parts.registry.clone()),
            ))
            .add_service(
                NodeServer::new(node).max_decoding_message_size(max).max_encoding_message_size(max),
            )
            .add_service(InterceptedService::new(
                PeerRpc::new(peer).max_decoding_message_size(max).max_encoding_message_size(max),
                refuse_strangers(parts.registry.clone()),
            ))
            .add_service(health)
            .add_service(reflection);
        let readiness = self.readiness.clone();
        let ops = ops_router(self.metrics.clone(), move || readiness.waiting());
        Ok(ops.merge(routes.routes().into_axum_router()))
    }
}

/// Answers on one port, until it cannot any more.
async fn serve(listener: TcpListener, router: axum::Router) -> Result<(), ApiError> {
    // Small answers must not wait for Nagle's algorithm.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(2 * STREAM_WINDOW_BYTES)
        .add_routes(router.into())
        .serve_with_incoming(incoming);
    served.await.map_err(|why| ApiError::new(ErrorCode::StorageFailed, format!("serving: {why}")))
}

fn own_member(config: &NodeConfig) -> MemberInfo {
    MemberInfo {
        node_id: config.node_id,
        address: config.advertised(),
        region: config.region.clone(),
        zone: config.zone.clone(),
        alive: true,
        load: NodeLoad::default(),
    }
}

type Engines = (Arc<dyn Engine>, Arc<dyn Engine>);

/// The engine of the log, which only ever appends, and the engine of the state, which sorts.
async fn open_engines(config: &NodeConfig, directory: &DataDir) -> Result<Engines, ApiError> {
    let (kind, limits) = (config.engine, config.storage.clone());
    let (log_dir, state_dir) = (directory.log_dir(), directory.state_dir());
    let opened = tokio::task::spawn_blocking(move || {
        let cache = BlockCache::new(limits.block_cache_bytes);
        let rocks = RocksConfig { write_buffer_bytes: limits.write_buffer_bytes };
        let redb = RedbConfig::within(limits.block_cache_bytes, limits.write_buffer_bytes);
        let state: Arc<dyn Engine> = match kind {
            EngineKind::Rocksdb => Arc::new(RocksEngine::open(&state_dir, &rocks, &cache)?),
            EngineKind::Redb => Arc::new(RedbEngine::open(&state_dir, &redb)?),
            EngineKind::Memory => {
                return Ok((
                    Arc::new(MemoryEngine::new()) as Arc<dyn Engine>,
                    Arc::new(MemoryEngine::new()) as Arc<dyn Engine>,
                ));
            }
        };
        let log: Arc<dyn Engine> =
            Arc::new(SegmentEngine::open(&log_dir, SegmentConfig::default())?);
        Ok::<_, EngineError>((log, state))
    });
    let opened = opened.await.map_err(|why| ApiError::new(ErrorCode::Internal, why.to_string()))?;
    Ok(opened?)
}

/// Ready means: in a cluster, and the meta shard has a leader that this node knows.
async fn watch_readiness(parts: Parts, readiness: Readiness, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if parts.registry.cluster_id().is_empty() {
            readiness.not_ready("cluster", "not in a cluster yet");
        } else {
            readiness.ready("cluster");
        }
        match parts.hints.get(META_SHARD).and_then(|entry| entry.leader) {
            Some(_) => readiness.ready("meta shard"),
            None => readiness.not_ready("meta shard", "no leader is known"),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}
