//! One step: sent to the shard's leader, followed by its progress, aborted when it stalls.

use super::{
    drive::Run,
    probe::Point,
    send::{Answer, Stalls},
    undo,
};
use crate::{clock::now_unix_ms, error::Error, journal::Change};
use isobar_api::{
    NodeId,
    directive::{DirectiveState, Refusal, Step, StepOrder, StepResult},
    shard::Epoch,
};
use std::{collections::BTreeSet, time::Duration};
use tracing::Instrument;

/// Later steps may start this much later than the directive's own expiry, in stall times: what has
/// begun is finished or undone, not left half done.
const LATER_STEPS_STALLS: u64 = 20;

/// Tries of one step at most: a copy that begins anew each time advances for ever and arrives nowhere.
const TRIES_MAX: u32 = 500;

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is done.
    Done(StepResult),
    /// A node refused it for good.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether an earlier try may have left something behind.
        unclear: bool,
    },
    /// It made no progress and was aborted.
    GaveUp {
        /// Why.
        why: String,
        /// Whether it may have left something behind.
        unclear: bool,
    },
}

/// What is remembered between tries of one step.
pub(super) struct Tries {
    pub(super) index: u32,
    pub(super) hint: Option<NodeId>,
    /// Whether a hint was followed since the last pause.
    followed: bool,
    pub(super) sent_to: BTreeSet<NodeId>,
    pub(super) unclear: bool,
    pub(super) stalls: Stalls,
    pub(super) pause: Duration,
    pub(super) last_trouble: String,
    pub(super) count: u32,
}

impl Tries {
    /// Takes a node's word for who leads. Returns whether to go there at once: only once between two
    /// pauses, or two nodes that each name the other would use up all tries in a moment.
    fn follow(&mut self, node: NodeId, leader: Option<NodeId>) -> bool {
        let at_once = leader.is_some_and(|leader| leader != node) && !self.followed;
        self.hint = leader;
        self.followed |= at_once;
        at_once
    }
}

