//! From sums to probabilities, as `onnxruntime` does it where the specification is silent.

use super::error::{OnnxError, Result, shown};

/// What is done to the scores of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostTransform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    pub(super) fn of(name: Option<&str>) -> Result<Self> {
        Ok(match name.unwrap_or("NONE") {
            "NONE" => Self::None,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX" => Self::Softmax,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            other => {
                return Err(OnnxError::Unsupported {
                    what: format!("post_transform {}", shown(other)),
                    known: "NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO, PROBIT".into(),
                });
            }
        })
    }

    /// Changes the scores of one row.
    pub(super) fn apply(self, scores: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
            Self::Softmax => softmax(scores, |_| true),
            // Scores of zero are classes that no leaf spoke for: they get no share.
            Self::SoftmaxZero => softmax(scores, |score| score.abs() > 1e-7),
        }
    }
}

pub(super) fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

fn softmax(scores: &mut [f64], counts: impl Fn(f64) -> bool) {
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if counts(*score) {
            *score = (*score - largest).exp();
            sum += *score;
        } else {
            *score *= (-largest).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// As other runtimes round it.
const PI_ROUGH: f32 = 314_159.0 / 100_000.0;

/// Winitzki's approximation of the inverse error function (2008), a = 0.147, in 32 bits throughout: near one half most
/// digits cancel, and what is left is what every runtime shows.
fn probit(share: f64) -> f64 {
    let x = 2.0 * share as f32 - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let v = 2.0 / (PI_ROUGH * 0.147) + 0.5 * log;
    let w = 1.0 / 0.147_f32 * log;
    f64::from(std::f32::consts::SQRT_2 * (sign * (-v + (v * v - w).sqrt()).sqrt()))
}

/// The answers for both classes where a model has one score for the second; `shares` says that the score is a share.
pub(super) fn both_classes(score: f64, shares: bool, transform: PostTransform) -> [f64; 2] {
    match transform {
        PostTransform::Logistic => [logistic(-score), logistic(score)],
        _ if shares => [1.0 - score, score],
        _ => [-score, score],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_stays_nothing() {
        let mut scores = [0.0, 1.0, 2.0];
        PostTransform::SoftmaxZero.apply(&mut scores);
        assert_eq!(scores[0], 0.0);
        assert!((scores[1] + scores[2] - 1.0).abs() < 1e-12 && scores[2] > scores[1]);
        let mut scores = [1_000.0, 0.0];
        PostTransform::Softmax.apply(&mut scores);
        assert_eq!(scores, [1.0, 0.0], "no overflow");
    }

    #[test]
    fn the_probit_of_one_half_is_about_nothing_and_of_975_about_1_96() {
        assert!(probit(0.5).abs() < 1e-3);
        assert!((probit(0.975) - 1.96).abs() < 5e-3, "{}", probit(0.975));
    }
}
