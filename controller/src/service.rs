//! The controller as a running service: observe, forecast, plan, check, journal, execute, verify.

mod api;
mod drains;
mod lead;
mod leadership;
mod plans;
mod policy;
#[cfg(test)]
mod tests;

pub use api::ControllerHandle;
pub(crate) use lead::WINDOWS_KEPT;

use crate::{
    clock::now_unix_ms,
    config::ControllerConfig,
    error::Error,
    executor::{Executor, NoProbe, Pauses, Shared},
    forecast::Forecaster,
    grpc,
    journal::Journal,
    metrics::ControllerMetrics,
    nodes::NodeConnections,
    observe::{ClosedWindow, Fold, KnownNode, Observer},
    rest,
    store::{DrainRow, Grant, Store},
    view::ClusterView,
};
use isobar_api::{
    ApiError, ErrorCode, NodeId,
    directive::DirectiveState,
    plan::{DrainStatus, Freeze},
    policy::{Mode, Policy},
};
use isobar_telemetry::http::Readiness;
use plans::PlanMemory;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// What may change while it runs, besides the view.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) mode: Mode,
    pub(crate) policy: Arc<Policy>,
    pub(crate) policy_version: u64,
    pub(crate) policy_toml: String,
    pub(crate) drains: Vec<DrainRow>,
    pub(crate) drain_status: Vec<DrainStatus>,
    pub(crate) champions: Vec<(String, u32)>,
}

/// What the loop, the endpoints and the executor share.
pub(crate) struct Core {
    pub(crate) config: ControllerConfig,
    pub(crate) holder: String,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    pub(crate) executor: Executor,
    pub(crate) view: watch::Sender<Arc<ClusterView>>,
    pub(crate) grant: watch::Sender<Option<Grant>>,
    pub(crate) freezes: watch::Sender<Arc<Vec<Freeze>>>,
    pub(crate) live: Mutex<Live>,
    pub(crate) forecaster: Mutex<Forecaster>,
    pub(crate) memory: Mutex<PlanMemory>,
    pub(crate) states_shown: Mutex<BTreeSet<DirectiveState>>,
    pub(crate) outbid_at: Mutex<Option<Instant>>,
    pub(crate) metrics: ControllerMetrics,
    pub(crate) readiness: Readiness,
}

impl Core {
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leads(&self) -> Option<Grant> {
        *self.grant.borrow()
    }
}

/// The controller, bound to its port and its database. [`Self::run`] makes it work.
pub struct ControllerService {
    core: Arc<Core>,
    listener: TcpListener,
    address: SocketAddr,
}

impl ControllerService {
    /// Checks the configuration, binds the port, opens the database and reads what earlier runs left.
    pub async fn start(config: ControllerConfig) -> Result<Self, ApiError> {
        config.validate()?;
        let bad_address = |why: std::io::Error| {
            ApiError::new(
                ErrorCode::BadAddress,
                format!("cannot listen on {}: {why}", config.listen),
            )
        };
        let listener = TcpListener::bind(config.listen).await.map_err(bad_address)?;
        let address = listener.local_addr().map_err(bad_address)?;
        let store = Store::open(&config).await?;
        let core = Arc::new(Core::new(config, store, address).await?);
        Ok(Self { core, listener, address })
    }

    /// Where it serves; the port is real even if 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A cheap handle: everything an operator can ask of it.
    pub fn handle(&self) -> ControllerHandle {
        ControllerHandle::new(self.core.clone())
    }

    /// Works until `shutdown` is ready; then gives the lease back and stops. What was under way goes
    /// on from the journal at the next start.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let core = self.core;
        let stop = CancellationToken::new();
        let router =
            rest::router(&core).merge(grpc::router(ControllerHandle::new(core.clone())).await);
        let mut parts = JoinSet::new();
        parts.spawn(ends_well(core.observer.clone().run(stop.clone())));
        parts.spawn(ends_well(leadership::keep(core.clone(), stop.clone())));
        parts.spawn(ends_well(run_ticks(core.clone(), stop.clone())));
        parts.spawn(serve(self.listener, router, stop.clone()));
        tracing::info!(address = %self.address, holder = %core.holder, "controller serves");
        // A part that ends by itself has failed, and half a controller would hold the lease for nothing.
        let mut ended = tokio::select! {
            () = shutdown => Ok(()),
            end = parts.join_next() => joined(end),
        };
        stop.cancel();
        core.executor.stop();
        while let Some(end) = parts.join_next().await {
            ended = ended.and(joined(Some(end)));
        }
        leadership::step_down(&core).await;
        core.store.close().await;
        tracing::info!("controller stopped");
        ended
    }
}

