//! What was measured in one run.

use hdrhistogram::Histogram;
use isobar_api::{ApiError, ErrorCode};
use std::time::Duration;

/// Times of the requests that were answered, and how many were not.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Microseconds, three digits.
    pub micros: Histogram<u64>,
    /// The same of those requests that only read.
    pub read_micros: Histogram<u64>,
    /// Length of the run.
    pub length: Duration,
    /// Requests answered before the run's end.
    pub in_time: u64,
    /// Requests that were refused for overload; their times are not counted.
    pub refused: u64,
    /// Requests that failed otherwise; their times are not counted.
    pub errors: u64,
    /// Requests of an open run that were due and could not even be sent before its end. Their times until then are
    /// counted, since without them the worst waits would be missing.
    pub unsent: u64,
    /// The first failure that was no refusal.
    pub first_error: Option<ApiError>,
}

impl Samples {
    /// Of a run that has not begun.
    pub fn new(length: Duration) -> Self {
        let micros = Histogram::new(3).expect("three digits are allowed");
        let read_micros = micros.clone();
        let (in_time, refused, errors, unsent) = (0, 0, 0, 0);
        Self { micros, read_micros, length, in_time, refused, errors, unsent, first_error: None }
    }

    /// Adds one request, whether it only read, and whether its answer came before the end of the run.
    pub fn record(
        &mut self,
        result: Result<(), ApiError>,
        took: Duration,
        reads: bool,
        in_time: bool,
    ) {
        match result {
            Ok(()) => {
                self.time(took, reads);
                self.in_time += u64::from(in_time);
            }
            Err(error) if error.code == ErrorCode::Overloaded => self.refused += 1,
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// Adds a request that was due for so long and not sent.
    pub fn record_unsent(&mut self, due_for: Duration, reads: bool) {
        self.time(due_for, reads);
        self.unsent += 1;
    }

    /// Adds what another one has of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.micros.add(&other.micros).expect("this histogram grows as it must");
        self.read_micros.add(&other.read_micros).expect("this one too");
        self.in_time += other.in_time;
        self.refused += other.refused;
        self.errors += other.errors;
        self.unsent += other.unsent;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    /// Requests answered per second of the run.
    pub fn ops_per_s(&self) -> f64 {
        self.in_time as f64 / self.length.as_secs_f64()
    }

    /// Requests answered, late ones included.
    pub fn answered(&self) -> u64 {
        self.micros.len() - self.unsent
    }

    /// The time that this share of the requests did not exceed, milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        quantile_ms(&self.micros, quantile)
    }

    /// Times of the requests that wrote, alone or among other things.
    pub fn write_micros(&self) -> Histogram<u64> {
        let mut writes = self.micros.clone();
        writes.subtract(&self.read_micros).expect("every read is among all requests");
        writes
    }

    fn time(&mut self, took: Duration, reads: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // The histograms grow as they must; only memory could end that.
        let _ = self.micros.record(micros);
        if reads {
            let _ = self.read_micros.record(micros);
        }
    }
}

/// The time in microseconds that this share of the requests did not exceed, as milliseconds.
pub(crate) fn quantile_ms(micros: &Histogram<u64>, quantile: f64) -> f64 {
    micros.value_at_quantile(quantile) as f64 / 1_000.0
}
