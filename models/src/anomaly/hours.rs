//! What each hour of the day usually brings.

const HOURS: usize = 24;
/// An hour's own spread counts as much as that of the whole series after so many points.
const PRIOR_POINTS: f64 = 4.0;
/// This part of the series' spread is added to each hour's, so that no quiet hour divides by next to nothing.
const SPREAD_FLOOR: f64 = 0.25;
/// The least weight of a new point in the mean and spread of the whole series.
const OVERALL_RATE: f64 = 0.0005;

/// Running mean and spread of a smoothed signal for each hour of the day, UTC.
#[derive(Clone, Debug)]
pub(super) struct Hours {
    mean: [f64; HOURS],
    spread: [f64; HOURS],
    seen: [u32; HOURS],
    overall_mean: f64,
    overall_spread: f64,
    points: f64,
    smoothed: Option<f64>,
}

/// How far a signal is from its hour's mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distance {
    /// In the signal's unit.
    pub(super) plain: f64,
    /// In spreads of the hour.
    pub(super) spreads: f64,
}

impl Hours {
    pub(super) fn new() -> Self {
        Self {
            mean: [0.0; HOURS],
            spread: [0.0; HOURS],
            seen: [0; HOURS],
            overall_mean: 0.0,
            overall_spread: 0.0,
            points: 0.0,
            smoothed: None,
        }
    }

    /// Measures a value, then learns from it.
    pub(super) fn step(&mut self, time_s: i64, value: f64, smoothing: f64, rate: f64) -> Distance {
        let before = self.smoothed.unwrap_or(value);
        let smoothed = before + smoothing * (value - before);
        self.smoothed = Some(smoothed);
        let hour = (time_s.rem_euclid(86_400) / 3_600) as usize;
        let seen = f64::from(self.seen[hour]);
        let usual = if seen > 0.0 { self.mean[hour] } else { self.overall_mean };
        let plain = (smoothed - usual).abs();
        let own = seen / (seen + PRIOR_POINTS);
        let spread =
            own * self.spread[hour] + (own.mul_add(-1.0, 1.0) + SPREAD_FLOOR) * self.overall_spread;
        let spreads = if spread > 0.0 { (plain / spread).min(f64::MAX) } else { 0.0 };
        self.points += 1.0;
        let overall = (1.0 / self.points).max(OVERALL_RATE);
        self.overall_mean += overall * (value - self.overall_mean);
        self.overall_spread += overall * (plain - self.overall_spread);
        self.seen[hour] = self.seen[hour].saturating_add(1);
        let rate = rate.max(1.0 / f64::from(self.seen[hour]));
        let miss = smoothed - self.mean[hour];
        self.spread[hour] += rate * (miss.abs() - self.spread[hour]);
        self.mean[hour] += rate * miss;
        Distance { plain, spreads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days that rise from 10 at midnight to 33, with a noise of half a unit, nights of a twentieth.
    fn value(time_s: i64) -> f64 {
        let hour = time_s.rem_euclid(86_400) / 3_600;
        let noise = ((time_s / 300 * 7919) % 101) as f64 / 101.0 - 0.5;
        10.0 + hour as f64 + noise * if hour < 6 { 0.1 } else { 1.0 }
    }

    #[test]
    fn the_same_value_is_usual_at_one_hour_and_not_at_another() {
        let mut hours = Hours::new();
        for i in 0..288 * 10 {
            hours.step(i * 300, value(i * 300), 1.0, 0.02);
        }
        let day = 288 * 10 * 300;
        let at = |hour: i64, value: f64| hours.clone().step(day + hour * 3_600, value, 1.0, 0.02);
        assert!(at(20, 30.0).plain < 0.6, "{:?}", at(20, 30.0));
        assert!(at(4, 30.0).plain > 15.0);
        // One unit is much at night and little by day.
        assert!(at(4, 15.0).spreads > 4.0, "{:?}", at(4, 15.0));
        assert!(at(20, 31.0).spreads < 4.0, "{:?}", at(20, 31.0));
    }

    #[test]
    fn a_new_usual_is_learnt() {
        let mut hours = Hours::new();
        for i in 0..288 * 20 {
            let shift = if i < 288 * 10 { 0.0 } else { 50.0 };
            hours.step(i * 300, value(i * 300) + shift, 1.0, 0.02);
        }
        let after = hours.step(288 * 20 * 300, value(0) + 50.0, 1.0, 0.02);
        assert!(after.plain < 6.0, "{after:?}");
    }
}
