use super::*;
use crate::work::{TraceRows, Work};
use async_trait::async_trait;
use bytes::Bytes;
use isobar_datasets::ycsb::Distribution;
use std::collections::BTreeMap;
use tokio::{sync::Mutex, time::sleep};

/// A map that stands still once, at a certain request, and serves one request at a time.
#[derive(Default)]
struct Fake {
    rows: Mutex<(u64, BTreeMap<Bytes, Bytes>)>,
    stall: Option<(u64, Duration)>,
    fails: Option<ErrorCode>,
}

impl Fake {
    async fn enter(
        &self,
    ) -> Result<tokio::sync::MutexGuard<'_, (u64, BTreeMap<Bytes, Bytes>)>, ApiError> {
        let mut rows = self.rows.lock().await;
        rows.0 += 1;
        if let Some((at, long)) = self.stall
            && rows.0 == at
        {
            sleep(long).await;
        }
        match self.fails {
            Some(code) => Err(ApiError::new(code, "as told")),
            None => Ok(rows),
        }
    }
}

#[async_trait]
impl Driver for Fake {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), ApiError> {
        self.enter().await?.1.insert(key, value);
        Ok(())
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, ApiError> {
        Ok(self.enter().await?.1.get(&key).cloned())
    }

    async fn scan(&self, from: Bytes, rows: u32) -> Result<u64, ApiError> {
        Ok(self.enter().await?.1.range(from..).take(rows as usize).count() as u64)
    }
}

fn rows(count: u64) -> Rows {
    let trace = Arc::new(TraceRows::new(&isobar_datasets::recorded_trace()));
    Rows { count, value_bytes: 32, skew: Distribution::Zipfian, seed: 1, trace }
}

const STALL: Duration = Duration::from_millis(400);

async fn run_with(fake: Fake, pace: Pace, clients: usize, length_ms: u64) -> Samples {
    let handle: Handle = Arc::new(fake);
    let streams = rows(100).streams(Work::Write, clients, 0);
    run(&[handle], streams, pace, Duration::from_millis(length_ms)).await
}

fn open(per_s: f64, in_flight_max: u32) -> Pace {
    Pace::Open { per_s, in_flight_max, seed: 3 }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_run_counts_every_wait_behind_a_stall_and_a_closed_one_counts_one() {
    let stalls = |at| Fake { stall: Some((at, STALL)), ..Fake::default() };
    let slow = |samples: &Samples| samples.micros.count_between(100_000, u64::MAX);
    let closed = run_with(stalls(50), Pace::Closed, 1, 1_000).await;
    assert_eq!(slow(&closed), 1);
    // 300 per second come during the first 300 ms of the stall; they all wait for at least 100 ms.
    for in_flight_max in [1_000, 4] {
        let open = run_with(stalls(50), open(1_000.0, in_flight_max), 8, 1_000).await;
        assert!((200..600).contains(&slow(&open)), "{} with {in_flight_max}", slow(&open));
        assert!((850..1_150).contains(&open.answered()), "{}", open.answered());
        // A machine that is busy with other tests may wake the pacing thread after the end, for the very last request.
        assert_eq!(open.errors, 0);
        assert!(open.unsent < 20, "{} of about 1,000 unsent with {in_flight_max}", open.unsent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_counted_with_its_wait() {
    let stuck = Fake { stall: Some((1, Duration::from_millis(600))), ..Fake::default() };
    let samples = run_with(stuck, open(1_000.0, 4), 4, 500).await;
    assert!((400..600).contains(&samples.unsent), "{}", samples.unsent);
    assert_eq!((samples.answered(), samples.in_time), (4, 0), "answered, but too late");
    assert!((200.0..300.0).contains(&samples.quantile_ms(0.5)), "{}", samples.quantile_ms(0.5));
}

#[tokio::test]
async fn failures_are_counted_and_the_first_is_kept() {
    let fails = |code| Fake { fails: Some(code), ..Fake::default() };
    let samples = run_with(fails(ErrorCode::Unavailable), Pace::Closed, 2, 100).await;
    assert!((2..=40).contains(&samples.errors), "{}", samples.errors);
    assert_eq!((samples.answered(), samples.micros.len()), (0, 0));
    assert_eq!(samples.first_error.map(|e| e.message), Some("as told".into()));
    let samples = run_with(fails(ErrorCode::Overloaded), open(500.0, 100), 2, 100).await;
    assert!((20..=100).contains(&samples.refused), "{}", samples.refused);
    assert_eq!((samples.errors, samples.answered(), samples.first_error), (0, 0, None));
}

#[tokio::test]
async fn every_kind_of_work_finds_what_was_loaded() {
    let kinds = ('a'..='f').map(Work::Ycsb).chain([Work::Write, Work::Read, Work::Trace]);
    for work in kinds {
        let fake: Handle = Arc::new(Fake::default());
        let mut rows = rows(500);
        rows.count = rows.count.max(if work == Work::Trace { rows.trace.rows() } else { 0 });
        preload(&fake, &rows).await.expect("room");
        let streams = rows.streams(work, 4, 1);
        let samples = run(&[fake], streams, Pace::Closed, Duration::from_millis(60)).await;
        assert_eq!(samples.first_error, None, "{work}");
        assert!(samples.answered() > 10, "{work}: {}", samples.answered());
    }
    let empty: Handle = Arc::new(Fake::default());
    let streams = rows(500).streams(Work::Read, 1, 0);
    let samples = run(&[empty], streams, Pace::Closed, Duration::from_millis(30)).await;
    assert!(samples.errors > 0 && samples.answered() == 0, "an empty answer is no answer");
}
