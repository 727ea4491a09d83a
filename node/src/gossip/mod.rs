//! Who is there, how loaded they are, and who leads which shard: spread by gossip, and only ever a hint.
//!
//! Nothing here is needed for correctness. A lost, late or false hint costs a detour; shards decide by consensus.
//!
//! Every node publishes:
//!
//! | key          | value |
//! | ------------ | ----- |
//! | `addr`       | where it serves, `host:port` |
//! | `region`     | its region |
//! | `zone`       | its zone |
//! | `cluster`    | its cluster's id; absent while it is in none |
//! | `load`       | [`NodeLoad`] as JSON |
//! | `s/<number>` | [`ShardEntry`] as JSON, of each shard that it leads |
//!
//! The protocol is chitchat's (scuttlebutt over UDP). What one must know of it:
//!
//! - A message is one datagram of at most 65,507 bytes, after compression; fragments of it are the network's business.
//!   What does not fit comes in the next rounds, oldest change first. A thousand hints are 300 KB of JSON, but travel as
//!   45 KB, one datagram per receiver, because hints resemble each other.
//! - One value that cannot fit would hold up all later ones of its node for ever, and one above 65,535 bytes is a panic:
//!   hints of shards with very long keys are not published (`publish::HINT_KEY_BYTES_MAX`).
//! - Its failure detector multiplies the mean time between news of a node. In a small cluster news arrive more often
//!   than once per round, and one second of a busy machine would count as death. A node is therefore believed dead only
//!   when the detector says so *and* nothing was heard for [`GossipConfig::silence_ms_min`].
//! - Its watch of live nodes copies all state at every change of any load, so we look by ourselves, five times a second.

mod hints;
mod publish;
#[cfg(test)]
mod tests;
mod view;

pub use hints::ShardHints;

use crate::members::Members;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat, transport::UdpTransport,
};
use isobar_api::{ApiError, ErrorCode, NodeId, ShardEntry, report::NodeLoad};
use publish::{Published, Wanted};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use view::View;

/// How often the state of gossip is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Keys changed under one hold of chitchat's lock.
const PUBLISH_PART: usize = 100;
/// Mean times between news after which the failure detector gives up.
const PHI_DEAD: f64 = 8.0;
/// After this a dead node is forgotten by gossip, and a removed hint by everybody.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// How a node gossips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipConfig {
    /// Where it listens, UDP.
    pub listen: SocketAddr,
    /// Some members, `host:port`, to find the others through.
    pub seeds: Vec<String>,
    /// Clusters of different names do not talk.
    pub cluster_name: String,
    /// The cluster that this node is in at its start; empty: none.
    pub cluster_id: String,
    /// Between two rounds.
    pub interval_ms: u64,
    /// No node is believed dead before it was silent for this long.
    pub silence_ms_min: u64,
}

impl GossipConfig {
    /// With the usual timing: a killed node is seen dead after 3 to 4 seconds.
    pub fn new(listen: SocketAddr, seeds: Vec<String>, cluster_name: impl Into<String>) -> Self {
        let cluster_name = cluster_name.into();
        Self {
            listen,
            seeds,
            cluster_name,
            cluster_id: String::new(),
            interval_ms: 300,
            silence_ms_min: 3_000,
        }
    }

    fn validate(&self) -> Result<(), ApiError> {
        for seed in &self.seeds {
            let parts = seed.rsplit_once(':');
            let legal = parts.is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
            if !legal {
                let what = format!("seed `{seed}` is not `host:port`");
                return Err(ApiError::new(ErrorCode::BadConfig, what));
            }
        }
        if self.interval_ms == 0 {
            return Err(ApiError::new(
                ErrorCode::BadConfig,
                "the gossip interval must be at least 1 ms",
            ));
        }
        Ok(())
    }

