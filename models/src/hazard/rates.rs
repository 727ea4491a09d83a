//! How often units of a make fail: a make seen seldom borrows from its family, a family from all.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Failures and time under watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupCount {
    /// Failures.
    pub failures: f64,
    /// Unit-days under watch.
    pub days: f64,
}

/// Counts by family and by make (a name within its family).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRates {
    families: BTreeMap<String, GroupCount>,
    makes: BTreeMap<String, GroupCount>,
}

/// Failures that a group's own record must outweigh.
const PRIOR_FAILURES: f64 = 2.0;

impl GroupRates {
    /// Adds what one unit contributed.
    pub fn add(&mut self, family: &str, make: &str, failures: f64, days: f64) {
        let all = [
            self.families.entry(family.to_owned()).or_default(),
            self.makes.entry(make.to_owned()).or_default(),
        ];
        for count in all {
            count.failures += failures;
            count.days += days;
        }
    }

    /// Logarithm of the failures in a day of the make, drawn to its family's and that to the whole. `without` is taken off
    /// first, so that a unit in training does not meet its own fate.
    pub fn log_rate(&self, family: &str, make: &str, without: GroupCount) -> f64 {
        let sum = self.families.values().fold(GroupCount::default(), |a, b| GroupCount {
            failures: a.failures + b.failures,
            days: a.days + b.days,
        });
        let all = (sum.failures - without.failures).max(0.0) + 1.0;
        let whole = all / ((sum.days - without.days).max(0.0) + 1_000.0);
        let drawn = |count: Option<&GroupCount>, prior: f64| {
            let count = count.copied().unwrap_or_default();
            let failures = (count.failures - without.failures).max(0.0) + PRIOR_FAILURES;
            failures / ((count.days - without.days).max(0.0) + PRIOR_FAILURES / prior)
        };
        let family = drawn(self.families.get(family), whole);
        drawn(self.makes.get(make), family).max(1e-12).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seldom_make_borrows_and_a_unit_does_not_meet_its_own_fate() {
        let mut rates = GroupRates::default();
        rates.add("a", "a1", 100.0, 100_000.0);
        rates.add("a", "a2", 0.0, 10.0);
        rates.add("b", "b1", 10.0, 100_000.0);
        let none = GroupCount::default();
        let rate = |family, make| rates.log_rate(family, make, none).exp();
        assert!((rate("a", "a1") - 1e-3).abs() < 2e-5);
        assert!(rate("a", "a2") > 5e-4 && rate("a", "new") > 5e-4);
        assert!(rate("b", "b1") < 2e-4 && (1e-4..1e-3).contains(&rate("c", "new")));
        let own = GroupCount { failures: 1.0, days: 500.0 };
        assert!(rates.log_rate("b", "b1", own) < rates.log_rate("b", "b1", none));
    }
}