async fn ends_well(part: impl Future<Output = ()>) -> Result<(), Error> {
    part.await;
    Ok(())
}

fn joined(end: Option<Result<Result<(), Error>, JoinError>>) -> Result<(), Error> {
    end.map_or(Ok(()), |end| end?)
}

/// Serves until `stop`. Streams that clients keep open must not hold up the end: a short grace, then out.
async fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), Error> {
    let serve =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        end = serve => end.map_err(Error::Serve),
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(2)).await } => Ok(()),
    }
}

impl Core {
    async fn new(
        config: ControllerConfig,
        store: Store,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let journal = Journal::new(store.clone());
        let (policy_version, policy_toml, policy) = policy::load(&store, &config).await?;
        let mode = store.mode().await?.unwrap_or(config.mode);
        let now = now_unix_ms();
        let cluster_id = store.setting("cluster_id").await?.unwrap_or_default();
        let mut fold = Fold::new(cluster_id, now);
        let windows = stored_windows(&store, policy.observe.window_s * 1_000).await?;
        let known = store.setting("nodes").await?;
        fold.restore(known.map(|text| known_nodes(&text)).unwrap_or_default(), &windows);
        let mut forecaster = Forecaster::new(&policy.observe);
        windows.iter().for_each(|window| forecaster.add(window));
        let holder = format!("{address} #{} {:08x}", std::process::id(), rand::random::<u32>());
        let nodes = NodeConnections::default();
        let observer = Observer::new(fold, nodes.clone(), config.connect.clone(), &holder);
        let (view, view_rx) = watch::channel(Arc::new(ClusterView::default()));
        let (grant, grant_rx) = watch::channel(None);
        let (freezes, freezes_rx) = watch::channel(Arc::new(store.freezes().await?));
        let executor = Executor::new(Shared {
            journal: journal.clone(),
            nodes,
            view: view_rx,
            grant: grant_rx,
            freezes: freezes_rx,
            pauses: Pauses::default(),
            probe: Arc::new(NoProbe),
        });
        let live = Live {
            mode,
            policy: Arc::new(policy),
            policy_version,
            policy_toml,
            drains: store.drains().await?,
            drain_status: Vec::new(),
            champions: Vec::new(),
        };
        let internal = |why: isobar_telemetry::metrics::MetricsError| {
            ApiError::new(ErrorCode::Internal, why.to_string())
        };
        Ok(Self {
            memory: Mutex::new(PlanMemory::new(journal.newest_plan().await?)),
            forecaster: Mutex::new(forecaster),
            states_shown: Mutex::default(),
            outbid_at: Mutex::default(),
            metrics: ControllerMetrics::new().map_err(internal)?,
            readiness: Readiness::new(&["database", "cluster"]),
            live: Mutex::new(live),
            config,
            holder,
            store,
            journal,
            observer,
            executor,
            view,
            grant,
            freezes,
        })
    }
}

/// Nodes that earlier runs knew; a text that cannot be read costs their regions until they report.
fn known_nodes(text: &str) -> BTreeMap<NodeId, KnownNode> {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the stored list of nodes cannot be read and is left out");
        BTreeMap::new()
    })
}

/// Arrivals kept from earlier runs; a row that cannot be read costs its window, not the start.
async fn stored_windows(store: &Store, window_ms: u64) -> Result<Vec<ClosedWindow>, Error> {
    let rows = store.windows(window_ms).await?;
    let read = |text: &String| match serde_json::from_str(text) {
        Ok(window) => Some(window),
        Err(error) => {
            tracing::warn!(%error, "a stored window of arrivals cannot be read and is left out");
            None
        }
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// The loop. A tick that fails is logged and counted; the next one starts from fresh facts.
async fn run_ticks(core: Arc<Core>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_millis(core.config.tick_ms));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        // Not cut off in the middle: a tick is short, and its last transaction ends.
        match lead::tick(&core).await {
            Ok(()) => core.readiness.ready("database"),
            Err(Error::Fenced { ours }) => leadership::lost(&core, ours),
            Err(error) => {
                core.metrics.tick_errors.inc();
                core.readiness.not_ready("database", error.to_string());
                tracing::error!(%error, "a tick failed");
            }
        }
    }
}
