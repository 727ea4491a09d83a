//! The best split of a leaf.

use super::bins::{Binned, MISSING};
use super::config::BoostConfig;
use super::histogram::{Histogram, Layout, Sum};

/// What a leaf's step may be: narrowed by the monotone splits above it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Bounds {
    pub(super) const FREE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };
}

/// One side of a split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) sum: Sum,
    /// Before the learning rate.
    pub(super) step: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) gain: f64,
    pub(super) feature: usize,
    /// Bins up to this go left.
    pub(super) bin: u8,
    pub(super) missing_left: bool,
    pub(super) left: Side,
    pub(super) right: Side,
}

/// The step that minimises the second-order loss within all limits.
pub(super) fn step(config: &BoostConfig, [g, h]: Sum, bounds: Bounds) -> f64 {
    let mut step = -g / (h + config.l2);
    if config.max_delta_step > 0.0 {
        step = step.clamp(-config.max_delta_step, config.max_delta_step);
    }
    step.max(bounds.low).min(bounds.high)
}

/// How much the loss falls with a step (times two).
pub(super) fn fall(config: &BoostConfig, [g, h]: Sum, step: f64) -> f64 {
    -(2.0 * g * step + (h + config.l2) * step * step)
}

pub(super) struct Search<'a> {
    pub(super) config: &'a BoostConfig,
    pub(super) binned: &'a Binned,
    /// The features of this tree.
    pub(super) layout: Layout<'a>,
}

impl Search<'_> {
    /// `None` where no split gains enough. Among equals the first feature and bin.
    pub(super) fn best(&self, histogram: &Histogram, whole: Sum, bounds: Bounds) -> Option<Split> {
        let unsplit = fall(self.config, whole, step(self.config, whole, bounds));
        let mut best: Option<Split> = None;
        for (at, &feature) in self.layout.chosen.iter().enumerate() {
            let bins = histogram.feature(&self.layout, at);
            let missing = bins[MISSING as usize];
            // Less than half the smallest leaf is missing: the direction is no matter of gain.
            let asked = missing[1] > 1e-9;
            for missing_left in [true, false] {
                if missing_left && !asked {
                    continue;
                }
                let scan = Scan { search: self, feature, whole, bounds, missing_left, asked };
                scan.run(bins, unsplit, &mut best);
            }
        }
        best
    }
}

/// One pass over the bins of a feature.
struct Scan<'a> {
    search: &'a Search<'a>,
    feature: usize,
    whole: Sum,
    bounds: Bounds,
    missing_left: bool,
    /// Whether values are missing in this leaf.
    asked: bool,
}

impl Scan<'_> {
    fn run(&self, bins: &[Sum], unsplit: f64, best: &mut Option<Split>) {
        let config = self.search.config;
        let last = self.search.binned.last_bin(self.feature);
        // All values left and all missing ones right is a split, too.
        let end = if self.asked && !self.missing_left { last } else { last - 1 };
        let mut left = if self.missing_left { bins[MISSING as usize] } else { [0.0; 2] };
        for bin in 1..=end {
            let here = bins[bin as usize];
            if here[1] <= 0.0 {
                continue;
            }
            left = [left[0] + here[0], left[1] + here[1]];
            let right = [self.whole[0] - left[0], self.whole[1] - left[1]];
            if left[1] < config.min_child_hessian {
                continue;
            }
            if right[1] < config.min_child_hessian {
                break;
            }
            let (l, r) = (step(config, left, self.bounds), step(config, right, self.bounds));
            let gain = fall(config, left, l) + fall(config, right, r) - unsplit;
            if gain <= best.as_ref().map_or(config.min_gain.max(1e-12), |b| b.gain) {
                continue;
            }
            let direction = config.monotone.get(self.feature).copied().unwrap_or(0);
            if f64::from(direction) * (r - l) < 0.0 {
                continue;
            }
            *best = Some(Split {
                gain,
                feature: self.feature,
                bin,
                missing_left: if self.asked { self.missing_left } else { left[1] > right[1] },
                left: Side { sum: left, step: l },
                right: Side { sum: right, step: r },
            });
        }
    }
}
