//! The simulated network: every message may be lost, late, overtaken, doubled or, if it is a snapshot, damaged.

use crate::{
    node::Running,
    world::{Place, World},
};
use bytes::Bytes;
use isobar_api::{
    ApiError, ErrorCode, NodeId,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, KvRequest, KvResult, MergeRequest,
        MergeResponse, RaftFrame, ReadIndexRequest, ReadIndexResponse, RetireReplicaRequest,
        RetireReplicaResponse, SnapshotFrame, snapshot_frame::Part,
    },
};
use isobar_node::transport::{FrameKind, Message, Outgoing, PeerNetwork, TransportError};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

/// How the network is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Part of the messages that are lost.
    pub loss: f64,
    /// Part of the requests that arrive twice.
    pub duplication: f64,
    /// Part of the messages that others may overtake.
    pub reordering: f64,
    /// Longest way, milliseconds.
    pub delay_ms_max: u64,
    /// Part of the snapshots that arrive damaged or break off.
    pub damage: f64,
}

impl Weather {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self { loss: 0.0, duplication: 0.0, reordering: 0.0, delay_ms_max: 3, damage: 0.0 }
    }
}

/// When a message arrives; none: never.
fn way(world: &World, (from, to): (Place, Place)) -> Option<Instant> {
    let (weather, cut) = {
        let inner = world.lock();
        (inner.weather, inner.cut.contains(&(from, to)))
    };
    let lost = world.chance(weather.loss);
    let delay = Duration::from_micros(world.number(200..weather.delay_ms_max * 1_000 + 201));
    let overtakes = world.chance(weather.reordering);
    if cut || lost {
        return None;
    }
    let mut arrives = Instant::now() + delay;
    let mut inner = world.lock();
    let last = inner.last_arrival.entry((from, to)).or_insert(arrives);
    if !overtakes {
        arrives = arrives.max(*last);
        *last = arrives;
    }
    Some(arrives)
}

/// Carries a message one way, if it arrives.
pub fn send<Fut: Future<Output = ()> + Send + 'static>(
    world: &Arc<World>,
    from: Place,
    to: NodeId,
    take: impl FnOnce(Arc<Running>) -> Fut + Send + 'static,
) {
    let Some(arrives) = way(world, (from, to.0)) else { return };
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep_until(arrives).await;
        if let Some(running) = world.running(to) {
            take(running).await;
        }
    });
}

/// Carries a request to a node, has it served there and carries the answer back; none: no answer in time.
pub async fn exchange<A, Fut>(
    world: &Arc<World>,
    (from, to): (Place, NodeId),
    timeout: Duration,
    what: String,
    serve: impl Fn(Arc<Running>) -> Fut + Clone + Send + Sync + 'static,
) -> Option<A>
where
    A: Send + 'static,
    Fut: Future<Output = A> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    // Kept to the end: the sender does not learn that its message was lost.
    let tell = Arc::new(Mutex::new(Some(tell)));
    let twice = {
        let duplication = world.lock().weather.duplication;
        world.chance(duplication)
    };
    for _ in 0..1 + usize::from(twice) {
        let Some(arrives) = way(world, (from, to.0)) else { continue };
        let (world, tell, serve, what) = (world.clone(), tell.clone(), serve.clone(), what.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(arrives).await;
            let Some(running) = world.running(to) else { return };
            world.note(format_args!("{from} > {to} {what}"));
            let life = running.life.clone();
            let Some(answer) = life.run_until_cancelled(serve(running)).await else { return };
            let Some(back) = way(&world, (to.0, from)) else { return };
            tokio::time::sleep_until(back).await;
            if let Some(tell) = tell.lock().expect("no holder of this lock panics").take() {
                let _ = tell.send(answer);
            }
        });
    }
    let answer = tokio::time::timeout(timeout, told).await;
    drop(tell);
    answer.ok()?.ok()
}

/// The network as one life of one node sees it.
pub struct SimNetwork {
    /// The world.
    pub world: Arc<World>,
    /// The node.
    pub node: NodeId,
    /// Over when the node crashes: nothing goes out any more.
    pub life: CancellationToken,
}

impl SimNetwork {
    async fn ask<A, Fut>(
        &self,
        to: NodeId,
        timeout: Duration,
        what: String,
        serve: impl Fn(Arc<Running>) -> Fut + Clone + Send + Sync + 'static,
    ) -> Option<A>
    where
        A: Send + 'static,
        Fut: Future<Output = A> + Send + 'static,
    {
        let asking = exchange(&self.world, (self.node.0, to), timeout, what, serve);
        match self.life.run_until_cancelled(asking).await {
            Some(answer) => answer,
            None => {
                tokio::time::sleep(timeout).await;
                None
            }
        }
    }

    /// The same for a request whose answer may be an error; no answer is one.
    async fn request<A, Fut>(
        &self,
        to: NodeId,
        timeout: Duration,
        what: String,
        take: impl FnOnce(Arc<Running>) -> Fut + Clone + Send + Sync + 'static,
    ) -> Result<A, ApiError>
    where
        A: Send + 'static,
        Fut: Future<Output = Result<A, ApiError>> + Send + 'static,
    {
        let serve = move |running: Arc<Running>| (take.clone())(running);
        self.ask(to, timeout, what, serve).await.unwrap_or_else(|| Err(late(to)))
    }
}

fn late(node: NodeId) -> ApiError {
    ApiError::new(ErrorCode::DeadlineExceeded, format!("{node} did not answer in time"))
}

