//! From rounds to figures: what one system did at one kind of work, and how two systems compare.

use crate::load::{Samples, quantile_ms};
use hdrhistogram::Histogram;
use isobar_api::ApiError;
use serde::Serialize;
use std::time::Duration;

/// Least, middle and most of some rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; the mean of both where there are two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these values; none for an empty list.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Some(Self { median, min, max })
    }
}

/// One run of a system.
#[derive(Clone, Debug)]
pub struct Round {
    /// Times and counts.
    pub samples: Samples,
    /// CPU time that the system's processes used meanwhile.
    pub server_cpu: Duration,
    /// CPU time that the load generator used.
    pub client_cpu: Duration,
    /// Memory of the system's processes at the end.
    pub rss_bytes: u64,
}

/// Times of a part of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
}

impl Times {
    fn of(micros: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| quantile_ms(micros, quantile);
        let some = !micros.is_empty();
        some.then(|| Self { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999) })
    }
}

/// What a system did at one kind of work, over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Requests answered per second: the median of the rounds.
    pub ops_per_s: f64,
    /// The slowest round.
    pub ops_per_s_min: f64,
    /// The fastest round.
    pub ops_per_s_max: f64,
    /// Median time of the requests of all rounds.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The requests that only read.
    pub reads: Option<Times>,
    /// The others.
    pub writes: Option<Times>,
    /// CPU seconds of the servers for a million requests.
    pub cpu_s_per_mop: f64,
    /// CPU seconds of the load generator for a million requests.
    pub client_cpu_s_per_mop: f64,
    /// Memory of the servers together after a round, at most.
    pub rss_mib: f64,
    /// Requests answered.
    pub operations: u64,
    /// Requests that failed or were refused.
    pub errors: u64,
    /// Requests of an open run that could not be sent before its end.
    pub unsent: u64,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<ApiError>,
}

impl Figures {
    /// Of these rounds; none for an empty list.
    pub fn of(rounds: &[Round]) -> Option<Self> {
        let ops_per_s = Spread::of(rounds.iter().map(|round| round.samples.ops_per_s()))?;
        let mut all = Samples::new(rounds.iter().map(|round| round.samples.length).sum());
        rounds.iter().for_each(|round| all.merge(&round.samples));
        let per_mop = |cpu: fn(&Round) -> Duration| {
            let used: Duration = rounds.iter().map(cpu).sum();
            used.as_secs_f64() * 1e6 / all.answered().max(1) as f64
        };
        let rss_bytes = rounds.iter().map(|round| round.rss_bytes).max()?;
        Some(Self {
            ops_per_s: ops_per_s.median,
            ops_per_s_min: ops_per_s.min,
            ops_per_s_max: ops_per_s.max,
            p50_ms: all.quantile_ms(0.5),
            p99_ms: all.quantile_ms(0.99),
            p999_ms: all.quantile_ms(0.999),
            max_ms: all.quantile_ms(1.0),
            reads: Times::of(&all.read_micros),
            writes: Times::of(&all.write_micros()),
            cpu_s_per_mop: per_mop(|round| round.server_cpu),
            client_cpu_s_per_mop: per_mop(|round| round.client_cpu),
            rss_mib: rss_bytes as f64 / f64::from(1 << 20),
            operations: all.answered(),
            errors: all.errors + all.refused,
            unsent: all.unsent,
            first_error: all.first_error,
        })
    }
}

/// How many times as much one system does as another, round by round: what ran side by side is compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Requests per second, ours by theirs: above 1 we do more.
    #[serde(flatten)]
    pub ops_per_s: Spread,
    /// 99th percentiles, ours by theirs: below 1 we are faster.
    pub p99_ms: Spread,
}

impl Ratio {
    /// Of rounds that ran side by side. Rounds in which the other one answered nothing cannot be compared.
    pub fn of(ours: &[Round], theirs: &[Round]) -> Option<Self> {
        let compare = |figure: fn(&Samples) -> f64| {
            let pairs = ours.iter().zip(theirs);
            let pairs = pairs.map(|(a, b)| (figure(&a.samples), figure(&b.samples)));
            Spread::of(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(a, b)| a / b))
        };
        Some(Self {
            ops_per_s: compare(Samples::ops_per_s)?,
            p99_ms: compare(|samples| samples.quantile_ms(0.99))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which so many requests took so long each.
    fn round(requests: u64, took_ms: u64) -> Round {
        let mut samples = Samples::new(Duration::from_secs(1));
        for _ in 0..requests {
            samples.record(Ok(()), Duration::from_millis(took_ms), false, true);
        }
        let cpu = Duration::from_millis(requests);
        Round { samples, server_cpu: cpu, client_cpu: cpu / 2, rss_bytes: requests << 20 }
    }

    #[test]
    fn the_middle_of_two_lies_between_them() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    }

    #[test]
    fn figures_are_of_all_rounds_together() {
        let rounds = [round(100, 10), round(300, 20), round(200, 10)];
        let figures = Figures::of(&rounds).expect("three rounds");
        assert_eq!((figures.ops_per_s, figures.operations, figures.errors), (200.0, 600, 0));
        assert_eq!((figures.ops_per_s_min, figures.ops_per_s_max), (100.0, 300.0));
        assert!((figures.p99_ms / 20.0 - 1.0).abs() < 0.01, "{}", figures.p99_ms);
        assert!((figures.cpu_s_per_mop - 1_000.0).abs() < 1e-6, "a millisecond each");
        assert!((figures.client_cpu_s_per_mop - 500.0).abs() < 1e-6);
        assert_eq!(figures.rss_mib, 300.0);
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        let (mut round, only_writes) = (round(50, 40), round(5, 1));
        for _ in 0..50 {
            round.samples.record(Ok(()), Duration::from_millis(2), true, true);
        }
        let figures = Figures::of(&[round]).expect("a round");
        let p99_ms = |times: Option<Times>| times.expect("there were some").p99_ms.round();
        assert_eq!((p99_ms(figures.reads), p99_ms(figures.writes)), (2.0, 40.0));
        assert_eq!(figures.p99_ms.round(), 40.0);
        assert_eq!(Figures::of(&[only_writes]).expect("a round").reads, None);
    }

    #[test]
    fn ratios_pair_rounds_and_leave_out_silence() {
        let ours = [round(100, 10), round(400, 10), round(90, 10)];
        let theirs = [round(50, 20), round(100, 5), round(30, 40)];
        let ratio = Ratio::of(&ours, &theirs).expect("all answered");
        assert_eq!(ratio.ops_per_s, Spread { median: 3.0, min: 2.0, max: 4.0 });
        assert!((ratio.p99_ms.median - 0.5).abs() < 0.01 && (ratio.p99_ms.max - 2.0).abs() < 0.01);
        let ratio = Ratio::of(&ours, &[round(0, 1), round(100, 5)]).expect("one answered");
        assert_eq!(ratio.ops_per_s.median, 4.0);
        assert_eq!(Ratio::of(&ours, &[round(0, 1)]), None);
    }
}
