//! Carries out journaled directives. It has no choices about placement: which shard, which nodes and
//! in what order was decided and made durable before. One task per open directive.

mod compensate;
mod drive;
mod probe;
mod send;
mod step;
mod undo;
mod verify;

#[cfg(test)]
pub(crate) mod fake_node;
#[cfg(test)]
mod tests;

pub(crate) use probe::{NoProbe, Probe};
pub(crate) use verify::{Verdict, verdict};

use crate::{
    error::Error,
    journal::{Entry, Journal},
    nodes::NodeConnections,
    store::Grant,
    view::ClusterView,
};
use drive::Run;
use isobar_api::{DirectiveId, plan::Freeze};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::Instrument;

/// Pauses of the executor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// First pause after a retryable refusal or a lost answer; doubled each time.
    pub(crate) first: Duration,
    /// Longest pause.
    pub(crate) longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(2) }
    }
}

/// What every task shares.
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    pub(crate) nodes: NodeConnections,
    /// The freshest view.
    pub(crate) view: watch::Receiver<Arc<ClusterView>>,
    /// Our term, while we hold the lease.
    pub(crate) grant: watch::Receiver<Option<Grant>>,
    /// Freezes in force.
    pub(crate) freezes: watch::Receiver<Arc<Vec<Freeze>>>,
    pub(crate) pauses: Pauses,
    /// Where tests stop the process.
    pub(crate) probe: Arc<dyn Probe>,
}

/// The executor; clones share the tasks.
#[derive(Clone)]
pub(crate) struct Executor {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<BTreeMap<DirectiveId, JoinHandle<()>>>>,
}

impl Executor {
    /// An executor without work.
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), tasks: Arc::default() }
    }

    /// Makes sure that a task carries the directive on. Safe to repeat.
    pub(crate) fn carry_on(&self, entry: &Entry) {
        let id = entry.directive.id;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, task| !task.is_finished());
        if tasks.contains_key(&id) || !entry.state.is_active() {
            return;
        }
        let directive = &entry.directive;
        let span = tracing::info_span!(
            "directive", directive = %id, plan = %directive.plan_id, shard = %directive.shard,
            kind = %directive.kind
        );
        // Not recorded without tracing set up: then there is no trace to continue.
        let _ = isobar_telemetry::trace_context::set_parent(&span, &entry.traceparent);
        let task = tokio::spawn(carry(self.shared.clone(), id).instrument(span));
        tasks.insert(id, task);
    }

    /// Stops every task where it is. The journal and the nodes' stored results make that safe:
    /// whoever holds the lease next goes on from the last durable state.
    pub(crate) fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, task) in std::mem::take(&mut *tasks) {
            task.abort();
        }
    }

    /// Waits until no task is left, for tests.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        loop {
            let next = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match next {
                Some((_, task)) => drop(task.await),
                None => return,
            }
        }
    }
}

/// Drives one directive until it needs nobody any more, or we do not lead any more.
async fn carry(shared: Arc<Shared>, id: DirectiveId) {
    loop {
        let entry = match shared.journal.entry(id).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(directive = %id, %error, "the journal does not answer; trying again");
                tokio::time::sleep(shared.pauses.longest).await;
                continue;
            }
        };
        match Run::new(&shared, entry).drive().await {
            Ok(()) => return,
            Err(Error::Fenced { ours }) => {
                tracing::warn!(directive = %id, term = %ours, "fenced; the next controller goes on");
                return;
            }
            Err(Error::Stopped) => return,
            Err(error) => {
                tracing::warn!(directive = %id, %error, "going on from the journal after a pause");
                tokio::time::sleep(shared.pauses.longest).await;
            }
        }
    }
}
