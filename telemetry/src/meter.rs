//! Everything that is counted for one replica, behind one short lock.

use crate::{
    access_sample::AccessSample,
    arrivals::{Arrival, ArrivalCounter},
    hot_keys::HotKeys,
    latency::LatencySketch,
    seeded::Seeded,
};
use isobar_api::{
    Region,
    report::{Arrivals, HotKey, LatencySummary},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Up to this many requests per interval every key is looked at; beyond, one in [`SPARSE`].
const DENSE_REQUESTS: u64 = 2_048;
const SPARSE: u64 = 16;

/// Regions told apart.
const REGIONS_MAX: usize = 32;
/// Hot keys reported.
const HOT_KEYS_MAX: usize = 16;
/// Keys in the access sample.
const SAMPLE_KEYS: usize = 256;
/// After this time a request weighs half as much in the octiles.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// What a meter saw during one interval; the fields go into `ReplicaReport` as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardInterval {
    /// Arrivals by region; empty where nothing arrived.
    pub arrivals: Vec<Arrivals>,
    /// Service times.
    pub latency: LatencySummary,
    /// Heavy hitters, largest first.
    pub hot_keys: Vec<HotKey>,
    /// The seven keys that cut the recent requests into eight equal parts.
    pub access_octiles: Vec<String>,
}

#[derive(Debug)]
struct Inner {
    arrivals: ArrivalCounter,
    latency: LatencySketch,
    hot_keys: HotKeys,
    sample: AccessSample,
    rng: Seeded,
    requests: u64,
    octiles: Vec<String>,
}

/// Counts the requests of one replica. Share it by `Arc`; recording costs well under a microsecond.
#[derive(Debug)]
pub struct ShardMeter {
    inner: Mutex<Inner>,
}

impl ShardMeter {
    /// A meter whose samples follow from the seed; use for instance the replica's id.
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                arrivals: ArrivalCounter::new(REGIONS_MAX),
                latency: LatencySketch::new(),
                hot_keys: HotKeys::new(HOT_KEYS_MAX),
                sample: AccessSample::new(SAMPLE_KEYS, seed),
                rng: Seeded::new(seed ^ 0x05ee_d0fa_5a3b_1e55),
                requests: 0,
                octiles: Vec::new(),
            }),
        }
    }

    /// A request that read `n` keys, of which `key` is one (for a larger one call [`ShardMeter::note_key`] for the others).
    pub fn record_read(&self, key: &[u8], region: Option<&Region>, n: u64, micros: u64) {
        self.record(Arrival::Read, key, region, n, micros);
    }

    /// A batch of `n` mutations, of which `key` is one.
    pub fn record_write(&self, key: &[u8], region: Option<&Region>, n: u64, micros: u64) {
        self.record(Arrival::Write, key, region, n, micros);
    }

    /// A scan that began at `key`.
    pub fn record_scan(&self, key: &[u8], region: Option<&Region>, micros: u64) {
        self.record(Arrival::Scan, key, region, 1, micros);
    }

    /// A further key of a request already recorded: counts for hot keys and octiles only.
    pub fn note_key(&self, key: &[u8]) {
        self.lock().note_key(key);
    }

    fn record(&self, kind: Arrival, key: &[u8], region: Option<&Region>, n: u64, micros: u64) {
        let mut inner = self.lock();
        inner.arrivals.add(kind, region, n);
        inner.latency.record(micros);
        inner.note_key(key);
    }

    /// What happened since the last call, `interval` ago.
    pub fn take(&self, interval: Duration) -> ShardInterval {
        let mut inner = self.lock();
        if inner.requests > 0 {
            // Sorting the sample costs some ten microseconds: only where it has changed.
            inner.octiles = inner.sample.octiles();
        }
        inner.requests = 0;
        let half_lives = interval.as_secs_f64() / HALF_LIFE.as_secs_f64();
        inner.sample.fade(0.5_f64.powf(half_lives));
        ShardInterval {
            arrivals: inner.arrivals.take(),
            latency: inner.latency.take().summary(),
            hot_keys: inner.hot_keys.take(),
            access_octiles: inner.octiles.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counters stay usable whatever a panicking thread left behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note_key(&mut self, key: &[u8]) {
        self.requests += 1;
        let mut weight = 1;
        if self.requests > DENSE_REQUESTS {
            // By chance, not every sixteenth: a client that cycles through keys would hide all others.
            if !self.rng.next().is_multiple_of(SPARSE) {
                return;
            }
            weight = SPARSE;
        }
        self.hot_keys.add(key, weight);
        self.sample.offer(key, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_interval_shows_everything_and_the_next_starts_empty() {
        let meter = ShardMeter::new(0);
        let eu = Region::new("eu").unwrap();
        for i in 0..100 {
            meter.record_read(format!("k{i:03}").as_bytes(), Some(&eu), 2, 1_000);
        }
        meter.record_write(b"k000", None, 3, 9_000);
        meter.record_scan(b"k050", Some(&eu), 2_000);
        let seen = meter.take(SECOND);
        assert_eq!(
            seen.arrivals.iter().map(|a| (a.reads, a.writes, a.scans)).collect::<Vec<_>>(),
            [(0, 3, 0), (200, 0, 1)]
        );
        assert_eq!(seen.latency.count, 102);
        assert!((seen.latency.p50_ms - 1.0).abs() < 0.05);
        assert_eq!(seen.access_octiles.len(), 7);
        assert!(seen.access_octiles.is_sorted());
        let idle = meter.take(SECOND);
        assert!(idle.arrivals.is_empty() && idle.hot_keys.is_empty());
        assert_eq!(idle.latency.count, 0);
        assert_eq!(
            idle.access_octiles, seen.access_octiles,
            "octiles are of recent requests, not of the interval"
        );
    }

    #[test]
    fn sampling_keeps_the_share_of_a_hot_key() {
        let meter = ShardMeter::new(9);
        for i in 0..100_000_u64 {
            let key = if i % 4 == 0 { "hot".to_owned() } else { format!("k{i}") };
            meter.record_read(key.as_bytes(), None, 1, 10);
        }
        let seen = meter.take(SECOND);
        assert_eq!(seen.arrivals[0].reads, 100_000, "arrivals are counted, never sampled");
        assert_eq!(seen.hot_keys.len(), 1, "{:?}", seen.hot_keys);
        assert!((seen.hot_keys[0].share - 0.25).abs() < 0.03, "{:?}", seen.hot_keys);
    }

    #[test]
    fn threads_lose_nothing() {
        let meter = Arc::new(ShardMeter::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|_| meter.record_read(b"k", None, 1, 5)));
            }
        });
        let seen = meter.take(SECOND);
        assert_eq!((seen.arrivals[0].reads, seen.latency.count), (20_000, 20_000));
    }
}
