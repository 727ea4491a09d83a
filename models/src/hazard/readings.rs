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
    by_gauge: Vec<Readings>,
}

/// One gauge at all times.
#[derive(Clone, Debug, Default, PartialEq)]
struct Readings {
    values: Vec<f32>,
    /// When it last changed (NaN: it did not yet), h.
    changed_h: Vec<f64>,
    /// How often it had changed.
    changes: Vec<u32>,
}

impl Readings {
    fn new(values: Vec<f32>, times_h: &[f64]) -> Self {
        let (mut changed_h, mut changes) = (Vec::new(), Vec::new());
        let (mut last_h, mut count) = (f64::NAN, 0);
        for (at, &now_h) in times_h.iter().enumerate() {
            let before = at.checked_sub(1).map_or(f32::NAN, |before| values[before]);
            if values[at] != before && !values[at].is_nan() && !before.is_nan() {
                last_h = now_h;
                count += 1;
            }
            changed_h.push(last_h);
            changes.push(count);
        }
        Self { values, changed_h, changes }
    }
}

impl ReadingHistory {
    /// Of rows (time in h, values) in any order. A row with too few values lacks the last ones.
    pub fn new(gauges: usize, mut rows: Vec<(f64, Vec<f32>)>) -> Self {
        rows.retain(|row| row.0.is_finite());
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let times_h: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let value = |row: &(f64, Vec<f32>), gauge| row.1.get(gauge).copied().unwrap_or(f32::NAN);
        let of_gauge = |gauge| rows.iter().map(|row| value(row, gauge)).collect();
        let by_gauge = (0..gauges).map(|gauge| Readings::new(of_gauge(gauge), &times_h)).collect();
        Self { times_h, by_gauge }
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
        self.until(now_h).checked_sub(1).map_or(f32::NAN, |at| self.by_gauge[gauge].values[at])
    }

    /// Appends the features of `gauges` at `now_h`; see [`ReadingHistory::names`]. A rise is counted from the reading at
    /// the window's begin, or from the first one where that is later. NaN where nothing was read, or nothing changed yet.
    pub fn features(&self, gauges: &[Gauge], windows_h: &[f64], now_h: f64, out: &mut Vec<f32>) {
        let Some(now) = self.until(now_h).checked_sub(1) else {
            let begin = out.len();
            out.resize(begin + Self::names(gauges, windows_h).len(), f32::NAN);
            return;
        };
        let before: Vec<usize> = windows_h
            .iter()
            .map(|&window_h| self.until(now_h - window_h).saturating_sub(1))
            .collect();
        let longest = before.iter().copied().min().unwrap_or(now);
        let (mut trouble, mut newest_h) = (0.0, f64::NAN);
        let mut rises = vec![(0.0, 0.0); windows_h.len()];
        for (gauge, readings) in gauges.iter().zip(&self.by_gauge) {
            let last = readings.values[now];
            out.push(last);
            if !gauge.counts_trouble {
                continue;
            }
            trouble += log_of(last);
            for (&before, sums) in before.iter().zip(&mut rises) {
                let rise = last - readings.values[before];
                out.push(rise);
                *sums = (sums.0 + log_of(rise), sums.1 + f32::from(u8::from(rise > 0.0)));
            }
            let changed_h = readings.changed_h[now];
            newest_h = newest_h.max(changed_h);
            let changes = readings.changes[now] - readings.changes[longest];
            out.extend([(now_h - changed_h) as f32, changes as f32]);
        }
        out.extend([trouble, (now_h - newest_h) as f32]);
        out.extend(rises.into_iter().flat_map(|(sum, count)| [sum, count]));
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
        names.extend([("trouble_log_sum".into(), 1), ("since_any_change_h".into(), -1)]);
        for window_h in windows_h {
            names.push((format!("rise_log_sum_{window_h}h"), 1));
            names.push((format!("rising_{window_h}h"), 1));
        }
        names
    }
}

/// Logarithm of one more; 0 for what is negative or not given.
fn log_of(value: f32) -> f32 {
    if value > 0.0 { value.ln_1p() } else { 0.0 }
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
        // Value, rise in a day (the reading at 36 h is that of 24 h), rise since the first, 12 h ago, one change; then
        // the sums, of one counter here.
        let (value, rise) = (9f32.ln(), 7f32.ln());
        let wanted = [8.0, 6.0, 6.0, 12.0, 1.0, 31.0, value, 12.0, rise, 1.0, rise, 1.0];
        for (found, wanted) in out.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{out:?}");
        }
        assert_eq!(ReadingHistory::names(&gauges, &[24.0, 200.0]).len(), out.len());
        let before = out.len();
        history.features(&gauges, &[24.0, 200.0], -1.0, &mut out);
        assert!(out[before..].iter().all(|v| v.is_nan()) && out.len() == 2 * before, "{out:?}");
        assert!(history.last(1, 80.0).is_nan(), "not given");
    }
}
