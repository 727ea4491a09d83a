//! The node as a whole: opens its parts in order, serves on one port, stops in the reverse order.
//!
//! ```text
//! data directory ─► engines ─► shared log ─► members, gossip ─► registry (groups) ─► kv, catalog, directives
//!                                                                                      └─► one port: gRPC + HTTP
//! ```

use crate::{
    api::NodeApi,
    caretaker::Caretaker,
    catalog::{Catalog, ClusterAdmission, Founding, META_SHARD, MetaClient},
    config::{EngineKind, NodeConfig},
    consensus::raft::shared_log::{FlusherConfig, SharedLog},
    directive::{Directives, Terms},
    engine::{
        BlockCache, Engine, EngineError, MemoryEngine, RedbConfig, RedbEngine, RocksConfig,
        RocksEngine, SegmentConfig, SegmentEngine,
    },
    gossip::{Gossip, GossipConfig, ShardHints},
    identity::DataDir,
    kv::{KvService, now_unix_ms},
    members::Members,
    quiesce::Quiesce,
    registry::Registry,
    report::Reporter,
    strangers::met_only_strangers,
    transport::{Transport, refuse_strangers, server::PeerServer},
};
use axum::serve::ListenerExt;
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
use tonic::service::interceptor::InterceptedService;

/// A running node.
pub struct NodeService {
    config: NodeConfig,
    listener: TcpListener,
    parts: Parts,
    readiness: Readiness,
    metrics: Metrics,
    /// The cluster that the data directory was of at the start; empty: none.
    own_cluster: String,
}

/// What the node consists of. Cheap to clone.
#[derive(Clone)]
struct Parts {
    registry: Registry,
    gossip: Gossip,
    hints: ShardHints,
    kv: KvService,
    catalog: Catalog,
    admission: ClusterAdmission,
    directives: Directives,
    reporter: Reporter,
}

impl NodeService {
    /// Opens everything; nothing serves yet.
    pub async fn start(config: NodeConfig) -> Result<Self, ApiError> {
        config.validate()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|why| {
            ApiError::new(ErrorCode::BadAddress, format!("{}: {why}", config.listen))
        })?;
        let started_unix_ms = now_unix_ms();
        let directory = Arc::new(DataDir::open(&config.data_dir, config.node_id, config.engine)?);
        let (log_engine, state_engine) = open_engines(&config, &directory).await?;
        let log =
            SharedLog::open(log_engine, Some(state_engine.clone()), FlusherConfig::default())?;
        let members = Members::new(own_member(&config), config.wan.clone());
        let hints = ShardHints::default();
        let mut gossip_config =
            GossipConfig::new(config.listen, config.seeds.clone(), config.cluster_name.clone());
        gossip_config.cluster_id = directory.cluster_id();
        let gossip =
            Gossip::start(gossip_config, members.clone(), hints.clone(), started_unix_ms).await?;
        let transport = Transport::new(members.clone());
        let registry = Registry::new(
            config.node_id,
            state_engine.clone(),
            log.clone(),
            transport.clone(),
            config.raft.clone(),
            config.data_dir.clone(),
        );
        let own_cluster = directory.cluster_id();
        let admission = ClusterAdmission::new(directory, registry.clone());
        gossip.set_cluster_id(registry.cluster_id());
        registry.open_all().await?;
        let kv = KvService::new(config.node_id, registry.clone(), config.admission());
        let meta = MetaClient::new(kv.clone(), transport, hints.clone());
        let catalog = Catalog::new(meta, registry.clone());
        let terms = Arc::new(Terms::open(state_engine)?);
        let directives =
            Directives::new(registry.clone(), catalog.clone(), terms, config.disk_reserve_bytes);
        let reporter = Reporter::new(
            registry.clone(),
            catalog.clone(),
            kv.clone(),
            directives.clone(),
            gossip.clone(),
            config.data_dir.clone(),
            started_unix_ms,
        );
        let metrics = Metrics::new(&[("node", &config.node_id.to_string())]);
        let readiness = Readiness::new(&["cluster", "meta shard"]);
        let parts = Parts { registry, gossip, hints, kv, catalog, admission, directives, reporter };
        Ok(Self { config, listener, parts, readiness, metrics, own_cluster })
    }

    /// Serves until told to stop.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ApiError> {
        let parts = self.parts.clone();
        let router = self.router()?;
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let founding = Founding {
            node: self.config.node_id,
            founders: self.config.founders.iter().copied().collect(),
            gossip: parts.gossip.clone(),
            admission: parts.admission.clone(),
            catalog: parts.catalog.clone(),
        };
        tasks.spawn(founding.run(stopping.clone()));
        tasks.spawn(parts.catalog.clone().run(stopping.clone()));
        tasks.spawn(parts.reporter.clone().run(stopping.clone()));
        let caretaker = Caretaker {
            registry: parts.registry.clone(),
            tell_led: Box::new({
                let gossip = parts.gossip.clone();
                move |led| gossip.set_led(led)
            }),
            hints: parts.hints.clone(),
        };
        tasks.spawn(caretaker.run(stopping.clone()));
        let raft = &self.config.raft;
        let quiesce = Quiesce::new(
            parts.registry.clone(),
            parts.reporter.started_unix_ms(),
            raft.quiesce_after_ms,
            raft.heartbeat_ms,
        );
        tasks.spawn(quiesce.run(stopping.clone()));
        tasks.spawn(watch_readiness(parts.clone(), self.readiness.clone(), stopping.clone()));
        tasks.spawn(crate::metrics::run(
            self.metrics.clone(),
            parts.kv.clone(),
            parts.registry.clone(),
            parts.reporter.clone(),
            stopping.clone(),
        ));
        tracing::info!(
            node = %self.config.node_id, listen = %self.config.listen,
            region = %self.config.region, "node serves"
        );
        let own_cluster = self.own_cluster.clone();
        let listener = self.listener.tap_io(|stream| {
            // Small answers must not wait for Nagle's algorithm; a socket that refuses still works.
            let _ = stream.set_nodelay(true);
        });
        let asked = shutdown.clone();
        let served = tokio::select! {
            served = async { axum::serve(listener, router).await } => served
                .map_err(|why| ApiError::new(ErrorCode::StorageFailed, format!("serving: {why}"))),
            () = asked.cancelled() => Ok(()),
            error = met_only_strangers(&parts.gossip, &own_cluster, &self.config.data_dir) => Err(error),
        };
        stopping.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the node has failed");
            }
        }
        parts.registry.shutdown().await;
        parts.gossip.shutdown().await;
        tracing::info!("node stopped");
        served
    }

    fn router(&self) -> Result<axum::Router, ApiError> {
        let parts = &self.parts;
        let peer = PeerServer::new(
            parts.registry.clone(),
            parts.registry.transport().members().clone(),
            parts.admission.clone(),
            self.config.disk_reserve_bytes,
        );
        let node = NodeApi {
            config: self.config.clone(),
            catalog: parts.catalog.clone(),
            registry: parts.registry.clone(),
            hints: parts.hints.clone(),
            directives: parts.directives.clone(),
            reporter: parts.reporter.clone(),
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
