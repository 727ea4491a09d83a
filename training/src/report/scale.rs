//! From values to places on the paper.

/// A range of values along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// Holds all finite values (positive ones, if logarithmic) between the places `from` and `to`; never empty.
    pub(super) fn of(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Self {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0) && v.abs() < 1e300);
        let (mut low, mut high) = usable
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        if low == high {
            let pad = if low == 0.0 { 1.0 } else { low.abs() * 0.5 };
            (low, high) = if log { (low / 2.0, high * 2.0) } else { (low - pad, high + pad) };
        }
        Self { low, high, log, from, to }
    }

    /// Widened to whole steps.
    pub(super) fn nice(mut self) -> Self {
        if !self.log {
            let step = self.step();
            self.low = (self.low / step).floor() * step;
            self.high = (self.high / step).ceil() * step;
        }
        self
    }

    /// Where a value lies; outside values lie on the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let (low, high, value) = if self.log {
            (self.low.ln(), self.high.ln(), value.max(f64::MIN_POSITIVE).ln())
        } else {
            (self.low, self.high, value)
        };
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Values for marks, at most a dozen.
    pub(super) fn marks(&self) -> Vec<f64> {
        if self.log {
            let (low, high) = (self.low.log10(), self.high.log10());
            let decades = (high - low).max(1e-9);
            let factors: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let skip = (decades / 8.0).ceil().max(1.0) as i32;
            let powers = (low.floor() as i32)..=(high.ceil() as i32);
            let all = powers
                .step_by(skip as usize)
                .flat_map(|p| factors.iter().map(move |f| f * 10_f64.powi(p)));
            return all
                .filter(|v| (self.low * 0.999..=self.high * 1.001).contains(v))
                .take(12)
                .collect();
        }
        let step = self.step();
        let first = (self.low / step).ceil();
        let all = (0..12).map(|i| (first + f64::from(i)) * step);
        all.take_while(|v| *v <= self.high + step * 1e-6).collect()
    }

    /// 1, 2 or 5 times a power of ten, so that there are about five.
    fn step(&self) -> f64 {
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= rough * 0.999);
        factor.unwrap_or(10.0) * power
    }
}

/// A mark's label, as short as it can be.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    let trim = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match size {
        _ if value == 0.0 => "0".into(),
        s if s >= 1e9 => format!("{}G", trim(format!("{:.2}", value / 1e9))),
        s if s >= 1e6 => format!("{}M", trim(format!("{:.2}", value / 1e6))),
        s if s >= 1e4 => format!("{}k", trim(format!("{:.2}", value / 1e3))),
        s if s >= 1e-3 => trim(format!("{value:.4}")),
        _ => format!("{value:.0e}"),
    }
}
