//! Samples to fixed windows: one value per window, and gaps that stay gaps.
//!
//! A window without data is `None`; a measured zero is `Some(0.0)`. A model that confuses the two learns that
//! a lost report is a quiet night.

use std::collections::VecDeque;

/// A window counts as measured when at least this share of it was covered by samples.
const COVERED_MIN: f64 = 0.5;
/// A sample over more than this is refused: it would smear one number over the whole history.
const INTERVAL_MS_MAX: u64 = 3_600_000;

/// A count over an interval that has ended. Sum over replicas first: one series takes one sample per interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the interval ended, Unix milliseconds. Use the receiver's clock: a wild one would shift the series.
    pub at_unix_ms: u64,
    /// Its length, milliseconds.
    pub interval_ms: u64,
    /// What was counted.
    pub count: f64,
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The count is negative, infinite or not a number.
    #[error("a count must be finite and not negative")]
    BadCount,
    /// The interval is empty, longer than an hour, or begins before 1970.
    #[error("an interval must be of 1 ms to 1 h and lie after 1970")]
    BadInterval,
    /// The window has left the history already.
    #[error("the sample is older than the history kept")]
    TooOld,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    count: f64,
    covered_ms: f64,
}

/// A bounded history of one rate, in windows aligned to the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSeries {
    window_s: u32,
    capacity: usize,
    /// Number of the first window kept; window `i` begins at `i * window_s` seconds.
    first: u64,
    cells: VecDeque<Cell>,
}

impl WindowSeries {
    /// An empty series with windows of `window_s` seconds (at least 1) that keeps the last `capacity` (at least 2).
    pub fn new(window_s: u32, capacity: usize) -> Self {
        Self {
            window_s: window_s.max(1),
            capacity: capacity.max(2),
            first: 0,
            cells: VecDeque::new(),
        }
    }

    /// Takes a sample; one that spans several windows is shared out by time.
    ///
    /// A jump ahead by more than the history begins a new one.
    pub fn add(&mut self, sample: Sample) -> Result<(), WindowError> {
        if !sample.count.is_finite() || sample.count < 0.0 {
            return Err(WindowError::BadCount);
        }
        let legal = (1..=INTERVAL_MS_MAX).contains(&sample.interval_ms);
        if !legal || sample.interval_ms > sample.at_unix_ms {
            return Err(WindowError::BadInterval);
        }
        let window_ms = u64::from(self.window_s) * 1_000;
        let start_ms = sample.at_unix_ms - sample.interval_ms;
        let (from, to) = (start_ms / window_ms, (sample.at_unix_ms - 1) / window_ms);
        if !self.cells.is_empty() && to < self.first {
            return Err(WindowError::TooOld);
        }
        self.extend_to(from, to);
        for window in from.max(self.first)..=to {
            let begin = start_ms.max(window * window_ms);
            let end = sample.at_unix_ms.min((window + 1) * window_ms);
            let part_ms = (end - begin) as f64;
            let cell = &mut self.cells[(window - self.first) as usize];
            cell.count += sample.count * part_ms / sample.interval_ms as f64;
            cell.covered_ms += part_ms;
        }
        Ok(())
    }

    /// Makes room up to window `to`, dropping the oldest; `from` is where an empty history begins.
    fn extend_to(&mut self, from: u64, to: u64) {
        let end = self.first + self.cells.len() as u64;
        if self.cells.is_empty() || to >= end + self.capacity as u64 {
            self.cells.clear();
            self.first = from.max((to + 1).saturating_sub(self.capacity as u64));
        }
        while self.first + (self.cells.len() as u64) <= to {
            self.cells.push_back(Cell::default());
        }
        while self.cells.len() > self.capacity {
            self.cells.pop_front();
            self.first += 1;
        }
    }

