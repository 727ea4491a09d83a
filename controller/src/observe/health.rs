//! Whether a node lives. Silence is not death: death needs two witnesses.

use crate::view::NodeHealth;

/// When a node was last heard of, Unix milliseconds by the controller's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sightings {
    /// When the controller first knew of it.
    pub(super) first_unix_ms: u64,
    /// Its own newest report.
    pub(super) reported_unix_ms: Option<u64>,
    /// When any node that reports last said, by gossip, that it is alive.
    pub(super) gossip_unix_ms: Option<u64>,
}

impl Sightings {
    /// What lies after `now` was seen by a clock that was set back since.
    pub(super) fn forget_the_future(&mut self, now_unix_ms: u64) {
        self.first_unix_ms = self.first_unix_ms.min(now_unix_ms);
        self.reported_unix_ms = self.reported_unix_ms.map(|at| at.min(now_unix_ms));
        self.gossip_unix_ms = self.gossip_unix_ms.map(|at| at.min(now_unix_ms));
    }
}

/// The node's health now. `any_witness`: whether any other node reports at all; if none does, it is
/// more likely that the controller is cut off than that the fleet died.
pub(super) fn health(
    seen: Sightings,
    any_witness: bool,
    stale_after_ms: u64,
    now_unix_ms: u64,
) -> NodeHealth {
    let fresh =
        |at: Option<u64>| at.is_some_and(|t| now_unix_ms.saturating_sub(t) <= stale_after_ms);
    if fresh(seen.reported_unix_ms) {
        return NodeHealth::Alive;
    }
    if !any_witness || fresh(seen.gossip_unix_ms) || fresh(Some(seen.first_unix_ms)) {
        return NodeHealth::Unknown;
    }
    let last = seen.reported_unix_ms.max(seen.gossip_unix_ms).unwrap_or(0);
    NodeHealth::Dead { since_unix_ms: last.max(seen.first_unix_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(reported: Option<u64>, gossip: Option<u64>) -> Sightings {
        Sightings { first_unix_ms: 1_000, reported_unix_ms: reported, gossip_unix_ms: gossip }
    }

    #[test]
    fn death_needs_silence_towards_us_and_towards_gossip() {
        let at = |seen, witness| health(seen, witness, 10_000, 50_000);
        assert_eq!(at(seen(Some(45_000), None), true), NodeHealth::Alive);
        // Only our own line is cut.
        assert_eq!(at(seen(Some(5_000), Some(49_000)), true), NodeHealth::Unknown);
        // Nobody reports: we are cut off.
        assert_eq!(at(seen(Some(5_000), Some(6_000)), false), NodeHealth::Unknown);
        let dead = NodeHealth::Dead { since_unix_ms: 6_000 };
        assert_eq!(at(seen(Some(5_000), Some(6_000)), true), dead);
        assert_eq!(at(seen(None, None), true), NodeHealth::Dead { since_unix_ms: 1_000 });
    }

    #[test]
    fn a_node_first_heard_of_gets_time_to_report() {
        assert_eq!(health(seen(None, None), true, 10_000, 9_000), NodeHealth::Unknown);
    }
}
