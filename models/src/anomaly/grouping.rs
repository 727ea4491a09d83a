//! One alert for an incident.

/// Lets an alert pass only where none passed within a fixed number of points. It never knows how long the series will be.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    points: u32,
    since: u32,
}

impl Grouping {
    /// One alert in each `points`.
    pub fn new(points: u32) -> Self {
        Self { points, since: u32::MAX }
    }

    /// The next point; whether it alerts.
    pub fn pass(&mut self, above: bool) -> bool {
        self.since = self.since.saturating_add(1);
        let alert = above && self.since >= self.points;
        if alert {
            self.since = 0;
        }
        alert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_alerts_once_and_a_long_one_again() {
        let mut grouping = Grouping::new(3);
        let above = [false, true, true, false, true, true, false, false, false, true];
        let alerts: Vec<usize> = (0..above.len()).filter(|&at| grouping.pass(above[at])).collect();
        assert_eq!(alerts, [1, 4, 9]);
    }
}
