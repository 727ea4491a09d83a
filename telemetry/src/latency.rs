//! Service times in a log-bucket histogram: fixed size, exact to 4 %.

use isobar_api::report::LatencySummary;

/// Buckets per power of two.
const SUB_BUCKETS: u64 = 16;
const SUB_BITS: u32 = 4;
/// Times of 2³⁰ µs (18 minutes) and more fall into the last bucket: no request may take that long.
const MAX_MICROS: u64 = (1 << 30) - 1;
const BUCKETS: usize = bucket_of(MAX_MICROS) + 1;

/// Times below 16 µs have a bucket each; above, every power of two has 16.
const fn bucket_of(micros: u64) -> usize {
    if micros < SUB_BUCKETS {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros();
    let sub = (micros >> (exponent - SUB_BITS)) - SUB_BUCKETS;
    ((exponent - SUB_BITS + 1) as u64 * SUB_BUCKETS + sub) as usize
}

/// First time of a bucket.
fn bucket_start(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB_BUCKETS {
        return bucket;
    }
    (SUB_BUCKETS + bucket % SUB_BUCKETS) << (bucket / SUB_BUCKETS - 1)
}

/// A histogram of service times.
#[derive(Clone, Debug)]
pub struct LatencySketch {
    /// Requests per bucket; empty while nothing was recorded, so that idle shards cost nothing.
    counts: Vec<u32>,
    count: u64,
    sum_micros: u64,
    max_micros: u64,
}

impl Default for LatencySketch {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencySketch {
    /// An empty sketch.
    pub fn new() -> Self {
        Self { counts: Vec::new(), count: 0, sum_micros: 0, max_micros: 0 }
    }

    /// Records one request.
    pub fn record(&mut self, micros: u64) {
        let micros = micros.min(MAX_MICROS);
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let slot = &mut self.counts[bucket_of(micros)];
        *slot = slot.saturating_add(1);
        self.count += 1;
        self.sum_micros += micros;
        self.max_micros = self.max_micros.max(micros);
    }

    /// The time that a share `q` (0 to 1) of the requests did not exceed, in microseconds; `None` when empty.
    pub fn quantile_micros(&self, q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &n) in self.counts.iter().enumerate() {
            seen += u64::from(n);
            if seen >= rank {
                let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
                // The middle of the bucket halves the error; it must not exceed what was ever seen.
                let middle = start as f64 + (end - start - 1) as f64 / 2.0;
                return Some(middle.min(self.max_micros as f64));
            }
        }
        Some(self.max_micros as f64)
    }

    /// The summary that goes into a report.
    pub fn summary(&self) -> LatencySummary {
        let quantile_ms = |q| self.quantile_micros(q).unwrap_or(0.0) / 1_000.0;
        LatencySummary {
            count: self.count,
            mean_ms: if self.count == 0 {
                0.0
            } else {
                self.sum_micros as f64 / self.count as f64 / 1_000.0
            },
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
        }
    }

    /// Returns what was recorded and starts empty, without memory until it is used again.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_sketch_is_all_zero() {
        assert_eq!(LatencySketch::new().summary(), LatencySummary::default());
        assert_eq!(LatencySketch::new().quantile_micros(0.5), None);
    }

    #[test]
    fn take_empties_it() {
        let mut sketch = LatencySketch::new();
        sketch.record(100);
        assert_eq!(sketch.take().summary().count, 1);
        assert_eq!(sketch.summary().count, 0);
    }

    #[test]
    fn no_time_is_too_long_for_it() {
        let mut sketch = LatencySketch::new();
        sketch.record(u64::MAX);
        let shown = sketch.quantile_micros(1.0).unwrap();
        assert!(shown > 0.96 * MAX_MICROS as f64, "{shown}");
    }

    proptest! {
        #[test]
        fn buckets_are_contiguous_and_narrow(micros in 0_u64..=MAX_MICROS) {
            let bucket = bucket_of(micros);
            let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
            prop_assert!(start <= micros && micros < end);
            prop_assert!(end - start <= 1 + start / SUB_BUCKETS);
        }

        #[test]
        fn quantiles_are_within_four_percent(mut times in prop::collection::vec(0_u64..5_000_000, 1..300), q in 0.0..1.0_f64) {
            let mut sketch = LatencySketch::new();
            times.iter().for_each(|&t| sketch.record(t));
            times.sort_unstable();
            let rank = ((q * times.len() as f64).ceil() as usize).max(1) - 1;
            let exact = times[rank] as f64;
            let shown = sketch.quantile_micros(q).unwrap();
            prop_assert!((shown - exact).abs() <= exact * 0.04 + 0.5, "{shown} for {exact}");
        }
    }
}
