//! The only place that knows linfa: it needs an older ndarray than the rest, so plain slices go in and out.
//!
//! linfa carries the eigenvectors under the principal components, k-means and Gaussian mixtures. Its crates are pure Rust
//! here: no BLAS, no LAPACK.

mod clusters;

pub(crate) use clusters::{Mixture, gaussian_mixture, k_means};

use linfa_linalg::eigh::{EigSort, Eigh};
use ndarray016::Array2;

/// Eigenvalues of a symmetric matrix (row-major, `size` × `size`), largest first, and the unit eigenvectors, one a row.
/// What is not finite counts as 0.
pub(crate) fn symmetric_eigen(matrix: &[f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    let finite = |&v: &f64| if v.is_finite() { v } else { 0.0 };
    let values = matrix.iter().map(finite).collect();
    let matrix = Array2::from_shape_vec((size, size), values).expect("size × size values");
    match matrix.eigh() {
        Ok(pairs) => {
            let (values, vectors) = pairs.sort_eig_desc();
            (values.to_vec(), vectors.t().iter().copied().collect())
        }
        // It does not converge only on matrices that are not finite; the axes are then as good as any.
        Err(_) => {
            let axes = Array2::<f64>::eye(size);
            (matrix.diag().to_vec(), axes.iter().copied().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_rows_largest_first_and_rebuild_the_matrix() {
        let matrix = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 1.0];
        let (values, vectors) = symmetric_eigen(&matrix, 3);
        assert!(values[0] > values[1] && values[1] > values[2], "{values:?}");
        for i in 0..3 {
            for j in 0..3 {
                let rebuilt: f64 =
                    (0..3).map(|k| values[k] * vectors[k * 3 + i] * vectors[k * 3 + j]).sum();
                assert!((rebuilt - matrix[i * 3 + j]).abs() < 1e-9, "{i} {j} {rebuilt}");
            }
        }
        let (values, _) = symmetric_eigen(&[f64::NAN; 4], 2);
        assert_eq!(values, [0.0, 0.0]);
    }
}
