//! Not written yet.

use super::Violation;
use crate::history::History;

pub(super) fn check(_: &History) -> Vec<Violation> {
    Vec::new()
}