impl Run<'_> {
    /// Sends a step until it is done, refused for good, or stalled. Repeats are safe: a node answers
    /// a step it has done from its stored result.
    pub(super) async fn step(&mut self, index: u32, step: &Step) -> Result<Outcome, Error> {
        let span = tracing::info_span!("step", directive = %self.entry.directive.id, index, %step);
        self.step_in_span(index, step).instrument(span).await
    }

    async fn step_in_span(&mut self, index: u32, step: &Step) -> Result<Outcome, Error> {
        let stall = Duration::from_millis(self.entry.directive.budget.stall_ms.max(1));
        let mut tries = Tries {
            index,
            hint: None,
            followed: false,
            sent_to: BTreeSet::new(),
            // Found under way after a restart: the order may have been sent before.
            unclear: std::mem::take(&mut self.resumed)
                || self.entry.state == DirectiveState::Compensating,
            stalls: Stalls::new(stall),
            pause: self.shared.pauses.first,
            last_trouble: "no leader is known".into(),
            count: 0,
        };
        loop {
            let retry_at_once = match self.target(&tries) {
                None => false,
                Some((node, address)) => {
                    match self.try_once(step, node, &address, &mut tries).await? {
                        Try::End(outcome) => return Ok(outcome),
                        Try::Again { at_once } => at_once,
                    }
                }
            };
            if tries.stalls.is_stalled() || tries.count >= TRIES_MAX {
                let (seconds, count) = (stall.as_secs_f64(), tries.count);
                let why =
                    format!("no progress for {seconds} s in {count} tries: {}", tries.last_trouble);
                self.abort_everywhere(&tries.sent_to).await?;
                let unclear = tries.unclear || !tries.sent_to.is_empty();
                return Ok(Outcome::GaveUp { why, unclear });
            }
            if !retry_at_once {
                tokio::time::sleep(tries.pause).await;
                tries.followed = false;
                tries.pause = (tries.pause * 2).min(self.shared.pauses.longest);
            }
        }
    }

    /// The node that leads the shard, by a refusal's hint or by the freshest view.
    fn target(&self, tries: &Tries) -> Option<(NodeId, String)> {
        let view = self.view();
        let leader = view.shards.get(&self.entry.directive.shard).and_then(|s| s.entry.leader);
        let node = tries.hint.or(leader)?;
        view.nodes.get(&node).map(|n| (node, n.address.clone()))
    }

    async fn try_once(
        &mut self,
        step: &Step,
        node: NodeId,
        address: &str,
        tries: &mut Tries,
    ) -> Result<Try, Error> {
        let order = self.order(tries.index, step)?;
        self.shared.probe.at(Point::BeforeSend(tries.index))?;
        tries.sent_to.insert(node);
        tries.count += 1;
        tries.stalls.next_try();
        match self.send(&order, node, address, tries).await? {
            Answer::Done(result) => {
                self.shared.probe.at(Point::AfterDone(tries.index))?;
                Ok(Try::End(Outcome::Done(result)))
            }
            Answer::Refused(refusal) => self.refused(step, node, refusal, tries).await,
            Answer::Lost(why) => {
                tries.unclear = true;
                tries.hint = None;
                tries.last_trouble = format!("{node}: {why}");
                Ok(Try::Again { at_once: false })
            }
        }
    }

    async fn refused(
        &mut self,
        step: &Step,
        node: NodeId,
        refusal: Refusal,
        tries: &mut Tries,
    ) -> Result<Try, Error> {
        tries.last_trouble = format!("{node}: {refusal}");
        tracing::debug!(directive = %self.entry.directive.id, %node, %refusal, "refused");
        match refusal {
            Refusal::NotLeader { leader } => Ok(Try::Again { at_once: tries.follow(node, leader) }),
            Refusal::StaleTerm { .. } => Err(Error::Fenced { ours: self.grant()?.term }),
            Refusal::Busy { directive } => {
                // The node still works on an order of an earlier controller process: let it.
                if directive == self.entry.directive.id {
                    tries.stalls.begin_again();
                }
                Ok(Try::Again { at_once: false })
            }
            Refusal::EpochMoved { current, .. } => Ok(self.epoch_moved(step, current, tries)),
            Refusal::Expired { .. }
                if tries.unclear && self.is_done_by_view(step, None).is_some() =>
            {
                Ok(self.epoch_moved(step, self.entry.epoch, tries))
            }
            refusal if refusal.is_retryable() => {
                tries.hint = None;
                Ok(Try::Again { at_once: false })
            }
            refusal => {
                let unclear = tries.unclear || refusal == Refusal::Aborted;
                Ok(Try::End(Outcome::Refused { refusal, unclear }))
            }
        }
    }

    /// The shard changed since the order was made. If the change is this very step (done through a
    /// leader that died before it could answer), the step is done; undo steps go by what is there.
    fn epoch_moved(&mut self, step: &Step, current: Epoch, tries: &mut Tries) -> Try {
        if let Some(epoch_after) = self.is_done_by_view(step, Some(current)) {
            let directive_id = self.entry.directive.id;
            return Try::End(Outcome::Done(StepResult {
                directive_id,
                step_index: tries.index,
                epoch_after,
                new_shard: None,
                copied_bytes: 0,
                already: true,
            }));
        }
        let undoing = self.entry.state == DirectiveState::Compensating;
        let behind = self.view_epoch().is_none_or(|seen| seen < current);
        if undoing && self.entry.epoch != current {
            self.entry.epoch = current;
            return Try::Again { at_once: true };
        }
        if behind {
            // Our view has not caught up: wait for the next report before judging.
            return Try::Again { at_once: false };
        }
        let refusal = Refusal::EpochMoved { expected: self.entry.epoch, current };
        Try::End(Outcome::Refused { refusal, unclear: tries.unclear })
    }

    fn view_epoch(&self) -> Option<Epoch> {
        self.view().shards.get(&self.entry.directive.shard).map(|s| s.entry.epoch)
    }

    /// The shard's epoch if the view, at `at_least`, shows the step's effect.
    fn is_done_by_view(&self, step: &Step, at_least: Option<Epoch>) -> Option<Epoch> {
        let view = self.view();
        let entry = &view.shards.get(&self.entry.directive.shard)?.entry;
        let fresh = at_least.is_none_or(|epoch| entry.epoch >= epoch);
        (fresh && undo::is_in_effect(step, entry)).then_some(entry.epoch)
    }

    fn order(&self, index: u32, step: &Step) -> Result<StepOrder, Error> {
        let directive = &self.entry.directive;
        let expires_at_unix_ms = if index == 0 {
            directive.expires_at_unix_ms
        } else {
            let longer = directive.budget.stall_ms.saturating_mul(LATER_STEPS_STALLS).max(60_000);
            now_unix_ms().saturating_add(longer)
        };
        Ok(StepOrder {
            directive_id: directive.id,
            step_index: index,
            controller_term: self.grant()?.term,
            cluster_id: self.view().cluster_id.clone(),
            shard: directive.shard,
            expected_epoch: self.entry.epoch,
            step: step.clone(),
            expires_at_unix_ms,
            reason: directive.reason.clone(),
        })
    }

    /// A node began to work: journaled once per step.
    pub(super) async fn accepted(&mut self, index: u32) -> Result<(), Error> {
        self.shared.probe.at(Point::AfterAccepted(index))?;
        if self.entry.state == DirectiveState::Sent {
            self.change(Change::to(DirectiveState::Accepted, format!("step {index}"))).await?;
        }
        Ok(())
    }
}

/// Whether to go on trying.
pub(super) enum Try {
    End(Outcome),
    Again { at_once: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_followed_at_once_but_not_round_and_round() {
        let mut tries = Tries {
            index: 0,
            hint: None,
            followed: false,
            sent_to: BTreeSet::new(),
            unclear: false,
            stalls: Stalls::new(Duration::from_secs(1)),
            pause: Duration::ZERO,
            last_trouble: String::new(),
            count: 0,
        };
        assert!(!tries.follow(NodeId(1), None), "nobody is named");
        assert!(!tries.follow(NodeId(1), Some(NodeId(1))), "it names itself");
        assert!(tries.follow(NodeId(1), Some(NodeId(2))));
        assert!(!tries.follow(NodeId(2), Some(NodeId(1))), "back again: after a pause");
        assert_eq!(tries.hint, Some(NodeId(1)));
    }
}
