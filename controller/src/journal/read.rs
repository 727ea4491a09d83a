//! Reads of the journal. They need no term: every controller may answer them.

use super::{Entry, Journal, change::no_such, select_entries, state_from_text};
use crate::{
    error::Error,
    store::{from_sql, to_sql},
    view::MoveHistory,
};
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, PlanId, ShardId, Term,
    directive::DirectiveState,
    plan::{DirectiveEvent, DirectiveRecord, Plan, PlanRecord},
};
use sqlx::{Row, any::AnyRow};
use std::collections::BTreeMap;

impl Journal {
    /// One directive as the journal has it.
    pub(crate) async fn entry(&self, id: DirectiveId) -> Result<Option<Entry>, Error> {
        let row = sqlx::query(select_entries("WHERE directive_id = $1"))
            .bind(to_sql(id.0))
            .fetch_optional(self.store.pool())
            .await?;
        row.as_ref().map(Entry::from_row).transpose()
    }

    /// Directives that must be carried on: journaled, and not final.
    pub(crate) async fn open(&self) -> Result<Vec<Entry>, Error> {
        self.entries("'journaled', 'sent', 'accepted', 'applied', 'compensating'").await
    }

    /// Directives that wait for a decision.
    pub(crate) async fn waiting(&self) -> Result<Vec<Entry>, Error> {
        self.entries("'checked'").await
    }

    /// Entries in these states, in id order.
    async fn entries(&self, states: &str) -> Result<Vec<Entry>, Error> {
        let rest = format!("WHERE state IN ({states}) ORDER BY directive_id");
        let rows = sqlx::query(select_entries(&rest)).fetch_all(self.store.pool()).await?;
        rows.iter().map(Entry::from_row).collect()
    }

    /// One directive with its history.
    pub(crate) async fn directive(&self, id: DirectiveId) -> Result<DirectiveRecord, Error> {
        let entry = self.entry(id).await?.ok_or_else(|| no_such(id))?;
        self.with_events(entry).await
    }

    /// Newest directives first, optionally of one shard.
    pub(crate) async fn directives(
        &self,
        limit: u32,
        shard: Option<ShardId>,
    ) -> Result<Vec<DirectiveRecord>, Error> {
        let condition = shard.map_or(String::new(), |s| format!("WHERE shard_id = {}", s.0));
        let rest = format!("{condition} ORDER BY directive_id DESC LIMIT {limit}");
        let rows = sqlx::query(select_entries(&rest)).fetch_all(self.store.pool()).await?;
        let mut records = Vec::new();
        for row in &rows {
            records.push(self.with_events(Entry::from_row(row)?).await?);
        }
        Ok(records)
    }

