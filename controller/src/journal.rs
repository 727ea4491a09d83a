//! The journal: plans, directives and every change of their state. Nothing is sent to a node before
//! it is durable here, and every change is one transaction under our own term.

mod change;
mod read;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use change::Change;

use crate::{error::Error, store::Store};
use isobar_api::{
    ShardId,
    directive::{Directive, DirectiveKind, DirectiveState, Step},
    plan::{DirectiveEvent, DirectiveRecord},
    shard::Epoch,
};
use sqlx::{AssertSqlSafe, Row, any::AnyRow};

/// Plans kept.
pub(crate) const PLANS_MAX: u64 = 1_000;
/// Of these, how many of the newest are kept although they have no directives.
pub(crate) const PLANS_EMPTY_MAX: u64 = 200;
/// Directives kept; open ones are never dropped.
pub(crate) const DIRECTIVES_MAX: u64 = 20_000;

/// The journal of one database.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    store: Store,
}

impl Journal {
    /// The journal in this database.
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

/// A directive as the journal has it: what is needed to go on with it after any crash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The directive.
    pub(crate) directive: Directive,
    /// Where it stands.
    pub(crate) state: DirectiveState,
    /// Steps that are done.
    pub(crate) steps_done: u32,
    /// Undo steps that are done.
    pub(crate) undo_done: u32,
    /// The epoch that the next step expects.
    pub(crate) epoch: Epoch,
    /// The shard that a split made.
    pub(crate) new_shard: Option<ShardId>,
    /// When its state last changed, Unix milliseconds.
    pub(crate) changed_unix_ms: u64,
    /// When its last step was done, Unix milliseconds.
    pub(crate) applied_unix_ms: Option<u64>,
    /// Trace context of its plan.
    pub(crate) traceparent: String,
}

/// Asks for what [`Entry::from_row`] reads. `rest` is our own text, never a caller's.
fn select_entries(rest: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT directive_id, state, steps_done, undo_done, shape, membership, new_shard, \
         changed_unix_ms, applied_unix_ms, traceparent, body FROM directives {rest}"
    ))
}

impl Entry {
    fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let number = |name: &str| row.try_get::<i64, _>(name).map(crate::store::from_sql);
        let body: String = row.try_get("body")?;
        let state: String = row.try_get("state")?;
        Ok(Self {
            directive: serde_json::from_str(&body).map_err(Error::document("a directive"))?,
            state: state_from_text(&state)?,
            steps_done: u32::try_from(number("steps_done")?).unwrap_or(u32::MAX),
            undo_done: u32::try_from(number("undo_done")?).unwrap_or(u32::MAX),
            epoch: Epoch { shape: number("shape")?, membership: number("membership")? },
            new_shard: Some(ShardId(number("new_shard")?)).filter(|s| s.0 != 0),
            changed_unix_ms: number("changed_unix_ms")?,
            applied_unix_ms: Some(number("applied_unix_ms")?).filter(|ms| *ms != 0),
            traceparent: row.try_get("traceparent")?,
        })
    }
}

impl Entry {
    /// The record that the ledger reads: the state, and when it was applied.
    pub(crate) fn as_record(&self) -> DirectiveRecord {
        let applied = self.applied_unix_ms.map(|at_unix_ms| DirectiveEvent {
            at_unix_ms,
            controller_term: self.directive.controller_term,
            state: DirectiveState::Applied,
            steps_done: self.steps_done,
            reason: String::new(),
        });
        DirectiveRecord {
            directive: self.directive.clone(),
            state: self.state,
            steps_done: self.steps_done,
            events: applied.into_iter().collect(),
        }
    }
}

fn state_from_text(text: &str) -> Result<DirectiveState, Error> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(Error::document("a directive's state"))
}

/// What makes two directives the same proposal.
pub(crate) fn fingerprint(shard: ShardId, kind: DirectiveKind, steps: &[Step]) -> String {
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    format!("{shard} {kind}: {}", steps.join(", "))
}
