//! Classes of workloads: a mixture of normal distributions, as many as a Bayesian information criterion pays for.

use super::features::{FEATURES, WorkloadFeatures};
use crate::linfa_adapter::{Mixture, gaussian_mixture, k_means};
use serde::{Deserialize, Serialize};

/// Fits of each number of classes, from different starts.
const STARTS: u64 = 6;
/// Numbers of classes tried beyond the best so far before giving up.
const PATIENCE: usize = 3;
/// Spread that a feature has at least where classes are compared: smaller differences are not worth a class.
const SPREAD_MIN: f64 = 0.01;

/// Classes of workloads, each a normal distribution of [`WorkloadFeatures`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Share of each class among the shards; sum to 1.
    weights: Vec<f64>,
    /// Mean features of each class.
    means: Vec<Vec<f64>>,
    /// Lower triangular root of each covariance, row-major.
    roots: Vec<Vec<f64>>,
}

impl Classes {
    /// Finds up to `most` classes among shards. `None` with fewer shards than features.
    pub fn fit(shards: &[WorkloadFeatures], most: usize, seed: u64) -> Option<Self> {
        if shards.len() <= FEATURES {
            return None;
        }
        let rows: Vec<f64> = shards.iter().flat_map(|s| s.0).collect();
        let mut best: Option<(f64, usize, Self)> = None;
        for parts in 1..=most.min(shards.len() / FEATURES).max(1) {
            if best.as_ref().is_some_and(|(_, known, _)| parts > known + PATIENCE) {
                break;
            }
            for start in 0..STARTS {
                let seed = seed.wrapping_add(start * 1_000_003 + parts as u64);
                let fitted = gaussian_mixture(&rows, FEATURES, parts, seed);
                let Some(classes) = fitted.and_then(Self::of) else { continue };
                let price = classes.criterion(shards);
                if best.as_ref().is_none_or(|(lowest, _, _)| price < *lowest) {
                    best = Some((price, parts, classes));
                }
            }
        }
        best.map(|(_, _, classes)| classes)
    }

    fn of(mixture: Mixture) -> Option<Self> {
        let roots: Option<Vec<Vec<f64>>> = mixture.covariances.iter().map(|c| root(c)).collect();
        Some(Self { weights: mixture.weights, means: mixture.means, roots: roots? })
    }

    /// Whether parameters from a file make sense.
    pub fn is_sound(&self) -> bool {
        let count = self.weights.len();
        let finite = |list: &Vec<f64>| list.iter().all(|v| v.is_finite());
        (1..=1000).contains(&count)
            && (self.means.len(), self.roots.len()) == (count, count)
            && self.weights.iter().all(|w| (0.0..=1.0).contains(w))
            && self.means.iter().all(|mean| mean.len() == FEATURES && finite(mean))
            && self.roots.iter().all(|root| {
                root.len() == FEATURES * FEATURES
                    && finite(root)
                    && (0..FEATURES).all(|i| root[i * FEATURES + i] > 0.0)
            })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.weights.len()
    }

    /// The probability of each class for a shard: its mixture.
    pub fn mixture(&self, shard: &WorkloadFeatures) -> Vec<f64> {
        let logs = self.log_densities(shard);
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
        let total: f64 = parts.iter().sum();
        parts.into_iter().map(|part| part / total).collect()
    }

    /// The most probable class of a shard.
    pub fn class(&self, shard: &WorkloadFeatures) -> usize {
        let logs = self.log_densities(shard);
        (0..logs.len()).max_by(|&a, &b| logs[a].total_cmp(&logs[b]).then(b.cmp(&a))).unwrap_or(0)
    }

    /// Log of weight times density for each class.
    fn log_densities(&self, shard: &WorkloadFeatures) -> Vec<f64> {
        let parts = self.weights.iter().zip(&self.means).zip(&self.roots);
        parts
            .map(|((weight, mean), root)| {
                // Forward substitution gives the standardised difference.
                let mut z = [0.0; FEATURES];
                let mut volume = 0.0;
                for i in 0..FEATURES {
                    let line = &root[i * FEATURES..];
                    let known: f64 = (0..i).map(|j| line[j] * z[j]).sum();
                    z[i] = (shard.0[i] - mean[i] - known) / line[i];
                    volume += line[i].ln();
                }
                let distance: f64 = z.iter().map(|v| v * v).sum();
                let log = weight.max(1e-300).ln() - volume - distance / 2.0;
                if log.is_finite() { log } else { f64::MIN / 4.0 }
            })
            .collect()
    }

