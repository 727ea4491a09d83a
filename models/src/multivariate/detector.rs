//! The detector of one machine.

use super::calibration::Calibration;
use super::drift::Watch;
use super::settings::{MultivariateError, SIGNALS_MAX, Settings};
use super::view::View;
use std::collections::VecDeque;

/// Fewer rows say nothing of how signals move together.
const ROWS_MIN: usize = 16;

/// What a detector says of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The higher, the more unusual; comparable within one machine.
    pub score: f64,
    /// Share of the machine's past that scored as high, corrected for its length (conformal). Taken on the rows that the
    /// model was fitted to, so somewhat too small.
    pub p_value: f64,
}

/// Reads the signals of one machine step by step.
///
/// Memory: views × signals² × 8 bytes, and the drift gate's thin window. A step costs views × signals² products.
#[derive(Clone, Debug)]
pub struct Detector {
    signals: usize,
    views: Vec<View>,
    means: Means,
    calibration: Calibration,
    watch: Option<Watch>,
    /// Squared standardised deviation per signal at the last step.
    contributions: Vec<f64>,
    recentred: u64,
}

impl Detector {
    /// Fits to the past of a machine: `rows` row-major, oldest first, `signals` values each; NaN and infinite values
    /// count as missing. The detector then expects the row that follows.
    ///
    /// Errors: settings out of bounds, more than 1024 signals or none, fewer than 16 rows, a torn last row.
    pub fn fit(
        rows: &[f64],
        signals: usize,
        settings: &Settings,
    ) -> Result<Self, MultivariateError> {
        settings.check()?;
        if !(1..=SIGNALS_MAX).contains(&signals) || !rows.len().is_multiple_of(signals) {
            let what = format!("{} values are no rows of 1 to {SIGNALS_MAX} signals", rows.len());
            return Err(MultivariateError::Past(what));
        }
        if rows.len() / signals < ROWS_MIN {
            let what = format!("{} rows; {ROWS_MIN} are needed", rows.len() / signals);
            return Err(MultivariateError::Past(what));
        }
        let fit = |&half_life: &f64| {
            View::fit(rows, signals, half_life, settings.floor, &settings.variance_shares)
        };
        let mut detector = Self {
            signals,
            views: settings.half_lives_steps.iter().map(fit).collect(),
            means: Means::new(&settings.smoothing_steps),
            calibration: Calibration::fit(Vec::new()),
            watch: None,
            contributions: vec![0.0; signals],
            recentred: 0,
        };
        let past = rows.chunks_exact(signals).map(|row| detector.score(row)).collect();
        detector.calibration = Calibration::fit(past);
        detector.watch = settings.drift.map(Watch::new);
        Ok(detector)
    }

    /// Takes the next row in; it must have as many values as the detector has signals, missing ones are NaN.
    ///
    /// Errors: another number of values.
    pub fn observe(&mut self, row: &[f64]) -> Result<Reading, MultivariateError> {
        if row.len() != self.signals {
            let what = format!("{} values where {} belong", row.len(), self.signals);
            return Err(MultivariateError::Past(what));
        }
        let score = self.score(row);
        let p_value = self.calibration.p_value(score);
        self.follow_drift(row);
        Ok(Reading { score, p_value })
    }

    /// How much each signal is to blame for the last step: its squared deviation in standard deviations, in the view
    /// with the longest half-life.
    pub fn contributions(&self) -> &[f64] {
        &self.contributions
    }

    /// How often a signal was re-centred because it had gone to stay.
    pub fn recentred(&self) -> u64 {
        self.recentred
    }

    fn score(&mut self, row: &[f64]) -> f64 {
        let sum: f64 = self.views.iter_mut().map(|view| view.observe(row)).sum();
        let mean = sum / self.views.len() as f64;
        let blamed =
            self.views.iter().rev().find(|view| !view.is_plain()).unwrap_or(&self.views[0]);
        for (c, z) in self.contributions.iter_mut().zip(blamed.standardised()) {
            *c = z * z;
        }
        self.means.next(mean)
    }

    fn follow_drift(&mut self, row: &[f64]) {
        let Some(watch) = &mut self.watch else { return };
        // The other views follow by themselves.
        let Some(view) = self.views.iter_mut().find(|view| view.is_plain()) else { return };
        for (signal, centre) in watch.observe(row, |signal| view.place(signal)) {
            view.recentre(signal, centre);
            self.recentred += 1;
        }
    }
}

/// Causal means over several windows, averaged.
#[derive(Clone, Debug)]
struct Means {
    windows: Vec<usize>,
    longest: usize,
    recent: VecDeque<f64>,
}

