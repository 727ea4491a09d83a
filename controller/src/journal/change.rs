//! Changes of one directive's state.

use super::{Entry, Journal, select_entries, state_from_text};
use crate::{
    error::Error,
    store::{Grant, from_sql, log_operation, to_sql},
};
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, ShardId,
    directive::{Directive, DirectiveState},
    shard::Epoch,
};
use sqlx::{Any, Row, Transaction};

/// One change, with everything that changes together with the state.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The new state.
    pub(crate) state: DirectiveState,
    /// Why, typed where a node refused.
    pub(crate) reason: String,
    /// Steps that are now done; `None`: as before.
    pub(crate) steps_done: Option<u32>,
    /// Undo steps that are now done; `None`: as before.
    pub(crate) undo_done: Option<u32>,
    /// The epoch that the next step expects; `None`: as before.
    pub(crate) epoch: Option<Epoch>,
    /// The shard that a split made.
    pub(crate) new_shard: Option<ShardId>,
    /// The figure that was measured afterwards.
    pub(crate) realised: Option<f64>,
}

impl Change {
    /// A change of state alone.
    pub(crate) fn to(state: DirectiveState, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            steps_done: None,
            undo_done: None,
            epoch: None,
            new_shard: None,
            realised: None,
        }
    }
}

impl Journal {
    /// Makes one change durable and returns the directive as it is now. Refused if the journal does
    /// not allow it, or if the term is not ours any more.
    pub(crate) async fn change(
        &self,
        grant: Grant,
        id: DirectiveId,
        change: &Change,
        now_unix_ms: u64,
    ) -> Result<Entry, Error> {
        let mut tx = self.store.begin(grant).await?;
        write_change(&mut tx, grant, id, change, now_unix_ms).await?;
        tx.commit().await?;
        self.entry(id).await?.ok_or_else(|| no_such(id))
    }

    /// A person lets a waiting directive run, or rejects it.
    pub(crate) async fn decide(
        &self,
        grant: Grant,
        id: DirectiveId,
        approve: bool,
        owner: &str,
        reason: &str,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.store.begin(grant).await?;
        let waiting = current(&mut tx, id).await?.ok_or_else(|| no_such(id))?;
        if waiting.state != DirectiveState::Checked {
            let why =
                format!("{id} is {}; only a checked directive waits for a decision", waiting.state);
            return Err(Error::NotAllowed(why));
        }
        let verb = if approve { "approved" } else { "rejected" };
        let why = format!("{verb} by {owner}: {reason}");
        if approve {
            let (shard, expires) = (waiting.directive.shard, waiting.directive.expires_at_unix_ms);
            if expires <= now_unix_ms {
                return Err(Error::NotAllowed(format!(
                    "{id} has expired; the next plan proposes anew"
                )));
            }
            if let Some(other) = active_on(&mut tx, shard).await? {
                return Err(Error::NotAllowed(format!("{shard} is busy with {other}")));
            }
            approve_in(&mut tx, grant, id, &why, now_unix_ms).await?;
        } else {
            let change = Change::to(DirectiveState::Rejected, &why);
            write_change(&mut tx, grant, id, &change, now_unix_ms).await?;
        }
        log_operation(&mut tx, now_unix_ms, owner, verb, &format!("{id}: {reason}")).await?;
        Ok(tx.commit().await?)
    }

    /// Ends every proposal whose time is over. Returns how many.
    pub(crate) async fn expire_waiting(
        &self,
        grant: Grant,
        now_unix_ms: u64,
    ) -> Result<usize, Error> {
        let over: Vec<Entry> = self
            .waiting()
            .await?
            .into_iter()
            .filter(|e| e.directive.expires_at_unix_ms <= now_unix_ms)
            .collect();
        if over.is_empty() {
            return Ok(0);
        }
        let mut tx = self.store.begin(grant).await?;
        let mut expired = 0;
        for id in over.iter().map(|entry| entry.directive.id) {
            // Somebody may have decided after we looked and before the lock.
            if current(&mut tx, id).await?.is_some_and(|e| e.state == DirectiveState::Checked) {
                let change = Change::to(DirectiveState::Expired, "nobody decided in time");
                write_change(&mut tx, grant, id, &change, now_unix_ms).await?;
                expired += 1;
            }
        }
        tx.commit().await?;
        Ok(expired)
    }
}

