//! Keeping probabilities honest while the world drifts: what was said is held against what came, once that is known.

use std::collections::VecDeque;

/// Shifts log odds so that the probabilities said in the last days add up to the failures that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalibration {
    span_h: f64,
    /// Rows that the past must outweigh.
    prior_rows: f64,
    /// (time in h, said before the shift as log odds, whether it failed), judged already.
    known: VecDeque<(f64, f64, bool)>,
    shift: f64,
    /// Last time the shift was computed, h.
    computed_h: f64,
}

/// Rows remembered at most; older ones go first.
const MAX_ROWS: usize = 200_000;
/// Log odds are shifted by no more than this.
const MAX_SHIFT: f64 = 2.0;

impl Recalibration {
    /// Looks back over `span_h`; `prior_rows` rows of doubt hold the shift back.
    pub fn new(span_h: f64, prior_rows: f64) -> Self {
        let known = VecDeque::new();
        Self { span_h, prior_rows, known, shift: 0.0, computed_h: f64::NEG_INFINITY }
    }

    /// A probability said at `at_h` whose outcome is known now. Must come in the order of time.
    pub fn learn(&mut self, at_h: f64, said: f64, failed: bool) {
        if self.known.len() == MAX_ROWS {
            self.known.pop_front();
        }
        self.known.push_back((at_h, log_odds(said), failed));
    }

    /// The probability to say at `now_h`. The shift is renewed once a day.
    pub fn adjust(&mut self, now_h: f64, probability: f64) -> f64 {
        if now_h >= self.computed_h + 24.0 {
            while self.known.front().is_some_and(|row| row.0 < now_h - self.span_h) {
                self.known.pop_front();
            }
            self.shift = self.best_shift();
            self.computed_h = now_h;
        }
        1.0 / (1.0 + (-(log_odds(probability) + self.shift)).exp())
    }

    /// Newton steps for: said with the shift = came, a little doubt included.
    fn best_shift(&self) -> f64 {
        let mut shift = self.shift;
        for _ in 0..5 {
            let (mut gap, mut slope) = (0.0, 0.0);
            for &(_, odds, failed) in &self.known {
                let p = 1.0 / (1.0 + (-(odds + shift)).exp());
                gap += f64::from(u8::from(failed)) - p;
                slope += p * (1.0 - p);
            }
            let rows = self.known.len().max(1) as f64;
            let doubt = self.prior_rows * (slope / rows).max(1e-6);
            shift += (gap - doubt * shift) / (slope + doubt);
            shift = shift.clamp(-MAX_SHIFT, MAX_SHIFT);
        }
        if shift.is_finite() { shift } else { 0.0 }
    }
}

fn log_odds(probability: f64) -> f64 {
    let p = probability.clamp(1e-9, 1.0 - 1e-9);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_doubled_is_met_and_a_few_rows_change_little() {
        let mut many = Recalibration::new(1_000.0, 100.0);
        let mut few = many.clone();
        for row in 0..10_000 {
            many.learn(f64::from(row) / 20.0, 0.05, row % 10 == 0);
        }
        for row in 0..10 {
            few.learn(f64::from(row), 0.05, row % 5 == 0);
        }
        let (many, few) = (many.adjust(500.0, 0.05), few.adjust(500.0, 0.05));
        assert!((many - 0.1).abs() < 0.002, "{many}");
        assert!((few - 0.05).abs() < 0.02, "{few}");
    }
}
