//! One way to look at a machine: its values, or their distance from what they have been lately.

use super::subspace::Subspace;

#[derive(Clone, Debug)]
pub(super) struct View {
    /// How much of the way to the newest value the level goes each step; `None` has no level.
    pace: Option<f64>,
    /// What the signals have been lately.
    levels: Vec<f64>,
    /// Mean in the past.
    centres: Vec<f64>,
    /// Standard deviation in the past, floored.
    scales: Vec<f64>,
    subspace: Subspace,
    /// The last row, standardised.
    row: Vec<f64>,
}

impl View {
    /// Fits to the past and stands at its end.
    pub(super) fn fit(
        past: &[f64],
        signals: usize,
        half_life: f64,
        floor: f64,
        shares: &[f64],
    ) -> Self {
        let pace = (half_life > 0.0).then(|| 1.0 - 0.5_f64.powf(1.0 / half_life));
        let mut levels = first_seen(past, signals);
        let mut rows = Vec::with_capacity(past.len());
        for row in past.chunks_exact(signals) {
            rows.extend(row.iter().zip(&levels).map(|(v, level)| distance(*v, *level, pace)));
            follow(&mut levels, row, pace);
        }
        let (centres, scales) = moments(&rows, signals, floor);
        for row in rows.chunks_exact_mut(signals) {
            standardise(row, &centres, &scales);
        }
        let subspace = Subspace::fit(&rows, signals, shares);
        Self { pace, levels, centres, scales, subspace, row: vec![0.0; signals] }
    }

    /// Takes the next row in and scores it.
    pub(super) fn observe(&mut self, values: &[f64]) -> f64 {
        for ((r, v), level) in self.row.iter_mut().zip(values).zip(&self.levels) {
            *r = distance(*v, *level, self.pace);
        }
        follow(&mut self.levels, values, self.pace);
        standardise(&mut self.row, &self.centres, &self.scales);
        self.subspace.score(&self.row)
    }

    /// The last row in standard deviations.
    pub(super) fn standardised(&self) -> &[f64] {
        &self.row
    }

    /// Mean and standard deviation of a signal in the past.
    pub(super) fn place(&self, signal: usize) -> (f64, f64) {
        (self.centres[signal], self.scales[signal])
    }

    /// Moves the place of a signal.
    pub(super) fn recentre(&mut self, signal: usize, centre: f64) {
        self.centres[signal] = centre;
    }

    /// Whether it looks at the values as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.pace.is_none()
    }
}

/// The first value of each signal that is there; 0 where none is.
fn first_seen(past: &[f64], signals: usize) -> Vec<f64> {
    let first = |signal: usize| {
        past.iter().skip(signal).step_by(signals).copied().find(|v| v.is_finite()).unwrap_or(0.0)
    };
    (0..signals).map(first).collect()
}

/// A missing value is NaN here and stands at its centre later: it says nothing.
fn distance(value: f64, level: f64, pace: Option<f64>) -> f64 {
    match pace {
        Some(_) => value - level,
        None => value,
    }
}

fn follow(levels: &mut [f64], values: &[f64], pace: Option<f64>) {
    if let Some(pace) = pace {
        for (level, v) in levels.iter_mut().zip(values).filter(|(_, v)| v.is_finite()) {
            *level += pace * (v - *level);
        }
    }
}

fn standardise(row: &mut [f64], centres: &[f64], scales: &[f64]) {
    for ((v, centre), scale) in row.iter_mut().zip(centres).zip(scales) {
        let z = (*v - centre) / scale;
        *v = if z.is_finite() { z.clamp(-1e6, 1e6) } else { 0.0 };
    }
}

fn moments(rows: &[f64], signals: usize, floor: f64) -> (Vec<f64>, Vec<f64>) {
    let of = |signal: usize| {
        let values = || rows.iter().skip(signal).step_by(signals).filter(|v| v.is_finite());
        let count = values().count().max(1) as f64;
        let mean = values().map(|v| v / count).sum::<f64>();
        let variance = values().map(|v| (v - mean) * (v - mean) / count).sum::<f64>();
        (mean, variance.sqrt().max(floor))
    };
    (0..signals).map(of).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_level_is_got_used_to_only_by_the_view_that_follows() {
        let past: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mut plain = View::fit(&past, 1, 0.0, 0.01, &[0.9]);
        let mut local = View::fit(&past, 1, 20.0, 0.01, &[0.9]);
        let first = (plain.observe(&[9.0]), local.observe(&[9.0]));
        let mut last = first;
        for _ in 0..200 {
            last = (plain.observe(&[9.0]), local.observe(&[9.0]));
        }
        assert!((last.0 - first.0).abs() < 1e-9, "{last:?} {first:?}");
        assert!(last.1 < first.1 / 4.0, "{last:?} {first:?}");
        plain.recentre(0, 9.0);
        assert!(plain.observe(&[9.0]) < first.0 / 4.0);
    }

    #[test]
    fn what_is_missing_says_nothing() {
        let past = [1.0, f64::NAN, 2.0, f64::NAN, 1.0, f64::NAN];
        for half_life in [0.0, 5.0] {
            let mut view = View::fit(&past, 2, half_life, 0.01, &[0.9]);
            assert!(view.observe(&[f64::NAN, f64::INFINITY]).abs() < 1e-9);
            assert!(view.observe(&[1e300, -1e300]).is_finite());
        }
    }
}
