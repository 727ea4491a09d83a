//! From scores to probabilities: isotonic regression by pooling adjacent violators (Zadrozny and Elkan, KDD 2002).

use serde::{Deserialize, Serialize};

const MAX_KNOTS: usize = 10_000;
/// Scores that differ by less are one: text and back may move the last digit.
const NEAR: f64 = 1e-9;

/// A rising line through (score, probability) knots; flat beyond its ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<[f64; 2]>", into = "Vec<[f64; 2]>")]
pub struct Isotonic {
    knots: Vec<[f64; 2]>,
}

impl Isotonic {
    /// Fits to (score, target in 0..=1, weight). Each pooled block is drawn a little to the whole mean, by the weight of
    /// one row, so that no block says 0 or 1. `None` without any weight.
    pub fn fit(rows: impl IntoIterator<Item = (f64, f64, f64)>) -> Option<Self> {
        let usable = |r: &(f64, f64, f64)| r.0.is_finite() && r.1.is_finite() && r.2 > 0.0;
        let mut rows: Vec<(f64, f64, f64)> = rows.into_iter().filter(usable).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (weight, sum) = rows.iter().fold((0.0, 0.0), |(w, s), r| (w + r.2, s + r.2 * r.1));
        if rows.is_empty() {
            return None;
        }
        let (mean, one) = (sum / weight, weight / rows.len() as f64);
        let mut blocks: Vec<Block> = Vec::new();
        // Rows of one score cannot be told apart: they are one block.
        for same in rows.chunk_by(|a, b| b.0 - a.0 <= NEAR) {
            let block =
                |r: &(f64, f64, f64)| Block { weight: r.2, sum: r.2 * r.1, scores: r.2 * r.0 };
            let mut block = same[1..].iter().fold(block(&same[0]), |all, r| all.joined(&block(r)));
            while let Some(last) = blocks.last() {
                if last.mean() < block.mean() {
                    break;
                }
                block = block.joined(&blocks.pop().expect("there is a last one"));
            }
            blocks.push(block);
        }
        let step = blocks.len().div_ceil(MAX_KNOTS / 2).max(1);
        let pooled = blocks
            .chunks(step)
            .map(|part| part[1..].iter().fold(part[0], |all, block| all.joined(block)));
        let knot = |b: Block| [b.scores / b.weight, (b.sum + one * mean) / (b.weight + one)];
        let mut knots: Vec<[f64; 2]> = pooled.map(knot).collect();
        knots.dedup_by(|b, a| b[0] - a[0] <= NEAR);
        // Drawing to the mean may turn two blocks of very different weight.
        for at in 1..knots.len() {
            knots[at][1] = knots[at][1].max(knots[at - 1][1]);
        }
        Some(Self { knots })
    }

    /// The probability at a score.
    pub fn at(&self, score: f64) -> f64 {
        let above = self.knots.partition_point(|knot| knot[0] <= score);
        let Some(low) = above.checked_sub(1).map(|at| self.knots[at]) else {
            return self.knots[0][1];
        };
        let Some(high) = self.knots.get(above) else { return low[1] };
        let share = (score - low[0]) / (high[0] - low[0]);
        low[1] + (high[1] - low[1]) * share
    }
}

#[derive(Clone, Copy)]
struct Block {
    weight: f64,
    sum: f64,
    scores: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    fn joined(&self, other: &Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            sum: self.sum + other.sum,
            scores: self.scores + other.scores,
        }
    }
}

impl From<Isotonic> for Vec<[f64; 2]> {
    fn from(isotonic: Isotonic) -> Self {
        isotonic.knots
    }
}

impl TryFrom<Vec<[f64; 2]>> for Isotonic {
    type Error = &'static str;

    fn try_from(knots: Vec<[f64; 2]>) -> Result<Self, Self::Error> {
        if knots.is_empty() || knots.len() > MAX_KNOTS {
            return Err("a calibration needs 1 to 10000 knots");
        }
        let sane = |k: &[f64; 2]| k[0].is_finite() && (0.0..=1.0).contains(&k[1]);
        let rising = |p: &[[f64; 2]]| p[0][0] < p[1][0] && p[0][1] <= p[1][1] + 1e-12;
        if !knots.iter().all(sane) || !knots.windows(2).all(rising) {
            return Err("a calibration does not rise, or is no probability");
        }
        Ok(Self { knots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violators_are_pooled_and_between_knots_it_is_a_line() {
        // 0, 1, 0, 1, 1: the middle two are pooled to one half.
        let rows = [0.0, 1.0, 0.0, 1.0, 1.0].into_iter().enumerate();
        let many = rows.flat_map(|(x, y)| (0..1_000).map(move |_| (x as f64, y, 1.0)));
        let isotonic = Isotonic::fit(many).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 2e-3, "{a} where {b} is due");
        near(isotonic.at(-5.0), 0.0);
        near(isotonic.at(1.5), 0.5);
        near(isotonic.at(9.0), 1.0);
        let (low, high) = (isotonic.at(1.9), isotonic.at(2.4));
        assert!(isotonic.at(0.5) < 0.5 && low <= high, "{low} {high}");
        assert!(isotonic.at(-5.0) > 0.0 && isotonic.at(9.0) < 1.0);
        assert_eq!(Isotonic::fit([(f64::NAN, 1.0, 1.0)]), None);
    }

    #[test]
    fn rows_of_one_score_are_one_knot() {
        let rows = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0].into_iter().enumerate();
        let isotonic = Isotonic::fit(rows.map(|(at, y)| (f64::from(at > 3), y, 1.0))).unwrap();
        let text = serde_json::to_string(&isotonic).unwrap();
        let back: Isotonic = serde_json::from_str(&text).expect("what is written is read");
        assert_eq!(back.knots.len(), 2);
        assert!((back.at(0.0) - (2.0 + 4.0 / 6.0) / 5.0).abs() < 1e-9, "{text}");
    }

    #[test]
    fn what_falls_or_is_no_probability_is_refused() {
        for knots in ["[]", "[[0.0,0.5],[1.0,0.4]]", "[[0.0,1.5]]", "[[1.0,0.1],[1.0,0.2]]"] {
            assert!(serde_json::from_str::<Isotonic>(knots).is_err(), "{knots}");
        }
        let good: Isotonic = serde_json::from_str("[[0.0,0.25],[1.0,0.75]]").unwrap();
        assert_eq!(good.at(0.5), 0.5);
    }
}
