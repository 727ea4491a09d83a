//! What people do without learning: look at a counter, at how often it failed, at how long ago.

use super::rows::{Kind, Rows};

/// One feature to rank by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    feature: &'static str,
    /// Whether small values are the bad ones.
    falling: bool,
}

const fn rising(name: &'static str, feature: &'static str) -> Rule {
    Rule { name, feature, falling: false }
}

const fn falling(name: &'static str, feature: &'static str) -> Rule {
    Rule { name, feature, falling: true }
}

/// The rules of a kind of set.
pub(super) fn rules(kind: Kind) -> Vec<Rule> {
    match kind {
        Kind::Machines => {
            vec![rising("rate", "error_count_168h"), falling("recency", "error_since_h")]
        }
        Kind::DriveDays | Kind::DriveSpans | Kind::DriveRecords => {
            vec![
                rising("ranked_rule", "trouble_log_sum"),
                rising("any_above_zero", "trouble_kinds"),
            ]
        }
        Kind::Outages => {
            vec![rising("rate", "outages_per_day"), falling("recency", "outage_since_h")]
        }
        Kind::UpDown => vec![rising("rate", "downs_per_day"), falling("recency", "down_since_h")],
        Kind::GpuLives => {
            vec![rising("rate", "errors_per_year"), falling("recency", "error_since_h")]
        }
    }
}

impl Rule {
    /// A score of each row; missing values are the best there are.
    pub(super) fn scores(self, rows: &Rows) -> Vec<f64> {
        let values = rows.feature(self.feature).unwrap_or_default();
        let score = |&value: &f32| match (value.is_nan(), self.falling) {
            (true, _) => -1e12,
            (false, true) => -f64::from(value),
            (false, false) => f64::from(value),
        };
        values.iter().map(score).collect()
    }
}
