//! Principal components of standardised rows: T² along them, Q off them.

use crate::linfa_adapter::symmetric_eigen;

/// A direction has at least this variance, where that of a moving signal is 1: below is rounding.
const VARIANCE_MIN: f64 = 1e-9;

/// Directions of the usual movement, and at how many of them each share of the variance is reached.
#[derive(Clone, Debug)]
pub(super) struct Subspace {
    signals: usize,
    /// Row-major, one unit vector a row, largest variance first.
    directions: Vec<f64>,
    /// Variance along each direction.
    variances: Vec<f64>,
    /// How many directions count as usual, ascending.
    counts: Vec<usize>,
}

impl Subspace {
    /// Fits to standardised rows (row-major, `signals` wide, at least one).
    pub(super) fn fit(rows: &[f64], signals: usize, shares: &[f64]) -> Self {
        let (variances, directions) = symmetric_eigen(&covariance(rows, signals), signals);
        let variances: Vec<f64> = variances.into_iter().map(|v| v.max(VARIANCE_MIN)).collect();
        let total: f64 = variances.iter().sum();
        let reach = |share: f64| {
            let mut sum = 0.0;
            let reached = variances.iter().position(|v| {
                sum += v;
                sum >= share * total
            });
            reached.map_or(signals, |at| at + 1)
        };
        let mut counts: Vec<usize> = shares.iter().map(|&share| reach(share)).collect();
        counts.sort_unstable();
        Self { signals, directions, variances, counts }
    }

    /// The mean over the shares of ln(1 + T²) + ln(1 + Q) of one standardised row.
    pub(super) fn score(&self, row: &[f64]) -> f64 {
        let whole: f64 = row.iter().map(|v| v * v).sum();
        let (mut t_squared, mut inside, mut sum) = (0.0, 0.0, 0.0);
        let mut counts = self.counts.iter().peekable();
        let directions = self.directions.chunks_exact(self.signals).zip(&self.variances);
        for (done, (direction, variance)) in (1..).zip(directions) {
            let length: f64 = direction.iter().zip(row).map(|(a, b)| a * b).sum();
            t_squared += length * length / variance;
            inside += length * length;
            while counts.next_if(|&&count| count == done).is_some() {
                sum += f64::ln_1p(t_squared) + f64::ln_1p((whole - inside).max(0.0));
            }
            if counts.peek().is_none() {
                break;
            }
        }
        sum / self.counts.len() as f64
    }
}

/// Covariance of rows, row-major.
fn covariance(rows: &[f64], signals: usize) -> Vec<f64> {
    let count = (rows.len() / signals) as f64;
    let mut means = vec![0.0; signals];
    for row in rows.chunks_exact(signals) {
        means.iter_mut().zip(row).for_each(|(mean, v)| *mean += v / count);
    }
    let mut sums = vec![0.0; signals * signals];
    let mut centred = vec![0.0; signals];
    for row in rows.chunks_exact(signals) {
        for ((c, v), mean) in centred.iter_mut().zip(row).zip(&means) {
            *c = v - mean;
        }
        for (i, a) in centred.iter().enumerate() {
            let line = &mut sums[i * signals..i * signals + i + 1];
            line.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b);
        }
    }
    for i in 0..signals {
        for j in 0..=i {
            let value = sums[i * signals + j] / count;
            sums[i * signals + j] = value;
            sums[j * signals + i] = value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;

    #[test]
    fn what_breaks_the_usual_relation_scores_higher_than_what_keeps_it() {
        let noise: Vec<f64> = white_noise(5).take(3000).collect();
        // The second signal follows the first, the third is on its own.
        let rows: Vec<f64> =
            noise.chunks_exact(3).flat_map(|e| [e[0], e[0] + 0.1 * e[1], e[2]]).collect();
        let space = Subspace::fit(&rows, 3, &[0.9]);
        assert_eq!(space.counts, [2]);
        let (kept, broken) = (space.score(&[2.0, 2.0, 0.0]), space.score(&[2.0, -2.0, 0.0]));
        assert!(broken > kept + 0.5, "{broken} {kept}");
        assert!(space.score(&[0.0; 3]) < 0.1);
    }

    #[test]
    fn t_squared_of_all_directions_is_the_mahalanobis_distance() {
        let noise: Vec<f64> = white_noise(6).take(2000).collect();
        let rows: Vec<f64> =
            noise.chunks_exact(2).flat_map(|e| [e[0], 0.5 * e[0] + e[1]]).collect();
        let c = covariance(&rows, 2);
        let row = [1.5, -0.7];
        let determinant = c[0] * c[3] - c[1] * c[2];
        let distance = (c[3] * row[0] * row[0] - 2.0 * c[1] * row[0] * row[1]
            + c[0] * row[1] * row[1])
            / determinant;
        let score = Subspace::fit(&rows, 2, &[1.0]).score(&row);
        assert!((score - distance.ln_1p()).abs() < 1e-6, "{score} {distance}");
    }

    #[test]
    fn signals_that_never_moved_do_no_harm() {
        let space = Subspace::fit(&[0.0; 30], 3, &[0.9, 0.99]);
        assert!(space.score(&[1.0, 2.0, 3.0]).is_finite());
    }
}