#[async_trait::async_trait]
impl PeerNetwork for SimNetwork {
    async fn call(
        &self,
        node: NodeId,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let frame = RaftFrame {
            id: 0,
            shard_id: message.shard.0,
            from_replica: message.from_replica,
            to_replica: message.to_replica,
            kind: message.kind as u32,
            payload: message.payload.into(),
            from_node: self.node.0,
        };
        let what = format!(
            "{:?} {} r{} > r{} {} bytes",
            message.kind,
            message.shard,
            message.from_replica,
            message.to_replica,
            frame.payload.len()
        );
        let serve = move |running: Arc<Running>| {
            let frame = frame.clone();
            async move { running.peer.answer(frame).await }
        };
        let answer = self.ask(node, timeout, what, serve).await;
        let answer = answer.ok_or(TransportError::Timeout { node })?;
        match FrameKind::from_wire(answer.kind) {
            Some(FrameKind::Answer) => Ok(answer.payload),
            Some(FrameKind::UnknownReplica) => Err(TransportError::UnknownReplica { node }),
            _ => {
                let why = String::from_utf8_lossy(&answer.payload).into_owned();
                Err(TransportError::Failed { node, why })
            }
        }
    }

    async fn send_snapshot(
        &self,
        node: NodeId,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let mut frames = Vec::new();
        let made = outgoing.produce(self.node, &mut |frame| {
            frames.push(frame);
            Ok(())
        });
        made.map_err(|why| TransportError::Failed { node, why })?;
        let torn = tear(&self.world, &mut frames);
        let what = format!("snapshot {} {} frames{torn}", outgoing.shard, frames.len());
        let serve = move |running: Arc<Running>| {
            let frames: Vec<_> = frames.iter().cloned().map(Ok).collect();
            async move { running.peer.take_snapshot(futures::stream::iter(frames)).await }
        };
        // A stream that breaks is noticed; how long the library would wait is not what is tested.
        let timeout = timeout.min(Duration::from_secs(3));
        let reply = self.ask(node, timeout, what, serve).await;
        let reply = reply.ok_or(TransportError::Timeout { node })?;
        if reply.error.is_empty() {
            return Ok(reply.payload.to_vec());
        }
        self.world.note(format_args!("{node} refuses the snapshot: {}", reply.error));
        Err(TransportError::Failed { node, why: reply.error })
    }

    async fn ensure_replica(
        &self,
        node: NodeId,
        request: EnsureReplicaRequest,
        timeout: Duration,
    ) -> Result<EnsureReplicaResponse, ApiError> {
        let what = format!("ensure replica r{}", request.replica_id);
        let take =
            move |running: Arc<Running>| async move { running.peer.hold_replica(request).await };
        self.request(node, timeout, what, take).await
    }

    async fn read_index(
        &self,
        node: NodeId,
        request: ReadIndexRequest,
        timeout: Duration,
    ) -> Result<ReadIndexResponse, ApiError> {
        let what = format!("read index s{}", request.shard_id);
        let take =
            move |running: Arc<Running>| async move { running.peer.confirm_read(request).await };
        self.request(node, timeout, what, take).await
    }

    async fn retire_replica(
        &self,
        node: NodeId,
        request: RetireReplicaRequest,
        timeout: Duration,
    ) -> Result<RetireReplicaResponse, ApiError> {
        let what = format!("retire s{} r{}", request.shard_id, request.replica_id);
        let take =
            move |running: Arc<Running>| async move { running.peer.drop_replica(request).await };
        self.request(node, timeout, what, take).await
    }

    async fn merge(
        &self,
        node: NodeId,
        request: MergeRequest,
        timeout: Duration,
    ) -> Result<MergeResponse, ApiError> {
        let what = format!("merge {}", String::from_utf8_lossy(&request.call_json));
        let take = move |running: Arc<Running>| async move {
            running.peer.take_part_in_merge(request).await
        };
        self.request(node, timeout, what, take).await
    }

    async fn execute(
        &self,
        node: NodeId,
        request: KvRequest,
        timeout: Duration,
    ) -> Result<Vec<KvResult>, ApiError> {
        execute(&self.world, (self.node.0, node), request, timeout, String::from("execute")).await
    }
}

/// Has a node execute a request, as a client does.
pub async fn execute(
    world: &Arc<World>,
    way: (Place, NodeId),
    request: KvRequest,
    timeout: Duration,
    what: String,
) -> Result<Vec<KvResult>, ApiError> {
    let serve = move |running: Arc<Running>| {
        let request = request.clone();
        async move {
            let done = running.parts.kv.execute_all(request).await;
            done.map_err(|status| ApiError::from_status(&status))
        }
    };
    exchange(world, way, timeout, what, serve).await.unwrap_or_else(|| Err(late(way.1)))
}

/// Perhaps damages a snapshot on its way, or lets it break off.
fn tear(world: &World, frames: &mut Vec<SnapshotFrame>) -> &'static str {
    let damage = world.lock().weather.damage;
    if !world.chance(damage) || frames.len() < 3 {
        return "";
    }
    let at = world.number(1..frames.len() as u64 - 1) as usize;
    if world.chance(0.25) {
        frames.truncate(at);
        return " (breaks off)";
    }
    if let Some(Part::Chunk(chunk)) = &mut frames[at].part
        && !chunk.data.is_empty()
    {
        let mut data = chunk.data.to_vec();
        let byte = world.number(0..data.len() as u64) as usize;
        data[byte] ^= 1 << world.number(0..3);
        chunk.data = data.into();
    }
    " (damaged)"
}
