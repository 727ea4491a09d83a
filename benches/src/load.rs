//! Closed-loop load: each task sends the next request when the last one was answered. A slow answer
//! therefore also holds back the requests behind it: percentiles are of the requests that were sent,
//! and say nothing of how long a caller would wait who comes at a rate of his own.

use hdrhistogram::Histogram;
use isobar_api::ApiError;
use isobar_client::{ReadLevel, TableHandle};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What each task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Puts a random key.
    Write,
    /// Gets a random key, linearizable.
    Read,
}

/// A run of load.
#[derive(Clone, Debug)]
pub struct Load {
    /// What to do.
    pub work: Work,
    /// Tasks, each with one request in flight.
    pub clients: usize,
    /// How long.
    pub length: Duration,
    /// Keys `k00000000` and up, chosen uniformly; at least one.
    pub keys: u64,
    /// Length of a value.
    pub value_bytes: usize,
    /// Seed of keys and values.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Operations answered.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Operations answered per second.
    pub ops_per_s: f64,
    /// Mean time to answer.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// The key with this number: fixed width, so that numbers and keys sort alike.
pub fn key(number: u64) -> Vec<u8> {
    format!("k{number:08}").into_bytes()
}

/// Writes every key once, in batches of concurrent puts.
pub async fn preload(table: &TableHandle, load: &Load) -> Result<(), ApiError> {
    let value = vec![b'x'; load.value_bytes];
    let mut number = 0;
    while number < load.keys {
        let mut puts = tokio::task::JoinSet::new();
        for n in number..load.keys.min(number + 256) {
            let (table, value) = (table.clone(), value.clone());
            puts.spawn(async move { table.put(key(n), value).await });
        }
        while let Some(put) = puts.join_next().await {
            put.expect("a put does not panic, and nobody aborts it")?;
        }
        number += 256;
    }
    Ok(())
}

/// Runs the load. The handles are shared out among the tasks in turn: one handle, or one for each.
pub async fn run(tables: &[TableHandle], load: &Load) -> Figures {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..load.clients {
        let table = tables[task % tables.len()].clone();
        tasks.spawn(one_client(table, load.clone(), load.seed.wrapping_add(task as u64), began));
    }
    let (mut micros, mut errors) = (histogram(), 0);
    while let Some(done) = tasks.join_next().await {
        let (of_task, failed) = done.expect("a task of the load does not panic");
        micros.add(of_task).expect("it resizes");
        errors += failed;
    }
    figures(&micros, errors, began.elapsed())
}

/// Times to answer, microseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

async fn one_client(
    table: TableHandle,
    load: Load,
    seed: u64,
    began: Instant,
) -> (Histogram<u64>, u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut micros, mut errors) = (histogram(), 0);
    while began.elapsed() < load.length {
        let key = key(rng.random_range(0..load.keys));
        let at = Instant::now();
        let done = match load.work {
            Work::Write => {
                let value = vec![rng.random::<u8>(); load.value_bytes];
                table.put(key, value).await.map(|_| ())
            }
            Work::Read => table.get(&key, ReadLevel::Linearizable).await.map(|_| ()),
        };
        match done {
            Ok(()) => micros.record(at.elapsed().as_micros() as u64).expect("it resizes"),
            Err(_) => errors += 1,
        }
    }
    (micros, errors)
}

fn figures(micros: &Histogram<u64>, errors: u64, length: Duration) -> Figures {
    let ms = |micros: u64| micros as f64 / 1_000.0;
    Figures {
        operations: micros.len(),
        errors,
        ops_per_s: micros.len() as f64 / length.as_secs_f64(),
        mean_ms: micros.mean() / 1_000.0,
        p50_ms: ms(micros.value_at_quantile(0.5)),
        p99_ms: ms(micros.value_at_quantile(0.99)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_what_was_recorded() {
        let mut micros = histogram();
        for n in 1..=1_000 {
            micros.record(n * 1_000).expect("it resizes");
        }
        let figures = figures(&micros, 2, Duration::from_secs(10));
        assert_eq!((figures.operations, figures.errors), (1_000, 2));
        assert!((figures.ops_per_s - 100.0).abs() < 0.1);
        assert!(
            (figures.p50_ms / 500.0 - 1.0).abs() < 0.01
                && (figures.p99_ms / 990.0 - 1.0).abs() < 0.01
        );
    }

    #[test]
    fn keys_sort_like_their_numbers() {
        assert!(key(9) < key(10) && key(999) < key(1_000));
    }
}
