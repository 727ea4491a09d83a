//! Metadata in SQL: SQLite in the data directory by default, PostgreSQL where several controllers stand by.

mod settings;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use settings::{DrainRow, log_operation};

use crate::{config::ControllerConfig, error::Error};
use isobar_api::{ApiError, ErrorCode, Term};
use sqlx::{
    Any, AnyPool, SqlSafeStr, Transaction,
    any::AnyPoolOptions,
    migrate::{Migration, MigrationType, Migrator},
};
use std::time::Duration;

/// Connections kept at most; the controller's own load is a few statements a second.
const CONNECTIONS_MAX: u32 = 6;

/// The SQLite file in the data directory.
pub(crate) const SQLITE_FILE: &str = "controller.db";

/// Proof that this process was given the lease: the term under which it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The term.
    pub(crate) term: Term,
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: AnyPool,
}

impl Store {
    /// Opens the configured database and brings its schema up to date.
    pub(crate) async fn open(config: &ControllerConfig) -> Result<Self, Error> {
        if let Some(url) = &config.database_url {
            if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
                let why =
                    "database_url must start with postgres://; leave it out for SQLite in data_dir";
                return Err(ApiError::new(ErrorCode::BadConfig, why).into());
            }
            return Self::connect(url).await;
        }
        std::fs::create_dir_all(&config.data_dir).map_err(|source| Error::File {
            path: config.data_dir.display().to_string(),
            source,
        })?;
        Self::connect(&sqlite_url(&config.data_dir.join(SQLITE_FILE))).await
    }

    /// Opens a database by its address.
    pub(crate) async fn connect(url: &str) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let is_sqlite = url.starts_with("sqlite:");
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        // FULL: a commit in the write-ahead log is synced before it is answered, so that
                        // a directive is never sent that a power cut could make the journal forget.
                        for pragma in [
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA busy_timeout = 10000",
                        ] {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                    }
                    Ok(())
                })
            })
            .connect(url)
            .await?;
        migrator().run(&pool).await?;
        Ok(Self { pool })
    }

    /// The pool, for reads.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Starts a transaction that can only commit while `grant` is the highest term. Its first
    /// statement writes the lease row, which takes the write lock on SQLite and the row lock on
    /// PostgreSQL: a takeover waits for us, or we see that it happened.
    pub(crate) async fn begin(&self, grant: Grant) -> Result<Transaction<'static, Any>, Error> {
        let mut tx = self.pool.begin().await?;
        let done = sqlx::query("UPDATE lease SET writes = writes + 1 WHERE id = 1 AND term = $1")
            .bind(to_sql(grant.term.0))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() != 1 {
            return Err(Error::Fenced { ours: grant.term });
        }
        Ok(tx)
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Takes the next number of a counter, inside the caller's transaction.
pub(crate) async fn next_id(tx: &mut Transaction<'static, Any>, name: &str) -> Result<u64, Error> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await?;
    let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = $1")
        .bind(name)
        .fetch_one(&mut **tx)
        .await?;
    Ok(from_sql(value))
}

/// The address of a SQLite file; characters that would end the path are escaped.
pub(crate) fn sqlite_url(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let escaped = text.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite:{escaped}?mode=rwc")
}

/// Numbers as SQL knows them: 64 bits with a sign. Ours never reach the top bit.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// And back.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn migrator() -> Migrator {
    let texts = [
        ("controller", include_str!("../../migrations/0001_controller.sql")),
        ("registry", include_str!("../../migrations/0002_registry.sql")),
    ];
    let migrations = (1..).zip(texts).map(|(version, (name, sql))| {
        let (name, sql) = (name.into(), sql.into_sql_str());
        Migration::new(version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}
