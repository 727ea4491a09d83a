//! Node to node: one stream per pair of nodes carries the consensus messages of every group.
//!
//! ```text
//! group A ─┐                        ┌─► group A
//! group B ─┼─► queue ─► one stream ─┼─► group B      answers come back by frame id
//! group C ─┘   (bounded)            └─► group C
//! ```
//! An emulated WAN delay is applied to every frame, in both directions, without reordering requests.

mod cluster_stamp;
mod link;
mod network;
pub mod server;
mod snapshot;

pub use network::PeerNetwork;
pub use snapshot::Outgoing;

use crate::members::Members;
use bytes::Bytes;
use cluster_stamp::ClusterStamp;
pub(crate) use cluster_stamp::refuse_strangers;
use isobar_api::{ApiError, ErrorCode, NodeId, ShardId, limits, proto};
use link::Link;
use proto::peer_client::PeerClient;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// A client for the calls between nodes. Each call names the cluster.
type Peer = PeerClient<InterceptedService<Channel, ClusterStamp>>;

/// What a frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// Append entries, or a heartbeat.
    Append = 1,
    /// A vote.
    Vote = 2,
    /// A pre-vote.
    PreVote = 3,
    /// A transfer of leadership.
    TransferLeader = 4,
    /// To a node: these replicas may sleep.
    Sleep = 5,
    /// To a node: which life is this?
    Ping = 6,
    /// A sleeping leader shall wake up and say whether it leads.
    Rouse = 7,
    /// Answer: it was done; the payload is the group's answer.
    Answer = 16,
    /// Answer: no such replica here.
    UnknownReplica = 17,
    /// Answer: it failed; the payload is a text.
    Failed = 18,
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_wire(kind: u32) -> Option<Self> {
        [
            Self::Append,
            Self::Vote,
            Self::PreVote,
            Self::TransferLeader,
            Self::Sleep,
            Self::Ping,
            Self::Rouse,
            Self::Answer,
            Self::UnknownReplica,
            Self::Failed,
        ]
        .into_iter()
        .find(|k| *k as u32 == kind)
    }
}

/// Why a message got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The node cannot be reached now.
    #[error("{node} cannot be reached: {why}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("{node} did not answer in time")]
    Timeout {
        /// The node.
        node: NodeId,
    },
    /// The node holds no such replica.
    #[error("{node} holds no such replica")]
    UnknownReplica {
        /// The node.
        node: NodeId,
    },
    /// The group there failed.
    #[error("{node}: {why}")]
    Failed {
        /// The node.
        node: NodeId,
        /// Why.
        why: String,
    },
}

/// A consensus message between two replicas of a shard.
#[derive(Clone, Debug)]
pub struct Message {
    /// The shard.
    pub shard: ShardId,
    /// The sender's replica id.
    pub from_replica: u64,
    /// The receiver's replica id.
    pub to_replica: u64,
    /// What it asks for.
    pub kind: FrameKind,
    /// The encoded request.
    pub payload: Vec<u8>,
}

/// Waits for the end of an emulated way. The runtime's timers know whole milliseconds and round up: even a moment that is
/// now would take until the next one, which is more than everything else on the way of a write together.
async fn arrive(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}

/// Sends to other nodes. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    members: Members,
    links: Arc<Mutex<HashMap<NodeId, Arc<Link>>>>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
    cluster_id: Arc<OnceLock<String>>,
    /// The way that is taken instead of gRPC, if there is one.
    network: Option<Arc<dyn PeerNetwork>>,
}

impl Transport {
    /// A transport without any connection yet.
    pub fn new(members: Members) -> Self {
        Self {
            members,
            links: Arc::default(),
            channels: Arc::default(),
            cluster_id: Arc::default(),
            network: None,
        }
    }

    /// A transport over another network than gRPC.
    pub fn over(members: Members, network: Arc<dyn PeerNetwork>) -> Self {
        Self { network: Some(network), ..Self::new(members) }
    }

    /// Names the cluster in every call from now on.
    pub fn set_cluster_id(&self, cluster_id: &str) {
        // A node never changes its cluster.
        let _ = self.cluster_id.set(cluster_id.to_owned());
    }

    /// The members it knows.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Sends a consensus message and waits for its answer.
    pub async fn call(
        &self,
        node: NodeId,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if let Some(network) = &self.network {
            return network.call(node, message, timeout).await;
        }
        let link = {
            let mut links = self.links.lock().expect("no holder of this lock panics");
            links.entry(node).or_insert_with(|| Link::start(node, self.clone())).clone()
        };
        link.call(message, timeout).await
    }

    /// Waits as long as a message takes to a node, if a distance is emulated.
    async fn travel(&self, node: NodeId) {
        arrive(Instant::now() + self.members.one_way_delay_to(node)).await;
    }

    /// A lazily connected channel to a node.
    fn channel(&self, node: NodeId) -> Result<Channel, ApiError> {
        let member = self.members.get(node).ok_or_else(|| {
            ApiError::new(ErrorCode::Unreachable, format!("{node} is not a known member"))
        })?;
        let mut channels = self.channels.lock().expect("no holder of this lock panics");
        if let Some(channel) = channels.get(&member.address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", member.address))
            .map_err(|why| {
                ApiError::new(ErrorCode::BadAddress, format!("{}: {why}", member.address))
            })?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_lazy();
        channels.insert(member.address, channel.clone());
        Ok(channel)
    }

    /// A client for the unary calls between nodes. The caller applies the emulated delay.
    fn peer(&self, node: NodeId) -> Result<Peer, ApiError> {
        let stamp = ClusterStamp::new(self.cluster_id.get());
        let client = PeerClient::with_interceptor(self.channel(node)?, stamp);
        Ok(client
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
    }
}
