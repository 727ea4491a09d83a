//! The stream to one other node: reconnects by itself, fails what waits when it breaks.

use super::{FrameKind, Message, Transport, TransportError, arrive};
use bytes::Bytes;
use isobar_api::{NodeId, limits, proto::RaftFrame};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

/// Frames that may wait for the stream; more are refused at once.
const QUEUE_FRAMES: usize = 8_192;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Result<Bytes, TransportError>;
type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// One stream and the calls that wait for answers on it.
pub(super) struct Link {
    node: NodeId,
    next_id: AtomicU64,
    queue: mpsc::Sender<(Instant, RaftFrame)>,
    pending: Pending,
    connected: Arc<AtomicBool>,
    transport: Transport,
}

impl Link {
    pub(super) fn start(node: NodeId, transport: Transport) -> Arc<Self> {
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES);
        let pending = Pending::default();
        let connected = Arc::new(AtomicBool::new(true));
        let runner = Runner {
            node,
            transport: transport.clone(),
            pending: pending.clone(),
            connected: connected.clone(),
        };
        tokio::spawn(runner.run(frames));
        Arc::new(Self { node, next_id: AtomicU64::new(1), queue, pending, connected, transport })
    }

    pub(super) async fn call(&self, message: Message, timeout: Duration) -> Answer {
        let unreachable =
            |why: &str| TransportError::Unreachable { node: self.node, why: why.into() };
        if !self.connected.load(Ordering::Relaxed) {
            return Err(unreachable("not connected"));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = RaftFrame {
            id,
            shard_id: message.shard.0,
            from_replica: message.from_replica,
            to_replica: message.to_replica,
            kind: message.kind as u32,
            payload: message.payload.into(),
            from_node: self.transport.members().own().node_id.0,
        };
        let (answer, answered) = oneshot::channel();
        self.lock().insert(id, answer);
        let _waiting = Waiting { link: self, id };
        let due = Instant::now() + self.transport.members().one_way_delay_to(self.node);
        if self.queue.try_send((due, frame)).is_err() {
            return Err(unreachable("its queue is full"));
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unreachable("the stream broke")),
            Err(_) => Err(TransportError::Timeout { node: self.node }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.pending.lock().expect("no holder of this lock panics")
    }
}

/// A call under way. It is forgotten when it ends, also where its caller has stopped waiting.
struct Waiting<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.link.lock().remove(&self.id);
    }
}

/// The task behind a link.
struct Runner {
    node: NodeId,
    transport: Transport,
    pending: Pending,
    connected: Arc<AtomicBool>,
}

impl Runner {
    async fn run(self, mut frames: mpsc::Receiver<(Instant, RaftFrame)>) {
        loop {
            let why = match self.stream(&mut frames).await {
                Ok(()) => return,
                Err(why) => why,
            };
            tracing::debug!(node = %self.node, %why, "stream to peer ended");
            self.connected.store(false, Ordering::Relaxed);
            self.fail_pending(&why);
            while frames.try_recv().is_ok() {}
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Runs one stream; `Ok` once the link itself is gone.
    async fn stream(
        &self,
        frames: &mut mpsc::Receiver<(Instant, RaftFrame)>,
    ) -> Result<(), String> {
        let mut client = self.transport.peer(self.node).map_err(|e| e.to_string())?;
        let (out, outgoing) = mpsc::channel(QUEUE_FRAMES);
        let open = client.raft_stream(ReceiverStream::new(outgoing));
        let mut answers = tokio::time::timeout(Duration::from_secs(3), open)
            .await
            .map_err(|_| "no answer to the stream request".to_owned())?
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        self.connected.store(true, Ordering::Relaxed);
        // Two loops side by side: a frame that waits for its emulated way must not hold up answers.
        let send = async {
            while let Some((due, frame)) = frames.recv().await {
                arrive(due).await;
                if out.send(frame).await.is_err() {
                    return Err("the stream closed".to_owned());
                }
            }
            Ok(())
        };
        let receive = async {
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(frame) => self.complete(frame),
                    Err(status) => return Err(status.message().to_owned()),
                }
            }
            Err("the peer closed the stream".to_owned())
        };
        tokio::select! {
            ended = send => ended,
            ended = receive => ended,
        }
    }

    fn complete(&self, frame: RaftFrame) {
        let waiting = self.pending.lock().expect("no holder of this lock panics").remove(&frame.id);
        let Some(waiting) = waiting else { return };
        let node = self.node;
        let answer = match FrameKind::from_wire(frame.kind) {
            Some(FrameKind::Answer) => Ok(frame.payload),
            Some(FrameKind::UnknownReplica) => Err(TransportError::UnknownReplica { node }),
            _ => {
                let why = String::from_utf8_lossy(&frame.payload).chars().take(300).collect();
                Err(TransportError::Failed { node, why })
            }
        };
        let delay = self.transport.members().one_way_delay_to(node);
        if delay.is_zero() {
            let _ = waiting.send(answer);
            return;
        }
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = waiting.send(answer);
        });
    }

    fn fail_pending(&self, why: &str) {
        let pending =
            std::mem::take(&mut *self.pending.lock().expect("no holder of this lock panics"));
        for waiting in pending.into_values() {
            let error = TransportError::Unreachable { node: self.node, why: why.into() };
            let _ = waiting.send(Err(error));
        }
    }
}

const _: () = assert!(limits::SNAPSHOT_CHUNK_BYTES < limits::MESSAGE_BYTES_MAX);
