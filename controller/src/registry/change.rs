//! Changes of the registry: each is one transaction that begins with a write.

use super::{
    Addition, BODY_BYTES_MAX, CHALLENGER, CHAMPION, Change, Order, Registry, Run, RunKind, Version,
    check_name, check_why, read, refused, unknown,
};
use crate::{
    error::Error,
    store::{from_sql, log_operation, next_id, to_sql},
};
use serde_json::Value;
use sqlx::{Any, Transaction};

/// Versions of one model.
const VERSIONS_MAX: u64 = 100_000;

impl Registry {
    /// Registers a package as the next version of a model, which is made where there is none; the same package again is
    /// the version that it is already. The new version becomes the challenger.
    pub async fn add(&self, addition: &Addition, order: Order<'_>) -> Result<Version, Error> {
        check_name(&addition.name)?;
        let name = &addition.name;
        let mut tx = self.store.pool().begin().await?;
        let experiment = experiment_of(&mut tx, name, order.at_unix_ms).await?;
        let task: Option<String> = sqlx::query_scalar("SELECT task FROM models WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        match task {
            Some(task) if task != addition.task => {
                let message = format!("`{name}` is for {task}, the package for {}", addition.task);
                return Err(refused(message));
            }
            Some(_) => {}
            None => insert_model(&mut tx, addition, experiment, order).await?,
        }
        let sql = "SELECT version FROM model_versions WHERE name = $1 AND package_hash = $2";
        let known: Option<i64> = sqlx::query_scalar(sql)
            .bind(name)
            .bind(&addition.package_hash)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(known) = known {
            tx.rollback().await?;
            return self.version(name, &from_sql(known).to_string()).await;
        }
        let sql =
            "SELECT version FROM model_versions WHERE name = $1 ORDER BY version DESC LIMIT 1";
        let newest: Option<i64> =
            sqlx::query_scalar(sql).bind(name).fetch_optional(&mut *tx).await?;
        let version = newest.map_or(0, from_sql) + 1;
        if version > VERSIONS_MAX {
            return Err(refused(format!(
                "`{name}` has {VERSIONS_MAX} versions; begin a new model"
            )));
        }
        let parent = read::aliases(&mut *tx, name).await?.get(CHAMPION).copied();
        let run = training_run(addition, experiment, version, order);
        insert_run(&mut tx, &run).await?;
        insert_version(&mut tx, addition, version, parent, &run.run_id, order).await?;
        put_alias(&mut tx, name, CHALLENGER, version, order.at_unix_ms).await?;
        let detail = format!("{name} version {version}");
        log_operation(&mut tx, order.at_unix_ms, order.owner, "model add", &detail).await?;
        tx.commit().await?;
        self.version(name, &version.to_string()).await
    }

    /// Records a judgement of a package under a model's experiment.
    pub async fn record(&self, name: &str, mut run: Run) -> Result<Run, Error> {
        check_name(name)?;
        let mut tx = self.store.pool().begin().await?;
        run.experiment_id = experiment_of(&mut tx, name, run.started_unix_ms).await?;
        run.run_id =
            run_id(&[&run.package_hash, &run.data_hash, run.kind.text()], run.started_unix_ms);
        insert_run(&mut tx, &run).await?;
        tx.commit().await?;
        Ok(run)
    }

    /// Makes a version the champion.
    pub async fn promote(
        &self,
        name: &str,
        version: u64,
        why: &str,
        order: Order<'_>,
    ) -> Result<Change, Error> {
        check_why(why)?;
        let mut tx = self.store.pool().begin().await?;
        let id = next_id(&mut tx, "model_change").await?;
        let sql = "SELECT COUNT(*) FROM model_versions WHERE name = $1 AND version = $2";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(name).bind(to_sql(version));
        if query.fetch_one(&mut *tx).await? == 0 {
            return Err(unknown(format!("`{name}` has no version {version}")));
        }
        let from = read::aliases(&mut *tx, name).await?.get(CHAMPION).copied();
        if from == Some(version) {
            return Err(refused(format!("version {version} is the champion of `{name}` already")));
        }
        let change = Move { id, action: "promote", from, to: version, why };
        move_champion(tx, name, &change, order).await
    }

    /// Gives the alias back to the champion before the last promotion that was not rolled back yet.
    pub async fn rollback(&self, name: &str, why: &str, order: Order<'_>) -> Result<Change, Error> {
        check_why(why)?;
        let mut tx = self.store.pool().begin().await?;
        let id = next_id(&mut tx, "model_change").await?;
        let mut champions: Vec<u64> = Vec::new();
        for change in read::changes(&mut *tx, name).await? {
            match change.action.as_str() {
                "promote" => champions.push(change.to),
                _ => drop(champions.pop()),
            }
        }
        let from = champions.pop();
        let Some(to) = champions.last().copied() else {
            return Err(refused(format!("`{name}` has no champion before this one")));
        };
        let change = Move { id, action: "rollback", from, to, why };
        move_champion(tx, name, &change, order).await
    }
}

/// A move of the champion that is about to be made.
struct Move<'a> {
    id: u64,
    action: &'a str,
    from: Option<u64>,
    to: u64,
    why: &'a str,
}

