//! What operators set: mode, policy, freezes, drains; and the arrivals kept for a warm restart.

use super::{Grant, Store, from_sql, next_id, to_sql};
use crate::error::Error;
use isobar_api::{ApiError, ErrorCode, NodeId, plan::Freeze, policy::Mode};
use sqlx::{Any, Row, Transaction};

/// Operations kept.
const OPERATIONS_MAX: u64 = 10_000;
/// Versions of the policy kept.
const POLICIES_MAX: u64 = 1_000;

/// A drain as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DrainRow {
    /// The node.
    pub(crate) node: NodeId,
    /// `draining`, `drained` or `cancelled`.
    pub(crate) state: String,
    /// Who asked.
    pub(crate) owner: String,
    /// When, Unix milliseconds.
    pub(crate) started_unix_ms: u64,
    /// Replicas it held then.
    pub(crate) replicas_at_start: u32,
}

impl Store {
    /// A setting, if it was ever set.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pool())
            .await?)
    }

    /// Sets a setting.
    pub(crate) async fn set_setting(
        &self,
        grant: Grant,
        name: &str,
        value: &str,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        put_setting(&mut tx, name, value).await?;
        Ok(tx.commit().await?)
    }

    /// The mode, if it was ever set.
    pub(crate) async fn mode(&self) -> Result<Option<Mode>, Error> {
        // A mode that cannot be read is not "never set": that would put the configured one in its place.
        Ok(self.setting("mode").await?.map(|text| text.parse::<Mode>()).transpose()?)
    }

    /// Changes the mode and records who did it.
    pub(crate) async fn set_mode(
        &self,
        grant: Grant,
        mode: Mode,
        owner: &str,
        reason: &str,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        put_setting(&mut tx, "mode", &mode.to_string()).await?;
        log_operation(&mut tx, now_unix_ms, owner, "mode", &format!("{mode}: {reason}")).await?;
        Ok(tx.commit().await?)
    }

    /// The newest policy's version and TOML text.
    pub(crate) async fn policy(&self) -> Result<Option<(u64, String)>, Error> {
        let row = sqlx::query("SELECT version, body FROM policies ORDER BY version DESC LIMIT 1")
            .fetch_optional(self.pool())
            .await?;
        row.map(|r| Ok((from_sql(r.try_get("version")?), r.try_get("body")?))).transpose()
    }

    /// Stores a policy as the version after `base`; refused if somebody else was faster.
    pub(crate) async fn put_policy(
        &self,
        grant: Grant,
        base: u64,
        text: &str,
        owner: &str,
        now_unix_ms: u64,
    ) -> Result<u64, Error> {
        let mut tx = self.begin(grant).await?;
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT version FROM policies ORDER BY version DESC LIMIT 1")
                .fetch_optional(&mut *tx)
                .await?;
        if newest.map_or(0, from_sql) != base {
            let why = "the policy was changed meanwhile; look at it again";
            return Err(ApiError::new(ErrorCode::BadPolicy, why).into());
        }
        sqlx::query(
            "INSERT INTO policies (version, at_unix_ms, owner, body) VALUES ($1, $2, $3, $4)",
        )
        .bind(to_sql(base + 1))
        .bind(to_sql(now_unix_ms))
        .bind(owner)
        .bind(text)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM policies WHERE version <= $1")
            .bind(to_sql((base + 1).saturating_sub(POLICIES_MAX)))
            .execute(&mut *tx)
            .await?;
        log_operation(&mut tx, now_unix_ms, owner, "policy", &format!("version {}", base + 1))
            .await?;
        tx.commit().await?;
        Ok(base + 1)
    }

    /// Every freeze, in scope order.
    pub(crate) async fn freezes(&self) -> Result<Vec<Freeze>, Error> {
        let rows =
            sqlx::query("SELECT scope, reason, owner, expires_unix_ms FROM freezes ORDER BY scope")
                .fetch_all(self.pool())
                .await?;
        rows.iter()
            .map(|r| {
                Ok(Freeze {
                    scope: r.try_get("scope")?,
                    reason: r.try_get("reason")?,
                    owner: r.try_get("owner")?,
                    expires_at_unix_ms: from_sql(r.try_get("expires_unix_ms")?),
                })
            })
            .collect()
    }

    /// Adds a freeze, or replaces the one of the same scope.
    pub(crate) async fn put_freeze(
        &self,
        grant: Grant,
        freeze: &Freeze,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        sqlx::query(
            "INSERT INTO freezes (scope, reason, owner, expires_unix_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (scope) DO UPDATE SET reason = $2, owner = $3, expires_unix_ms = $4",
        )
        .bind(&freeze.scope)
        .bind(&freeze.reason)
        .bind(&freeze.owner)
        .bind(to_sql(freeze.expires_at_unix_ms))
        .execute(&mut *tx)
        .await?;
        let detail = format!("{}: {}", freeze.scope, freeze.reason);
        log_operation(&mut tx, now_unix_ms, &freeze.owner, "pause", &detail).await?;
        Ok(tx.commit().await?)
    }

    /// Lifts freezes: of one scope, or all of them.
    pub(crate) async fn lift_freezes(
        &self,
        grant: Grant,
        scope: Option<&str>,
        owner: &str,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        match scope {
            Some(scope) => sqlx::query("DELETE FROM freezes WHERE scope = $1").bind(scope),
            None => sqlx::query("DELETE FROM freezes"),
        }
        .execute(&mut *tx)
        .await?;
        log_operation(&mut tx, now_unix_ms, owner, "resume", scope.unwrap_or("everything")).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets freezes that are over.
    pub(crate) async fn drop_expired_freezes(
        &self,
        grant: Grant,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        sqlx::query("DELETE FROM freezes WHERE expires_unix_ms <= $1")
            .bind(to_sql(now_unix_ms))
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Every drain, in node order.
    pub(crate) async fn drains(&self) -> Result<Vec<DrainRow>, Error> {
        let rows = sqlx::query(
            "SELECT node_id, state, owner, started_unix_ms, replicas_at_start FROM drains ORDER BY node_id",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|r| {
                Ok(DrainRow {
                    node: NodeId(from_sql(r.try_get("node_id")?)),
                    state: r.try_get("state")?,
                    owner: r.try_get("owner")?,
                    started_unix_ms: from_sql(r.try_get("started_unix_ms")?),
                    replicas_at_start: u32::try_from(from_sql(r.try_get("replicas_at_start")?))
                        .unwrap_or(u32::MAX),
                })
            })
            .collect()
    }

    /// Notes that a node is empty, if it is still to be emptied. Returns whether it was.
    pub(crate) async fn end_drain(&self, grant: Grant, node: NodeId) -> Result<bool, Error> {
        let mut tx = self.begin(grant).await?;
        let done = sqlx::query(
            "UPDATE drains SET state = 'drained' WHERE node_id = $1 AND state = 'draining'",
        )
        .bind(to_sql(node.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Stores what an operator wants of a drain.
    pub(crate) async fn put_drain(
        &self,
        grant: Grant,
        drain: &DrainRow,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        sqlx::query(
            "INSERT INTO drains (node_id, state, owner, started_unix_ms, replicas_at_start) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node_id) DO UPDATE \
             SET state = $2, owner = $3, started_unix_ms = $4, replicas_at_start = $5",
        )
        .bind(to_sql(drain.node.0))
        .bind(&drain.state)
        .bind(&drain.owner)
        .bind(to_sql(drain.started_unix_ms))
        .bind(i64::from(drain.replicas_at_start))
        .execute(&mut *tx)
        .await?;
        let detail = format!("{}: {}", drain.node, drain.state);
        log_operation(&mut tx, now_unix_ms, &drain.owner, "drain", &detail).await?;
        Ok(tx.commit().await?)
    }

    /// Keeps one closed window of arrivals and drops those before `keep_from_unix_ms`.
    pub(crate) async fn put_window(
        &self,
        grant: Grant,
        start_unix_ms: u64,
        window_ms: u64,
        body: &str,
        keep_from_unix_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.begin(grant).await?;
        sqlx::query(
            "INSERT INTO arrival_windows (start_unix_ms, window_ms, body) VALUES ($1, $2, $3) \
             ON CONFLICT (start_unix_ms) DO UPDATE SET window_ms = $2, body = $3",
        )
        .bind(to_sql(start_unix_ms))
        .bind(to_sql(window_ms))
        .bind(body)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM arrival_windows WHERE start_unix_ms < $1")
            .bind(to_sql(keep_from_unix_ms))
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Kept windows of one length, oldest first.
    pub(crate) async fn windows(&self, window_ms: u64) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar(
            "SELECT body FROM arrival_windows WHERE window_ms = $1 ORDER BY start_unix_ms",
        )
        .bind(to_sql(window_ms))
        .fetch_all(self.pool())
        .await?)
    }
}

async fn put_setting(
    tx: &mut Transaction<'static, Any>,
    name: &str,
    value: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
    )
    .bind(name)
    .bind(value)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records what a person asked for, in the transaction that does it.
pub(crate) async fn log_operation(
    tx: &mut Transaction<'static, Any>,
    at_unix_ms: u64,
    owner: &str,
    action: &str,
    detail: &str,
) -> Result<(), Error> {
    let id = next_id(tx, "operation").await?;
    sqlx::query(
        "INSERT INTO operations (operation_id, at_unix_ms, owner, action, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(to_sql(id))
    .bind(to_sql(at_unix_ms))
    .bind(owner)
    .bind(action)
    .bind(detail)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM operations WHERE operation_id <= $1")
        .bind(to_sql(id.saturating_sub(OPERATIONS_MAX)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::databases;

    #[tokio::test]
    async fn a_drain_that_was_cancelled_does_not_end() {
        for database in databases().await {
            let store = database.open().await;
            let grant = store.acquire_lease("a", 1, 500).await.expect("sql").expect("free");
            let drain = |state: &str| DrainRow {
                node: NodeId(2),
                state: state.into(),
                owner: "ann".into(),
                started_unix_ms: 1,
                replicas_at_start: 3,
            };
            for (wanted, ends) in [("cancelled", false), ("draining", true)] {
                store.put_drain(grant, &drain(wanted), 1).await.expect("ours");
                assert_eq!(store.end_drain(grant, NodeId(2)).await.expect("ours"), ends);
            }
            assert_eq!(store.drains().await.expect("sql"), [drain("drained")]);
        }
    }
}
