//! Directives: what the controller may ask, checked by the node's own guards and done at most once.
//!
//! ```text
//! order ─► malformed? other cluster? ─► term fenced? expired? ─► leader here? ─► done before? (stored result)
//!       ─► busy? ─► epoch equal? ─► guards of the step ─► do it ─► store the result in the shard ─► answer
//! ```
//! A step runs in a task of its own: a caller that goes away does not stop it, one that comes back joins it.

mod guards;
mod merge;
mod steps;
mod terms;

pub(crate) use steps::COMMIT_WITHIN;
pub use terms::Terms;

use crate::{
    engine::Space,
    registry::Registry,
    replica::Replica,
    shard::{Command, StepNote, keys},
};
use isobar_api::{
    DirectiveId, ShardId, Term,
    directive::{Refusal, Step, StepEvent, StepOrder, StepResult},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Carries out steps. Cheap to clone.
#[derive(Clone)]
pub struct Directives {
    pub(super) registry: Registry,
    pub(super) catalog: crate::catalog::Catalog,
    terms: Arc<Terms>,
    running: Arc<Mutex<BTreeMap<ShardId, Running>>>,
    pub(super) disk_reserve_bytes: u64,
}

/// A step under way.
#[derive(Clone)]
struct Running {
    directive: DirectiveId,
    step_index: u32,
    events: watch::Receiver<StepEvent>,
    abort: CancellationToken,
}

impl Running {
    fn is_of(&self, order: &StepOrder) -> bool {
        (self.directive, self.step_index) == (order.directive_id, order.step_index)
    }
}

impl Directives {
    /// An executor over the node's replicas.
    pub fn new(
        registry: Registry,
        catalog: crate::catalog::Catalog,
        terms: Arc<Terms>,
        disk_reserve_bytes: u64,
    ) -> Self {
        Self { registry, catalog, terms, running: Arc::default(), disk_reserve_bytes }
    }

    /// Highest controller term accepted.
    pub fn term(&self) -> Term {
        self.terms.highest()
    }

    /// Begins a step, joins it if it runs, or repeats its stored result. The receiver ends with `Done` or `Refused`.
    pub fn execute(&self, order_json: &[u8], parent: &tracing::Span) -> watch::Receiver<StepEvent> {
        match self.admit(order_json) {
            Ok(Admitted::Begin(begun, events)) => {
                self.begin(*begun, parent);
                events
            }
            Ok(Admitted::Join(events)) => events,
            Ok(Admitted::Known(result)) => watch::channel(StepEvent::Done(result)).1,
            Err(refusal) => {
                tracing::info!(parent: parent, %refusal, "step refused");
                watch::channel(StepEvent::Refused { refusal }).1
            }
        }
    }

    fn admit(&self, order_json: &[u8]) -> Result<Admitted, Refusal> {
        let order: StepOrder = serde_json::from_slice(order_json)
            .map_err(|why| Refusal::Malformed { why: why.to_string() })?;
        order.validate()?;
        if order.cluster_id != self.registry.cluster_id() {
            return Err(Refusal::OtherCluster);
        }
        self.terms.accept(order.controller_term)?;
        let replica = self.registry.get(order.shard).ok_or(Refusal::ShardNotHere)?;
        if let Some(why) = replica.fault() {
            return Err(Refusal::StorageFault { why });
        }
        if !replica.is_leader() {
            return Err(Refusal::NotLeader { leader: replica.leader_node() });
        }
        let mut running = self.running.lock().expect("no holder of this lock panics");
        let under_way = running.get(&order.shard);
        if let Some(same) = under_way.filter(|r| r.is_of(&order)) {
            return Ok(Admitted::Join(same.events.clone()));
        }
        // Behind the look at what runs: a step stores its result before it ends, so it is seen here or there.
        if let Some(result) = self.stored(&order)? {
            return Ok(Admitted::Known(result));
        }
        if let Some(other) = under_way {
            return Err(Refusal::Busy { directive: other.directive });
        }
        if self.registry.clock().now_unix_ms() > order.expires_at_unix_ms {
            return Err(Refusal::Expired { at_unix_ms: order.expires_at_unix_ms });
        }
        // A step whose result was lost with its leader finds its own work done: that is no moved epoch.
        if !guards::already_done(&replica, &order.step) {
            guards::epoch(&replica, order.expected_epoch)?;
        }
        let (sender, events) = watch::channel(StepEvent::Accepted);
        let abort = CancellationToken::new();
        let entry = Running {
            directive: order.directive_id,
            step_index: order.step_index,
            events: events.clone(),
            abort: abort.clone(),
        };
        running.insert(order.shard, entry);
        Ok(Admitted::Begin(Box::new(Begun { order, replica, sender, abort }), events))
    }

    /// The result of a step done before, as the shard's own state remembers it.
    fn stored(&self, order: &StepOrder) -> Result<Option<StepResult>, Refusal> {
        let key = keys::step(order.shard, order.directive_id.0, order.step_index);
        let stored = self.registry.state_engine().get(Space::Meta, &key);
        let stored = stored.map_err(|why| Refusal::StorageFault { why: why.message() })?;
        Ok(stored.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    fn begin(&self, begun: Begun, parent: &tracing::Span) {
        let Begun { order, replica, sender, abort } = begun;
        let span = tracing::info_span!(
            parent: parent, "step",
            directive = %order.directive_id, step = order.step_index,
            shard = %order.shard, what = %order.step,
        );
        let directives = self.clone();
        let work = async move {
            tracing::info!(reason = %order.reason, "step accepted");
            let last = directives.run(&order, &replica, &sender, &abort).await;
            directives.running.lock().expect("no holder of this lock panics").remove(&order.shard);
            match &last {
                StepEvent::Refused { refusal } => tracing::warn!(%refusal, "step not done"),
                _ => tracing::info!("step done"),
            }
            sender.send_replace(last);
        };
        tokio::spawn(work.instrument(span));
    }

    async fn run(
        &self,
        order: &StepOrder,
        replica: &Arc<Replica>,
        events: &watch::Sender<StepEvent>,
        abort: &CancellationToken,
    ) -> StepEvent {
        replica.rouse().await;
        let done = match &order.step {
            Step::Split { at_key } => self.split(order, replica, at_key).await,
            Step::AddLearner { node } => self.add_learner(replica, *node, events, abort).await,
            Step::Promote { node } => self.promote(replica, *node).await,
            Step::TransferLeader { node } => self.transfer_leader(replica, *node, abort).await,
            Step::RemoveReplica { node } => self.remove_replica(replica, *node).await,
            Step::Merge { right, right_epoch } => {
                self.merge(order, replica, (*right, *right_epoch), abort).await
            }
        };
        let done = match done {
            Ok(done) => done,
            Err(refusal) => return StepEvent::Refused { refusal },
        };
        let result = StepResult {
            directive_id: order.directive_id,
            step_index: order.step_index,
            epoch_after: replica.state.epoch(),
            new_shard: done.new_shard,
            copied_bytes: done.copied_bytes,
            already: done.already,
        };
        // Splits and merges remember their results themselves; after a transfer this node cannot, and need not: asking again
        // finds the leader where it should be.
        let noted_elsewhere = matches!(
            order.step,
            Step::Split { .. } | Step::Merge { .. } | Step::TransferLeader { .. }
        );
        let note = Command::NoteStep(StepNote::new(&result));
        if !noted_elsewhere && let Err(refusal) = steps::propose(replica, note).await {
            tracing::warn!(%refusal, "the result could not be stored; a repeat will find the step done");
        }
        StepEvent::Done(result)
    }

    /// Stops a running step of a directive; answers once it has stopped. False: it was not running.
    pub async fn abort(&self, directive: DirectiveId, term: Term) -> Result<bool, Refusal> {
        self.terms.accept(term)?;
        let found = {
            let running = self.running.lock().expect("no holder of this lock panics");
            running.values().find(|r| r.directive == directive).cloned()
        };
        let Some(mut found) = found else { return Ok(false) };
        found.abort.cancel();
        let ended = |e: &StepEvent| matches!(e, StepEvent::Done(_) | StepEvent::Refused { .. });
        let _ = found.events.wait_for(ended).await;
        Ok(true)
    }
}

/// A step whose place among the running ones is taken.
struct Begun {
    order: StepOrder,
    replica: Arc<Replica>,
    sender: watch::Sender<StepEvent>,
    abort: CancellationToken,
}

enum Admitted {
    Begin(Box<Begun>, watch::Receiver<StepEvent>),
    Join(watch::Receiver<StepEvent>),
    Known(StepResult),
}
