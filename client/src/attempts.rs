//! One operation's tries: where next, whether to wait, when to give up.

use crate::{
    backoff,
    core::Core,
    failure::Failure,
    lane::{Answer, Job, LaneKind},
    route::{self, Need},
};
use isobar_api::{ApiError, ErrorCode, NodeId, ShardEntry, proto};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Times that news about the route may lead straight to another try before there is a pause.
const HOPS_MAX: u32 = 4;

pub(crate) struct Attempts {
    core: Arc<Core>,
    deadline: Instant,
    need: Need,
    kind: LaneKind,
    /// Nodes that failed in this round.
    avoid: BTreeSet<NodeId>,
    rounds: u32,
    hops: u32,
    sent: u32,
    last: Option<ApiError>,
    retry_after_ms: u64,
    /// A write: some attempt may have been applied.
    maybe_applied: bool,
}

impl Attempts {
    pub(crate) fn new(core: &Arc<Core>, need: Need, kind: LaneKind, deadline: Instant) -> Self {
        Self {
            core: core.clone(),
            deadline,
            need,
            kind,
            avoid: BTreeSet::new(),
            rounds: 0,
            hops: 0,
            sent: 0,
            last: None,
            retry_after_ms: 0,
            maybe_applied: false,
        }
    }

    pub(crate) fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// The next node for the shard. When every one has failed: pauses, and starts over.
    pub(crate) async fn next_node(&mut self, entry: &ShardEntry) -> Result<NodeId, ApiError> {
        loop {
            let way = |node| self.core.way(node);
            if let Some(node) = route::choose(entry, self.need, &self.avoid, way) {
                return Ok(node);
            }
            if self.avoid.is_empty() {
                let message = format!("no replica of {} is known", entry.shard_id);
                self.last = Some(ApiError::new(ErrorCode::Unavailable, message));
                return Err(self.give_up());
            }
            self.pause().await?;
        }
    }

    /// Sends one item and learns from what comes back.
    pub(crate) async fn send(
        &mut self,
        node: NodeId,
        item: proto::KvItem,
        size_bytes: usize,
    ) -> Result<Answer, Failure> {
        let now = Instant::now();
        let patience = Duration::from_millis(self.core.config.attempt_timeout_ms);
        let deadline = self.deadline.min(now + patience);
        let job = Job { item, size_bytes, deadline };
        self.sent += 1;
        self.core.exchange(node, self.kind, job).await
    }

    /// After a failure: returns when it is time to try again, or the error to give up with.
    pub(crate) async fn failed(
        &mut self,
        entry: &ShardEntry,
        node: NodeId,
        failure: Failure,
    ) -> Result<(), ApiError> {
        let unknown_before = self.maybe_applied;
        self.maybe_applied |= self.kind == LaneKind::Writes && failure.may_have_been_applied();
        let retryable = failure.is_retryable();
        let transport = failure.is_transport();
        let shards = match &failure {
            Failure::Answered(error) => error.shards.clone(),
            _ => Vec::new(),
        };
        let news = self.core.cache.merge(&shards);
        tracing::debug!(shard = %entry.shard_id, %node, ?failure, news, "attempt failed");
        let error = failure.clone().into_error();
        if !retryable {
            if !unknown_before {
                return Err(error);
            }
            // Refused now; an earlier attempt may have been applied all the same.
            self.last = Some(error);
            return Err(self.give_up());
        }
        let code = match failure {
            Failure::Answered(error) => Some(error.code),
            _ => None,
        };
        self.retry_after_ms = self.retry_after_ms.max(error.retry_after_ms);
        self.last = Some(error);
        let routing = matches!(
            code,
            Some(
                ErrorCode::StaleEpoch
                    | ErrorCode::NotLeader
                    | ErrorCode::ShardNotHere
                    | ErrorCode::Refused
            )
        );
        if transport || (routing && !news) {
            self.core.refresh_soon();
        }
        if routing && news && self.hops < HOPS_MAX {
            self.hops += 1;
            self.avoid.clear();
            if code != Some(ErrorCode::StaleEpoch) {
                self.avoid.insert(node);
            }
            return Ok(());
        }
        self.avoid.insert(node);
        if code == Some(ErrorCode::Overloaded) {
            return self.refused_for_overload().await;
        }
        if code == Some(ErrorCode::Merging) {
            // Nobody else can help, and it asked for time.
            return self.pause().await;
        }
        Ok(())
    }

    /// A node has too much to do. Asked again by everybody it would have more, so only a share of all requests is.
    async fn refused_for_overload(&mut self) -> Result<(), ApiError> {
        if !self.core.retries.spend() {
            return Err(self.give_up());
        }
        if self.need == Need::Any {
            // Another replica may have room. When none has, there is a pause.
            return Ok(());
        }
        if self.rounds > 0 {
            // It may have lost the lead, and what waits on it may be all that it refuses for.
            self.core.refresh_soon();
        }
        // Only the leader can help, and it asked for time.
        self.pause().await
    }

    /// After a key was found that no known shard owns: asks for the map, then waits a little.
    pub(crate) async fn lost_route(&mut self, table: &str) -> Result<(), ApiError> {
        let fetched = tokio::time::timeout_at(self.deadline, self.core.refresh()).await;
        let error = match fetched {
            Ok(Err(error)) => error,
            _ => {
                let message = format!("no shard of table `{table}` is known for the key");
                ApiError::new(ErrorCode::Unavailable, message)
            }
        };
        self.last = Some(error);
        self.pause().await
    }

    /// Waits before a new round in which every node may be tried again.
    async fn pause(&mut self) -> Result<(), ApiError> {
        let pause = backoff::pause(self.rounds, self.retry_after_ms, rand::random());
        let until = Instant::now() + pause;
        if until >= self.deadline {
            let overloaded = |last: &ApiError| last.code == ErrorCode::Overloaded;
            if !self.last.as_ref().is_some_and(overloaded) {
                sleep_until(self.deadline).await;
            }
            return Err(self.give_up());
        }
        sleep_until(until).await;
        self.avoid.clear();
        self.rounds += 1;
        self.hops = 0;
        self.retry_after_ms = 0;
        Ok(())
    }

    /// The error of an operation whose time is over.
    pub(crate) fn give_up(&mut self) -> ApiError {
        let last = self.last.take().unwrap_or_else(|| {
            ApiError::new(ErrorCode::DeadlineExceeded, "no attempt was answered in time")
        });
        let tries =
            if self.sent == 1 { "1 attempt".into() } else { format!("{} attempts", self.sent) };
        if self.maybe_applied {
            let message =
                format!("the write may or may not have been applied after {tries}; last: {last}");
            return ApiError::new(ErrorCode::DeadlineExceeded, message);
        }
        let message = format!("{} (after {tries})", last.message);
        ApiError { message, ..last }
    }
}
