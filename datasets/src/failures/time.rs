//! Dates as hours since 1970.

use crate::civil::{american_seconds, iso_seconds};

/// Hours since 1970-01-01 of `2013-05-06`, or with `06:00:00` behind it.
pub(super) fn iso_hours(text: &str) -> Option<f64> {
    iso_seconds(text).map(hours)
}

/// The same of `6/21/2005 10:54` (month first).
pub(super) fn american_hours(text: &str) -> Option<f64> {
    american_seconds(text).map(hours)
}

fn hours(seconds: f64) -> f64 {
    seconds / 3_600.0
}
