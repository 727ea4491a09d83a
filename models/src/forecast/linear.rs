//! Least absolute deviations with shrinkage: iteratively reweighted ridge regression.
//!
//! Arrivals have bursts; squares would let them bend the whole fit. (Schlossmacher 1973; the weights are bounded, so
//! that rows met exactly do not take over.)

use serde::{Deserialize, Serialize};

/// Beyond so many units a number is an outlier of the features, not information.
const CLIP: f64 = 30.0;
/// Residuals smaller than this share of their mean are weighted alike.
const FLAT: f64 = 0.3;

/// A linear function of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// Its value where all numbers are 0.
    pub intercept: f64,
    /// One weight for each number.
    pub weights: Vec<f64>,
}

impl Linear {
    /// Fits it to rows of `width` numbers, one after the other, with one target each. `ridge` shrinks the weights of
    /// standardized numbers, in units of the rows; `rounds` 1 is least squares. `None` with no rows or no solution.
    pub fn fit(
        rows: &[f64],
        width: usize,
        targets: &[f64],
        ridge: f64,
        rounds: usize,
    ) -> Option<Self> {
        let n = targets.len();
        if n == 0 || rows.len() != n * width {
            return None;
        }
        let moments: Vec<(f64, f64)> = (0..width).map(|j| moments(rows, width, j)).collect();
        let mut standard = Vec::with_capacity(n * width);
        for row in rows.chunks_exact(width) {
            standard.extend(row.iter().zip(&moments).map(|(v, (mean, by))| (tame(*v) - mean) * by));
        }
        let mut weights = vec![1.0; n];
        let mut solution = vec![0.0; width + 1];
        for round in 0..rounds.max(1) {
            if round > 0 {
                reweigh(&standard, width, targets, &solution, &mut weights);
            }
            solution = solve(&standard, width, targets, &weights, ridge)?;
        }
        let scaled: Vec<f64> = solution.iter().zip(&moments).map(|(w, (_, by))| w * by).collect();
        let moved: f64 = scaled.iter().zip(&moments).map(|(w, (mean, _))| w * mean).sum();
        let linear = Self { intercept: solution[width] - moved, weights: scaled };
        linear.predict(&rows[..width]).is_finite().then_some(linear)
    }

    /// Its value for one row.
    pub fn predict(&self, row: &[f64]) -> f64 {
        self.intercept + row.iter().zip(&self.weights).map(|(v, w)| tame(*v) * w).sum::<f64>()
    }
}

/// Unknown counts as nothing special.
fn tame(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-CLIP, CLIP) }
}

/// Mean and 1 / standard deviation of a column; 0 for a constant one, whose weight then is 0.
fn moments(rows: &[f64], width: usize, column: usize) -> (f64, f64) {
    let values = || rows.iter().skip(column).step_by(width).map(|v| tame(*v));
    let n = (rows.len() / width) as f64;
    let mean = values().sum::<f64>() / n;
    let spread = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean, if spread > 1e-9 { 1.0 / spread } else { 0.0 })
}

fn reweigh(rows: &[f64], width: usize, targets: &[f64], solution: &[f64], weights: &mut [f64]) {
    let residual = |(row, target): (&[f64], &f64)| {
        let said: f64 = row.iter().zip(solution).map(|(v, w)| v * w).sum();
        (target - said - solution[width]).abs()
    };
    let sizes: Vec<f64> = rows.chunks_exact(width).zip(targets).map(residual).collect();
    let flat = (FLAT * super::mean(&sizes)).max(1e-12);
    weights.iter_mut().zip(&sizes).for_each(|(weight, size)| *weight = flat / size.max(flat));
}

/// Weighted normal equations by Cholesky; the last number of the solution is the intercept, which is not shrunk.
fn solve(
    rows: &[f64],
    width: usize,
    targets: &[f64],
    weights: &[f64],
    ridge: f64,
) -> Option<Vec<f64>> {
    let size = width + 1;
    let (mut matrix, mut right) = (vec![0.0; size * size], vec![0.0; size]);
    let mut scaled = vec![0.0; size];
    for ((row, target), weight) in rows.chunks_exact(width).zip(targets).zip(weights) {
        scaled[..width].copy_from_slice(row);
        scaled[width] = 1.0;
        for i in 0..size {
            let by = scaled[i] * weight;
            right[i] += by * target;
            let line = &mut matrix[i * size..i * size + i + 1];
            line.iter_mut().zip(&scaled).for_each(|(sum, v)| *sum += by * v);
        }
    }
    let shrink = ridge * weights.iter().sum::<f64>() + 1e-9;
    (0..width).for_each(|i| matrix[i * size + i] += shrink);
    matrix[size * size - 1] += 1e-9;
    cholesky(&mut matrix, size)?;
    for i in 0..size {
        let known: f64 = (0..i).map(|k| matrix[i * size + k] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i * size + i];
    }
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|k| matrix[k * size + i] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i * size + i];
    }
    right.iter().all(|v| v.is_finite()).then_some(right)
}

/// Lower triangle in place.
fn cholesky(matrix: &mut [f64], size: usize) -> Option<()> {
    for i in 0..size {
        for j in 0..=i {
            let (upper, lower) = matrix.split_at_mut(i * size);
            let of_j = if j < i { &upper[j * size..j * size + j] } else { &lower[..j] };
            let known: f64 = of_j.iter().zip(&lower[..j]).map(|(a, b)| a * b).sum();
            let left = lower[j] - known;
            if i == j {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                lower[j] = left.sqrt();
            } else {
                lower[j] = left / upper[j * size + j];
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    /// `y = 3 + 2 a - b` with a little noise, and each tenth target far off.
    fn planted() -> (Vec<f64>, Vec<f64>) {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for i in 0..500 {
            let (a, b) = (noise(i) * 4.0, noise(i * 31 + 5) * 4.0);
            rows.extend([a, b, 7.0]);
            let burst = if i % 10 == 0 { 50.0 } else { 0.0 };
            targets.push(3.0 + 2.0 * a - b + 0.1 * noise(i * 17) + burst);
        }
        (rows, targets)
    }

    #[test]
    fn bursts_bend_squares_but_not_absolute_deviations() {
        let (rows, targets) = planted();
        let robust = Linear::fit(&rows, 3, &targets, 1e-6, 20).unwrap();
        let squares = Linear::fit(&rows, 3, &targets, 1e-6, 1).unwrap();
        let off = |linear: &Linear| (linear.predict(&[1.0, -1.0, 7.0]) - 6.0).abs();
        assert!(off(&robust) < 0.3, "{robust:?}");
        assert!(off(&squares) > 3.0, "{squares:?}");
        assert!(robust.weights[2].abs() < 1e-9, "a constant says nothing: {robust:?}");
    }

    #[test]
    fn shrinkage_pulls_to_the_mean_and_nothing_panics() {
        let (rows, targets) = planted();
        let shrunk = Linear::fit(&rows, 3, &targets, 1e6, 1).unwrap();
        assert!(shrunk.weights.iter().all(|w| w.abs() < 1e-3), "{shrunk:?}");
        assert!(Linear::fit(&[], 3, &[], 1.0, 1).is_none());
        assert!(Linear::fit(&[1.0], 3, &[1.0], 1.0, 1).is_none());
        let strange = [f64::NAN, 1e300, -1e300, f64::NAN, 0.0, 0.0];
        assert!(
            Linear::fit(&strange, 3, &[1.0, 2.0], 0.1, 3)
                .unwrap()
                .predict(&strange[..3])
                .is_finite()
        );
    }
}
