//! What the registry knows.

use super::{Change, Experiment, Model, Registry, Run, RunKind, Version, unknown};
use crate::{
    error::Error,
    store::{from_sql, to_sql},
};
use sqlx::{Any, Executor, Row, any::AnyRow};
use std::collections::BTreeMap;

const VERSION_COLUMNS: &str =
    "name, version, run_id, package_hash, schema_hash, data_hash, parent, owner, at_unix_ms";
const RUN_COLUMNS: &str = "run_id, experiment_id, kind, owner, started_unix_ms, ended_unix_ms, seed, data_hash, \
                           package_hash, body";

fn number(row: &AnyRow, name: &str) -> Result<u64, Error> {
    Ok(from_sql(row.try_get(name)?))
}

/// Zero stands for none.
fn version_number(row: &AnyRow, name: &str) -> Result<Option<u64>, Error> {
    Ok(Some(number(row, name)?).filter(|version| *version != 0))
}

fn version(row: &AnyRow) -> Result<Version, Error> {
    Ok(Version {
        name: row.try_get("name")?,
        version: number(row, "version")?,
        run_id: row.try_get("run_id")?,
        package_hash: row.try_get("package_hash")?,
        schema_hash: row.try_get("schema_hash")?,
        data_hash: row.try_get("data_hash")?,
        parent: version_number(row, "parent")?,
        owner: row.try_get("owner")?,
        at_unix_ms: number(row, "at_unix_ms")?,
    })
}

fn run(row: &AnyRow) -> Result<Run, Error> {
    let (kind, body): (String, String) = (row.try_get("kind")?, row.try_get("body")?);
    Ok(Run {
        run_id: row.try_get("run_id")?,
        experiment_id: number(row, "experiment_id")?,
        kind: RunKind::of(&kind),
        owner: row.try_get("owner")?,
        started_unix_ms: number(row, "started_unix_ms")?,
        ended_unix_ms: number(row, "ended_unix_ms")?,
        seed: row.try_get::<i64, _>("seed")?.cast_unsigned(),
        data_hash: row.try_get("data_hash")?,
        package_hash: row.try_get("package_hash")?,
        body: serde_json::from_str(&body).map_err(Error::document("a run"))?,
    })
}

/// Version by alias.
pub(super) async fn aliases<'e>(
    on: impl Executor<'e, Database = Any>,
    name: &str,
) -> Result<BTreeMap<String, u64>, Error> {
    let sql = "SELECT alias, version FROM model_aliases WHERE name = $1";
    let rows = sqlx::query(sql).bind(name).fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.try_get("alias")?, number(row, "version")?))).collect()
}

/// Moves of the champion, oldest first.
pub(super) async fn changes<'e>(
    on: impl Executor<'e, Database = Any>,
    name: &str,
) -> Result<Vec<Change>, Error> {
    let sql = "SELECT at_unix_ms, action, from_version, to_version, owner, why FROM model_changes \
               WHERE name = $1 ORDER BY change_id";
    let rows = sqlx::query(sql).bind(name).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            Ok(Change {
                at_unix_ms: number(row, "at_unix_ms")?,
                action: row.try_get("action")?,
                from: version_number(row, "from_version")?,
                to: number(row, "to_version")?,
                owner: row.try_get("owner")?,
                why: row.try_get("why")?,
            })
        })
        .collect()
}

impl Registry {
    /// Every model, by name.
    pub async fn models(&self) -> Result<Vec<Model>, Error> {
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM models ORDER BY name")
            .fetch_all(self.store.pool())
            .await?;
        let mut models = Vec::with_capacity(names.len());
        for name in names {
            models.push(self.model(&name).await?);
        }
        Ok(models)
    }

    /// One model.
    pub async fn model(&self, name: &str) -> Result<Model, Error> {
        let sql = "SELECT name, experiment_id, task, owner, at_unix_ms FROM models WHERE name = $1";
        let pool = self.store.pool();
        let row = sqlx::query(sql).bind(name).fetch_optional(pool).await?;
        let row = row.ok_or_else(|| unknown(format!("no model is called `{name}`")))?;
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {VERSION_COLUMNS} FROM model_versions WHERE name = $1 ORDER BY version"
        ));
        let versions = sqlx::query(sql).bind(name).fetch_all(pool).await?;
        Ok(Model {
            name: row.try_get("name")?,
            experiment_id: number(&row, "experiment_id")?,
            task: row.try_get("task")?,
            owner: row.try_get("owner")?,
            at_unix_ms: number(&row, "at_unix_ms")?,
            aliases: aliases(pool, name).await?,
            versions: versions.iter().map(version).collect::<Result<_, _>>()?,
            changes: changes(pool, name).await?,
        })
    }

    /// One version of a model, by number or alias.
    pub async fn version(&self, name: &str, wanted: &str) -> Result<Version, Error> {
        let model = self.model(name).await?;
        let number = model.aliases.get(wanted).copied().or_else(|| wanted.parse().ok());
        let found = model.versions.into_iter().find(|version| Some(version.version) == number);
        found.ok_or_else(|| unknown(format!("`{name}` has no version or alias `{wanted}`")))
    }

    /// The versions of any model that are this package.
    pub async fn versions_of(&self, package_hash: &str) -> Result<Vec<Version>, Error> {
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {VERSION_COLUMNS} FROM model_versions WHERE package_hash = $1 ORDER BY name"
        ));
        let rows = sqlx::query(sql).bind(package_hash).fetch_all(self.store.pool()).await?;
        rows.iter().map(version).collect()
    }

    /// One run.
    pub async fn run(&self, run_id: &str) -> Result<Run, Error> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {RUN_COLUMNS} FROM runs WHERE run_id = $1"));
        let row = sqlx::query(sql).bind(run_id).fetch_optional(self.store.pool()).await?;
        run(&row.ok_or_else(|| unknown(format!("no run `{run_id}`")))?)
    }

    /// The newest judgements of a package, newest first.
    pub async fn evaluations(&self, package_hash: &str, limit: u32) -> Result<Vec<Run>, Error> {
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE package_hash = $1 AND kind = 'evaluate' \
             ORDER BY started_unix_ms DESC, run_id LIMIT $2"
        ));
        let query = sqlx::query(sql).bind(package_hash).bind(i64::from(limit));
        query.fetch_all(self.store.pool()).await?.iter().map(run).collect()
    }

    /// An experiment.
    pub async fn experiment(&self, id: u64) -> Result<Experiment, Error> {
        let sql =
            "SELECT experiment_id, name, at_unix_ms FROM experiments WHERE experiment_id = $1";
        let row = sqlx::query(sql).bind(to_sql(id)).fetch_optional(self.store.pool()).await?;
        let row = row.ok_or_else(|| unknown(format!("no experiment {id}")))?;
        Ok(Experiment {
            experiment_id: number(&row, "experiment_id")?,
            name: row.try_get("name")?,
            at_unix_ms: number(&row, "at_unix_ms")?,
        })
    }
}
