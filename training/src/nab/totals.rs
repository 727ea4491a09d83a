//! The score of a corpus.

use super::{LOW_FN, LOW_FP, Outcome, Profile, STANDARD};

/// Sums over series, which need not be of one corpus only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    standard: f64,
    low_fp: f64,
    low_fn: f64,
    windows: f64,
    /// Windows found.
    pub found: f64,
    /// Alerts outside of windows.
    pub false_alerts: f64,
    /// All alerts that were judged.
    pub alerts: f64,
}

impl Totals {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.standard += outcome.score(STANDARD);
        self.low_fp += outcome.score(LOW_FP);
        self.low_fn += outcome.score(LOW_FN);
        self.windows += outcome.windows as f64;
        self.found += outcome.windows_found as f64;
        self.false_alerts += outcome.false_alerts as f64;
        self.alerts += (outcome.false_alerts + outcome.true_alerts) as f64;
    }

    pub(crate) fn standard(&self) -> f64 {
        normalised(self.standard, self.windows, STANDARD)
    }

    pub(crate) fn low_fp(&self) -> f64 {
        normalised(self.low_fp, self.windows, LOW_FP)
    }

    pub(crate) fn low_fn(&self) -> f64 {
        normalised(self.low_fn, self.windows, LOW_FN)
    }

    /// The part of the windows that was found.
    pub(crate) fn recall(&self) -> f64 {
        self.found / self.windows.max(1.0)
    }
}

/// 0 for a detector that never alerts, 100 for one that finds each window at once and nothing else. Without any window
/// there is nothing to find: 100 less what false alerts cost, in hundredths.
fn normalised(score: f64, windows: f64, profile: Profile) -> f64 {
    if windows == 0.0 {
        return 100.0 + score;
    }
    100.0 * (score + windows * profile.false_negative) / (windows * (1.0 + profile.false_negative))
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::*;

    #[test]
    fn silence_is_0_and_perfection_100() {
        let of = |alerts: &[usize]| {
            let mut totals = Totals::default();
            totals.add(&judge(1000, &[(500, 599), (800, 899)], alerts));
            [totals.standard(), totals.low_fp(), totals.low_fn()]
        };
        assert_eq!(of(&[]), [0.0; 3]);
        assert_eq!(of(&[500, 800]), [100.0; 3]);
        let half = of(&[500]);
        assert!(half.iter().all(|score| (score - 50.0).abs() < 1e-9), "{half:?}");
        assert_eq!(Totals::default().standard(), 100.0);
    }
}
