//! The load as a list of moments: who asks for which key from where, and when. Pure: same inputs and seed, same list.

use super::inputs::{Inputs, Planned};
use isobar_api::Region;
use isobar_datasets::geo::CompressedDay;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;

/// One access at its moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrival {
    /// When it was meant to begin, microseconds since the load began.
    pub(super) at_us: u64,
    /// The simulated hour.
    pub(super) hour: f64,
    /// The access.
    pub(super) access: Planned,
    /// Where the reader is.
    pub(super) region: Region,
}

/// Arrivals without end: a Poisson process whose rate follows the day (open loop: nobody waits for an answer).
pub(super) struct Workload {
    inputs: Arc<Inputs>,
    day: CompressedDay,
    rate_per_s: f64,
    rng: StdRng,
    at_us: f64,
    next: usize,
}

impl Workload {
    pub(super) fn new(inputs: Arc<Inputs>, day: CompressedDay, rate_per_s: f64, seed: u64) -> Self {
        Self { inputs, day, rate_per_s, rng: StdRng::seed_from_u64(seed), at_us: 0.0, next: 0 }
    }
}

impl Iterator for Workload {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let now_h = self.day.hour_at((self.at_us / 1e3) as u64);
        // Never quite silent, or the next arrival of a recorded quiet night would never come.
        let rate_per_s = self.rate_per_s * self.inputs.arrivals.multiplier(now_h).max(0.01);
        let uniform: f64 = self.rng.random();
        self.at_us += -(1.0 - uniform).ln() / rate_per_s * 1e6;
        let access = self.inputs.accesses[self.next % self.inputs.accesses.len()];
        self.next += 1;
        let at_us = self.at_us as u64;
        let hour = self.day.hour_at(at_us / 1_000);
        let region = self.inputs.readers.region_at(access.rank, hour, &mut self.rng);
        Some(Arrival { at_us, hour, access, region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::inputs::tests::args;
    use std::collections::BTreeMap;

    const DAY: CompressedDay = CompressedDay { start_h: 0.0, day_length_ms: 60_000 };

    #[test]
    fn the_rate_is_kept_and_the_sun_goes_round() {
        let inputs = Arc::new(Inputs::read(&args()).expect("embedded"));
        let all: Vec<Arrival> = Workload::new(inputs.clone(), DAY, 200.0, 1)
            .take_while(|a| a.at_us < 60_000_000)
            .collect();
        assert!((11_000..13_000).contains(&all.len()), "{}", all.len());
        assert!(all.is_sorted_by_key(|a| a.at_us));
        let shares = |from_h: f64| {
            let mut count: BTreeMap<&str, f64> = BTreeMap::new();
            let part: Vec<_> =
                all.iter().filter(|a| (from_h..from_h + 3.0).contains(&a.hour)).collect();
            part.iter().for_each(|a| *count.entry(a.region.as_str()).or_default() += 1.0);
            count
                .into_iter()
                .map(|(r, n)| (r.to_owned(), n / part.len() as f64))
                .collect::<BTreeMap<_, _>>()
        };
        // Evening in Asia at 10 h UTC, in America at 1 h.
        assert!(shares(10.0)["ap-northeast-1"] > shares(21.0)["ap-northeast-1"] + 0.1);
        assert!(shares(0.0)["us-east-1"] > shares(10.0)["us-east-1"] + 0.1);
    }

    #[test]
    fn the_seed_decides_everything() {
        let inputs = Arc::new(Inputs::read(&args()).expect("embedded"));
        let run =
            |seed| Workload::new(inputs.clone(), DAY, 200.0, seed).take(500).collect::<Vec<_>>();
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
