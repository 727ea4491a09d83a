//! Takes a plan into the journal: numbers it, filters what was already said, lets through what may run.

use super::{
    DIRECTIVES_MAX, Entry, Journal, PLANS_EMPTY_MAX, PLANS_MAX,
    change::{active_on, approve_in, insert_event, write_change},
    fingerprint, select_entries,
};
use crate::{
    error::Error,
    journal::Change,
    store::{Grant, from_sql, next_id, to_sql},
};
use isobar_api::{
    DirectiveId, PlanId,
    directive::{Directive, DirectiveKind, DirectiveState},
    plan::{CheckNote, Plan},
    policy::Mode,
};
use sqlx::{Any, Row, Transaction};
use std::collections::BTreeSet;

/// How long a rejected proposal is not made again, milliseconds.
const REJECTED_QUIET_MS: u64 = 300_000;
/// How long a change that came to nothing is not tried again, milliseconds.
const FAILED_QUIET_MS: u64 = 60_000;
/// The same for repair, which must not wait long.
const REPAIR_QUIET_MS: u64 = 5_000;

/// What became of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// The plan with its numbers, holding only the directives that are new.
    pub(crate) plan: Plan,
    /// Directives that may start now.
    pub(crate) started: Vec<DirectiveId>,
}

/// Whether a directive runs without a person's decision.
pub(crate) fn runs_by_itself(kind: DirectiveKind, mode: Mode) -> bool {
    mode == Mode::Act || matches!(kind, DirectiveKind::Repair | DirectiveKind::Drain)
}

impl Journal {
    /// Records a plan and its directives in one transaction. Proposals that still wait are not
    /// stored again (their time is extended), nor is what failed or was rejected a moment ago.
    /// `None`: nothing new, and `keep_empty` was not asked for.
    pub(crate) async fn record(
        &self,
        grant: Grant,
        mut plan: Plan,
        mode: Mode,
        traceparent: &str,
        keep_empty: bool,
        now_unix_ms: u64,
    ) -> Result<Option<Recorded>, Error> {
        let mut tx = self.store.begin(grant).await?;
        let mut fresh = Vec::new();
        let offered = plan.directives.len();
        for directive in std::mem::take(&mut plan.directives) {
            match self.seen_before(&mut tx, grant, &directive, mode, now_unix_ms).await? {
                None => fresh.push(directive),
                Some(why) => {
                    let note = CheckNote { fatal: false, shard: directive.shard, message: why };
                    plan.notes.push(note);
                }
            }
        }
        if fresh.is_empty() && (!keep_empty || offered > 0) {
            // What waits may have been extended.
            tx.commit().await?;
            return Ok(None);
        }
        plan.id = PlanId(next_id(&mut tx, "plan").await?);
        plan.controller_term = grant.term;
        for directive in &mut fresh {
            directive.id = DirectiveId(next_id(&mut tx, "directive").await?);
            directive.plan_id = plan.id;
            directive.controller_term = grant.term;
        }
        plan.directives = fresh;
        insert_plan(&mut tx, &plan).await?;
        let mut started = Vec::new();
        for directive in &plan.directives {
            let fatal = plan.notes.iter().find(|n| n.fatal && n.shard == directive.shard);
            if self.insert(&mut tx, grant, directive, fatal, mode, traceparent, now_unix_ms).await?
            {
                started.push(directive.id);
            }
        }
        trim(&mut tx, plan.id).await?;
        tx.commit().await?;
        Ok(Some(Recorded { plan, started }))
    }

