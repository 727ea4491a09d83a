//! The stream of requests to one node, and the answers that are still to come on it.
//!
//! Batching is natural: whatever has queued when the connection can take more leaves as one request. Nothing waits for
//! an answer to what was sent before, so how far away the node is does not matter.

use crate::{cache::ClusterStamp, failure::Failure, link::Health};
use futures::{Stream, StreamExt};
use isobar_api::{ApiError, ErrorCode, NodeId, limits, proto};
use proto::{kv_client::KvClient, kv_result};
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};
use tokio::{sync::oneshot, time::Instant};
use tonic::transport::Channel;

/// Items that may wait in one lane, and their bytes.
const QUEUE_ITEMS_MAX: usize = 16_384;
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// When to come again, if more wait, milliseconds.
const QUEUE_RETRY_MS: u64 = 20;
/// Items in one request. Fewer than the protocol allows: one huge request would delay its first item.
const BATCH_ITEMS_MAX: usize = 1_024;
/// Bytes of one request after which nothing more joins it.
const BATCH_BYTES_MAX: usize = 1 << 20;

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
}

/// An item that was sent.
struct Asked {
    answer_to: AnswerTo,
    sent: Instant,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Job, AnswerTo)>,
    queue_bytes: usize,
    asked: HashMap<u64, Asked>,
    /// Number of the next item.
    next_item: u64,
    /// Whether there is a stream, or one is being opened.
    open: bool,
    /// Streams that have ended. What still sends for one of them must leave the queue to the next.
    ended: u64,
    /// No handle of the lane is left.
    closed: bool,
    /// The stream waits for something to send.
    waker: Option<Waker>,
}

/// What the stream and those who send on it share.
pub(crate) struct Shared {
    node: NodeId,
    client_region: String,
    stamp: ClusterStamp,
    channel: Channel,
    health: Arc<Health>,
    state: Mutex<State>,
}

/// A lane. Its stream ends with it.
pub(crate) struct Lane(Arc<Shared>);

