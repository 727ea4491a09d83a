//! A shard never has fewer voters than its table demands.

use super::{Invariant, Seen};

/// Remembers nothing.
#[derive(Default)]
pub struct VotersNeverBelowFloor;

impl Invariant for VotersNeverBelowFloor {
    fn name(&self) -> &'static str {
        "voters_never_below_floor"
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, entry) in seen.entries() {
            let held = seen
                .rule(entry)
                .map_or(Ok(()), |rule| isobar_api::invariant::voter_floor(entry, rule));
            held.map_err(|why| format!("{} on {node}: {why}", entry.shard_id))?;
        }
        Ok(())
    }
}
