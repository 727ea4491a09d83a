//! k-means and Gaussian mixtures.

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::{GaussianMixtureModel, KMeans};
use ndarray016::Array2;
use rand_xoshiro06::Xoshiro256Plus;
use rand_xoshiro06::rand_core::SeedableRng;

/// Starts of k-means; the best is kept.
const STARTS: usize = 8;
const ROUNDS_MAX: u64 = 300;
/// Added to variances, so that a cluster whose rows are all the same stays a cluster.
const VARIANCE_ADDED: f64 = 1e-4;

/// Weighted normal distributions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixture {
    /// Share of each part; they sum to 1.
    pub(crate) weights: Vec<f64>,
    /// Mean of each part.
    pub(crate) means: Vec<Vec<f64>>,
    /// Covariance of each part, row-major.
    pub(crate) covariances: Vec<Vec<f64>>,
}

/// Fits a mixture with full covariances by expectation and maximisation from k-means. Rows are row-major and finite.
/// `None` where it does not converge or there are fewer rows than parts.
pub(crate) fn gaussian_mixture(
    rows: &[f64],
    width: usize,
    parts: usize,
    seed: u64,
) -> Option<Mixture> {
    let records = records(rows, width, parts)?;
    let rng = Xoshiro256Plus::seed_from_u64(seed);
    let model = GaussianMixtureModel::params_with_rng(parts, rng)
        .n_runs(1)
        .tolerance(1e-4)
        .reg_covariance(VARIANCE_ADDED)
        .max_n_iterations(ROUNDS_MAX)
        .fit(&DatasetBase::from(records))
        .ok()?;
    Some(Mixture {
        weights: model.weights().to_vec(),
        means: model.means().outer_iter().map(|mean| mean.to_vec()).collect(),
        covariances: model
            .covariances()
            .outer_iter()
            .map(|c| c.iter().copied().collect())
            .collect(),
    })
}

/// The cluster of each row. `None` where there are fewer rows than clusters.
pub(crate) fn k_means(
    rows: &[f64],
    width: usize,
    clusters: usize,
    seed: u64,
) -> Option<Vec<usize>> {
    let records = records(rows, width, clusters)?;
    let rng = Xoshiro256Plus::seed_from_u64(seed);
    let data = DatasetBase::from(records);
    let model = KMeans::params_with_rng(clusters, rng)
        .n_runs(STARTS)
        .max_n_iterations(ROUNDS_MAX)
        .fit(&data)
        .ok()?;
    Some(model.predict(data.records()).to_vec())
}

fn records(rows: &[f64], width: usize, clusters: usize) -> Option<Array2<f64>> {
    let count = rows.len().checked_div(width)?;
    let fits = clusters > 0 && count >= clusters && rows.iter().all(|v| v.is_finite());
    if fits { Array2::from_shape_vec((count, width), rows.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;

    fn two_clouds() -> Vec<f64> {
        let noise: Vec<f64> = white_noise(3).take(400).collect();
        noise
            .chunks_exact(2)
            .enumerate()
            .flat_map(|(i, e)| {
                let far = if i % 4 == 0 { 12.0 } else { 0.0 };
                [far + e[0], far + 2.0 * e[1]]
            })
            .collect()
    }

    #[test]
    fn planted_clouds_are_found_again() {
        let rows = two_clouds();
        let mixture = gaussian_mixture(&rows, 2, 2, 1).expect("converges");
        let far = if mixture.means[0][0] > 6.0 { 0 } else { 1 };
        assert!((mixture.weights[far] - 0.25).abs() < 0.02, "{mixture:?}");
        assert!((mixture.means[far][0] - 12.0).abs() < 0.5, "{mixture:?}");
        assert!((mixture.covariances[1 - far][3] - 4.0).abs() < 1.2, "{mixture:?}");
        assert_eq!(
            gaussian_mixture(&rows, 2, 2, 1),
            Some(mixture),
            "the same seed, the same model"
        );
        let labels = k_means(&rows, 2, 2, 1).expect("enough rows");
        assert!((0..200).all(|i| (labels[i] == labels[0]) == (i % 4 == 0)));
    }

    #[test]
    fn what_cannot_be_clustered_gives_none() {
        assert_eq!(gaussian_mixture(&[1.0, 2.0], 1, 3, 1), None);
        assert_eq!(gaussian_mixture(&[f64::NAN; 10], 1, 2, 1), None);
        assert_eq!(k_means(&[], 0, 2, 1), None);
        assert_eq!(k_means(&[1.0; 4], 1, 0, 1), None);
    }
}