    async fn with_events(&self, entry: Entry) -> Result<DirectiveRecord, Error> {
        let rows = sqlx::query(
            "SELECT at_unix_ms, term, state, steps_done, reason FROM directive_events \
             WHERE directive_id = $1 ORDER BY position",
        )
        .bind(to_sql(entry.directive.id.0))
        .fetch_all(self.store.pool())
        .await?;
        let events = rows
            .iter()
            .map(|row| {
                let state: String = row.try_get("state")?;
                Ok(DirectiveEvent {
                    at_unix_ms: from_sql(row.try_get("at_unix_ms")?),
                    controller_term: Term(from_sql(row.try_get("term")?)),
                    state: state_from_text(&state)?,
                    steps_done: u32::try_from(from_sql(row.try_get("steps_done")?))
                        .unwrap_or(u32::MAX),
                    reason: row.try_get("reason")?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(DirectiveRecord {
            directive: entry.directive,
            state: entry.state,
            steps_done: entry.steps_done,
            events,
        })
    }

    /// Newest plans first.
    pub(crate) async fn plans(&self, limit: u32) -> Result<Vec<Plan>, Error> {
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM plans ORDER BY plan_id DESC LIMIT $1")
                .bind(i64::from(limit))
                .fetch_all(self.store.pool())
                .await?;
        bodies
            .iter()
            .map(|body| serde_json::from_str(body).map_err(Error::document("a plan")))
            .collect()
    }

    /// One plan with the records of its directives.
    pub(crate) async fn plan(&self, id: PlanId) -> Result<PlanRecord, Error> {
        let body: Option<String> = sqlx::query_scalar("SELECT body FROM plans WHERE plan_id = $1")
            .bind(to_sql(id.0))
            .fetch_optional(self.store.pool())
            .await?;
        let missing = || ApiError::new(ErrorCode::NoSuchRecord, format!("there is no plan {id}"));
        let body = body.ok_or_else(missing)?;
        let plan: Plan = serde_json::from_str(&body).map_err(Error::document("a plan"))?;
        let mut directives = Vec::new();
        for directive in &plan.directives {
            // The journal keeps so many directives, and so many plans: one may outlive the other.
            if let Some(entry) = self.entry(directive.id).await? {
                directives.push(self.with_events(entry).await?);
            }
        }
        Ok(PlanRecord { plan, directives })
    }

    /// How the directives of a plan stand.
    pub(crate) async fn states(
        &self,
        id: PlanId,
    ) -> Result<BTreeMap<DirectiveId, DirectiveState>, Error> {
        let rows = sqlx::query("SELECT directive_id, state FROM directives WHERE plan_id = $1")
            .bind(to_sql(id.0))
            .fetch_all(self.store.pool())
            .await?;
        let state = |row: &AnyRow| -> Result<_, Error> {
            let (id, state): (i64, String) = (row.try_get("directive_id")?, row.try_get("state")?);
            Ok((DirectiveId(from_sql(id)), state_from_text(&state)?))
        };
        rows.iter().map(state).collect()
    }

    /// The newest plan's number.
    pub(crate) async fn newest_plan(&self) -> Result<Option<PlanId>, Error> {
        let id: Option<i64> =
            sqlx::query_scalar("SELECT plan_id FROM plans ORDER BY plan_id DESC LIMIT 1")
                .fetch_optional(self.store.pool())
                .await?;
        Ok(id.map(|id| PlanId(from_sql(id))))
    }

    /// Whether no directive was ever given a number here.
    pub(crate) async fn is_new(&self) -> Result<bool, Error> {
        let given: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'directive'")
            .fetch_one(self.store.pool())
            .await?;
        Ok(given == 0)
    }

    /// Directives by state.
    pub(crate) async fn counts(&self) -> Result<Vec<(DirectiveState, u64)>, Error> {
        let rows = sqlx::query("SELECT state, COUNT(*) AS n FROM directives GROUP BY state")
            .fetch_all(self.store.pool())
            .await?;
        let mut counts = rows
            .iter()
            .map(|row| {
                let state: String = row.try_get("state")?;
                Ok((state_from_text(&state)?, from_sql(row.try_get("n")?)))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        counts.sort_unstable();
        Ok(counts)
    }

    /// When shards were changed since a moment: for dwell times and hourly budgets.
    pub(crate) async fn move_history(&self, since_unix_ms: u64) -> Result<MoveHistory, Error> {
        let rows = sqlx::query(
            "SELECT shard_id, new_shard, applied_unix_ms FROM directives \
             WHERE applied_unix_ms > $1 ORDER BY applied_unix_ms",
        )
        .bind(to_sql(since_unix_ms))
        .fetch_all(self.store.pool())
        .await?;
        let mut history = MoveHistory::new();
        for row in rows {
            let at = from_sql(row.try_get("applied_unix_ms")?);
            for column in ["shard_id", "new_shard"] {
                let shard = ShardId(from_sql(row.try_get(column)?));
                if shard.0 != 0 {
                    history.entry(shard).or_default().push(at);
                }
            }
        }
        Ok(history)
    }
}
