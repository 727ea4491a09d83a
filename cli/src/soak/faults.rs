//! Which fault comes when, from the seed.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use std::time::Duration;

/// Nodes that are not killed in the second half, so that their memory can be judged. The controller is not either.
const SPARED: usize = 2;
/// How long a fault lasts, milliseconds.
const LASTS_MS: std::ops::Range<u64> = 800..4_000;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// `kill -9`, and started again.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Stop,
}

/// A fault: what, to which process, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) place: usize,
    pub(super) lasts: Duration,
}

/// Draws faults, one after the other.
pub(super) struct Faults {
    rng: StdRng,
    /// Processes; the last one is the controller.
    places: usize,
    every: Duration,
}

impl Faults {
    pub(super) fn new(seed: u64, places: usize, every: Duration) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), places, every }
    }

    /// How long until the next one: the mean, more or less a half.
    pub(super) fn pause(&mut self) -> Duration {
        self.every.mul_f64(self.rng.random_range(0.5..1.5))
    }

    /// The next one. Two of three are kills.
    pub(super) fn draw(&mut self, second_half: bool) -> Fault {
        let kind = if self.rng.random_range(0..3) == 0 { Kind::Stop } else { Kind::Kill };
        let victims = match (kind, second_half) {
            (Kind::Kill, true) => SPARED..self.places - 1,
            _ => 0..self.places,
        };
        let place = self.rng.random_range(victims);
        let lasts = Duration::from_millis(self.rng.random_range(LASTS_MS));
        Fault { kind, place, lasts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_the_spared_live() {
        let draw = |seed, late| {
            let mut faults = Faults::new(seed, 6, Duration::from_secs(20));
            (0..500).map(|_| faults.draw(late)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, false), draw(1, false));
        assert_ne!(draw(1, false), draw(2, false));
        let killed = |faults: &[Fault], place| {
            faults.iter().any(|f| f.kind == Kind::Kill && f.place == place)
        };
        let (early, late) = (draw(1, false), draw(1, true));
        assert!((0..6).all(|place| killed(&early, place)), "everything dies at some time");
        assert_eq!((0..6).filter(|place| killed(&late, *place)).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(
            (0..6).all(|place| late.iter().any(|f| f.place == place)),
            "the spared are stopped"
        );
    }

    #[test]
    fn pauses_have_their_mean() {
        let mut faults = Faults::new(1, 6, Duration::from_secs(20));
        let mean = (0..1_000).map(|_| faults.pause().as_secs_f64()).sum::<f64>() / 1_000.0;
        assert!((19.0..21.0).contains(&mean), "{mean}");
    }
}