    /// Why a directive need not be stored: the same one waits, or came to nothing a moment ago.
    async fn seen_before(
        &self,
        tx: &mut Transaction<'static, Any>,
        grant: Grant,
        directive: &Directive,
        mode: Mode,
        now_unix_ms: u64,
    ) -> Result<Option<String>, Error> {
        let rest = "WHERE shard_id = $1 AND fingerprint = $2 ORDER BY directive_id DESC LIMIT 4";
        let rows = sqlx::query(select_entries(rest))
            .bind(to_sql(directive.shard.0))
            .bind(fingerprint(directive.shard, directive.kind, &directive.steps))
            .fetch_all(&mut **tx)
            .await?;
        for row in &rows {
            let old = Entry::from_row(row)?;
            let (id, age_ms) = (old.directive.id, now_unix_ms.saturating_sub(old.changed_unix_ms));
            match old.state {
                DirectiveState::Checked if runs_by_itself(directive.kind, mode) => {
                    // The mode has changed since: the new one runs, the old one has nothing to wait for. It did not come to
                    // nothing, so the same change may be made again soon.
                    let change = Change::to(DirectiveState::Expired, "planned again in mode act");
                    write_change(tx, grant, id, &change, now_unix_ms).await?;
                }
                DirectiveState::Checked => {
                    extend(tx, old, directive).await?;
                    return Ok(Some(format!("the same as {id}, which waits for a decision")));
                }
                state if state.is_active() => {
                    return Ok(Some(format!("the same as {id}, which is under way")));
                }
                state if age_ms < quiet_ms(state, directive.kind) => {
                    return Ok(Some(format!("the same as {id}, {state} {} s ago", age_ms / 1_000)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Fingerprints of directives that would not be stored again now, for they came to nothing a moment ago.
    pub(crate) async fn quiet(&self, now_unix_ms: u64) -> Result<BTreeSet<String>, Error> {
        let rows = sqlx::query(
            "SELECT fingerprint, state, changed_unix_ms, body FROM directives \
             WHERE state IN ('rejected', 'failed', 'cancelled', 'undone') AND changed_unix_ms > $1",
        )
        .bind(to_sql(now_unix_ms.saturating_sub(REJECTED_QUIET_MS)))
        .fetch_all(self.store.pool())
        .await?;
        let mut quiet = BTreeSet::new();
        for row in rows {
            let (state, body): (String, String) = (row.try_get("state")?, row.try_get("body")?);
            let directive: Directive =
                serde_json::from_str(&body).map_err(Error::document("a directive"))?;
            let age_ms = now_unix_ms.saturating_sub(from_sql(row.try_get("changed_unix_ms")?));
            if age_ms < quiet_ms(super::state_from_text(&state)?, directive.kind) {
                quiet.insert(row.try_get("fingerprint")?);
            }
        }
        Ok(quiet)
    }

    /// Stores one directive with its first states. Returns whether it may start.
    #[allow(clippy::too_many_arguments)] // one row, spelled out
    async fn insert(
        &self,
        tx: &mut Transaction<'static, Any>,
        grant: Grant,
        directive: &Directive,
        fatal: Option<&CheckNote>,
        mode: Mode,
        traceparent: &str,
        now_unix_ms: u64,
    ) -> Result<bool, Error> {
        let busy = active_on(tx, directive.shard).await?;
        let (id, first) = (directive.id, DirectiveState::Proposed);
        let body = serde_json::to_string(directive).map_err(Error::document("a directive"))?;
        sqlx::query(
            "INSERT INTO directives (directive_id, plan_id, shard_id, state, steps_done, undo_done, shape, \
             membership, new_shard, changed_unix_ms, applied_unix_ms, fingerprint, traceparent, body) \
             VALUES ($1, $2, $3, $4, 0, 0, $5, $6, 0, $7, 0, $8, $9, $10)",
        )
        .bind(to_sql(id.0))
        .bind(to_sql(directive.plan_id.0))
        .bind(to_sql(directive.shard.0))
        .bind(first.to_string())
        .bind(to_sql(directive.expected_epoch.shape))
        .bind(to_sql(directive.expected_epoch.membership))
        .bind(to_sql(now_unix_ms))
        .bind(fingerprint(directive.shard, directive.kind, &directive.steps))
        .bind(traceparent)
        .bind(body)
        .execute(&mut **tx)
        .await?;
        insert_event(tx, grant, id, first, 0, &directive.reason, now_unix_ms).await?;
        let refused = fatal.map(|note| note.message.clone());
        let refused =
            refused.or_else(|| busy.map(|other| format!("the shard is busy with {other}")));
        if let Some(why) = refused {
            let change = Change::to(DirectiveState::Rejected, why);
            write_change(tx, grant, id, &change, now_unix_ms).await?;
            return Ok(false);
        }
        let checked = Change::to(DirectiveState::Checked, "passed the plan's checks");
        write_change(tx, grant, id, &checked, now_unix_ms).await?;
        if !runs_by_itself(directive.kind, mode) {
            return Ok(false);
        }
        let why = format!("allowed by mode {mode} for {}", directive.kind);
        approve_in(tx, grant, id, &why, now_unix_ms).await?;
        Ok(true)
    }
}

/// How long a directive that ended so is not made again, milliseconds.
fn quiet_ms(state: DirectiveState, kind: DirectiveKind) -> u64 {
    match state {
        DirectiveState::Rejected => REJECTED_QUIET_MS,
        DirectiveState::Failed | DirectiveState::Cancelled | DirectiveState::Undone => {
            if kind == DirectiveKind::Repair { REPAIR_QUIET_MS } else { FAILED_QUIET_MS }
        }
        _ => 0,
    }
}

/// A proposal that is still the planner's wish waits longer, against the epoch seen now.
async fn extend(
    tx: &mut Transaction<'static, Any>,
    old: Entry,
    new: &Directive,
) -> Result<(), Error> {
    let mut directive = old.directive;
    directive.expires_at_unix_ms = new.expires_at_unix_ms;
    directive.expected_epoch = new.expected_epoch;
    let body = serde_json::to_string(&directive).map_err(Error::document("a directive"))?;
    sqlx::query(
        "UPDATE directives SET body = $1, shape = $2, membership = $3 WHERE directive_id = $4",
    )
    .bind(body)
    .bind(to_sql(new.expected_epoch.shape))
    .bind(to_sql(new.expected_epoch.membership))
    .bind(to_sql(directive.id.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_plan(tx: &mut Transaction<'static, Any>, plan: &Plan) -> Result<(), Error> {
    let body = serde_json::to_string(plan).map_err(Error::document("a plan"))?;
    sqlx::query("INSERT INTO plans (plan_id, at_unix_ms, body) VALUES ($1, $2, $3)")
        .bind(to_sql(plan.id.0))
        .bind(to_sql(plan.at_unix_ms))
        .bind(body)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Drops what the journal does not keep. It goes by how many there are, not by their numbers: those
/// leap when a database takes over from another.
async fn trim(tx: &mut Transaction<'static, Any>, newest: PlanId) -> Result<(), Error> {
    // Plans that found nothing to do may come every few seconds. They must not push out those that did.
    sqlx::query(
        "DELETE FROM plans WHERE plan_id <= $1 AND NOT EXISTS \
         (SELECT 1 FROM directives WHERE directives.plan_id = plans.plan_id)",
    )
    .bind(to_sql(newest.0.saturating_sub(PLANS_EMPTY_MAX)))
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM plans WHERE plan_id <= \
         (SELECT plan_id FROM plans ORDER BY plan_id DESC LIMIT 1 OFFSET $1)",
    )
    .bind(to_sql(PLANS_MAX))
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query(
        "SELECT directive_id, state FROM directives WHERE directive_id <= \
         (SELECT directive_id FROM directives ORDER BY directive_id DESC LIMIT 1 OFFSET $1) LIMIT 100",
    )
    .bind(to_sql(DIRECTIVES_MAX))
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        let (id, state): (i64, String) = (row.try_get("directive_id")?, row.try_get("state")?);
        if !super::state_from_text(&state)?.is_final() {
            continue;
        }
        for sql in [
            "DELETE FROM directive_events WHERE directive_id = $1",
            "DELETE FROM directives WHERE directive_id = $1",
        ] {
            sqlx::query(sql).bind(id).execute(&mut **tx).await?;
        }
    }
    Ok(())
}
