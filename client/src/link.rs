//! One node as the client sees it: a connection, its health, and its lanes of requests.

use crate::{
    cache::ClusterStamp,
    config::ClientConfig,
    failure::Failure,
    lane::{Answer, Job, Lane, LaneKind},
    throttle::Throttle,
};
use isobar_api::{ApiError, ErrorCode, NodeId, limits, proto};
use proto::node_client::NodeClient;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

/// How long a node that failed is asked last, milliseconds.
const SUSPECT_MS: u64 = 1_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the client has seen of a node.
pub(crate) struct Health {
    born: Instant,
    suspect_until_ms: AtomicU64,
    measured_us: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        let none = || AtomicU64::new(0);
        Self { born: Instant::now(), suspect_until_ms: none(), measured_us: none() }
    }

    /// It failed just now.
    pub(crate) fn suspect(&self) {
        let now_ms = self.born.elapsed().as_millis() as u64;
        self.suspect_until_ms.store(now_ms + SUSPECT_MS, Relaxed);
    }

    fn is_suspect(&self) -> bool {
        let now_ms = self.born.elapsed().as_millis() as u64;
        self.suspect_until_ms.load(Relaxed) > now_ms
    }

    /// It has answered something that was sent then.
    pub(crate) fn answered(&self, sent: Instant) {
        self.suspect_until_ms.store(0, Relaxed);
        let us = (sent.elapsed().as_micros() as u64).max(1);
        let smoothed = match self.measured_us.load(Relaxed) {
            0 => us,
            old => (7 * old + us) / 8,
        };
        self.measured_us.store(smoothed.max(1), Relaxed);
    }

    /// No answer came. A caller in more of a hurry than the node ever was has learned nothing about it.
    pub(crate) fn waited_in_vain(&self, began: Instant) {
        let waited_ms = began.elapsed().as_secs_f64() * 1_000.0;
        if self.measured_ms().is_none_or(|usual_ms| waited_ms >= 2.0 * usual_ms) {
            self.suspect();
        }
    }

    fn measured_ms(&self) -> Option<f64> {
        Some(self.measured_us.load(Relaxed)).filter(|us| *us > 0).map(|us| us as f64 / 1_000.0)
    }
}

/// A node.
pub(crate) struct Link {
    pub(crate) address: String,
    channel: Channel,
    health: Arc<Health>,
    reads: Lane,
    writes: Lane,
    reads_taken: Throttle,
    writes_taken: Throttle,
}

/// A lazily made connection: nothing is sent before the first request.
pub(crate) fn open_channel(address: &str) -> Result<Channel, ApiError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        let message = format!("`{address}` is not an address: {error}");
        ApiError::new(ErrorCode::BadAddress, message)
    })?;
    Ok(endpoint
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(20)))
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(3))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .connect_lazy())
}

/// The node service on a connection, with the message limit set.
pub(crate) fn node_service(channel: Channel) -> NodeClient<Channel> {
    NodeClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}

impl Link {
    pub(crate) fn open(
        node: NodeId,
        address: &str,
        config: &ClientConfig,
        stamp: ClusterStamp,
    ) -> Result<Arc<Self>, ApiError> {
        let channel = open_channel(address)?;
        let health = Arc::new(Health::new());
        let region = config.region.as_ref().map(|r| r.as_str().to_owned()).unwrap_or_default();
        let lane =
            || Lane::new(node, region.clone(), stamp.clone(), channel.clone(), health.clone());
        let (reads, writes) = (lane(), lane());
        let (reads_taken, writes_taken) = (Throttle::default(), Throttle::default());
        let address = address.into();
        Ok(Arc::new(Self { address, channel, health, reads, writes, reads_taken, writes_taken }))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether it failed a moment ago.
    pub(crate) fn is_suspect(&self) -> bool {
        self.health.is_suspect()
    }

    pub(crate) fn suspect(&self) {
        self.health.suspect();
    }

    /// Smoothed round trip of its requests, milliseconds.
    pub(crate) fn measured_ms(&self) -> Option<f64> {
        self.health.measured_ms()
    }

    /// Sends one item with whatever else goes to the node just then, and waits for its answer.
    pub(crate) async fn send(&self, kind: LaneKind, job: Job) -> Result<Answer, Failure> {
        let taken = self.taken(kind);
        taken.sending();
        let answer = match kind {
            LaneKind::Reads => self.reads.send(job).await,
            LaneKind::Writes => self.writes.send(job).await,
        };
        if let Err(Failure::Answered(error)) = &answer
            && error.code == ErrorCode::Overloaded
        {
            taken.refused(error.retry_after_ms);
        }
        answer
    }

    /// How much of what was sent to the node it took.
    pub(crate) fn taken(&self, kind: LaneKind) -> &Throttle {
        match kind {
            LaneKind::Reads => &self.reads_taken,
            LaneKind::Writes => &self.writes_taken,
        }
    }
}