/// Approved and journaled in one go: from here on it will be carried out, whatever crashes.
pub(super) async fn approve_in(
    tx: &mut Transaction<'static, Any>,
    grant: Grant,
    id: DirectiveId,
    why: &str,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let approved = Change::to(DirectiveState::Approved, why);
    write_change(tx, grant, id, &approved, now_unix_ms).await?;
    let journaled = Change::to(DirectiveState::Journaled, "durable");
    write_change(tx, grant, id, &journaled, now_unix_ms).await
}

/// Writes one change inside the caller's transaction.
pub(super) async fn write_change(
    tx: &mut Transaction<'static, Any>,
    grant: Grant,
    id: DirectiveId,
    change: &Change,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let old = current(tx, id).await?.ok_or_else(|| no_such(id))?;
    if !old.state.may_become(change.state) {
        return Err(Error::NotAllowed(format!(
            "{id} is {} and cannot become {}",
            old.state, change.state
        )));
    }
    let steps_done = change.steps_done.unwrap_or(old.steps_done);
    let epoch = change.epoch.unwrap_or(old.epoch);
    let applied = match change.state {
        DirectiveState::Applied => now_unix_ms,
        _ => old.applied_unix_ms.unwrap_or(0),
    };
    let mut directive: Directive = old.directive;
    // A controller that took over writes under its own term from now on.
    directive.controller_term = grant.term;
    directive.predicted.realised = change.realised.or(directive.predicted.realised);
    let body = serde_json::to_string(&directive).map_err(Error::document("a directive"))?;
    sqlx::query(
        "UPDATE directives SET state = $1, steps_done = $2, undo_done = $3, shape = $4, membership = $5, \
         new_shard = $6, changed_unix_ms = $7, applied_unix_ms = $8, body = $9 WHERE directive_id = $10",
    )
    .bind(change.state.to_string())
    .bind(i64::from(steps_done))
    .bind(i64::from(change.undo_done.unwrap_or(old.undo_done)))
    .bind(to_sql(epoch.shape))
    .bind(to_sql(epoch.membership))
    .bind(to_sql(change.new_shard.or(old.new_shard).map_or(0, |s| s.0)))
    .bind(to_sql(now_unix_ms))
    .bind(to_sql(applied))
    .bind(body)
    .bind(to_sql(id.0))
    .execute(&mut **tx)
    .await?;
    insert_event(tx, grant, id, change.state, steps_done, &change.reason, now_unix_ms).await
}

/// Appends to a directive's history.
pub(super) async fn insert_event(
    tx: &mut Transaction<'static, Any>,
    grant: Grant,
    id: DirectiveId,
    state: DirectiveState,
    steps_done: u32,
    reason: &str,
    now_unix_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO directive_events (directive_id, position, at_unix_ms, term, state, steps_done, reason) \
         SELECT $1, COALESCE(MAX(position), 0) + 1, $2, $3, $4, $5, $6 FROM directive_events WHERE directive_id = $1",
    )
    .bind(to_sql(id.0))
    .bind(to_sql(now_unix_ms))
    .bind(to_sql(grant.term.0))
    .bind(state.to_string())
    .bind(i64::from(steps_done))
    .bind(reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The directive that holds a shard now, if one does.
pub(super) async fn active_on(
    tx: &mut Transaction<'static, Any>,
    shard: ShardId,
) -> Result<Option<DirectiveId>, Error> {
    let rows = sqlx::query("SELECT directive_id, state FROM directives WHERE shard_id = $1")
        .bind(to_sql(shard.0))
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        let state: String = row.try_get("state")?;
        if state_from_text(&state)?.is_active() {
            return Ok(Some(DirectiveId(from_sql(row.try_get("directive_id")?))));
        }
    }
    Ok(None)
}

async fn current(
    tx: &mut Transaction<'static, Any>,
    id: DirectiveId,
) -> Result<Option<Entry>, Error> {
    let row = sqlx::query(select_entries("WHERE directive_id = $1"))
        .bind(to_sql(id.0))
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(Entry::from_row).transpose()
}

pub(super) fn no_such(id: DirectiveId) -> Error {
    ApiError::new(ErrorCode::NoSuchRecord, format!("there is no directive {id}")).into()
}
