//! The requests of one caller as they come, and their results as they are there.
//!
//! ```text
//! requests ─► items worked on side by side (bounded) ─► results, gathered into messages
//! ```
//! Nothing is read from a caller that has too much under way, in items or bytes, and nothing is worked on for one that
//! does not take its results: what a slow or greedy caller costs is bounded, and no other caller waits for it. What the
//! node has no room for is answered here, before anything is done for it.

use super::{KvService, class_of, invalid};
use crate::admission::Caller;
use futures::{Stream, StreamExt, stream::FuturesUnordered};
use isobar_api::{
    ApiError, ErrorCode, Region, limits,
    proto::{KvItem, KvRequest, KvResponse, KvResult, kv_result},
};
use prost::Message;
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::Status;

/// Items worked on at once; beyond, no further request is read.
const ITEMS_AT_ONCE: usize = limits::REQUEST_ITEMS_MAX;
/// A message with so much in it is sent without waiting for more.
const MESSAGE_BYTES: usize = 1 << 20;

/// What the items of one request have in common.
pub(super) struct Work {
    pub(super) region: Option<Region>,
    pub(super) deadline: Duration,
}

impl Work {
    fn of(request: &KvRequest) -> Result<Self, ApiError> {
        if request.items.len() > limits::REQUEST_ITEMS_MAX {
            let message = format!("{} items in one request", request.items.len());
            return Err(ApiError::new(ErrorCode::BatchSize, message));
        }
        let region = match request.client_region.as_str() {
            "" => None,
            name => Some(Region::new(name).map_err(|why| invalid(why.to_string()))?),
        };
        let deadline = match request.deadline_ms {
            0 => Duration::from_secs(10),
            ms => Duration::from_millis(ms.min(limits::DEADLINE_MS_MAX)),
        };
        Ok(Self { region, deadline })
    }
}

/// Results that are there and not sent.
#[derive(Default)]
struct Gathered {
    results: Vec<KvResult>,
    bytes: usize,
    /// One that did not fit into the last message.
    held: Option<KvResult>,
}

impl Gathered {
    /// Takes a result; whether the message must go now.
    fn add(&mut self, result: KvResult) -> bool {
        let bytes = result.encoded_len() + 8;
        if self.bytes + bytes > limits::MESSAGE_BYTES_MAX && !self.results.is_empty() {
            self.held = Some(result);
            return true;
        }
        self.bytes += bytes;
        self.results.push(result);
        self.bytes >= MESSAGE_BYTES || self.results.len() >= limits::REQUEST_ITEMS_MAX
    }

    fn message(&mut self) -> Option<KvResponse> {
        self.bytes = 0;
        let results = std::mem::take(&mut self.results);
        (!results.is_empty()).then_some(KvResponse { results })
    }
}

impl KvService {
    /// Executes the items of all requests side by side. Each message has the results that were there together, so a
    /// shard that stalls holds up nothing else. A malformed request ends the stream.
    pub fn execute<R: Stream<Item = KvRequest> + Send + 'static>(
        &self,
        requests: R,
    ) -> impl Stream<Item = Result<KvResponse, Status>> + Send + use<R> {
        let service = self.clone();
        let mut requests = Box::pin(requests.fuse());
        let mut working = FuturesUnordered::new();
        let mut gathered = Gathered::default();
        let mut refused = None;
        let mut caller = Caller::new(self.admission().clone());
        futures::stream::poll_fn(move |context: &mut Context<'_>| {
            caller.unpark();
            let mut full = gathered.held.take().is_some_and(|held| gathered.add(held));
            // Refusals are results too: who does not take them is not read from either.
            while !full
                && working.len() + gathered.results.len() < ITEMS_AT_ONCE
                && caller.may_ask()
                && refused.is_none()
            {
                let Poll::Ready(Some(request)) = requests.poll_next_unpin(context) else { break };
                let work = match Work::of(&request) {
                    Ok(work) => Arc::new(work),
                    Err(error) => {
                        refused = Some(Status::from(error));
                        break;
                    }
                };
                for (at, item) in (0..).zip(request.items) {
                    let at = request.first_item.wrapping_add(at);
                    let (class, bytes) = class_of(&item);
                    if let Err(error) = caller.admit(class, bytes) {
                        let result = Some(kv_result::Result::Error(error.into()));
                        full |= gathered.add(KvResult { result, item: at });
                        continue;
                    }
                    let result = service.clone().one(item, work.clone(), at);
                    working.push(async move { (class, bytes, result.await) });
                }
            }
            while !full {
                let Poll::Ready(Some((class, bytes, result))) = working.poll_next_unpin(context)
                else {
                    break;
                };
                caller.done(class, bytes);
                full = gathered.add(result);
            }
            if let Some(message) = gathered.message() {
                caller.park();
                return Poll::Ready(Some(Ok(message)));
            }
            match refused.take() {
                Some(status) if working.is_empty() => return Poll::Ready(Some(Err(status))),
                other => refused = other,
            }
            let ended = working.is_empty() && requests.is_done();
            if ended { Poll::Ready(None) } else { Poll::Pending }
        })
    }

    async fn one(self, item: KvItem, work: Arc<Work>, at: u64) -> KvResult {
        let result = self.item(item, &work).await;
        let result = result.unwrap_or_else(|error| kv_result::Result::Error(error.into()));
        KvResult { result: Some(result), item: at }
    }

    /// One request, for callers in this process: all results, in the order of the items.
    pub async fn execute_all(&self, request: KvRequest) -> Result<Vec<KvResult>, Status> {
        let mut answers = pin!(self.execute(futures::stream::iter([request])));
        let mut results = Vec::new();
        while let Some(answer) = answers.next().await {
            results.extend(answer?.results);
        }
        results.sort_unstable_by_key(|result| result.item);
        Ok(results)
    }
}
