//! A day that passes in a minute.

/// Turns real time of a run into the hour of a simulated UTC day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompressedDay {
    /// The UTC hour at which the run starts.
    pub start_h: f64,
    /// How long a day of 24 hours takes in the run.
    pub day_length_ms: u64,
}

impl CompressedDay {
    /// The simulated hour; goes on past 24.
    pub fn hour_at(&self, elapsed_ms: u64) -> f64 {
        self.start_h + 24.0 * elapsed_ms as f64 / self.day_length_ms.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_takes_its_length() {
        let day = CompressedDay { start_h: 6.0, day_length_ms: 60_000 };
        assert!((day.hour_at(0) - 6.0).abs() < 1e-12);
        assert!((day.hour_at(30_000) - 18.0).abs() < 1e-12);
        assert!((day.hour_at(60_000) - 30.0).abs() < 1e-12);
    }
}