async fn move_champion(
    mut tx: Transaction<'static, Any>,
    name: &str,
    change: &Move<'_>,
    order: Order<'_>,
) -> Result<Change, Error> {
    let Move { id, action, from, to, why } = *change;
    put_alias(&mut tx, name, CHAMPION, to, order.at_unix_ms).await?;
    // Who serves does not challenge.
    sqlx::query("DELETE FROM model_aliases WHERE name = $1 AND alias = $2 AND version = $3")
        .bind(name)
        .bind(CHALLENGER)
        .bind(to_sql(to))
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO model_changes (change_id, at_unix_ms, name, action, from_version, to_version, owner, why) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(to_sql(id))
    .bind(to_sql(order.at_unix_ms))
    .bind(name)
    .bind(action)
    .bind(to_sql(from.unwrap_or(0)))
    .bind(to_sql(to))
    .bind(order.owner)
    .bind(why)
    .execute(&mut *tx)
    .await?;
    let detail = format!("{name} version {to}: {why}");
    log_operation(&mut tx, order.at_unix_ms, order.owner, &format!("model {action}"), &detail)
        .await?;
    tx.commit().await?;
    let (owner, why) = (order.owner.to_owned(), why.to_owned());
    Ok(Change { at_unix_ms: order.at_unix_ms, action: action.to_owned(), from, to, owner, why })
}

/// The experiment of this name, made where there is none. Its first statement is a write.
async fn experiment_of(
    tx: &mut Transaction<'static, Any>,
    name: &str,
    at_unix_ms: u64,
) -> Result<u64, Error> {
    // The number is lost where there is one already: numbers are many, and the write lock is taken.
    let next = next_id(tx, "experiment").await?;
    sqlx::query(
        "INSERT INTO experiments (experiment_id, name, at_unix_ms) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
    )
    .bind(to_sql(next))
    .bind(name)
    .bind(to_sql(at_unix_ms))
    .execute(&mut **tx)
    .await?;
    let sql = "SELECT experiment_id FROM experiments WHERE name = $1";
    let id: i64 = sqlx::query_scalar(sql).bind(name).fetch_one(&mut **tx).await?;
    Ok(from_sql(id))
}

async fn insert_model(
    tx: &mut Transaction<'static, Any>,
    addition: &Addition,
    experiment: u64,
    order: Order<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO models (name, experiment_id, task, owner, at_unix_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&addition.name)
    .bind(to_sql(experiment))
    .bind(&addition.task)
    .bind(order.owner)
    .bind(to_sql(order.at_unix_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_version(
    tx: &mut Transaction<'static, Any>,
    addition: &Addition,
    version: u64,
    parent: Option<u64>,
    run_id: &str,
    order: Order<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO model_versions (name, version, run_id, package_hash, schema_hash, data_hash, parent, owner, \
         at_unix_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&addition.name)
    .bind(to_sql(version))
    .bind(run_id)
    .bind(&addition.package_hash)
    .bind(&addition.schema_hash)
    .bind(&addition.data_hash)
    .bind(to_sql(parent.unwrap_or(0)))
    .bind(order.owner)
    .bind(to_sql(order.at_unix_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_alias(
    tx: &mut Transaction<'static, Any>,
    name: &str,
    alias: &str,
    version: u64,
    at_unix_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO model_aliases (name, alias, version, at_unix_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name, alias) DO UPDATE SET version = $3, at_unix_ms = $4",
    )
    .bind(name)
    .bind(alias)
    .bind(to_sql(version))
    .bind(to_sql(at_unix_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn training_run(addition: &Addition, experiment: u64, version: u64, order: Order<'_>) -> Run {
    let parts = [addition.name.as_str(), &addition.package_hash, &version.to_string()];
    Run {
        run_id: run_id(&parts, order.at_unix_ms),
        experiment_id: experiment,
        kind: RunKind::Train,
        owner: order.owner.to_owned(),
        started_unix_ms: order.at_unix_ms,
        ended_unix_ms: order.at_unix_ms,
        seed: addition.seed,
        data_hash: addition.data_hash.clone(),
        package_hash: addition.package_hash.clone(),
        body: Value::Object(
            [("metrics".to_owned(), addition.metrics.clone())].into_iter().collect(),
        ),
    }
}

/// 32 hexadecimal digits, as MLflow has them.
fn run_id(parts: &[&str], at_unix_ms: u64) -> String {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(&at_unix_ms.to_le_bytes());
    hash.finalize().to_hex()[..32].to_owned()
}

async fn insert_run(tx: &mut Transaction<'static, Any>, run: &Run) -> Result<(), Error> {
    let body = serde_json::to_string(&run.body).map_err(Error::document("a run"))?;
    if body.len() > BODY_BYTES_MAX {
        return Err(refused(format!("a run's figures have more than {BODY_BYTES_MAX} bytes")));
    }
    // The same run of the same moment is one run.
    sqlx::query(
        "INSERT INTO runs (run_id, experiment_id, kind, owner, started_unix_ms, ended_unix_ms, seed, data_hash, \
         package_hash, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (run_id) DO NOTHING",
    )
    .bind(&run.run_id)
    .bind(to_sql(run.experiment_id))
    .bind(run.kind.text())
    .bind(&run.owner)
    .bind(to_sql(run.started_unix_ms))
    .bind(to_sql(run.ended_unix_ms))
    // All 64 bits of it, as they are.
    .bind(run.seed.cast_signed())
    .bind(&run.data_hash)
    .bind(&run.package_hash)
    .bind(body)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
