//! One alert for one trouble, though the probability goes up and down.

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// An alert begins.
    Raised,
    /// It is over.
    Cleared,
}

/// Raises at one probability and clears only below a lower one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertGate {
    raise: f64,
    clear: f64,
    on: bool,
}

impl AlertGate {
    /// `clear` above `raise` is taken as `raise`.
    pub fn new(raise: f64, clear: f64) -> Self {
        Self { raise, clear: clear.min(raise), on: false }
    }

    /// The next probability of the unit. One that is no number changes nothing.
    pub fn update(&mut self, probability: f64) -> Option<Alert> {
        let before = self.on;
        if probability >= self.raise {
            self.on = true;
        } else if probability < self.clear {
            self.on = false;
        }
        match (before, self.on) {
            (false, true) => Some(Alert::Raised),
            (true, false) => Some(Alert::Cleared),
            _ => None,
        }
    }

    /// Whether an alert stands.
    pub fn on(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flicker_between_the_two_levels_is_one_alert() {
        let mut gate = AlertGate::new(0.5, 0.25);
        let said: Vec<_> =
            [0.1, 0.6, 0.3, 0.55, f64::NAN, 0.26, 0.2, 0.4].map(|p| gate.update(p)).into();
        let raised = said.iter().filter(|s| **s == Some(Alert::Raised)).count();
        assert_eq!((raised, said[6], gate.on()), (1, Some(Alert::Cleared), false));
    }
}
