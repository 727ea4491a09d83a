//! Realised against predicted: the same figure, from telemetry newer than the change. Pure.

use crate::view::{ClusterView, NodeHealth, ShardView};
use isobar_api::{ShardId, policy::ObservePolicy, rtt::RttMatrix};

/// Windows after which a change is closed without a figure if none could be had.
const WINDOWS_MAX: u64 = 12;

/// What telemetry says of an applied change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// No full window has passed since.
    TooEarly,
    /// The figure as measured; `None`: it could not be measured.
    Measured(Option<f64>),
}

/// Measures `metric` once a full window that began after the change has closed and the leader has
/// reported since.
pub(crate) fn verdict(
    metric: &str,
    shard: ShardId,
    new_shard: Option<ShardId>,
    applied_unix_ms: u64,
    view: &ClusterView,
    rtt: &RttMatrix,
    policy: &ObservePolicy,
) -> Verdict {
    let window_ms = policy.window_s.saturating_mul(1_000).max(1);
    let full_window_end =
        applied_unix_ms.div_ceil(window_ms).saturating_add(1).saturating_mul(window_ms);
    let give_up = full_window_end.saturating_add(window_ms.saturating_mul(WINDOWS_MAX));
    if view.at_unix_ms < full_window_end {
        return Verdict::TooEarly;
    }
    let Some(seen) = view.shards.get(&shard) else {
        return Verdict::Measured(None);
    };
    let reported = seen.reported_unix_ms.is_some_and(|at| at >= full_window_end);
    let figure = if reported { measure(metric, seen, new_shard, view, rtt) } else { None };
    match figure {
        None if view.at_unix_ms < give_up => Verdict::TooEarly,
        figure => Verdict::Measured(figure),
    }
}

fn measure(
    metric: &str,
    shard: &ShardView,
    new_shard: Option<ShardId>,
    view: &ClusterView,
    rtt: &RttMatrix,
) -> Option<f64> {
    match metric {
        "read_rtt_ms_mean" => read_rtt_ms_mean(shard, view, rtt),
        "voters_alive" => {
            let alive = |node: &isobar_api::NodeId| {
                view.nodes.get(node).is_some_and(|n| n.health == NodeHealth::Alive)
            };
            let count = shard.entry.voters().filter(|node| alive(node)).count();
            u32::try_from(count).ok().map(f64::from)
        }
        "requests_per_s_max" => {
            let other = new_shard.and_then(|id| view.shards.get(&id));
            let both = [Some(shard), other].into_iter().flatten();
            both.map(crate::ledger::seen_requests_per_s).reduce(f64::max)
        }
        _ => None,
    }
}

/// Mean round-trip time of the reads measured in the last window to the shard's present leader.
/// Reads from regions that are unknown, or whose distance is, are left out.
fn read_rtt_ms_mean(shard: &ShardView, view: &ClusterView, rtt: &RttMatrix) -> Option<f64> {
    let home = &view.nodes.get(&shard.entry.leader?)?.region;
    let (mut reads, mut weighted) = (0.0, 0.0);
    for (region, rate) in &shard.arrivals {
        if let Some(distance_ms) = region.as_ref().and_then(|r| rtt.get(r, home)) {
            reads += rate.reads_per_s;
            weighted += rate.reads_per_s * distance_ms;
        }
    }
    (reads > 0.0).then(|| weighted / reads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{executor::fake_node, view::ArrivalRate};
    use isobar_api::{NodeId, Region};

    fn world() -> (ClusterView, RttMatrix, ObservePolicy) {
        let mut view = fake_node::view(&[]);
        let shard = view.shards.get_mut(&ShardId(1)).expect("made above");
        for (region, reads_per_s) in [("eu", 30.0), ("us", 10.0)] {
            let region = Region::new(region).expect("legal");
            shard.arrivals.insert(Some(region), ArrivalRate { reads_per_s, writes_per_s: 1.0 });
        }
        let [eu, us] = ["eu", "us"].map(|r| Region::new(r).expect("legal"));
        let mut rtt = RttMatrix::default();
        rtt.set(&eu, &us, 80.0);
        (view, rtt, ObservePolicy::default())
    }

    fn ask(metric: &str, at: u64, reported: u64, new: Option<ShardId>) -> Verdict {
        let (mut view, rtt, policy) = world();
        view.at_unix_ms = at;
        view.shards.get_mut(&ShardId(1)).expect("made above").reported_unix_ms = Some(reported);
        verdict(metric, ShardId(1), new, 101_000, &view, &rtt, &policy)
    }

    #[test]
    fn only_a_full_window_after_the_change_counts() {
        // Applied at 101 s: the window from 110 s to 120 s is the first full one.
        assert_eq!(ask("read_rtt_ms_mean", 119_999, 119_999, None), Verdict::TooEarly);
        assert_eq!(ask("read_rtt_ms_mean", 121_000, 119_000, None), Verdict::TooEarly);
        assert_eq!(ask("read_rtt_ms_mean", 121_000, 120_500, None), Verdict::Measured(Some(20.0)));
    }

    #[test]
    fn the_figure_is_the_predicted_one() {
        assert_eq!(ask("voters_alive", 121_000, 121_000, None), Verdict::Measured(Some(3.0)));
        assert_eq!(
            ask("requests_per_s_max", 121_000, 121_000, None),
            Verdict::Measured(Some(42.0))
        );
    }

    #[test]
    fn a_figure_that_cannot_be_had_is_given_up_not_made_up() {
        assert_eq!(ask("no_such", 121_000, 121_000, None), Verdict::TooEarly);
        assert_eq!(ask("no_such", 300_000, 300_000, None), Verdict::Measured(None));
    }

    #[test]
    fn a_shard_without_reads_has_no_mean() {
        let (mut view, rtt, _) = world();
        let shard = view.shards.get_mut(&ShardId(1)).expect("made above");
        shard.arrivals.clear();
        let shard = shard.clone();
        assert_eq!(read_rtt_ms_mean(&shard, &view, &rtt), None);
        view.nodes.remove(&NodeId(1));
        assert_eq!(read_rtt_ms_mean(&shard, &view, &rtt), None);
    }
}
