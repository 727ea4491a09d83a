//! Features of counters and gauges read now and then: the value, how it changed, and how long ago.

/// One column of readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Its name.
    pub name: String,
    /// A counter of trouble: more is never better. Its changes are features, too.
    pub counts_trouble: bool,
}

/// The readings of one unit: times ascending, a value (NaN: not given) of each gauge at each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadingHistory {
    times_h: Vec<f64>,
    by_gauge: Vec<Vec<f32>>,
}

impl ReadingHistory {
    /// Of rows (time in h, values) in any order. A row with too few values lacks the last ones.
    pub fn new(gauges: usize, mut rows: Vec<(f64, Vec<f32>)>) -> Self {
        rows.retain(|row| row.0.is_finite());
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = |row: &(f64, Vec<f32>), gauge| row.1.get(gauge).copied().unwrap_or(f32::NAN);
        let by_gauge =
            (0..gauges).map(|gauge| rows.iter().map(|row| value(row, gauge)).collect()).collect();
        Self { times_h: rows.iter().map(|row| row.0).collect(), by_gauge }
    }

    /// When it was read, ascending, h.
    pub fn times_h(&self) -> &[f64] {
        &self.times_h
    }

    /// Readings up to and with `now_h`.
    fn until(&self, now_h: f64) -> usize {
        self.times_h.partition_point(|&at| at <= now_h)
    }

    /// The last reading of a gauge; NaN where there is none.
    pub fn last(&self, gauge: usize, now_h: f64) -> f32 {
        self.until(now_h).checked_sub(1).map_or(f32::NAN, |at| self.by_gauge[gauge][at])
    }

    /// How much a gauge rose since `now_h` - `window_h`, or since the first reading if that is later.
    pub fn rise(&self, gauge: usize, now_h: f64, window_h: f64) -> f32 {
        let Some(last) = self.until(now_h).checked_sub(1) else { return f32::NAN };
        let before = self.until(now_h - window_h).saturating_sub(1);
        self.by_gauge[gauge][last] - self.by_gauge[gauge][before]
    }

    /// Hours since a gauge last changed, and how often it did in the window.
    fn changes(&self, gauge: usize, now_h: f64, window_h: f64) -> (f32, f32) {
        let values = &self.by_gauge[gauge][..self.until(now_h)];
        let (mut since, mut count) = (f32::NAN, 0);
        for at in (1..values.len()).rev() {
            let changed =
                values[at] != values[at - 1] && !values[at].is_nan() && !values[at - 1].is_nan();
            if changed && since.is_nan() {
                since = (now_h - self.times_h[at]) as f32;
            }
            if self.times_h[at] <= now_h - window_h {
                if !since.is_nan() {
                    break;
                }
            } else {
                count += u32::from(changed);
            }
        }
        (since, count as f32)
    }

    /// Appends the features of `gauges` at `now_h`; see [`ReadingHistory::names`].
    pub fn features(&self, gauges: &[Gauge], windows_h: &[f64], now_h: f64, out: &mut Vec<f32>) {
        let mut trouble = 0.0;
        for (at, gauge) in gauges.iter().enumerate() {
            let last = self.last(at, now_h);
            out.push(last);
            if !gauge.counts_trouble {
                continue;
            }
            trouble += if last > 0.0 { last.ln_1p() } else { 0.0 };
            out.extend(windows_h.iter().map(|&window_h| self.rise(at, now_h, window_h)));
            let longest = windows_h.iter().copied().fold(0.0, f64::max);
            let (since, count) = self.changes(at, now_h, longest);
            out.extend([since, count]);
        }
        out.push(trouble);
    }

    /// Names of what [`ReadingHistory::features`] appends, each with the direction in which the hazard may go with it: 1
    /// rise, -1 fall, 0 any.
    pub fn names(gauges: &[Gauge], windows_h: &[f64]) -> Vec<(String, i8)> {
        let mut names = Vec::new();
        for gauge in gauges {
            let name = &gauge.name;
            names.push((name.clone(), i8::from(gauge.counts_trouble)));
            if gauge.counts_trouble {
                names.extend(windows_h.iter().map(|w| (format!("{name}_rise_{w}h"), 1)));
                names.push((format!("{name}_since_change_h"), -1));
                names.push((format!("{name}_changes"), 1));
            }
        }
        names.push(("trouble_log_sum".into(), 1));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_the_past() {
        let gauge = |name: &str, counts_trouble| Gauge { name: name.into(), counts_trouble };
        let gauges = [gauge("reallocated", true), gauge("temperature_c", false)];
        let rows = vec![
            (48.0, vec![8.0, 31.0]),
            (0.0, vec![2.0, 30.0]),
            (24.0, vec![2.0, 30.0]),
            (72.0, vec![90.0]),
        ];
        let history = ReadingHistory::new(2, rows);
        let mut out = Vec::new();
        history.features(&gauges, &[24.0, 200.0], 60.0, &mut out);
        // Value, rise in a day (the reading at 36 h is that of 24 h), rise since the first, 12 h ago, one change.
        assert_eq!(out, [8.0, 6.0, 6.0, 12.0, 1.0, 31.0, 9f32.ln()]);
        assert_eq!(ReadingHistory::names(&gauges, &[24.0, 200.0]).len(), out.len());
        out.clear();
        history.features(&gauges, &[24.0, 200.0], -1.0, &mut out);
        assert!(out[..4].iter().all(|v| v.is_nan()) && out[6] == 0.0, "{out:?}");
        assert!(history.last(1, 80.0).is_nan(), "not given");
    }
}