impl Means {
    fn new(windows: &[usize]) -> Self {
        let longest = windows.iter().copied().max().unwrap_or(1);
        Self { windows: windows.to_vec(), longest, recent: VecDeque::new() }
    }

    fn next(&mut self, value: f64) -> f64 {
        if self.recent.len() == self.longest {
            self.recent.pop_back();
        }
        self.recent.push_front(value);
        let mean = |&window: &usize| {
            let count = window.min(self.recent.len());
            self.recent.iter().take(count).sum::<f64>() / count as f64
        };
        self.windows.iter().map(mean).sum::<f64>() / self.windows.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::white_noise;
    use crate::multivariate::DriftGate;

    /// Three signals: two move together, the third has noise of its own.
    fn rows(steps: usize, seed: u64) -> Vec<f64> {
        let noise: Vec<f64> = white_noise(seed).take(steps * 3).collect();
        noise
            .chunks_exact(3)
            .flat_map(|e| [0.5 + 0.05 * e[0], 0.3 + 0.05 * e[0] + 0.01 * e[1], 0.1 + 0.02 * e[2]])
            .collect()
    }

    #[test]
    fn a_fault_stands_out_and_its_signal_is_named() {
        let mut detector = Detector::fit(&rows(2000, 1), 3, &Settings::default()).expect("fits");
        let usual: Vec<Reading> =
            rows(500, 2).chunks_exact(3).map(|row| detector.observe(row).expect("three")).collect();
        let rare = usual.iter().filter(|r| r.p_value < 0.01).count();
        assert!(rare <= 15, "{rare} of 500 below 1 %");
        // Four deviations each, as may be; but against each other.
        let broken = detector.observe(&[0.7, 0.1, 0.1]).expect("three");
        assert!(usual.iter().all(|r| r.score < broken.score) && broken.p_value < 0.001);
        detector.observe(&[0.5, 0.3, 0.6]).expect("three");
        let c = detector.contributions();
        assert!(c[2] > 10.0 * c[0].max(c[1]), "{c:?}");
    }

    #[test]
    fn the_same_past_gives_the_same_scores_and_the_future_changes_none() {
        let fit = || Detector::fit(&rows(500, 3), 3, &Settings::default()).expect("fits");
        let read = |future: &[f64]| -> Vec<Reading> {
            let mut detector = fit();
            future.chunks_exact(3).map(|row| detector.observe(row).expect("three")).collect()
        };
        let mut future = rows(100, 4);
        let first = read(&future);
        future[250..].fill(1e6);
        assert_eq!(first[..83], read(&future)[..83]);
    }

    #[test]
    fn the_gate_gets_used_to_a_machine_that_changed_for_good() {
        let settings = Settings {
            half_lives_steps: vec![0.0],
            drift: Some(DriftGate { window_steps: 200, sigmas: 3.0 }),
            ..Settings::default()
        };
        let mut gated = Detector::fit(&rows(1000, 5), 3, &settings).expect("fits");
        let mut fixed =
            Detector::fit(&rows(1000, 5), 3, &Settings { drift: None, ..settings }).expect("fits");
        let mut last = (0.0, 0.0);
        for row in rows(600, 6).chunks_exact(3) {
            let moved = [row[0], row[1], row[2] + 0.4];
            last = (
                gated.observe(&moved).expect("three").p_value,
                fixed.observe(&moved).expect("three").p_value,
            );
        }
        assert!(last.0 > 0.01 && last.1 < 0.001, "{last:?}");
        assert_eq!((gated.recentred(), fixed.recentred()), (1, 0));
    }

    #[test]
    fn bad_pasts_are_refused() {
        let fit = |rows: &[f64], signals| Detector::fit(rows, signals, &Settings::default());
        assert!(fit(&[], 3).is_err());
        assert!(fit(&[0.0; 31], 3).is_err());
        assert!(fit(&[0.0; 30], 3).is_err());
        assert!(fit(&[0.0; 30], 0).is_err());
        let mut constant = fit(&[0.5; 300], 3).expect("a constant past is a past");
        assert!(constant.observe(&[0.5; 2]).is_err());
        let same = constant.observe(&[0.5; 3]).expect("three");
        assert!(same.p_value > 0.5, "{same:?}");
        assert!(constant.observe(&[0.9, 0.5, 0.5]).expect("three").p_value < 0.01);
        let missing = fit(&[f64::NAN; 300], 3).expect("nothing known").observe(&[1.0; 3]);
        assert!(missing.expect("three").score.is_finite());
    }
}
