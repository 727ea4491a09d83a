//! How often proposals of each class come true, measured as they are made. Every issued prefetch counts at once and is
//! credited when it is used, so a class that fails is stopped after a few, however long its failures would have lain in
//! the cache. What is not issued is tried on paper: a sample of the proposals is remembered and looked up after as long
//! as an unused key would have stayed. So a class that was stopped is taken up again when its time comes.

use super::class::{Class, Source};
use super::index::mixed;
use std::collections::VecDeque;

/// How much a prior weighs, in proposals.
const PRIOR_WEIGHT: f32 = 2.0;
/// A class's counts are halved when it has so many proposals.
const MEMORY: f32 = 500.0;
/// Classes with fewer proposals are tried on paper each time, others one time in four.
const UNSURE: f32 = 40.0;
const SAMPLE: u64 = 4;
/// No more trials on paper at a time.
const MAX_TRIALS: usize = 16_384;
/// Remembers which proposals are already being tried.
const TRIED_CELLS: usize = 8192;
/// Longest and shortest time until a trial is decided, in requests.
const HORIZON: [u32; 2] = [4, 1000];
/// The overall precision is taken over about so many requests; the threshold follows it in such steps, up to a limit.
const OVERALL_REQUESTS: f64 = 20_000.0;
const THRESHOLD_STEP: f64 = 0.002;
const MAX_THRESHOLD: f64 = 0.95;
const STEER_EVERY: u32 = 16;

struct Trial {
    key: u64,
    place: u32,
    class: Class,
}

#[derive(Clone, Copy)]
struct Tally {
    proposed: f32,
    used: f32,
}

/// What one source did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCount {
    /// Keys prefetched.
    pub issued: u64,
    /// Of those, used.
    pub used: u64,
}

/// See the module.
pub(super) struct Precisions {
    tallies: Vec<Tally>,
    trials: VecDeque<Trial>,
    tried: Vec<u32>,
    pub(super) sources: [SourceCount; Source::ALL.len()],
    least_threshold: f64,
    least_precision: f64,
    threshold: f64,
    overall: Tally,
}

impl Precisions {
    /// `priors` has one precision for each class, or none at all: then one half for all.
    pub(super) fn new(priors: &[f32], least_threshold: f64, least_precision: f64) -> Self {
        let tally = |class: usize| {
            let used = PRIOR_WEIGHT * priors.get(class).copied().unwrap_or(0.5);
            Tally { proposed: PRIOR_WEIGHT, used }
        };
        Self {
            tallies: (0..Class::COUNT).map(tally).collect(),
            trials: VecDeque::with_capacity(MAX_TRIALS),
            tried: vec![0; TRIED_CELLS],
            sources: Default::default(),
            least_threshold,
            least_precision,
            threshold: least_threshold,
            overall: Tally { proposed: 0.0, used: 0.0 },
        }
    }

    /// The share of a class's proposals that come true, as far as is known.
    pub(super) fn estimate(&self, class: Class) -> f64 {
        let tally = self.tallies[class.number()];
        f64::from(tally.used / tally.proposed)
    }

    /// Whether proposals of this class are worth issuing.
    pub(super) fn is_credible(&self, class: Class) -> bool {
        self.estimate(class) >= self.threshold
    }

    fn proposed(&mut self, class: Class) {
        let tally = &mut self.tallies[class.number()];
        if tally.proposed > MEMORY {
            tally.proposed *= 0.5;
            tally.used *= 0.5;
        }
        tally.proposed += 1.0;
    }

    /// A proposal was issued.
    pub(super) fn issued(&mut self, class: Class) {
        self.proposed(class);
        self.overall.proposed += 1.0;
        self.sources[class.source() as usize].issued += 1;
    }

    /// What was issued is used.
    pub(super) fn used(&mut self, class: Class) {
        self.tallies[class.number()].used += 1.0;
        self.overall.used += 1.0;
        self.sources[class.source() as usize].used += 1;
    }

    /// A proposal was not issued; perhaps it is tried on paper.
    pub(super) fn passed_over(&mut self, key: u64, place: u32, class: Class, stay: u32) {
        let hash = mixed(key ^ (u64::from(class.tag()) << 48));
        let sampled = mixed(hash ^ u64::from(place)).is_multiple_of(SAMPLE);
        if self.trials.len() >= MAX_TRIALS
            || !(sampled || self.tallies[class.number()].proposed < UNSURE)
        {
            return;
        }
        // The same proposal made again a moment later is the same trial.
        let tried = &mut self.tried[hash as usize % TRIED_CELLS];
        if *tried != 0 && place.wrapping_sub(*tried) <= horizon(stay) {
            return;
        }
        *tried = place;
        self.proposed(class);
        self.trials.push_back(Trial { key, place, class });
    }

    /// Decides the trials whose time is over. `came_true` says whether a key was requested after a place.
    pub(super) fn settle(&mut self, now: u32, stay: u32, came_true: impl Fn(u64, u32) -> bool) {
        let horizon = horizon(stay);
        while let Some(trial) = self.trials.front()
            && now.wrapping_sub(trial.place) >= horizon
        {
            if came_true(trial.key, trial.place) {
                self.tallies[trial.class.number()].used += 1.0;
            }
            self.trials.pop_front();
        }
        if now.is_multiple_of(STEER_EVERY) {
            self.steer();
        }
    }

    /// Raises the threshold while the overall precision is below the wanted one.
    fn steer(&mut self) {
        let keep = (1.0 - f64::from(STEER_EVERY) / OVERALL_REQUESTS) as f32;
        self.overall.proposed *= keep;
        self.overall.used *= keep;
        let wanted = self.least_precision * f64::from(self.overall.proposed);
        let step = match f64::from(self.overall.used) < wanted {
            true => THRESHOLD_STEP,
            false => -THRESHOLD_STEP,
        };
        let top = MAX_THRESHOLD.max(self.least_threshold);
        self.threshold = (self.threshold + step).clamp(self.least_threshold, top);
    }

    /// The estimates of all classes, and how many proposals each rests on beside the prior.
    pub(super) fn estimates(&self) -> impl Iterator<Item = (f32, f32)> {
        self.tallies.iter().map(|t| (t.used / t.proposed, t.proposed - PRIOR_WEIGHT))
    }
}

fn horizon(stay: u32) -> u32 {
    stay.clamp(HORIZON[0], HORIZON[1])
}
