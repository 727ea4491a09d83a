//! Writers and readers at a steady rate. Every minute brings new keys behind all older ones, and most of the load goes to
//! them: so the last shard is hot, is cut, and the next minute the new last one is.

use super::ledger::{Key, Ledger, number_of, value_of};
use hdrhistogram::Histogram;
use isobar_api::{ApiError, Region, Version};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub(super) const TABLE: &str = "soak";
/// Writers, and as many readers.
pub(super) const WORKERS: u32 = 8;
/// Keys that a writer adds in a minute.
const KEYS_PER_MINUTE: usize = 25;
/// Share of the load on the newest minute's keys.
const HOT_SHARE: f64 = 0.7;
/// How long readers stay in one region.
const READERS_STAY: Duration = Duration::from_secs(30);
/// Longest latency that is told apart, microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Keys in one read of the check at the end.
const KEYS_AT_ONCE: usize = 500;

/// What one minute brought.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Minute {
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) failed: u64,
    pub(super) write_p99_ms: f64,
    pub(super) read_p99_ms: f64,
}

/// Counts of the present minute.
struct Meter {
    latencies_us: Mutex<[Histogram<u64>; 2]>,
    failed: AtomicU64,
}

impl Meter {
    fn new() -> Self {
        let empty = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).expect("legal bounds");
        Self { latencies_us: Mutex::new([empty(), empty()]), failed: AtomicU64::new(0) }
    }

    fn add(&self, is_read: bool, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_US_MAX);
        let mut both = self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner);
        both[usize::from(is_read)].saturating_record(us);
    }

    fn take(&self) -> Minute {
        let mut both = self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner);
        let p99_ms = |h: &Histogram<u64>| h.value_at_quantile(0.99) as f64 / 1_000.0;
        let minute = Minute {
            writes: both[0].len(),
            reads: both[1].len(),
            failed: self.failed.swap(0, Relaxed),
            write_p99_ms: p99_ms(&both[0]),
            read_p99_ms: p99_ms(&both[1]),
        };
        both.iter_mut().for_each(Histogram::reset);
        minute
    }
}

/// What the workers share.
pub(super) struct Load {
    pub(super) ledger: Ledger,
    meter: Meter,
    began: Instant,
    stop: CancellationToken,
}

impl Load {
    /// Nothing runs yet; minutes count from now.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { ledger: Ledger::default(), meter: Meter::new(), began: Instant::now(), stop }
    }

    /// The figures since they were last taken.
    pub(super) fn take_minute(&self) -> Minute {
        self.meter.take()
    }

    /// Runs writers and readers until told to stop.
    pub(super) async fn run(
        self: Arc<Self>,
        seeds: Vec<String>,
        regions: Vec<Region>,
        rate: u32,
        seed: u64,
    ) -> Result<(), ApiError> {
        let pause = Duration::from_secs(1) * 2 * WORKERS / rate;
        let mut workers = JoinSet::new();
        let writing = open(&seeds, None).await?;
        let mut reading = Vec::new();
        for region in regions {
            reading.push(open(&seeds, Some(region)).await?);
        }
        for worker in 0..WORKERS {
            let rng = |of: u64| StdRng::seed_from_u64(seed ^ (u64::from(2 * worker) + of) << 32);
            workers.spawn(self.clone().write(worker, writing.clone(), pause, rng(0)));
            workers.spawn(self.clone().read(reading.clone(), pause, rng(1)));
        }
        while workers.join_next().await.is_some() {}
        Ok(())
    }

    async fn write(
        self: Arc<Self>,
        worker: u32,
        table: TableHandle,
        pause: Duration,
        mut rng: StdRng,
    ) {
        let mut own: Vec<Arc<Key>> = Vec::new();
        let mut ticks = ticks(pause);
        while self.next(&mut ticks).await {
            let minute = (self.began.elapsed().as_secs() / 60) as usize;
            let key = if rng.random_bool(HOT_SHARE) || own.is_empty() {
                let slot = rng.random_range(0..KEYS_PER_MINUTE);
                let name = format!("m{minute:06}-{slot:03}-w{worker}");
                // Only this minute's keys can be missing; they are the last ones.
                match own.iter().rev().take(KEYS_PER_MINUTE).find(|key| key.name == name) {
                    Some(key) => key.clone(),
                    None => {
                        own.push(self.ledger.add(name));
                        own[own.len() - 1].clone()
                    }
                }
            } else {
                own[rng.random_range(0..own.len())].clone()
            };
            let number = self.ledger.begin(&key);
            let began = Instant::now();
            match table.put(key.name.clone(), value_of(number)).await {
                Ok(version) => {
                    self.ledger.acknowledge(&key, (number, version));
                    self.meter.add(false, began.elapsed());
                }
                Err(error) => self.failed("write", &key, &error),
            }
        }
    }

    async fn read(self: Arc<Self>, regional: Vec<TableHandle>, pause: Duration, mut rng: StdRng) {
        let mut ticks = ticks(pause);
        while self.next(&mut ticks).await {
            let turn = self.began.elapsed().as_secs() / READERS_STAY.as_secs();
            let table = &regional[turn as usize % regional.len()];
            let hot = KEYS_PER_MINUTE * WORKERS as usize;
            let among = if rng.random_bool(HOT_SHARE) { hot } else { 0 };
            let Some(key) = self.ledger.pick(rng.random_range(0..1 << 30), among) else { continue };
            let before = key.newest();
            let began = Instant::now();
            match table.get(key.name.as_bytes(), ReadLevel::Linearizable).await {
                Ok(row) => {
                    let found =
                        row.map_or((0, Version::ABSENT), |r| (number_of(&r.value), r.version));
                    self.ledger.check(&key, before, found);
                    self.meter.add(true, began.elapsed());
                }
                Err(error) => self.failed("read", &key, &error),
            }
        }
    }

    /// Waits for the next moment to work; false: it is over.
    async fn next(&self, ticks: &mut tokio::time::Interval) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = ticks.tick() => true,
        }
    }

    fn failed(&self, what: &str, key: &Key, error: &ApiError) {
        self.meter.failed.fetch_add(1, Relaxed);
        tracing::debug!(what, key = key.name, %error, "an operation failed");
    }

    /// Reads every key with an acknowledged write; how many of them do not hold it or a later one.
    pub(super) async fn verify(&self, seeds: &[String]) -> Result<u64, ApiError> {
        let table = open(seeds, None).await?.with_timeout_ms(30_000);
        let mut keys = self.ledger.keys();
        keys.retain(|key| key.is_acknowledged());
        let mut lost = 0;
        for some in keys.chunks(KEYS_AT_ONCE) {
            let before: Vec<_> = some.iter().map(|key| key.newest()).collect();
            let names: Vec<&str> = some.iter().map(|key| key.name.as_str()).collect();
            let rows = table.multi_get(&names, ReadLevel::Linearizable).await?;
            for ((key, before), row) in some.iter().zip(before).zip(rows) {
                let found = row.map_or((0, Version::ABSENT), |r| (number_of(&r.value), r.version));
                lost += u64::from(!self.ledger.check(key, before, found));
            }
        }
        Ok(lost)
    }
}

/// A late tick is left out: a soak is no benchmark, and after a fault nothing is to be made up for.
fn ticks(pause: Duration) -> tokio::time::Interval {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn open(seeds: &[String], region: Option<Region>) -> Result<TableHandle, ApiError> {
    let config = ClientConfig { region, ..ClientConfig::with_seeds(seeds.to_vec()) };
    Client::connect(config).await?.table(TABLE).await
}
