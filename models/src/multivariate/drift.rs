//! When a signal has gone to another place to stay.

use super::settings::DriftGate;
use std::collections::VecDeque;

/// Rows kept of a window: the median of so many is sure enough.
const KEPT: usize = 96;
/// The gate looks so often in a window.
const LOOKS: usize = 8;

/// Keeps a thin sample of the last window and looks a few times in it.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    gate: DriftGate,
    stride: usize,
    step: usize,
    rows: VecDeque<Vec<f64>>,
}

impl Watch {
    pub(super) fn new(gate: DriftGate) -> Self {
        Self { gate, stride: gate.window_steps.div_ceil(KEPT), step: 0, rows: VecDeque::new() }
    }

    /// Takes a row in; gives the signals that have left their place (mean, standard deviation) with where they are now.
    pub(super) fn observe(
        &mut self,
        row: &[f64],
        place: impl Fn(usize) -> (f64, f64),
    ) -> Vec<(usize, f64)> {
        self.step += 1;
        if self.step.is_multiple_of(self.stride) {
            let wanted = (self.gate.window_steps / self.stride).max(1);
            while self.rows.len() >= wanted {
                self.rows.pop_front();
            }
            self.rows.push_back(row.to_vec());
        }
        let full = self.rows.len() * self.stride + self.stride > self.gate.window_steps;
        if !full || !self.step.is_multiple_of((self.gate.window_steps / LOOKS).max(1)) {
            return Vec::new();
        }
        let moved = |signal: usize| {
            let now = self.median(signal)?;
            let (centre, scale) = place(signal);
            ((now - centre).abs() > self.gate.sigmas * scale).then_some((signal, now))
        };
        (0..row.len()).filter_map(moved).collect()
    }

    fn median(&self, signal: usize) -> Option<f64> {
        let mut values: Vec<f64> =
            self.rows.iter().map(|row| row[signal]).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_away_opens_the_gate() {
        let mut watch = Watch::new(DriftGate { window_steps: 400, sigmas: 3.0 });
        let place = |_| (0.0, 1.0);
        for step in 0..2000 {
            // A visit of less than half a window is an anomaly, not a drift.
            let value = if (800..950).contains(&step) { 50.0 } else { 0.5 };
            assert!(watch.observe(&[value], place).is_empty(), "step {step}");
        }
        let opened = (0..400).find_map(|step| {
            watch.observe(&[7.0], place).first().map(|&(signal, now)| (step, signal, now))
        });
        let (step, signal, now) = opened.expect("within a window");
        assert!(step >= 190, "not before half of the window: {step}");
        assert_eq!((signal, now), (0, 7.0));
    }
}
