//! One node as the client sees it: a connection, its health, and its lanes of batched requests.
//!
//! Batching is natural: a lane with few requests under way sends at once; with more of them, items
//! collect for a moment and leave together. How far away the node is does not matter: beyond the
//! first few requests it is time, not an answer, that lets the next one go.

use crate::{cache::ClusterStamp, config::ClientConfig, failure::Failure};
use isobar_api::{ApiError, ErrorCode, NodeId, limits, proto};
use prost::Message;
use proto::{kv_client::KvClient, kv_result, node_client::NodeClient};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tonic::transport::{Channel, Endpoint};

/// Items that may wait in one lane.
const QUEUE_ITEMS_MAX: usize = 16_384;
/// Requests of one lane that leave at once.
const REQUESTS_AT_ONCE: usize = 8;
/// Requests of one lane under way at most. With one more every [`GATHER`] this is enough for round
/// trips of 100 ms; beyond, items wait for the next answer.
const REQUESTS_MAX: usize = 64;
/// How long a request beyond [`REQUESTS_AT_ONCE`] waits for company: little where answers take
/// longer, and where they are quick, one of them comes first and takes the waiting items along.
const GATHER: Duration = Duration::from_millis(2);
/// Items in one request. Fewer than the protocol allows: one huge request would delay its first item.
const BATCH_ITEMS_MAX: usize = 1_024;
/// Bytes that one request, or its answer as far as foreseen, may have.
const BATCH_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX / 2;
/// How long a node that failed is asked last, milliseconds.
const SUSPECT_MS: u64 = 1_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) type Answer = kv_result::Result;
type AnswerTo = oneshot::Sender<Result<Answer, Failure>>;

/// Reads and writes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Reads,
    Writes,
}

/// One item that waits to be sent.
pub(crate) struct Job {
    pub(crate) item: proto::KvItem,
    pub(crate) size_bytes: usize,
    pub(crate) deadline: Instant,
    /// Sent in a request of its own, because its answer did not fit together with others.
    pub(crate) alone: bool,
}

/// A request under way.
struct Open {
    /// Who waits for which item; `None`: has its answer.
    answers: Vec<Option<AnswerTo>>,
    kind: LaneKind,
    started: Instant,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<(Job, AnswerTo)>,
    running: usize,
    /// Whether one of the running is waiting for company.
    gathering: bool,
    /// Smoothed bytes of one answer, to keep answers below the message limit.
    answer_bytes: usize,
}

