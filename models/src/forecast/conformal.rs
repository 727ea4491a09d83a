//! Intervals from the errors of a rolling backtest: calibrated by construction, whatever the model assumes.

use super::Interval;
use serde::{Deserialize, Serialize};

/// Share of the values that the intervals are to hold.
pub const LEVEL: f64 = 0.90;
/// With fewer errors than this none of them is the quantile asked for; their size stands for it instead.
const ERRORS_ENOUGH: usize = 20;
/// Student's t with 95 % below, for 1 to 19 degrees of freedom: how many times their root mean square so few errors
/// must be allowed.
const STUDENT_95: [f64; ERRORS_ENOUGH - 1] = [
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771,
    1.761, 1.753, 1.746, 1.740, 1.734, 1.729,
];

/// Errors are compared in units of the root of the forecast, as counts scatter; the floor keeps quiet times from
/// dividing by zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorScale {
    floor: f64,
}

impl ErrorScale {
    /// For series of this mean size.
    pub fn of(history: &[f64]) -> Self {
        let size = super::mean(&history.iter().map(|v| v.abs()).collect::<Vec<_>>());
        Self { floor: (0.25 * size).max(1e-12) }
    }

    fn at(&self, point: f64) -> f64 {
        (point.max(0.0) + self.floor).sqrt()
    }

    /// The error of a forecast in this unit.
    pub fn scaled(&self, point: f64, actual: f64) -> f64 {
        (actual - point) / self.at(point)
    }
}

/// Bounds per step, in scaled errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Widths {
    scale: ErrorScale,
    /// Lower and upper error quantile per step; empty: nothing is known.
    steps: Vec<(f64, f64)>,
}

/// Collects `actual - point` per step ahead.
#[derive(Clone, Debug)]
pub struct Errors {
    scale: ErrorScale,
    by_step: Vec<Vec<f64>>,
}

impl Errors {
    /// No errors yet.
    pub fn new(scale: ErrorScale, horizon: usize) -> Self {
        Self { scale, by_step: vec![Vec::new(); horizon] }
    }

    /// Adds the error of one forecast at one step (0: the first ahead).
    pub fn add(&mut self, step: usize, point: f64, actual: f64) {
        if let Some(errors) = self.by_step.get_mut(step) {
            errors.push(self.scale.scaled(point, actual));
        }
    }

    /// The bounds of what these errors would be without the chance that makes counts of a rate: `chance` is its
    /// variance in scaled errors. It is taken out of their mean square, of which a quarter stays in any case: the rate
    /// itself was only estimated.
    pub fn widths_without(&self, chance: f64) -> Widths {
        let all: Vec<f64> = self.by_step.iter().flatten().map(|error| error * error).collect();
        let seen = super::mean(&all);
        let left = if seen > 0.0 { (1.0 - chance / seen).max(0.25) } else { 1.0 };
        let mut widths = self.widths();
        for (lower, upper) in &mut widths.steps {
            (*lower, *upper) = (*lower * left.sqrt(), *upper * left.sqrt());
        }
        widths
    }

    /// The bounds behind these errors.
    pub fn widths(&self) -> Widths {
        let mut steps: Vec<(f64, f64)> = Vec::with_capacity(self.by_step.len());
        for step in 0..self.by_step.len() {
            // Neighbouring steps have nearly the same errors: pool them for quantiles that do not jump about.
            let reach = (step + 1) / 4;
            let around = step - reach..(step + reach + 1).min(self.by_step.len());
            let mut pooled: Vec<f64> = self.by_step[around].concat();
            if pooled.is_empty() {
                // Beyond what the history could test, uncertainty grows like that of a random walk.
                let Some(&(lower, upper)) = steps.last() else {
                    return Widths::default();
                };
                let grow = ((step + 1) as f64 / step as f64).sqrt();
                steps.push((lower.min(0.0) * grow, upper.max(0.0) * grow));
                continue;
            }
            pooled.sort_by(f64::total_cmp);
            steps.push((-tail(pooled.iter().rev().map(|e| -e)), tail(pooled.iter().copied())));
        }
        Widths { scale: self.scale, steps }
    }
}

/// Upper quantile at half the miss rate, with the finite-sample correction of conformal prediction.
fn tail(ascending: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let n = ascending.len();
    if let Some(student) = n.checked_sub(1).and_then(|freedom| STUDENT_95.get(freedom)) {
        let squares: f64 = ascending.map(|error| error * error).sum();
        return student * (squares / n as f64).sqrt();
    }
    let rank = ((n + 1) as f64 * (1.0 - (1.0 - LEVEL) / 2.0)).ceil() as usize;
    ascending.into_iter().nth(rank.min(n) - 1).unwrap_or(0.0)
}

impl Widths {
    /// The same bound on both sides of the first step, in scaled errors; later steps are wider.
    pub fn symmetric(scale: ErrorScale, bound: f64) -> Self {
        Self { scale, steps: vec![(-bound, bound)] }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Intervals around point forecasts; `lower <= mean <= upper` always holds, and none is negative if so asked.
    pub fn around(&self, points: &[f64], non_negative: bool) -> Vec<Interval> {
        let floor = if non_negative { 0.0 } else { f64::NEG_INFINITY };
        let bounds = |step: usize| match self.steps.get(step) {
            Some(&bounds) => bounds,
            None => self.steps.last().map_or((0.0, 0.0), |&(lower, upper)| {
                let grow = ((step + 1) as f64 / self.steps.len() as f64).sqrt();
                (lower * grow, upper * grow)
            }),
        };
        let interval = |(step, &point): (usize, &f64)| {
            let ((lower, upper), scale) = (bounds(step), self.scale.at(point));
            let mean = point.max(floor);
            Interval {
                lower: (point + lower * scale).min(mean).max(floor),
                mean,
                upper: (point + upper * scale).max(mean),
            }
        };
        points.iter().enumerate().map(interval).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_quantiles_of_the_errors() {
        let scale = ErrorScale::of(&[100.0]);
        let mut errors = Errors::new(scale, 1);
        (0..1_000).for_each(|i| errors.add(0, 100.0, 100.0 + f64::from(i) / 10.0 - 50.0));
        let interval = errors.widths().around(&[100.0], true)[0];
        assert!((interval.upper - 145.0).abs() < 0.3, "{interval:?}");
        assert!((interval.lower - 55.0).abs() < 0.3, "{interval:?}");
    }

    #[test]
    fn few_errors_make_wide_intervals_and_untested_steps_wider_ones() {
        let mut errors = Errors::new(ErrorScale::of(&[10.0]), 4);
        [9.0, 11.0].iter().for_each(|&v| errors.add(0, 10.0, v));
        let all = errors.widths().around(&[10.0; 6], true);
        assert!(
            (all[0].upper - 12.92).abs() < 1e-9 && (all[0].lower - 7.08).abs() < 1e-9,
            "{all:?}"
        );
        assert!(all.windows(2).all(|w| w[1].upper > w[0].upper), "{all:?}");
    }

    #[test]
    fn bounds_stay_ordered_and_rates_positive() {
        let mut errors = Errors::new(ErrorScale::of(&[5.0]), 1);
        (0..100).for_each(|_| errors.add(0, 5.0, 9.0));
        let biased = errors.widths().around(&[5.0], true)[0];
        assert!(biased.lower <= biased.mean && biased.mean <= biased.upper, "{biased:?}");
        let negative = errors.widths().around(&[-50.0], true)[0];
        assert!(negative.lower == 0.0 && negative.mean == 0.0, "{negative:?}");
    }
}
