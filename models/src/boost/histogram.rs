//! Sums of gradients and hessians by feature and bin.

use super::bins::Binned;

/// Gradient and hessian of one row.
pub(super) type Grad = [f32; 2];
/// Their sums.
pub(super) type Sum = [f64; 2];

/// By chosen feature, all 256 bins: a byte then needs no check as an index.
pub(super) struct Histogram {
    bins: Vec<[Sum; 256]>,
}

impl Histogram {
    pub(super) fn new(features: usize) -> Self {
        Self { bins: vec![[[0.0; 2]; 256]; features] }
    }

    pub(super) fn feature(&self, at: usize) -> &[Sum; 256] {
        &self.bins[at]
    }

    /// Sums over the rows; what it held before is forgotten. `chosen` are the features, in the histogram's order.
    pub(super) fn build(
        &mut self,
        binned: &Binned,
        chosen: &[usize],
        rows: &[u32],
        grads: &[Grad],
    ) {
        for bins in &mut self.bins {
            *bins = [[0.0; 2]; 256];
        }
        if chosen.len() == binned.features {
            for &row in rows {
                let [g, h] = grads[row as usize].map(f64::from);
                for (bins, &bin) in self.bins.iter_mut().zip(binned.row(row)) {
                    let sum = &mut bins[bin as usize];
                    *sum = [sum[0] + g, sum[1] + h];
                }
            }
            return;
        }
        for &row in rows {
            let [g, h] = grads[row as usize].map(f64::from);
            let bytes = binned.row(row);
            for (bins, &feature) in self.bins.iter_mut().zip(chosen) {
                let sum = &mut bins[bytes[feature] as usize];
                *sum = [sum[0] + g, sum[1] + h];
            }
        }
    }

    /// Leaves what the other child holds.
    pub(super) fn subtract(&mut self, child: &Self) {
        for (bins, other) in self.bins.iter_mut().zip(&child.bins) {
            for (sum, other) in bins.iter_mut().zip(other) {
                *sum = [sum[0] - other[0], sum[1] - other[1]];
            }
        }
    }
}