/// A node.
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    channel: Channel,
    client_region: String,
    stamp: ClusterStamp,
    reads: Mutex<Lane>,
    writes: Mutex<Lane>,
    born: Instant,
    suspect_until_ms: AtomicU64,
    measured_us: AtomicU64,
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
        Ok(Arc::new(Self {
            node,
            address: address.into(),
            channel: open_channel(address)?,
            client_region: config.region.as_ref().map(|r| r.as_str().into()).unwrap_or_default(),
            stamp,
            reads: Mutex::default(),
            writes: Mutex::default(),
            born: Instant::now(),
            suspect_until_ms: AtomicU64::new(0),
            measured_us: AtomicU64::new(0),
        }))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether it failed a moment ago.
    pub(crate) fn is_suspect(&self) -> bool {
        let now_ms = self.born.elapsed().as_millis() as u64;
        self.suspect_until_ms.load(Relaxed) > now_ms
    }

    pub(crate) fn suspect(&self) {
        let now_ms = self.born.elapsed().as_millis() as u64;
        self.suspect_until_ms.store(now_ms + SUSPECT_MS, Relaxed);
    }

    /// Smoothed round trip of its requests, milliseconds.
    pub(crate) fn measured_ms(&self) -> Option<f64> {
        Some(self.measured_us.load(Relaxed)).filter(|us| *us > 0).map(|us| us as f64 / 1_000.0)
    }

    /// Sends one item with whatever else goes to the node just then, and waits for its answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        kind: LaneKind,
        job: Job,
    ) -> Result<Answer, Failure> {
        let deadline = job.deadline;
        let (answer_to, answer) = oneshot::channel();
        let start = {
            let mut lane = self.lane(kind);
            if lane.queue.len() >= QUEUE_ITEMS_MAX {
                let message = format!("{QUEUE_ITEMS_MAX} requests wait for {} already", self.node);
                return Err(Failure::Answered(ApiError::new(ErrorCode::Overloaded, message)));
            }
            lane.queue.push_back((job, answer_to));
            lane.begin()
        };
        if let Some(pause) = start {
            tokio::spawn(self.clone().run(kind, pause));
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::Lost(format!("the request to {} was dropped", self.node))),
            Err(_) => Err(Failure::Lost(format!("{} did not answer in time", self.node))),
        }
    }

    fn lane(&self, kind: LaneKind) -> MutexGuard<'_, Lane> {
        let lane = match kind {
            LaneKind::Reads => &self.reads,
            LaneKind::Writes => &self.writes,
        };
        lane.lock().expect("no code panics while it holds this lock")
    }

    /// Sends batches, the first after a pause, until the lane is empty.
    async fn run(self: Arc<Self>, kind: LaneKind, pause: Duration) {
        if pause.is_zero() {
            // Tasks that the last answers woke get to queue their next items first: fuller batches.
            tokio::task::yield_now().await;
        } else {
            sleep(pause).await;
            self.lane(kind).gathering = false;
        }
        loop {
            let batch = {
                let mut lane = self.lane(kind);
                let batch = lane.take_batch();
                if batch.is_empty() {
                    lane.running -= 1;
                    return;
                }
                batch
            };
            self.exchange(kind, batch).await;
        }
    }

    async fn exchange(&self, kind: LaneKind, batch: Vec<(Job, AnswerTo)>) {
        let started = Instant::now();
        let deadline = batch.iter().map(|(job, _)| job.deadline).max().unwrap_or(started);
        let (jobs, answers): (Vec<Job>, Vec<AnswerTo>) = batch.into_iter().unzip();
        let left_ms = deadline.saturating_duration_since(started).as_millis() as u64;
        let mut message = tonic::Request::new(proto::KvRequest {
            items: jobs.into_iter().map(|job| job.item).collect(),
            // A fifth is for the way. The node says of each item that is late that it is, and answers
            // the others; silence would only say that something is wrong.
            deadline_ms: (left_ms - left_ms / 5).clamp(1, limits::DEADLINE_MS_MAX),
            client_region: self.client_region.clone(),
        });
        if let Some(cluster_id) = self.stamp.get() {
            message.metadata_mut().insert(proto::CLUSTER_HEADER, cluster_id.clone());
        }
        let mut service = KvClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let mut open = Open { answers: answers.into_iter().map(Some).collect(), kind, started };
        let received = async {
            let mut answers = service.execute(message).await?.into_inner();
            while let Some(message) = answers.message().await? {
                self.deliver(&mut open, message);
            }
            Ok::<(), tonic::Status>(())
        };
        let failure = match tokio::time::timeout_at(deadline, received).await {
            Ok(Ok(())) => Failure::Lost(format!("{} left out an answer", self.node)),
            Ok(Err(status)) => {
                let failure = Failure::from_status(&status, Some(self.node));
                if failure.is_transport() {
                    self.suspect();
                }
                if matches!(failure, Failure::TooLarge) {
                    let items = open.answers.len().max(1);
                    self.lane(kind).answer_bytes = limits::MESSAGE_BYTES_MAX / items;
                }
                failure
            }
            Err(_) => {
                // A caller in more of a hurry than the node ever was has learned nothing about it.
                let waited_ms = started.elapsed().as_secs_f64() * 1_000.0;
                if self.measured_ms().is_none_or(|usual_ms| waited_ms >= 2.0 * usual_ms) {
                    self.suspect();
                }
                Failure::Lost(format!("{} did not answer in time", self.node))
            }
        };
        for answer_to in open.answers.into_iter().flatten() {
            let _ = answer_to.send(Err(failure.clone()));
        }
    }

    /// Hands out the answers of one message.
    fn deliver(&self, open: &mut Open, message: proto::KvResponse) {
        if open.answers.iter().all(Option::is_some) {
            self.succeeded(open.started);
        }
        let each = message.encoded_len() / message.results.len().max(1);
        {
            let mut lane = self.lane(open.kind);
            lane.answer_bytes = (3 * lane.answer_bytes + each) / 4;
        }
        for result in message.results {
            // A second answer, or one to nothing that was asked, is no answer to anybody.
            let asked = open.answers.get_mut(result.item as usize).and_then(Option::take);
            let Some(answer_to) = asked else { continue };
            let answer = match result.result {
                Some(kv_result::Result::Error(error)) => Err(Failure::Answered(error.into())),
                Some(answer) => Ok(answer),
                None => Err(Failure::Lost(format!("{} sent an empty answer", self.node))),
            };
            // A closed receiver is a caller that gave up; there is nobody to tell.
            let _ = answer_to.send(answer);
        }
    }

    /// The first answers have come: how long the last ones take says nothing about the way.
    fn succeeded(&self, started: Instant) {
        self.suspect_until_ms.store(0, Relaxed);
        let us = (started.elapsed().as_micros() as u64).max(1);
        let smoothed = match self.measured_us.load(Relaxed) {
            0 => us,
            old => (7 * old + us) / 8,
        };
        self.measured_us.store(smoothed.max(1), Relaxed);
    }
}