    /// Rates per second of the windows that have ended by `now_unix_ms`, oldest first, up to the last one ended:
    /// silence since the last sample shows as `None`s.
    pub fn closed(&self, now_unix_ms: u64) -> Vec<Option<f64>> {
        if self.cells.is_empty() {
            return Vec::new();
        }
        let ended = (now_unix_ms / (u64::from(self.window_s) * 1_000)).saturating_sub(self.first);
        let ended =
            usize::try_from(ended).unwrap_or(usize::MAX).min(self.cells.len() + self.capacity);
        (0..ended).map(|i| self.cells.get(i).and_then(|cell| self.rate_per_s(cell))).collect()
    }

    fn rate_per_s(&self, cell: &Cell) -> Option<f64> {
        let window_ms = f64::from(self.window_s) * 1_000.0;
        (cell.covered_ms >= COVERED_MIN * window_ms).then(|| cell.count * 1_000.0 / cell.covered_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(at_s: u64, count: f64) -> Sample {
        Sample { at_unix_ms: at_s * 1_000, interval_ms: 1_000, count }
    }

    #[test]
    fn a_gap_is_none_and_a_quiet_window_is_zero() {
        let mut series = WindowSeries::new(5, 100);
        (101..=105).for_each(|s| series.add(sample(s, 2.0)).unwrap());
        (106..=110).for_each(|s| series.add(sample(s, 0.0)).unwrap());
        (116..=118).for_each(|s| series.add(sample(s, 4.0)).unwrap());
        // 115..120 was covered by three fifths: a rate. 120..125 and 125..130 were silent.
        assert_eq!(series.closed(130_999), [Some(2.0), Some(0.0), None, Some(4.0), None, None]);
        assert_eq!(series.closed(119_999).len(), 3, "an open window is not shown");
    }

    #[test]
    fn long_samples_are_shared_out_and_late_ones_still_count() {
        let mut series = WindowSeries::new(2, 10);
        series.add(Sample { at_unix_ms: 14_000, interval_ms: 4_000, count: 8.0 }).unwrap();
        series.add(sample(18, 3.0)).unwrap();
        series.add(sample(16, 5.0)).unwrap();
        assert_eq!(series.closed(18_000), [Some(2.0), Some(2.0), Some(5.0), Some(3.0)]);
    }

    #[test]
    fn the_history_is_bounded_and_bad_samples_are_refused() {
        let mut series = WindowSeries::new(1, 4);
        (10..=20).for_each(|s| series.add(sample(s, s as f64)).unwrap());
        assert_eq!(series.closed(20_000), [17.0, 18.0, 19.0, 20.0].map(Some));
        assert_eq!(series.add(sample(12, 1.0)), Err(WindowError::TooOld));
        assert_eq!(series.add(sample(21, f64::NAN)), Err(WindowError::BadCount));
        assert_eq!(series.add(sample(21, -1.0)), Err(WindowError::BadCount));
        let long = Sample { at_unix_ms: 9_000_000, interval_ms: 4_000_000, count: 1.0 };
        assert_eq!(series.add(long), Err(WindowError::BadInterval));
        series.add(sample(1_000_000, 7.0)).unwrap();
        assert_eq!(series.closed(1_000_000_000), [Some(7.0)], "a jump ahead starts anew");
        assert!(series.closed(u64::MAX).len() <= 8);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_exceeds_its_capacity(
            samples in prop::collection::vec((0_u64..u64::MAX / 2, 0_u64..5_000_000, 0.0..1e6_f64), 0..40),
            window_s in 0_u32..100, capacity in 0_usize..20,
        ) {
            let mut series = WindowSeries::new(window_s, capacity);
            for (at_unix_ms, interval_ms, count) in samples {
                let _ = series.add(Sample { at_unix_ms: at_unix_ms % 40_000_000, interval_ms, count });
                prop_assert!(series.cells.len() <= capacity.max(2));
                let closed = series.closed(at_unix_ms);
                prop_assert!(closed.iter().flatten().all(|rate| rate.is_finite() && *rate >= 0.0));
            }
        }
    }
}
