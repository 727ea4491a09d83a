//! How rare a score is among those of the past.

/// Quantiles kept: the smallest p-value is one in so many.
const KEPT: usize = 2000;

/// Scores of the past, thinned to their quantiles, ascending.
#[derive(Clone, Debug)]
pub(super) struct Calibration {
    sorted: Vec<f64>,
}

impl Calibration {
    pub(super) fn fit(mut scores: Vec<f64>) -> Self {
        scores.sort_by(f64::total_cmp);
        let count = scores.len();
        if count > KEPT {
            // The highest is always kept.
            scores = (1..=KEPT).map(|k| scores[k * count / KEPT - 1]).collect();
        }
        Self { sorted: scores }
    }

    /// The conformal p-value, (1 + how many were at least so high) / (1 + how many there were).
    pub(super) fn p_value(&self, score: f64) -> f64 {
        let below = self.sorted.partition_point(|s| *s < score);
        let count = self.sorted.len();
        (1 + count - below) as f64 / (1 + count) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_the_share_of_the_past_that_was_as_high() {
        let calibration = Calibration::fit((0..10_000).map(f64::from).collect());
        assert!((calibration.p_value(9_000.0) - 0.1).abs() < 0.002);
        assert!((calibration.p_value(1e9) - 1.0 / 2001.0).abs() < 1e-12);
        assert_eq!(calibration.p_value(-1.0), 1.0);
        assert_eq!(Calibration::fit(vec![]).p_value(3.0), 1.0);
    }
}
