//! Undoes the steps that were done, newest effect first as the directive says. It only tries: the
//! nodes' own guards decide, so that undoing can never take a shard below its floor.

use super::{drive::Run, step::Outcome, undo};
use crate::{error::Error, journal::Change};
use isobar_api::directive::{DirectiveState, Refusal, Step};

/// Begins the journaled reason of an undo step that could not be done. A process that resumes finds
/// what its forerunner had to leave.
const LEFT: &str = "not undone: ";

impl Run<'_> {
    /// Carries out the undo steps that are left.
    pub(super) async fn compensate(&mut self) -> Result<(), Error> {
        let directive = self.entry.directive.clone();
        let first_index = directive.steps.len();
        // The step that failed may have left something behind; if not, there is nothing to reverse.
        let steps_done = self.entry.steps_done;
        let was_done = |undo: &Step| match steps_done {
            0 => false,
            done => undo::is_needed(undo, &directive, done - 1),
        };
        for position in self.entry.undo_done as usize..directive.undo.len() {
            let step = &directive.undo[position];
            let done = u32::try_from(position + 1).unwrap_or(u32::MAX);
            let mut reason = format!("{step}: not needed");
            let mut epoch = None;
            if undo::is_needed(step, &directive, self.entry.steps_done) {
                let index = u32::try_from(first_index + position).unwrap_or(u32::MAX);
                reason = match self.step(index, step).await? {
                    Outcome::Done(result) => {
                        epoch = Some(result.epoch_after);
                        format!("{step}: undone")
                    }
                    Outcome::Refused { refusal, .. } if is_moot(&refusal) || !was_done(step) => {
                        format!("{step}: nothing to undo ({refusal})")
                    }
                    Outcome::Refused { refusal, .. } => format!("{LEFT}{step}: {refusal}"),
                    Outcome::GaveUp { why, .. } => format!("{LEFT}{step}: {why}"),
                };
            }
            let mut change = Change::to(DirectiveState::Compensating, reason);
            change.undo_done = Some(done);
            change.epoch = epoch.or(Some(self.entry.epoch));
            self.change(change).await?;
        }
        let events = self.shared.journal.directive(directive.id).await?.events;
        let left: Vec<&str> = events.iter().filter_map(|e| e.reason.strip_prefix(LEFT)).collect();
        let end = if left.is_empty() {
            Change::to(DirectiveState::Undone, "earlier steps were undone")
        } else {
            let why = format!("not everything could be undone: {}", left.join("; "));
            Change::to(DirectiveState::Failed, why)
        };
        self.change(end).await
    }
}

/// Whether a refusal of an undo step means that its aim is reached.
fn is_moot(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::WrongRole { .. })
}
