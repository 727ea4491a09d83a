//! Sums of gradients and hessians by feature and bin.

use super::bins::Binned;
use std::ops::Range;

/// Gradient and hessian of one row.
pub(super) type Grad = [f32; 2];
/// Their sums.
pub(super) type Sum = [f64; 2];

/// Where each chosen feature's bins lie in a histogram: one behind the other and no longer than needed. With equal
/// room for each, the same bin of all features would fall into the same lines of the processor's cache.
pub(super) struct Layout<'a> {
    /// The features, in the histogram's order.
    pub(super) chosen: &'a [usize],
    offsets: Vec<usize>,
    total: usize,
}

impl<'a> Layout<'a> {
    pub(super) fn new(binned: &Binned, chosen: &'a [usize]) -> Self {
        let mut total = 0;
        let offset = |&feature: &usize| {
            let begin = total;
            total += 1 + binned.last_bin(feature) as usize;
            begin
        };
        let offsets = chosen.iter().map(offset).collect();
        Self { chosen, offsets, total }
    }

    /// The bins of the chosen feature at this place.
    fn range(&self, at: usize) -> Range<usize> {
        self.offsets[at]..self.offsets.get(at + 1).copied().unwrap_or(self.total)
    }
}

pub(super) struct Histogram {
    bins: Vec<Sum>,
}

impl Histogram {
    pub(super) fn new(layout: &Layout<'_>) -> Self {
        Self { bins: vec![[0.0; 2]; layout.total] }
    }

    /// The sums by bin, missing values first, of the chosen feature at this place.
    pub(super) fn feature(&self, layout: &Layout<'_>, at: usize) -> &[Sum] {
        &self.bins[layout.range(at)]
    }

    /// Sums over the rows; what it held before is forgotten.
    pub(super) fn build(
        &mut self,
        binned: &Binned,
        layout: &Layout<'_>,
        rows: &[u32],
        grads: &[Grad],
    ) {
        self.bins.fill([0.0; 2]);
        for &row in rows {
            let [g, h] = grads[row as usize].map(f64::from);
            let bytes = binned.row(row);
            for (&feature, &offset) in layout.chosen.iter().zip(&layout.offsets) {
                let sum = &mut self.bins[offset + bytes[feature] as usize];
                *sum = [sum[0] + g, sum[1] + h];
            }
        }
    }

    /// Leaves what the other child holds.
    pub(super) fn subtract(&mut self, child: &Self) {
        for (sum, other) in self.bins.iter_mut().zip(&child.bins) {
            *sum = [sum[0] - other[0], sum[1] - other[1]];
        }
    }
}