    fn chitchat(&self, id: ChitchatId) -> ChitchatConfig {
        let interval = Duration::from_millis(self.interval_ms);
        ChitchatConfig {
            chitchat_id: id,
            cluster_id: self.cluster_name.clone(),
            gossip_interval: interval,
            listen_addr: self.listen,
            seed_nodes: self.seeds.clone(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI_DEAD,
                sampling_window_size: 200,
                max_interval: (interval * 10).max(Duration::from_millis(self.silence_ms_min)),
                initial_interval: interval * 5 / 3,
                dead_node_grace_period: FORGET_AFTER,
            },
            marked_for_deletion_grace_period: FORGET_AFTER,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        }
    }
}

/// This node's part in the gossip. Cheap to clone; the last clone stops it.
#[derive(Clone)]
pub struct Gossip {
    inner: Arc<Inner>,
}

struct Inner {
    stop: CancellationToken,
    /// Dropped before the handle, so that its end is no surprise.
    _stop_with_last_clone: DropGuard,
    handle: ChitchatHandle,
    members: Members,
    wanted: watch::Sender<Wanted>,
    cluster_ids: Arc<RwLock<BTreeSet<String>>>,
    strangers: Arc<RwLock<BTreeMap<NodeId, String>>>,
}

impl Gossip {
    /// Binds and begins. `incarnation` must grow from start to start of one node: it tells its present self from
    /// earlier ones. Peers find this node at the address that `members` has of it.
    pub async fn start(
        config: GossipConfig,
        members: Members,
        hints: ShardHints,
        incarnation: u64,
    ) -> Result<Self, ApiError> {
        config.validate()?;
        let own = members.own();
        let advertised = resolve(&own.address, config.listen).await?;
        let id = ChitchatId::new(own.node_id.to_string(), incarnation, advertised);
        let first = [
            ("addr", own.address.clone()),
            ("region", own.region.to_string()),
            ("zone", own.zone.clone()),
        ];
        let first = first.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let handle = spawn_chitchat(config.chitchat(id), first, &UdpTransport).await;
        let handle = handle.map_err(|why| {
            ApiError::new(ErrorCode::BadAddress, format!("gossip on {}: {why:#}", config.listen))
        })?;
        let (wanted, receiver) =
            watch::channel(Wanted { cluster_id: config.cluster_id, ..Wanted::default() });
        let stop = CancellationToken::new();
        let cluster_ids = Arc::<RwLock<BTreeSet<String>>>::default();
        let strangers = Arc::<RwLock<BTreeMap<NodeId, String>>>::default();
        let own_state = receiver.clone();
        tokio::spawn(publish_changes(handle.chitchat(), receiver, stop.clone()));
        let watcher = Watcher {
            view: View::new(Duration::from_millis(config.silence_ms_min)),
            members: members.clone(),
            hints,
            own_state,
            cluster_ids: cluster_ids.clone(),
            strangers: strangers.clone(),
        };
        let ended = handle.termination_watcher();
        tokio::spawn(watcher.run(handle.chitchat(), ended, stop.clone()));
        let _stop_with_last_clone = stop.clone().drop_guard();
        let inner =
            Inner { handle, members, wanted, cluster_ids, strangers, stop, _stop_with_last_clone };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Publishes the cluster that this node is in.
    pub fn set_cluster_id(&self, cluster_id: &str) {
        self.inner.wanted.send_modify(|wanted| wanted.cluster_id = cluster_id.to_owned());
    }

    /// Publishes this node's load; call it about once a second.
    pub fn set_load(&self, load: NodeLoad) {
        self.inner.wanted.send_modify(|wanted| wanted.load = Some(load));
    }

    /// Publishes the shards that this node leads: all of them; what is not named any more is taken back.
    /// Only differences travel.
    pub fn set_led(&self, entries: impl IntoIterator<Item = ShardEntry>) {
        let led = publish::publishable(entries);
        self.inner.wanted.send_if_modified(|wanted| {
            let differs = *wanted.led != led;
            if differs {
                wanted.led = Arc::new(led);
            }
            differs
        });
    }

    /// The cluster ids that any node publishes, dead ones included. More than one: two clusters share a name.
    pub fn cluster_ids(&self) -> BTreeSet<String> {
        self.inner.cluster_ids.read().expect("no holder of this lock panics").clone()
    }

    /// Living nodes that gossip here but are of another cluster than this one, and of which. They are no members.
    pub fn strangers(&self) -> BTreeMap<NodeId, String> {
        self.inner.strangers.read().expect("no holder of this lock panics").clone()
    }

    /// The nodes believed alive, in id order; this one is.
    pub fn alive(&self) -> Vec<NodeId> {
        let own = self.inner.members.own().node_id;
        let all = self.inner.members.all().into_iter();
        all.filter(|member| member.alive || member.node_id == own).map(|m| m.node_id).collect()
    }

    /// Falls silent: the others will see this node as dead. Frees the port before it returns.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        // Both errors mean that it has ended already.
        let _ = self.inner.handle.initiate_shutdown();
        let _ = self.inner.handle.termination_watcher().await;
    }
}

