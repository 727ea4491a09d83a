//! Not written yet.

use super::Violation;
use crate::history::Recorded;

pub(super) fn explain(_: &[&Recorded]) -> Result<(), Violation> {
    Ok(())
}
