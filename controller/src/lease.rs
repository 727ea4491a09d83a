//! Who may act: one row {holder, term, expires}, taken by compare-and-set. The term fences: a
//! holder whose clock is wrong may believe what it likes, its writes carry a lower term and fail.

use crate::{
    error::Error,
    store::{Grant, Store, from_sql, to_sql},
};
use isobar_api::Term;
use sqlx::Row;
use std::time::{Duration, Instant};

/// Longest lease that may be configured, milliseconds.
pub(crate) const LEASE_MS_MAX: u64 = 300_000;

/// Directive ids start this far apart when a new database meets an old cluster, so that no node
/// takes a new directive for an old one whose result it has stored.
const IDS_PER_TERM: u64 = 1_000_000;

/// The lease row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    /// Who holds it.
    pub(crate) holder: String,
    /// The highest term given.
    pub(crate) term: Term,
    /// Until when, Unix milliseconds.
    pub(crate) expires_unix_ms: u64,
}

impl LeaseRow {
    /// Whether it has run out or was given back.
    pub(crate) fn is_free(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms <= now_unix_ms
    }
}

/// What a controller that waits has seen of the row, by its own clock that never jumps.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Option<(LeaseRow, Instant)>,
}

impl Watch {
    /// Whether the row has stood still for longer than any lease lasts. Its holder would have renewed
    /// it: it is gone, however far in the future its clock has put the end.
    pub(crate) fn is_abandoned(&mut self, row: &LeaseRow, now: Instant) -> bool {
        match &self.seen {
            Some((known, since)) if known == row => {
                now.duration_since(*since) > Duration::from_millis(LEASE_MS_MAX)
            }
            _ => {
                self.seen = Some((row.clone(), now));
                false
            }
        }
    }
}

impl Store {
    /// The row as it is.
    pub(crate) async fn lease(&self) -> Result<LeaseRow, Error> {
        let row = sqlx::query("SELECT holder, term, expires_unix_ms FROM lease WHERE id = 1")
            .fetch_one(self.pool())
            .await?;
        Ok(LeaseRow {
            holder: row.try_get("holder")?,
            term: Term(from_sql(row.try_get("term")?)),
            expires_unix_ms: from_sql(row.try_get("expires_unix_ms")?),
        })
    }

    /// Takes the lease from the holder that was seen, unless it has moved since. Every takeover
    /// raises the term.
    pub(crate) async fn take_lease(
        &self,
        seen: &LeaseRow,
        holder: &str,
        expires_unix_ms: u64,
    ) -> Result<Option<Grant>, Error> {
        let term = Term(seen.term.0 + 1);
        let done = sqlx::query(
            "UPDATE lease SET holder = $1, term = $2, expires_unix_ms = $3 \
             WHERE id = 1 AND term = $4 AND expires_unix_ms = $5",
        )
        .bind(holder)
        .bind(to_sql(term.0))
        .bind(to_sql(expires_unix_ms))
        .bind(to_sql(seen.term.0))
        .bind(to_sql(seen.expires_unix_ms))
        .execute(self.pool())
        .await?;
        Ok((done.rows_affected() == 1).then_some(Grant { term }))
    }