impl Lane {
    /// A lane without a stream yet.
    pub(crate) fn new(
        node: NodeId,
        client_region: String,
        stamp: ClusterStamp,
        channel: Channel,
        health: Arc<Health>,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { node, client_region, stamp, channel, health, state }))
    }

    /// Sends one item with whatever else goes to the node just then, and waits for its answer.
    pub(crate) async fn send(&self, job: Job) -> Result<Answer, Failure> {
        let (deadline, began) = (job.deadline, Instant::now());
        let (answer_to, answer) = oneshot::channel();
        let waker = {
            let mut state = self.0.lock();
            if !state.push(job, answer_to) {
                let message = format!("too many requests wait for {} already", self.0.node);
                let error = ApiError::new(ErrorCode::Overloaded, message);
                return Err(Failure::Answered(error.retry_after_ms(QUEUE_RETRY_MS)));
            }
            if !std::mem::replace(&mut state.open, true) {
                tokio::spawn(self.0.clone().run(state.ended));
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::Lost(format!("the request to {} was dropped", self.0.node))),
            Err(_) => {
                self.0.health.waited_in_vain(began);
                Err(Failure::Lost(format!("{} did not answer in time", self.0.node)))
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// One stream, from its opening to its end.
    async fn run(self: Arc<Self>, number: u64) {
        let outgoing = Outgoing { shared: self.clone(), number, yielded: false };
        let mut request = tonic::Request::new(outgoing);
        if let Some(cluster_id) = self.stamp.get() {
            request.metadata_mut().insert(proto::CLUSTER_HEADER, cluster_id.clone());
        }
        let mut service = KvClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let streaming = async {
            let mut answers = service.pipeline(request).await?.into_inner();
            while let Some(answer) = answers.next().await {
                self.deliver(answer?);
            }
            Ok::<(), tonic::Status>(())
        };
        let failure = match streaming.await {
            Ok(()) => Failure::Lost(format!("{} ended the stream", self.node)),
            Err(status) => Failure::from_status(&status, Some(self.node)),
        };
        let (asked, queued) = {
            let mut state = self.lock();
            state.open = false;
            state.ended += 1;
            state.waker = None;
            state.queue_bytes = 0;
            (std::mem::take(&mut state.asked), std::mem::take(&mut state.queue))
        };
        // A stream that ends with nothing under way says nothing about the node: it may just be stopping.
        if failure.is_transport() && !(asked.is_empty() && queued.is_empty()) {
            self.health.suspect();
        }
        for asked in asked.into_values() {
            let _ = asked.answer_to.send(Err(failure.clone()));
        }
        let unsent = match failure {
            Failure::Lost(why) => Failure::NotSent(why),
            other => other,
        };
        for (_, answer_to) in queued {
            let _ = answer_to.send(Err(unsent.clone()));
        }
    }

    /// Hands out the answers of one message.
    fn deliver(&self, message: proto::KvResponse) {
        let asked: Vec<Option<Asked>> = {
            let mut state = self.lock();
            // A second answer, or one to nothing that was asked, is no answer to anybody.
            message.results.iter().map(|result| state.asked.remove(&result.item)).collect()
        };
        // The quickest of them tells most about the way; the others waited for the node's work.
        if let Some(sent) = asked.iter().flatten().map(|asked| asked.sent).max() {
            self.health.answered(sent);
        }
        for (asked, result) in asked.into_iter().zip(message.results) {
            let Some(Asked { answer_to, .. }) = asked else { continue };
            let answer = match result.result {
                Some(kv_result::Result::Error(error)) => Err(Failure::Answered(error.into())),
                Some(answer) => Ok(answer),
                None => Err(Failure::Lost(format!("{} sent an empty answer", self.node))),
            };
            // A closed receiver is a caller that gave up; there is nobody to tell.
            let _ = answer_to.send(answer);
        }
    }
}

impl State {
    /// Adds an item, if it may wait.
    fn push(&mut self, job: Job, answer_to: AnswerTo) -> bool {
        let bytes = self.queue_bytes + job.size_bytes;
        let room = self.queue.len() < QUEUE_ITEMS_MAX
            && (bytes <= QUEUE_BYTES_MAX || self.queue.is_empty());
        if room {
            self.queue_bytes = bytes;
            self.queue.push_back((job, answer_to));
        }
        room
    }

    /// The next request: as many waiting items as fit, without those whose caller has gone.
    fn next_batch(&mut self, now: Instant) -> Option<(Vec<proto::KvItem>, u64, Instant)> {
        let first_item = self.next_item;
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut deadline = now;
        while items.len() < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
            let Some((job, answer_to)) = self.queue.pop_front() else { break };
            self.queue_bytes -= job.size_bytes;
            if answer_to.is_closed() {
                continue;
            }
            bytes += job.size_bytes;
            deadline = deadline.max(job.deadline);
            self.asked.insert(self.next_item, Asked { answer_to, sent: now });
            self.next_item += 1;
            items.push(job.item);
        }
        (!items.is_empty()).then_some((items, first_item, deadline))
    }
}

/// What goes out on the stream.
struct Outgoing {
    shared: Arc<Shared>,
    /// Which of the lane's streams it is.
    number: u64,
    yielded: bool,
}

impl Stream for Outgoing {
    type Item = proto::KvRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<proto::KvRequest>> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if state.closed || state.ended != this.number {
            return Poll::Ready(None);
        }
        if state.queue.is_empty() {
            this.yielded = false;
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        if !std::mem::replace(&mut this.yielded, true) {
            // Tasks that the last answers woke get to queue their next items first: fuller requests.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.yielded = false;
        let now = Instant::now();
        let Some((items, first_item, deadline)) = state.next_batch(now) else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let left_ms = deadline.saturating_duration_since(now).as_millis() as u64;
        Poll::Ready(Some(proto::KvRequest {
            items,
            // A fifth is for the way. The node says of each item that is late that it is; silence would only say that
            // something is wrong.
            deadline_ms: (left_ms - left_ms / 5).clamp(1, limits::DEADLINE_MS_MAX),
            client_region: this.shared.client_region.clone(),
            first_item,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Waiting = oneshot::Receiver<Result<Answer, Failure>>;

    fn push(state: &mut State, size_bytes: usize) -> Waiting {
        let (answer_to, answer) = oneshot::channel();
        let job = Job { item: proto::KvItem::default(), size_bytes, deadline: Instant::now() };
        assert!(state.push(job, answer_to));
        answer
    }

    fn next(state: &mut State) -> Option<(usize, u64)> {
        state.next_batch(Instant::now()).map(|(items, first, _)| (items.len(), first))
    }

    #[test]
    fn a_batch_is_bounded_in_items_and_bytes_and_numbers_go_on() {
        let mut state = State::default();
        let _waiting: Vec<_> = (0..BATCH_ITEMS_MAX + 1).map(|_| push(&mut state, 10)).collect();
        let full = BATCH_ITEMS_MAX as u64;
        assert_eq!(next(&mut state), Some((BATCH_ITEMS_MAX, 0)));
        assert_eq!(next(&mut state), Some((1, full)));
        let _large: Vec<_> = (0..3).map(|_| push(&mut state, BATCH_BYTES_MAX / 2)).collect();
        assert_eq!(next(&mut state), Some((2, full + 1)));
        assert_eq!(next(&mut state), Some((1, full + 3)));
        assert_eq!(next(&mut state), None);
        assert_eq!(state.asked.len() as u64, full + 4);
    }

    #[test]
    fn what_waits_is_bounded_in_items_and_bytes() {
        let mut state = State::default();
        let job = |size_bytes| Job {
            item: proto::KvItem::default(),
            size_bytes,
            deadline: Instant::now(),
        };
        let mut waiting = Vec::new();
        let mut fill = |state: &mut State, bytes| {
            let mut pushed = 0;
            loop {
                let (answer_to, answer) = oneshot::channel();
                if !state.push(job(bytes), answer_to) {
                    return pushed;
                }
                waiting.push(answer);
                pushed += 1;
            }
        };
        assert_eq!(fill(&mut state, 10), QUEUE_ITEMS_MAX);
        while next(&mut state).is_some() {}
        assert_eq!(fill(&mut state, QUEUE_BYTES_MAX / 4), 4);
        while next(&mut state).is_some() {}
        assert_eq!(state.queue_bytes, 0);
    }

    #[test]
    fn items_whose_caller_has_gone_are_not_sent() {
        let mut state = State::default();
        drop(push(&mut state, 10));
        let _waiting = push(&mut state, 10);
        assert_eq!(next(&mut state), Some((1, 0)));
    }

    #[tokio::test]
    async fn a_stream_that_has_ended_takes_nothing_from_the_next() {
        let channel = crate::link::open_channel("127.0.0.1:1").expect("an address");
        let health = Arc::new(Health::new());
        let lane = Lane::new(NodeId(1), String::new(), ClusterStamp::default(), channel, health);
        let shared = lane.0.clone();
        let outgoing = |number| Outgoing { shared: shared.clone(), number, yielded: true };
        let _waiting = push(&mut shared.lock(), 10);
        shared.lock().ended = 1;
        assert_eq!(outgoing(0).next().await, None);
        let request = outgoing(1).next().await.expect("the item is still there");
        assert_eq!((request.items.len(), request.first_item), (1, 0));
    }
}
