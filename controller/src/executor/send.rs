//! The wire: one order to one node, and the abort of a step.

use super::{drive::Run, step::Tries};
use crate::{error::Error, view::NodeHealth};
use isobar_api::{
    NodeId,
    directive::{Refusal, StepEvent, StepOrder, StepResult},
    proto::{AbortStepRequest, ExecuteStepRequest},
};
use isobar_telemetry::trace_context::current_traceparent;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How long one abort may take before it is asked for again.
const ABORT_WITHIN: Duration = Duration::from_secs(10);
/// A node that answers "busy with this very directive" is believed for this many stall times.
const BUSY_STALLS_MAX: u32 = 10;

/// How one try ended.
pub(super) enum Answer {
    Done(StepResult),
    Refused(Refusal),
    /// No answer: whether the step was done is not known.
    Lost(String),
}

/// Liveness by progress: the clock starts anew whenever something advances.
pub(super) struct Stalls {
    limit: Duration,
    since: Instant,
    furthest: u64,
    begun_again: u32,
}

impl Stalls {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), furthest: 0, begun_again: 0 }
    }

    /// A new try begins to count from nothing; that by itself is no progress.
    pub(super) fn next_try(&mut self) {
        self.furthest = 0;
    }

    /// Something advanced, if `done` is further than before.
    pub(super) fn progress(&mut self, done: u64) {
        if done > self.furthest {
            self.furthest = done;
            self.since = Instant::now();
        }
    }

    /// A node works on it, unseen; believed a limited number of times.
    pub(super) fn begin_again(&mut self) {
        if self.begun_again < BUSY_STALLS_MAX && self.is_stalled() {
            self.begun_again += 1;
            self.since = Instant::now();
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.since.elapsed() >= self.limit
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }
}

impl Run<'_> {
    /// Sends an order and follows its events until the last one, silence, or a stall.
    pub(super) async fn send(
        &mut self,
        order: &StepOrder,
        node: NodeId,
        address: &str,
        tries: &mut Tries,
    ) -> Result<Answer, Error> {
        let lost = |why: &dyn std::fmt::Display| Ok(Answer::Lost(why.to_string()));
        let order_json = serde_json::to_vec(order).map_err(Error::document("an order"))?;
        let traceparent = current_traceparent().unwrap_or_else(|| self.entry.traceparent.clone());
        let request = ExecuteStepRequest { order_json: order_json.into(), traceparent };
        let mut client = self.shared.nodes.client(address)?;
        let opened = tokio::time::timeout(tries.stalls.left(), client.execute_step(request)).await;
        let mut stream = match opened {
            Err(_) => return lost(&"no answer in time"),
            Ok(Err(status)) => return lost(&status.message()),
            Ok(Ok(stream)) => stream.into_inner(),
        };
        loop {
            let frame = match tokio::time::timeout(tries.stalls.left(), stream.message()).await {
                Err(_) => return lost(&"it does not advance"),
                Ok(Err(status)) => return lost(&status.message()),
                Ok(Ok(None)) => return lost(&"the stream ended without a result"),
                Ok(Ok(Some(frame))) => frame,
            };
            match serde_json::from_slice(&frame.event_json) {
                Err(error) => {
                    return lost(&format!("{node} sent an event that cannot be read: {error}"));
                }
                Ok(StepEvent::Accepted) => self.accepted(tries.index).await?,
                Ok(StepEvent::Progress { done, .. }) => tries.stalls.progress(done),
                Ok(StepEvent::Done(result)) => return Ok(Answer::Done(result)),
                Ok(StepEvent::Refused { refusal }) => return Ok(Answer::Refused(refusal)),
            }
        }
    }

    /// Asks every node that got the order to stop, and waits until each has confirmed it or cannot
    /// change the shard any more (it is dead, or another node leads).
    pub(super) async fn abort_everywhere(&self, nodes: &BTreeSet<NodeId>) -> Result<(), Error> {
        for node in nodes {
            while !self.is_deposed(*node) && !self.abort(*node).await? {
                tokio::time::sleep(self.shared.pauses.longest).await;
            }
        }
        Ok(())
    }

    async fn abort(&self, node: NodeId) -> Result<bool, Error> {
        let id = self.entry.directive.id;
        let Some(address) = self.view().nodes.get(&node).map(|n| n.address.clone()) else {
            return Ok(false);
        };
        let request =
            AbortStepRequest { directive_id: id.0, controller_term: self.grant()?.term.0 };
        let mut client = self.shared.nodes.client(&address)?;
        match tokio::time::timeout(ABORT_WITHIN, client.abort_step(request)).await {
            Ok(Ok(answer)) => {
                let was_running = answer.into_inner().was_running;
                tracing::info!(directive = %id, %node, was_running, "abort confirmed");
                Ok(true)
            }
            Ok(Err(status)) => {
                tracing::warn!(directive = %id, %node, why = %status.message(), "abort not confirmed");
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    /// Whether a node that was sent an order can no longer change the shard.
    fn is_deposed(&self, node: NodeId) -> bool {
        let view = self.view();
        let dead = matches!(view.nodes.get(&node).map(|n| n.health), Some(NodeHealth::Dead { .. }));
        let leader = view.shards.get(&self.entry.directive.shard).and_then(|s| s.entry.leader);
        dead || leader.is_some_and(|other| other != node)
    }
}
