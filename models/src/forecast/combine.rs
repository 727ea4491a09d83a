//! How much each member's forecast counts: weights of a mixture, learnt from forecasts whose outcome is known.

/// Rounds of the descent.
const ROUNDS: usize = 150;
/// Step of the first round, in units of the best member's error.
const STEP: f64 = 1.5;

/// Forecasts of every member for the same step, and what came.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// One forecast for each member.
    pub said: Vec<f64>,
    /// What came.
    pub actual: f64,
    /// How much it counts: 1 / scale makes series comparable, less for what is long ago.
    pub weight: f64,
}

/// Non-negative weights, summing to 1, of the mixture with a small mean absolute error. It begins at `prior`, and few
/// outcomes do not move it far: `confidence` of them count as much as the prior does.
///
/// Exponentiated gradient (Kivinen and Warmuth 1997) on the whole batch, the mean of all rounds being taken.
pub fn weights(outcomes: &[Outcome], prior: &[f64], confidence: f64) -> Vec<f64> {
    let members = prior.len();
    let sum: f64 = prior.iter().map(|p| p.max(0.0)).sum();
    let even = |p: &f64| if sum > 0.0 { p.max(0.0) / sum } else { 1.0 / members as f64 };
    let prior: Vec<f64> = prior.iter().map(even).collect();
    let usable = |o: &&Outcome| {
        o.said.len() == members
            && o.said.iter().chain([&o.actual, &o.weight]).all(|v| v.is_finite())
    };
    let outcomes: Vec<&Outcome> = outcomes.iter().filter(usable).collect();
    let total: f64 = outcomes.iter().map(|o| o.weight).sum();
    if members < 2 || total <= 0.0 {
        return prior;
    }
    let error = |member: usize| -> f64 {
        outcomes.iter().map(|o| o.weight * (o.said[member] - o.actual).abs()).sum::<f64>() / total
    };
    let errors: Vec<f64> = (0..members).map(error).collect();
    let unit = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let unit = unit.max(1e-3 * super::mean(&errors)).max(1e-12);
    let trust = outcomes.len() as f64 / (outcomes.len() as f64 + confidence.max(0.0));
    let (mut current, mut mean) = (prior.clone(), vec![0.0; members]);
    let mut gradient = vec![0.0; members];
    for round in 0..ROUNDS {
        gradient.iter_mut().for_each(|g| *g = 0.0);
        for outcome in &outcomes {
            let mixed = mix(&outcome.said, &current);
            let side = outcome.weight * (mixed - outcome.actual).signum() / (total * unit);
            gradient.iter_mut().zip(&outcome.said).for_each(|(g, s)| *g += side * (s - mixed));
        }
        let step = STEP / (1.0 + round as f64 / 20.0).sqrt();
        for (weight, g) in current.iter_mut().zip(&gradient) {
            *weight = (*weight).max(1e-4) * (-step * g.clamp(-1.0, 1.0)).exp();
        }
        let sum: f64 = current.iter().sum();
        current.iter_mut().for_each(|weight| *weight /= sum);
        if round >= ROUNDS / 2 {
            let share = 2.0 / ROUNDS as f64;
            mean.iter_mut().zip(&current).for_each(|(m, weight)| *m += share * weight);
        }
    }
    mean.iter().zip(&prior).map(|(m, p)| trust * m + (1.0 - trust) * p).collect()
}

/// The mixture.
pub fn mix(said: &[f64], weights: &[f64]) -> f64 {
    said.iter().zip(weights).map(|(s, w)| s * w).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize, by: usize) -> f64 {
        ((i * by + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    /// Two members with independent errors of equal size, and a third that is far off.
    fn outcomes(n: usize) -> Vec<Outcome> {
        let one = |i: usize| {
            let actual = 10.0 + noise(i, 7919);
            let said = vec![actual + noise(i, 31), actual + noise(i, 577), actual + 5.0];
            Outcome { said, actual, weight: 1.0 }
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn independent_errors_are_averaged_and_bad_members_left_out() {
        let learnt = weights(&outcomes(600), &[1.0, 1.0, 1.0], 0.0);
        assert!((learnt.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(learnt[2] < 0.02 && (learnt[0] - learnt[1]).abs() < 0.3, "{learnt:?}");
        let error = |w: &[f64]| -> f64 {
            outcomes(600).iter().map(|o| (mix(&o.said, w) - o.actual).abs()).sum()
        };
        assert!(error(&learnt) < 0.9 * error(&[1.0, 0.0, 0.0]));
    }

    #[test]
    fn few_outcomes_leave_the_prior() {
        let learnt = weights(&outcomes(2), &[0.2, 0.2, 0.6], 1e6);
        assert!((learnt[2] - 0.6).abs() < 1e-3, "{learnt:?}");
        assert_eq!(weights(&[], &[3.0, 1.0], 1.0), [0.75, 0.25]);
        let broken = Outcome { said: vec![f64::NAN, 1.0], actual: 0.0, weight: 1.0 };
        assert_eq!(weights(&[broken], &[1.0, 1.0], 0.0), [0.5, 0.5]);
    }
}
