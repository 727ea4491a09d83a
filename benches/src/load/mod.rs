//! Sends requests and takes the times.
//!
//! *Closed*: each client sends the next request when the last one was answered. That finds out how much a system can
//! do; but a system that stops also stops the questions, so its latencies look better than they are.
//! *Open*: requests come when they come, answered or not, and each one's time counts from the moment at which it was
//! meant to be sent. What waits in the generator because the system is slow is therefore counted too.

mod closed;
mod open;
mod samples;

use crate::{
    drivers::{Driver, Handle},
    work::{Request, Rows, Stream},
};
use isobar_api::{ApiError, ErrorCode};
pub use samples::Samples;
pub(crate) use samples::quantile_ms;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// No request takes longer: then it is an error.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Rows that are loaded at once.
const LOADERS: usize = 128;

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When the client's last one was answered.
    Closed,
    /// At random moments (a Poisson process), whatever became of the others.
    Open {
        /// Requests per second of all clients together.
        per_s: f64,
        /// Requests under way at most. Those beyond wait, and their time runs.
        in_flight_max: u32,
        /// Seed of the moments.
        seed: u64,
    },
}

/// Sends the streams' requests for a while, stream n on handle n modulo their number.
pub async fn run(
    handles: &[Handle],
    streams: Vec<Stream>,
    pace: Pace,
    length: Duration,
) -> Samples {
    match pace {
        Pace::Closed => closed::run(handles, streams, length).await,
        Pace::Open { per_s, in_flight_max, seed } => {
            open::run(handles, streams, open::Arrivals { per_s, in_flight_max, seed, length }).await
        }
    }
}

/// Writes every row once.
pub async fn preload(handle: &Handle, rows: &Rows) -> Result<(), ApiError> {
    let next = Arc::new(AtomicU64::new(0));
    let mut loaders: JoinSet<Result<(), ApiError>> = JoinSet::new();
    for loader in 0..LOADERS as u64 {
        let (handle, next, count) = (handle.clone(), next.clone(), rows.count);
        let mut values = rows.values(rows.seed.wrapping_sub(loader + 1));
        loaders.spawn(async move {
            loop {
                let row = next.fetch_add(1, Ordering::Relaxed);
                if row >= count {
                    return Ok(());
                }
                let request = Request::Put { key: Rows::key(row), value: values.draw() };
                perform(&*handle, request).await?;
            }
        });
    }
    while let Some(loader) = loaders.join_next().await {
        loader.map_err(|why| ApiError::new(ErrorCode::Internal, format!("loading: {why}")))??;
    }
    Ok(())
}

/// One request, from its start to its answer.
async fn perform(driver: &dyn Driver, request: Request) -> Result<(), ApiError> {
    let asked = timeout(REQUEST_WITHIN, ask(driver, request)).await;
    asked.unwrap_or_else(|_| Err(too_late()))
}

fn too_late() -> ApiError {
    let message = format!("no answer within {} s", REQUEST_WITHIN.as_secs());
    ApiError::new(ErrorCode::DeadlineExceeded, message)
}

async fn ask(driver: &dyn Driver, request: Request) -> Result<(), ApiError> {
    let found = |there: bool, loaded: bool| match there || !loaded {
        true => Ok(()),
        false => Err(ApiError::new(ErrorCode::Internal, "a row that was loaded is not there")),
    };
    match request {
        Request::Put { key, value } => driver.put(key, value).await,
        Request::Get { key, loaded } => found(driver.get(key).await?.is_some(), loaded),
        Request::Scan { key, rows, loaded } => found(driver.scan(key, rows).await? > 0, loaded),
        Request::ReadModifyWrite { key, value, loaded } => {
            found(driver.get(key.clone()).await?.is_some(), loaded)?;
            driver.put(key, value).await
        }
    }
}

#[cfg(test)]
mod tests;
