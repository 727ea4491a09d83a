//! One directive from its last durable state to a resting one.

use super::{Shared, probe::Point, step::Outcome, undo};
use crate::{
    clock::now_unix_ms,
    error::Error,
    freeze,
    journal::{Change, Entry},
    store::Grant,
    view::ClusterView,
};
use isobar_api::{
    Term,
    directive::{DirectiveState, Refusal},
};
use std::{sync::Arc, time::Duration};

/// How often a frozen or early directive looks whether it may start.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A directive being carried out.
pub(super) struct Run<'a> {
    pub(super) shared: &'a Shared,
    pub(super) entry: Entry,
    /// Whether it was found under way, and no step has been tried since.
    pub(super) resumed: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(shared: &'a Shared, entry: Entry) -> Self {
        use DirectiveState as S;
        let resumed = matches!(entry.state, S::Sent | S::Accepted | S::Compensating);
        Self { shared, entry, resumed }
    }

    /// Goes on until nothing is left to do here: applied, or a final state.
    pub(super) async fn drive(mut self) -> Result<(), Error> {
        if self.entry.state == DirectiveState::Journaled && !self.start().await? {
            return Ok(());
        }
        if matches!(self.entry.state, DirectiveState::Sent | DirectiveState::Accepted) {
            self.forward().await?;
        }
        if self.entry.state == DirectiveState::Compensating {
            self.compensate().await?;
        }
        Ok(())
    }

    /// Waits until it may start, or until it is too late. Returns whether it started.
    async fn start(&mut self) -> Result<bool, Error> {
        let mut told = false;
        loop {
            let now = now_unix_ms();
            let directive = &self.entry.directive;
            if directive.expires_at_unix_ms <= now {
                self.change(Change::to(DirectiveState::Expired, "it could not start in time"))
                    .await?;
                return Ok(false);
            }
            let view = self.view();
            let freezes = self.shared.freezes.borrow().clone();
            let frozen = freeze::over(directive, &view, &freezes, now);
            match frozen {
                Some(freeze) if !told => {
                    tracing::info!(directive = %directive.id, scope = %freeze.scope, "waits: its scope is frozen");
                    told = true;
                }
                Some(_) => {}
                None if directive.not_before_unix_ms <= now => break,
                None => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.change(Change::to(DirectiveState::Sent, "first step")).await?;
        Ok(true)
    }

    /// Carries out the steps that are left.
    async fn forward(&mut self) -> Result<(), Error> {
        while (self.entry.steps_done as usize) < self.entry.directive.steps.len() {
            let index = self.entry.steps_done;
            let step = self.entry.directive.steps[index as usize].clone();
            match self.step(index, &step).await? {
                Outcome::Done(result) => {
                    let done = index + 1;
                    let all = self.entry.directive.steps.len();
                    let last = done as usize == all;
                    let state = if last { DirectiveState::Applied } else { DirectiveState::Sent };
                    let already = if result.already { " (it was so already)" } else { "" };
                    let mut change = Change::to(state, format!("{step}: done{already}"));
                    change.steps_done = Some(done);
                    change.epoch = Some(result.epoch_after);
                    change.new_shard = result.new_shard;
                    self.change(change).await?;
                    tracing::info!(directive = %self.entry.directive.id, done, all, %step, "step done");
                }
                Outcome::Refused { refusal, unclear } => {
                    return self.fail(&step, &refusal.to_string(), Some(&refusal), unclear).await;
                }
                Outcome::GaveUp { why, unclear } => {
                    return self.fail(&step, &why, None, unclear).await;
                }
            }
        }
        Ok(())
    }

    /// A step cannot be done: undo what was, or end here if there is nothing to undo.
    async fn fail(
        &mut self,
        step: &isobar_api::directive::Step,
        why: &str,
        refusal: Option<&Refusal>,
        unclear: bool,
    ) -> Result<(), Error> {
        let id = self.entry.directive.id;
        let reason = format!("{step}: {why}");
        tracing::warn!(directive = %id, %reason, "step failed");
        let changed = self.entry.steps_done > 0 || unclear;
        let state = if changed && undo::any_needed(&self.entry.directive, self.entry.steps_done) {
            DirectiveState::Compensating
        } else if !changed && matches!(refusal, Some(Refusal::Expired { .. })) {
            DirectiveState::Cancelled
        } else {
            DirectiveState::Failed
        };
        self.change(Change::to(state, reason)).await
    }

    /// Makes a change durable.
    pub(super) async fn change(&mut self, change: Change) -> Result<(), Error> {
        let steps_done = change.steps_done.unwrap_or(self.entry.steps_done);
        self.shared.probe.at(Point::BeforeChange(change.state, steps_done))?;
        let id = self.entry.directive.id;
        let grant = self.grant()?;
        self.entry = self.shared.journal.change(grant, id, &change, now_unix_ms()).await?;
        tracing::info!(directive = %id, state = %change.state, reason = %change.reason, "directive");
        self.shared.probe.at(Point::AfterChange(change.state, steps_done))
    }

    /// Our term now; none: we do not lead any more.
    pub(super) fn grant(&self) -> Result<Grant, Error> {
        self.shared.grant.borrow().ok_or(Error::Fenced { ours: Term(0) })
    }

    /// The freshest view.
    pub(super) fn view(&self) -> Arc<ClusterView> {
        self.shared.view.borrow().clone()
    }
}
