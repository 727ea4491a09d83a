//! Databases for tests: SQLite always, PostgreSQL when `ISOBAR_TEST_POSTGRES_URL` is set.

use super::{Grant, Store, sqlite_url};
use crate::error::Error;
use sqlx::{AssertSqlSafe, Connection};
use std::sync::atomic::{AtomicU64, Ordering};

/// A database of one test.
pub(crate) struct TestDatabase {
    /// Its address, to open it once more.
    pub(crate) url: String,
    _directory: tempfile::TempDir,
}

impl TestDatabase {
    /// Opens it, as one more controller would.
    pub(crate) async fn open(&self) -> Store {
        Store::connect(&self.url).await.expect("the test's database opens")
    }
}

impl Store {
    /// Takes the lease if it is free.
    pub(crate) async fn acquire_lease(
        &self,
        holder: &str,
        now_unix_ms: u64,
        lease_ms: u64,
    ) -> Result<Option<Grant>, Error> {
        let seen = self.lease().await?;
        if !seen.is_free(now_unix_ms) {
            return Ok(None);
        }
        self.take_lease(&seen, holder, now_unix_ms + lease_ms).await
    }
}

/// One empty database per backend there is.
pub(crate) async fn databases() -> Vec<TestDatabase> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = sqlite_url(&directory.path().join("controller.db"));
    let mut all = vec![TestDatabase { url, _directory: directory }];
    if let Ok(server) = std::env::var("ISOBAR_TEST_POSTGRES_URL") {
        let directory = tempfile::tempdir().expect("a temporary directory");
        all.push(TestDatabase { url: postgres_schema(&server).await, _directory: directory });
    }
    all
}

/// Makes a schema of its own on the server; the address selects it.
async fn postgres_schema(server: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    sqlx::any::install_default_drivers();
    let schema = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection =
        sqlx::AnyConnection::connect(server).await.expect("the test server answers");
    let clean = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    let create = format!("CREATE SCHEMA {schema}");
    for sql in [clean, create] {
        sqlx::query(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .expect("a schema of our own");
    }
    let joint = if server.contains('?') { '&' } else { '?' };
    format!("{server}{joint}options=-csearch_path%3D{schema}")
}