    /// The Bayesian information criterion (Schwarz, 1978): lower is better.
    fn criterion(&self, shards: &[WorkloadFeatures]) -> f64 {
        let constant = FEATURES as f64 / 2.0 * std::f64::consts::TAU.ln();
        let log = |shard: &WorkloadFeatures| {
            let logs = self.log_densities(shard);
            let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            highest + logs.iter().map(|log| (log - highest).exp()).sum::<f64>().ln() - constant
        };
        let free = self.count() * (1 + FEATURES + FEATURES * (FEATURES + 1) / 2) - 1;
        free as f64 * (shards.len() as f64).ln() - 2.0 * shards.iter().map(log).sum::<f64>()
    }
}

/// The lower triangular root of a covariance (Cholesky) with a least spread added.
fn root(covariance: &[f64]) -> Option<Vec<f64>> {
    let mut root = vec![0.0; FEATURES * FEATURES];
    for i in 0..FEATURES {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| root[i * FEATURES + k] * root[j * FEATURES + k]).sum();
            let own = if i == j { SPREAD_MIN * SPREAD_MIN } else { 0.0 };
            let left = covariance[i * FEATURES + j] + own - known;
            root[i * FEATURES + j] = if i == j {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                left.sqrt()
            } else {
                left / root[j * FEATURES + j]
            };
        }
    }
    Some(root)
}

/// The simple rule that the above is compared with: k-means with a given number of classes.
pub fn k_means_classes(
    shards: &[WorkloadFeatures],
    classes: usize,
    seed: u64,
) -> Option<Vec<usize>> {
    let rows: Vec<f64> = shards.iter().flat_map(|s| s.0).collect();
    k_means(&rows, FEATURES, classes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;
    use crate::characterize::adjusted_rand_index;

    /// Shards of three kinds of different spread.
    fn shards(seed: u64) -> (Vec<WorkloadFeatures>, Vec<usize>) {
        let noise: Vec<f64> = white_noise(seed).take(240 * FEATURES).collect();
        let kinds: Vec<usize> = (0..240).map(|i| i % 3).collect();
        let make = |(kind, e): (&usize, &[f64])| {
            let mut features = [0.0; FEATURES];
            for (at, f) in features.iter_mut().enumerate() {
                *f = [0.3, 0.9, 0.9][*kind] + [0.02, 0.02, 0.04][*kind] * e[at];
            }
            features[2] += if *kind == 2 { 0.4 } else { 0.0 };
            WorkloadFeatures(features)
        };
        (kinds.iter().zip(noise.chunks_exact(FEATURES)).map(make).collect(), kinds)
    }

    #[test]
    fn as_many_classes_as_there_are_and_each_shard_in_its_own() {
        let (all, kinds) = shards(1);
        let classes = Classes::fit(&all, 10, 7).expect("fits");
        assert_eq!(classes.count(), 3);
        assert_eq!(classes, Classes::fit(&all, 10, 7).expect("the same again"));
        let (fresh, _) = shards(2);
        let found: Vec<usize> = fresh.iter().map(|shard| classes.class(shard)).collect();
        assert!(adjusted_rand_index(&found, &kinds) > 0.99);
        let mixture = classes.mixture(&fresh[0]);
        assert!((mixture.iter().sum::<f64>() - 1.0).abs() < 1e-9 && mixture[found[0]] > 0.99);
        assert!(classes.is_sound());
    }

    #[test]
    fn degenerate_shards() {
        assert_eq!(Classes::fit(&[], 5, 1), None);
        let same = vec![WorkloadFeatures([0.5; FEATURES]); 50];
        assert!(Classes::fit(&same, 5, 1).is_none_or(|classes| classes.count() == 1));
        let broken = Classes { weights: vec![1.0], means: vec![vec![0.0; 3]], roots: vec![] };
        assert!(!broken.is_sound());
    }
}
