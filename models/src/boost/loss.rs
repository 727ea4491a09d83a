//! Gradients, where boosting begins, and the leaves of the quantile losses.

use super::config::{BoostConfig, Loss};
use super::histogram::Grad;

/// Log odds are kept within these: targets may all be alike.
const MAX_LOG_ODDS: f64 = 30.0;

/// What is fitted to.
pub(super) struct Goal<'a> {
    pub(super) config: &'a BoostConfig,
    pub(super) targets: &'a [f64],
    pub(super) weights: Option<&'a [f64]>,
}

pub(super) fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

impl Goal<'_> {
    fn weight(&self, row: usize) -> f64 {
        let weight = self.weights.map_or(1.0, |weights| weights[row]);
        let positive = self.config.loss == Loss::Logistic && self.targets[row] > 0.5;
        if positive { weight * self.config.positive_weight } else { weight }
    }

    /// The best constant score.
    pub(super) fn base_score(&self) -> f64 {
        if let Some(score) = self.config.base_score {
            return score;
        }
        if let Some(quantile) = self.config.loss.quantile() {
            let all = self.targets.iter().enumerate().map(|(row, &y)| (y, self.weight(row)));
            return weighted_quantile(&mut all.collect::<Vec<_>>(), quantile);
        }
        let (mut sum, mut total) = (0.0, 0.0);
        for (row, &target) in self.targets.iter().enumerate() {
            let weight = self.weight(row);
            sum += weight * target;
            total += weight;
        }
        let mean = sum / total;
        match self.config.loss {
            Loss::Logistic => (mean / (1.0 - mean)).ln().clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS),
            _ => mean,
        }
    }

    pub(super) fn gradients(&self, scores: &[f64], out: &mut [Grad]) {
        for (row, (out, &score)) in out.iter_mut().zip(scores).enumerate() {
            let (target, weight) = (self.targets[row], self.weight(row));
            let [g, h] = match self.config.loss {
                Loss::Logistic => {
                    let p = sigmoid(score);
                    [p - target, p * (1.0 - p)]
                }
                Loss::Squared => [score - target, 1.0],
                Loss::Absolute => [(score - target).signum() * 0.5, 1.0],
                Loss::Quantile(q) => [if target > score { -q } else { 1.0 - q }, 1.0],
            };
            *out = [(g * weight) as f32, (h * weight) as f32];
        }
    }

    /// A gradient of signs finds where to split, not how far to step: the step is the quantile of the residuals.
    pub(super) fn residual_quantile(&self, quantile: f64, rows: &[u32], scores: &[f64]) -> f64 {
        let residual = |&row: &u32| {
            let row = row as usize;
            (self.targets[row] - scores[row], self.weight(row))
        };
        weighted_quantile(&mut rows.iter().map(residual).collect::<Vec<_>>(), quantile)
    }
}

/// Value below which this share of the weight lies, interpolated between the middles of the weights.
fn weighted_quantile(values: &mut [(f64, f64)], quantile: f64) -> f64 {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|v| v.1).sum();
    let wanted = quantile * total;
    let mut below = 0.0;
    let mut last: Option<(f64, f64)> = None;
    for &(value, weight) in values.iter().filter(|v| v.1 > 0.0) {
        let middle = below + weight / 2.0;
        if middle >= wanted {
            return match last {
                Some((before, at)) => {
                    before + (value - before) * ((wanted - at) / (middle - at)).clamp(0.0, 1.0)
                }
                None => value,
            };
        }
        last = Some((value, middle));
        below += weight;
    }
    last.map_or(0.0, |(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_weigh() {
        let mut odd = [(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)];
        assert_eq!(weighted_quantile(&mut odd, 0.5), 2.0);
        let mut even = [(1.0, 1.0), (2.0, 1.0)];
        assert_eq!(weighted_quantile(&mut even, 0.5), 1.5);
        // As if the 5 were there three times: 1 5 5 5.
        let mut heavy = [(1.0, 1.0), (5.0, 3.0)];
        assert!(weighted_quantile(&mut heavy, 0.75) > 4.9);
        assert_eq!(weighted_quantile(&mut [(1.0, 0.0)], 0.5), 0.0);
    }
}