impl Lane {
    /// Counts one more request for what waits, if there may be one; after which pause it leaves.
    fn begin(&mut self) -> Option<Duration> {
        let pause = if self.running < REQUESTS_AT_ONCE {
            Duration::ZERO
        } else if self.running < REQUESTS_MAX && !self.gathering {
            self.gathering = true;
            GATHER
        } else {
            return None;
        };
        self.running += 1;
        Some(pause)
    }

    /// The next request: as many waiting items as fit, without those whose caller has gone.
    fn take_batch(&mut self) -> Vec<(Job, AnswerTo)> {
        let by_answer = BATCH_BYTES_MAX / self.answer_bytes.max(1);
        let items_max = by_answer.clamp(1, BATCH_ITEMS_MAX);
        let mut batch: Vec<(Job, AnswerTo)> = Vec::new();
        let mut bytes = 0;
        while let Some((job, answer_to)) = self.queue.pop_front() {
            if answer_to.is_closed() {
                continue;
            }
            let full = batch.len() >= items_max || bytes + job.size_bytes > BATCH_BYTES_MAX;
            if !batch.is_empty() && (full || job.alone) {
                self.queue.push_front((job, answer_to));
                break;
            }
            let alone = job.alone;
            bytes += job.size_bytes;
            batch.push((job, answer_to));
            if alone {
                break;
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Waiting = oneshot::Receiver<Result<Answer, Failure>>;

    fn push(lane: &mut Lane, size_bytes: usize, alone: bool) -> Waiting {
        let (answer_to, answer) = oneshot::channel();
        let job =
            Job { item: proto::KvItem::default(), size_bytes, deadline: Instant::now(), alone };
        lane.queue.push_back((job, answer_to));
        answer
    }

    #[test]
    fn requests_beyond_the_first_few_leave_one_after_another() {
        let mut lane = Lane::default();
        for _ in 0..REQUESTS_AT_ONCE {
            assert_eq!(lane.begin(), Some(Duration::ZERO));
        }
        assert_eq!((lane.begin(), lane.begin()), (Some(GATHER), None));
        while lane.running < REQUESTS_MAX {
            lane.gathering = false;
            assert_eq!(lane.begin(), Some(GATHER));
        }
        lane.gathering = false;
        assert_eq!(lane.begin(), None);
    }

    #[test]
    fn a_batch_is_bounded_in_items_and_bytes() {
        let mut lane = Lane::default();
        let _waiting: Vec<_> =
            (0..BATCH_ITEMS_MAX + 1).map(|_| push(&mut lane, 10, false)).collect();
        assert_eq!((lane.take_batch().len(), lane.take_batch().len()), (BATCH_ITEMS_MAX, 1));
        let _large: Vec<_> = (0..3).map(|_| push(&mut lane, BATCH_BYTES_MAX / 2, false)).collect();
        assert_eq!((lane.take_batch().len(), lane.take_batch().len()), (2, 1));
        assert!(lane.take_batch().is_empty());
    }

    #[test]
    fn large_answers_and_lonely_items_make_small_batches() {
        let mut lane = Lane::default();
        let _waiting: Vec<_> = (0..5).map(|i| push(&mut lane, 10, i == 2)).collect();
        let sizes: Vec<_> = (0..3).map(|_| lane.take_batch().len()).collect();
        assert_eq!(sizes, [2, 1, 2]);
        lane.answer_bytes = BATCH_BYTES_MAX / 2;
        let _more: Vec<_> = (0..4).map(|_| push(&mut lane, 10, false)).collect();
        assert_eq!(lane.take_batch().len(), 2);
    }

    #[test]
    fn items_whose_caller_has_gone_are_not_sent() {
        let mut lane = Lane::default();
        drop(push(&mut lane, 10, false));
        let _waiting = push(&mut lane, 10, false);
        assert_eq!(lane.take_batch().len(), 1);
    }
}
