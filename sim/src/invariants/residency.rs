//! No replica lies in a region that its table may not lie in.

use super::{Invariant, Seen};

/// Remembers nothing.
#[derive(Default)]
pub struct Residency;

impl Invariant for Residency {
    fn name(&self) -> &'static str {
        "residency"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, entry) in seen.entries() {
            let held = seen.rule(entry).map_or(Ok(()), |rule| {
                isobar_api::invariant::residency(entry, rule, &seen.regions)
            });
            held.map_err(|why| format!("{} on {node}: {why}", entry.shard_id))?;
        }
        Ok(())
    }
}
