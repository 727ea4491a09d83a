//! What the readers waited for, by table and phase. Latency counts from the intended start.

use super::ledger::Table;
use hdrhistogram::Histogram;
use isobar_api::{Region, rtt::RttMatrix};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Longest latency that the histogram tells apart.
const LATENCY_US_MAX: u64 = 60_000_000;

/// The two phases of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Observe,
    Act,
}

/// One finished read.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) table: Table,
    /// When it was meant to begin, microseconds since the load began.
    pub(super) at_us: u64,
    pub(super) latency: Duration,
    pub(super) reader: Region,
    /// Whether there was no row in time.
    pub(super) failed: bool,
    /// Region of the leader; `None`: not known when the answer came.
    pub(super) served_in: Option<Region>,
    pub(super) shard: u64,
    pub(super) hour: f64,
}

/// Figures of one table in one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Reads, failed ones included.
    pub(super) count: u64,
    /// Reads without a row in time; their waiting time is in the figures.
    pub(super) failed: u64,
    pub(super) mean_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Share of the reads whose leader was in another region than the reader; without those whose leader was not
    /// known to the client when the answer came.
    pub(super) cross_region_share: f64,
}

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Interval {
    pub(super) mean_ms: BTreeMap<Table, f64>,
    /// Share of the reads by region of the reader.
    pub(super) readers: BTreeMap<Region, f64>,
}

struct Tally {
    histogram: Histogram<u64>,
    sum_us: u64,
    count: u64,
    failed: u64,
    placed: u64,
    cross: u64,
}

#[derive(Default)]
struct Inner {
    tallies: BTreeMap<(Table, Phase), Tally>,
    recent: BTreeMap<Table, (u64, u64)>,
    recent_readers: BTreeMap<Region, u64>,
    /// Reads of the acting phase by shard and simulated hour, for the bound.
    mix: BTreeMap<(u64, u64), BTreeMap<Region, u64>>,
}

/// Collects samples from all readers.
pub(super) struct Meter {
    act_from_us: AtomicU64,
    inner: Mutex<Inner>,
}

impl Meter {
    /// In phase `observe` until told otherwise.
    pub(super) fn new() -> Self {
        Self { act_from_us: AtomicU64::new(u64::MAX), inner: Mutex::default() }
    }

    /// Reads that were meant to begin from this moment on count for phase `act`.
    pub(super) fn act_from(&self, at_us: u64) {
        self.act_from_us.store(at_us, Ordering::Relaxed);
    }