    /// Extends the lease. `false`: it is lost.
    pub(crate) async fn renew_lease(
        &self,
        grant: Grant,
        expires_unix_ms: u64,
    ) -> Result<bool, Error> {
        let done = sqlx::query("UPDATE lease SET expires_unix_ms = $1 WHERE id = 1 AND term = $2")
            .bind(to_sql(expires_unix_ms))
            .bind(to_sql(grant.term.0))
            .execute(self.pool())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the lease back, so that the next one need not wait.
    pub(crate) async fn release_lease(&self, grant: Grant) -> Result<(), Error> {
        self.renew_lease(grant, 0).await.map(|_| ())
    }

    /// Raises our own term above one that a node has seen from a controller with another database
    /// (this one is new, or an old copy), and moves directive ids out of the way of its ids.
    pub(crate) async fn raise_term(&self, grant: Grant, seen: Term) -> Result<Grant, Error> {
        let mut tx = self.begin(grant).await?;
        let term = Term(seen.0.max(grant.term.0) + 1);
        sqlx::query("UPDATE lease SET term = $1 WHERE id = 1")
            .bind(to_sql(term.0))
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE counters SET value = $1 WHERE name = 'directive' AND value < $1")
            .bind(to_sql(seen.0.saturating_mul(IDS_PER_TERM)))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Grant { term })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::databases;
    use isobar_api::policy::Mode;

    #[tokio::test]
    async fn one_controller_holds_the_lease_and_a_takeover_fences_it() {
        for database in databases().await {
            let (a, b) = (database.open().await, database.open().await);
            let first = a.acquire_lease("a", 1_000, 500).await.expect("sql").expect("free");
            assert_eq!(first.term, Term(1));
            assert_eq!(b.acquire_lease("b", 1_400, 500).await.expect("sql"), None);
            assert!(a.renew_lease(first, 1_900).await.expect("sql"));
            assert_eq!(b.acquire_lease("b", 1_600, 500).await.expect("sql"), None);
            let second = b.acquire_lease("b", 1_900, 500).await.expect("sql").expect("expired");
            assert_eq!(second.term, Term(2));
            // The first still believes in its lease: nothing it writes comes through.
            assert!(!a.renew_lease(first, 9_000).await.expect("sql"));
            let late = a.set_mode(first, Mode::Act, "a", "late", 2_000).await;
            assert!(matches!(late, Err(Error::Fenced { ours: Term(1) })), "{late:?}");
            assert_eq!(b.mode().await.expect("sql"), None);
            b.set_mode(second, Mode::Propose, "b", "in time", 2_000).await.expect("not fenced");
            assert_eq!(a.mode().await.expect("sql"), Some(Mode::Propose));
        }
    }

    #[tokio::test]
    async fn an_open_write_delays_a_takeover_instead_of_slipping_behind_it() {
        for database in databases().await {
            let (a, b) = (database.open().await, database.open().await);
            let first = a.acquire_lease("a", 1_000, 500).await.expect("sql").expect("free");
            let tx = a.begin(first).await.expect("ours");
            let takeover = tokio::spawn(async move { b.acquire_lease("b", 5_000, 500).await });
            tokio::task::yield_now().await;
            tx.commit().await.expect("it was still ours");
            let second = takeover.await.expect("no panic").expect("sql").expect("expired");
            assert_eq!(second.term, Term(2));
            assert!(matches!(a.begin(first).await, Err(Error::Fenced { .. })));
        }
    }

    #[tokio::test]
    async fn a_lease_that_was_renewed_meanwhile_is_not_taken() {
        for database in databases().await {
            let (a, b) = (database.open().await, database.open().await);
            let first = a.acquire_lease("a", 1_000, 500).await.expect("sql").expect("free");
            let seen = b.lease().await.expect("sql");
            assert!(a.renew_lease(first, 9_000).await.expect("sql"));
            assert_eq!(b.take_lease(&seen, "b", 9_500).await.expect("sql"), None);
        }
    }

    #[test]
    fn a_lease_of_a_clock_that_ran_ahead_ends_when_it_stands_still() {
        let (mut watch, began) = (Watch::default(), Instant::now());
        let row = |expires_unix_ms| LeaseRow { holder: "a".into(), term: Term(1), expires_unix_ms };
        let after = |s| began + Duration::from_secs(s);
        assert!(!watch.is_abandoned(&row(u64::MAX), began));
        assert!(!watch.is_abandoned(&row(u64::MAX), after(300)));
        assert!(!watch.is_abandoned(&row(u64::MAX - 1), after(301)), "it was renewed");
        assert!(!watch.is_abandoned(&row(u64::MAX - 1), after(601)));
        assert!(watch.is_abandoned(&row(u64::MAX - 1), after(602)));
    }

    #[tokio::test]
    async fn a_new_database_on_an_old_cluster_takes_a_higher_term_and_fresh_ids() {
        for database in databases().await {
            let store = database.open().await;
            let grant = store.acquire_lease("a", 1, 500).await.expect("sql").expect("free");
            let grant = store.raise_term(grant, Term(7)).await.expect("ours");
            assert_eq!((grant.term, store.lease().await.expect("sql").term), (Term(8), Term(8)));
            let mut tx = store.begin(grant).await.expect("ours");
            let id = crate::store::next_id(&mut tx, "directive").await.expect("sql");
            assert_eq!(id, 7_000_001);
        }
    }
}
