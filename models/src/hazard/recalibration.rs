//! Keeping probabilities honest while the world drifts: what was said is held against what came, once that is known.

use std::collections::VecDeque;

/// Shifts and stretches log odds so that the probabilities said in the last days, the low ones and the high ones, add up to
/// the failures that came (Platt 1999, refitted as outcomes become known).
#[derive(Clone, Debug, PartialEq)]
pub struct Recalibration {
    span_h: f64,
    /// Rows that the past must outweigh.
    prior_rows: f64,
    /// (time in h, said before the shift as log odds, whether it failed), judged already.
    known: VecDeque<(f64, f64, bool)>,
    line: Line,
    /// Last time the line was computed, h.
    computed_h: f64,
}

/// From log odds said to log odds that hold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    shift: f64,
    slope: f64,
}

/// Rows remembered at most; older ones go first.
const MAX_ROWS: usize = 200_000;
/// Log odds are shifted by no more than this.
const MAX_SHIFT: f64 = 6.0;
/// And stretched to no less and no more than this.
const SLOPES: [f64; 2] = [0.25, 2.0];

impl Recalibration {
    /// Looks back over `span_h`; `prior_rows` rows of doubt hold the shift back.
    pub fn new(span_h: f64, prior_rows: f64) -> Self {
        let known = VecDeque::new();
        let line = Line { shift: 0.0, slope: 1.0 };
        Self { span_h, prior_rows, known, line, computed_h: f64::NEG_INFINITY }
    }

    /// A probability said at `at_h` whose outcome is known now. Must come in the order of time.
    pub fn learn(&mut self, at_h: f64, said: f64, failed: bool) {
        if self.known.len() == MAX_ROWS {
            self.known.pop_front();
        }
        self.known.push_back((at_h, log_odds(said), failed));
    }

    /// The probability to say at `now_h`. The line is renewed once a day.
    pub fn adjust(&mut self, now_h: f64, probability: f64) -> f64 {
        if now_h >= self.computed_h + 24.0 {
            while self.known.front().is_some_and(|row| row.0 < now_h - self.span_h) {
                self.known.pop_front();
            }
            self.line = self.best_line();
            self.computed_h = now_h;
        }
        self.line.at(log_odds(probability))
    }

    /// Newton steps for the likelihood of what came; `prior_rows` rows of doubt, like those known, say that nothing need be
    /// changed.
    fn best_line(&self) -> Line {
        let mut line = self.line;
        let rows = self.known.len().max(1) as f64;
        for _ in 0..5 {
            let (mut gap, mut pull) = (0.0, 0.0);
            let (mut flat, mut cross, mut steep) = (0.0, 0.0, 0.0);
            for &(_, odds, failed) in &self.known {
                let p = line.at(odds);
                let (miss, weight) = (f64::from(u8::from(failed)) - p, p * (1.0 - p));
                gap += miss;
                pull += miss * odds;
                flat += weight;
                cross += weight * odds;
                steep += weight * odds * odds;
            }
            let doubt = self.prior_rows / rows;
            let (doubt_flat, doubt_steep) = ((doubt * flat).max(1e-6), (doubt * steep).max(1e-6));
            gap -= doubt_flat * line.shift;
            pull -= doubt_steep * (line.slope - 1.0);
            let (flat, steep) = (flat + doubt_flat, steep + doubt_steep);
            let determinant = flat * steep - cross * cross;
            line.shift += (gap * steep - pull * cross) / determinant;
            line.slope += (pull * flat - gap * cross) / determinant;
            line.slope = line.slope.clamp(SLOPES[0], SLOPES[1]);
            line.shift = line.shift.clamp(-MAX_SHIFT, MAX_SHIFT);
        }
        let sound = line.shift.is_finite() && line.slope.is_finite();
        if sound { line } else { Line { shift: 0.0, slope: 1.0 } }
    }
}

impl Line {
    fn at(self, odds: f64) -> f64 {
        1.0 / (1.0 + (-(self.shift + self.slope * odds)).exp())
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

    #[test]
    fn what_was_said_too_boldly_is_drawn_in() {
        let mut bold = Recalibration::new(1_000.0, 100.0);
        // Said 1 % and 50 %; what came is 5 % and 30 %.
        for row in 0..20_000 {
            let (said, failed) =
                if row % 2 == 0 { (0.01, row % 40 == 0) } else { (0.5, row % 20 < 6) };
            bold.learn(f64::from(row) / 40.0, said, failed);
        }
        let (low, high) = (bold.adjust(500.0, 0.01), bold.adjust(500.0, 0.5));
        assert!((low - 0.05).abs() < 0.005 && (high - 0.3).abs() < 0.01, "{low} {high}");
    }
}