/// Where peers send their datagrams to: the advertised address, of the family that we listen on.
async fn resolve(address: &str, listen: SocketAddr) -> Result<SocketAddr, ApiError> {
    let bad = |why: String| {
        let what = format!("gossip: peers cannot reach `{address}`: {why}");
        ApiError::new(ErrorCode::BadAddress, what)
    };
    let found = tokio::net::lookup_host(address).await.map_err(|why| bad(why.to_string()))?;
    let mut found = found.filter(|found| found.is_ipv4() == listen.is_ipv4());
    let found = found.next().ok_or_else(|| bad(format!("no address of the kind of {listen}")))?;
    if found.ip().is_unspecified() || found.port() == 0 {
        return Err(bad("advertise an address of this machine, with a port".into()));
    }
    Ok(found)
}

async fn publish_changes(
    chitchat: Arc<Mutex<Chitchat>>,
    mut wanted: watch::Receiver<Wanted>,
    stop: CancellationToken,
) {
    let mut published = Published::default();
    loop {
        let now = wanted.borrow_and_update().clone();
        for part in published.catch_up(&now).chunks(PUBLISH_PART) {
            let mut chitchat = chitchat.lock().await;
            let own = chitchat.self_node_state();
            for change in part {
                match change {
                    publish::Change::Set(key, value) => own.set(key, value),
                    publish::Change::Delete(key) => own.delete(key),
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

struct Watcher {
    view: View,
    members: Members,
    hints: ShardHints,
    own_state: watch::Receiver<Wanted>,
    cluster_ids: Arc<RwLock<BTreeSet<String>>>,
    strangers: Arc<RwLock<BTreeMap<NodeId, String>>>,
}

impl Watcher {
    async fn run<E: std::fmt::Display>(
        mut self,
        chitchat: Arc<Mutex<Chitchat>>,
        ended: impl Future<Output = Result<(), E>>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                // At an ordinary stop both have come when this task wakes up.
                biased;
                () = stop.cancelled() => return,
                ended = &mut ended => {
                    let why = ended.err().map_or_else(String::new, |why| format!("{why:#}"));
                    tracing::error!(%why, "gossip ended; every other node now counts as dead");
                    self.members.update(Default::default());
                    return;
                }
                _ = ticks.tick() => {}
            }
            let own_cluster = self.own_state.borrow().cluster_id.clone();
            let chitchat_now = chitchat.lock().await;
            let look = self.view.look(&chitchat_now, Instant::now(), &own_cluster);
            drop(chitchat_now);
            *self.strangers.write().expect("no holder of this lock panics") = look.strangers;
            self.members.update(look.members);
            *self.cluster_ids.write().expect("no holder of this lock panics") = look.cluster_ids;
            for raw in look.hints {
                match raw.parse() {
                    Ok(entry) => drop(self.hints.merge(entry)),
                    Err(why) => {
                        tracing::debug!(from = %raw.from, key = %raw.key, why, "hint ignored")
                    }
                }
            }
        }
    }
}