    pub(super) fn record(&self, sample: Sample) {
        let acting = sample.at_us >= self.act_from_us.load(Ordering::Relaxed);
        let phase = if acting { Phase::Act } else { Phase::Observe };
        let latency_us =
            u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX).min(LATENCY_US_MAX);
        let mut inner = self.lock();
        let tally = inner.tallies.entry((sample.table, phase)).or_insert_with(Tally::new);
        tally.add(latency_us, &sample);
        let recent = inner.recent.entry(sample.table).or_default();
        *recent = (recent.0 + latency_us, recent.1 + 1);
        if sample.table == Table::Control {
            *inner.recent_readers.entry(sample.reader.clone()).or_default() += 1;
            if acting {
                let mix = inner.mix.entry((sample.shard, sample.hour as u64)).or_default();
                *mix.entry(sample.reader).or_default() += 1;
            }
        }
    }

    pub(super) fn figures(&self, table: Table, phase: Phase) -> Figures {
        self.lock().tallies.get(&(table, phase)).map(Tally::figures).unwrap_or_default()
    }

    /// What happened since the last call.
    pub(super) fn take_interval(&self) -> Interval {
        let mut inner = self.lock();
        let recent = std::mem::take(&mut inner.recent);
        let readers = std::mem::take(&mut inner.recent_readers);
        let total = readers.values().sum::<u64>().max(1) as f64;
        Interval {
            mean_ms: recent
                .into_iter()
                .map(|(t, (sum, n))| (t, sum as f64 / n.max(1) as f64 / 1e3))
                .collect(),
            readers: readers.into_iter().map(|(region, n)| (region, n as f64 / total)).collect(),
        }
    }

    /// The least mean round trip that any placement of leaders could have given in phase `act`, had it known every
    /// simulated hour beforehand and moved for nothing: nobody can do better.
    pub(super) fn least_mean_ms(&self, rtt: &RttMatrix) -> Option<f64> {
        let inner = self.lock();
        let (mut reads, mut waited_ms) = (0, 0.0);
        for readers in inner.mix.values() {
            let wait_ms = |home: &Region| -> Option<f64> {
                readers.iter().map(|(from, n)| Some(*n as f64 * rtt.get(from, home)?)).sum()
            };
            waited_ms += rtt.regions().filter_map(wait_ms).min_by(f64::total_cmp)?;
            reads += readers.values().sum::<u64>();
        }
        (reads > 0).then(|| waited_ms / reads as f64)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn new() -> Self {
        let histogram = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("legal bounds");
        Self { histogram, sum_us: 0, count: 0, failed: 0, placed: 0, cross: 0 }
    }

    fn add(&mut self, latency_us: u64, sample: &Sample) {
        self.histogram.saturating_record(latency_us);
        self.sum_us += latency_us;
        self.count += 1;
        self.failed += u64::from(sample.failed);
        if let Some(region) = &sample.served_in {
            self.placed += 1;
            self.cross += u64::from(*region != sample.reader);
        }
    }

    fn figures(&self) -> Figures {
        let ms = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Figures {
            count: self.count,
            failed: self.failed,
            mean_ms: self.sum_us as f64 / self.count.max(1) as f64 / 1e3,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            cross_region_share: self.cross as f64 / self.placed.max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(name).expect("legal")
    }

    fn sample(table: Table, at_us: u64, ms: u64, from: &str, served: Option<&str>) -> Sample {
        Sample {
            table,
            at_us,
            latency: Duration::from_millis(ms),
            reader: region(from),
            failed: served.is_none(),
            served_in: served.map(region),
            shard: 0,
            hour: 3.5,
        }
    }

    #[test]
    fn phases_and_tables_are_apart_and_failures_count() {
        let meter = Meter::new();
        meter.record(sample(Table::Orders, 1, 100, "eu", Some("us")));
        meter.act_from(10);
        meter.record(sample(Table::Orders, 9, 200, "eu", Some("eu")));
        meter.record(sample(Table::Orders, 10, 2, "eu", Some("eu")));
        meter.record(sample(Table::Control, 10, 80, "eu", None));
        let observe = meter.figures(Table::Orders, Phase::Observe);
        assert_eq!((observe.count, observe.mean_ms, observe.cross_region_share), (2, 150.0, 0.5));
        assert_eq!(meter.figures(Table::Orders, Phase::Act).mean_ms, 2.0);
        let control = meter.figures(Table::Control, Phase::Act);
        assert_eq!((control.failed, control.mean_ms, control.cross_region_share), (1, 80.0, 0.0));
        assert_eq!(meter.figures(Table::Control, Phase::Observe).count, 0);
    }

    #[test]
    fn an_interval_is_taken_once() {
        let meter = Meter::new();
        for from in ["eu", "eu", "us"] {
            meter.record(sample(Table::Control, 1, 30, from, Some("us")));
        }
        let interval = meter.take_interval();
        assert_eq!(interval.mean_ms[&Table::Control], 30.0);
        assert!((interval.readers[&region("eu")] - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(meter.take_interval(), Interval::default());
    }

    #[test]
    fn the_bound_is_the_best_single_home_per_shard_and_hour() {
        let mut rtt = RttMatrix::default();
        rtt.set(&region("eu"), &region("us"), 80.0);
        let meter = Meter::new();
        meter.act_from(0);
        assert_eq!(meter.least_mean_ms(&rtt), None);
        for from in ["eu", "eu", "eu", "us"] {
            meter.record(sample(Table::Control, 1, 30, from, Some("us")));
        }
        assert_eq!(meter.least_mean_ms(&rtt), Some(20.0));
    }
}
