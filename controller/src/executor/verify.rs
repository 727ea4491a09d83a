//! Realised against predicted: the same figure, from telemetry newer than the change. Pure.

use crate::{
    ledger::{last_transfer, seen_requests_per_s},
    view::{ClusterView, NodeHealth, ShardView},
};
use isobar_api::{
    NodeId, ShardId,
    directive::{Directive, Step},
    policy::ObservePolicy,
    rtt::RttMatrix,
};

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

/// Measures the predicted figure of an applied directive once a full window that began after the
/// change has closed and the leader has reported since. `new_shard`: the one that a split made.
pub(crate) fn verdict(
    directive: &Directive,
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
    let Some(seen) = view.shards.get(&directive.shard) else {
        return Verdict::Measured(None);
    };
    let reported = seen.reported_unix_ms.is_some_and(|at| at >= full_window_end);
    let figure = if reported { measure(directive, seen, new_shard, view, rtt) } else { None };
    match figure {
        None if view.at_unix_ms < give_up => Verdict::TooEarly,
        figure => Verdict::Measured(figure),
    }
}

fn measure(
    directive: &Directive,
    shard: &ShardView,
    new_shard: Option<ShardId>,
    view: &ClusterView,
    rtt: &RttMatrix,
) -> Option<f64> {
    let other = || new_shard.and_then(|id| view.shards.get(&id));
    match directive.predicted.metric.as_str() {
        "read_rtt_ms_mean" => read_rtt_ms_mean(shard, view, rtt),
        "voters_alive" => {
            let alive =
                |node: &NodeId| view.nodes.get(node).is_some_and(|n| n.health == NodeHealth::Alive);
            let count = shard.entry.voters().filter(|node| alive(node)).count();
            u32::try_from(count).ok().map(f64::from)
        }
        "requests_per_s_max" => {
            let both = [Some(shard), other()].into_iter().flatten();
            both.map(seen_requests_per_s).reduce(f64::max)
        }
        #[allow(clippy::cast_precision_loss)] // bytes for people
        "size_bytes_max" => Some(shard.size_bytes.max(other()?.size_bytes) as f64),
        "shards" => {
            let left = directive.shards().filter(|id| view.shards.contains_key(id)).count();
            u32::try_from(left).ok().map(f64::from)
        }
        "node_requests_per_s_max" => {
            let [giver, taker] =
                [last_transfer(&directive.undo)?, last_transfer(&directive.steps)?];
            Some(led_per_s(giver, view)?.max(led_per_s(taker, view)?))
        }
        "replicas_on_node" => {
            let node = directive.steps.iter().find_map(|step| match step {
                Step::RemoveReplica { node } => Some(*node),
                _ => None,
            })?;
            Some(f64::from(u8::from(shard.entry.replica_on(node).is_some())))
        }
        _ => None,
    }
}

/// Requests per second of the shards that a node leads; `None` if one was never seen for a window.
fn led_per_s(node: NodeId, view: &ClusterView) -> Option<f64> {
    let mut led = view.shards.values().filter(|s| s.entry.leader == Some(node));
    led.try_fold(0.0, |sum, shard| (shard.windows > 0).then(|| sum + seen_requests_per_s(shard)))
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

    fn ask(metric: &str, at: u64, reported: u64) -> Verdict {
        let (mut view, rtt, policy) = world();
        view.at_unix_ms = at;
        view.shards.get_mut(&ShardId(1)).expect("made above").reported_unix_ms = Some(reported);
        verdict(&directive(metric), None, 101_000, &view, &rtt, &policy)
    }

    /// Shard 1 goes from node 1 to node 4.
    fn directive(metric: &str) -> Directive {
        let mut directive = fake_node::move_directive(1, 4);
        directive.predicted.metric = metric.into();
        directive
    }

    #[test]
    fn only_a_full_window_after_the_change_counts() {
        // Applied at 101 s: the window from 110 s to 120 s is the first full one.
        assert_eq!(ask("read_rtt_ms_mean", 119_999, 119_999), Verdict::TooEarly);
        assert_eq!(ask("read_rtt_ms_mean", 121_000, 119_000), Verdict::TooEarly);
        assert_eq!(ask("read_rtt_ms_mean", 121_000, 120_500), Verdict::Measured(Some(20.0)));
    }

    #[test]
    fn the_figure_is_the_predicted_one() {
        assert_eq!(ask("voters_alive", 121_000, 121_000), Verdict::Measured(Some(3.0)));
        assert_eq!(ask("requests_per_s_max", 121_000, 121_000), Verdict::Measured(Some(42.0)));
    }

    #[test]
    fn the_load_of_the_busier_node_counts_and_unknown_load_is_no_figure() {
        let (mut view, rtt, _) = world();
        let directive = directive("node_requests_per_s_max");
        let mut led_by = |id: u64, leader: u64, writes_per_s: f64| {
            let mut shard = view.shards[&ShardId(1)].clone();
            (shard.entry.shard_id, shard.entry.leader) = (ShardId(id), Some(NodeId(leader)));
            shard.arrivals = [(None, ArrivalRate { reads_per_s: 0.0, writes_per_s })].into();
            view.shards.insert(ShardId(id), shard);
        };
        led_by(1, 4, 20.0);
        led_by(2, 1, 50.0);
        led_by(3, 1, 15.0);
        led_by(4, 2, 900.0);
        let measured =
            |view: &ClusterView| measure(&directive, &view.shards[&ShardId(1)], None, view, &rtt);
        assert_eq!(measured(&view), Some(65.0), "node 1 gave and still leads more");
        view.shards.get_mut(&ShardId(3)).expect("made above").windows = 0;
        assert_eq!(measured(&view), None);
    }

    #[test]
    fn sizes_count_both_halves_and_a_drained_node_holds_none() {
        let (mut view, rtt, _) = world();
        let mut half = view.shards[&ShardId(1)].clone();
        half.size_bytes = 7_000;
        view.shards.insert(ShardId(2), half);
        let figure = |metric, new, view: &ClusterView| {
            measure(&directive(metric), &view.shards[&ShardId(1)], new, view, &rtt)
        };
        assert_eq!(figure("size_bytes_max", Some(ShardId(2)), &view), Some(7_000.0));
        assert_eq!(figure("size_bytes_max", None, &view), None, "the other half was not seen");
        assert_eq!(figure("replicas_on_node", None, &view), Some(1.0));
        let shard = view.shards.get_mut(&ShardId(1)).expect("made above");
        shard.entry.replicas.retain(|r| r.node_id != NodeId(1));
        assert_eq!(figure("replicas_on_node", None, &view), Some(0.0));
    }

    #[test]
    fn a_figure_that_cannot_be_had_is_given_up_not_made_up() {
        assert_eq!(ask("no_such", 121_000, 121_000), Verdict::TooEarly);
        assert_eq!(ask("no_such", 300_000, 300_000), Verdict::Measured(None));
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
