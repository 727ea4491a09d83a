//! The ledger: effects of directives that telemetry does not show yet.
//!
//! A directive's effect counts from the moment it is approved until the shard's leader has reported a window's
//! length after it was applied. A proposal that waits for a person changes nothing and does not count. Without this
//! the planner would see the old load, act on it again, and swing.

use crate::view::{ClusterView, InFlight, ShardView};
use isobar_api::{
    NodeId,
    directive::{DirectiveState, Step},
    plan::DirectiveRecord,
    policy::Policy,
};
use std::collections::BTreeMap;

/// Builds the ledger from directive records: those under way, and those applied but not yet confirmed. Others are
/// skipped, so any list of records will do.
pub(crate) fn build(
    records: &[DirectiveRecord],
    view: &ClusterView,
    policy: &Policy,
) -> Vec<InFlight> {
    let mut entries: Vec<InFlight> = records
        .iter()
        .filter(|r| r.state.is_active() || r.state == DirectiveState::Applied)
        .filter(|r| !is_confirmed(r, view, policy))
        .map(|r| in_flight(r, view))
        .collect();
    entries.sort_by_key(|e| e.directive_id);
    entries
}

/// When the directive was applied, Unix milliseconds; `None`: not yet, or it came to nothing.
fn applied_unix_ms(record: &DirectiveRecord) -> Option<u64> {
    if !matches!(record.state, DirectiveState::Applied | DirectiveState::Verified) {
        return None;
    }
    let mut newest_first = record.events.iter().rev();
    newest_first.find(|e| e.state == DirectiveState::Applied).map(|e| e.at_unix_ms)
}

/// Whether telemetry newer than the directive's end shows its effect. A shard that is gone needs no more proof.
fn is_confirmed(record: &DirectiveRecord, view: &ClusterView, policy: &Policy) -> bool {
    let Some(applied) = applied_unix_ms(record) else {
        return false;
    };
    let window_ms = policy.observe.window_s.saturating_mul(1_000);
    match view.shards.get(&record.directive.shard) {
        None => true,
        Some(shard) => {
            shard.reported_unix_ms.is_some_and(|at| at >= applied.saturating_add(window_ms))
        }
    }
}

fn in_flight(record: &DirectiveRecord, view: &ClusterView) -> InFlight {
    let directive = &record.directive;
    let shard = view.shards.get(&directive.shard);
    // The view may show the new leader already; the undo steps remember the old one.
    let led_before = last_transfer(&directive.undo).or(shard.and_then(|s| s.entry.leader));
    InFlight {
        directive_id: directive.id,
        shard: directive.shard,
        kind: directive.kind,
        load_delta: load_delta(
            &directive.steps,
            led_before,
            shard.map_or(0.0, seen_requests_per_s),
        ),
        copies: copies(&directive.steps, led_before),
        applied_unix_ms: applied_unix_ms(record),
    }
}

/// Requests per second that a shard got in its last full window.
pub(crate) fn seen_requests_per_s(shard: &ShardView) -> f64 {
    shard.arrivals.values().map(|a| a.reads_per_s + a.writes_per_s).sum()
}

/// Requests per second that steps take from nodes (negative) and bring to nodes (positive): those of the shard go
/// where leadership goes.
pub(crate) fn load_delta(
    steps: &[Step],
    leader: Option<NodeId>,
    requests_per_s: f64,
) -> BTreeMap<NodeId, f64> {
    let mut delta = BTreeMap::new();
    if let Some(to) = last_transfer(steps).filter(|to| leader != Some(*to)) {
        delta.insert(to, requests_per_s);
        if let Some(from) = leader {
            delta.insert(from, -requests_per_s);
        }
    }
    delta
}

/// Nodes that copy data because of the steps: every node that gets a replica, and who leads by then, which sends.
pub(crate) fn copies(steps: &[Step], leader: Option<NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::new();
    let mut sender = leader;
    for step in steps {
        match step {
            Step::TransferLeader { node } => sender = Some(*node),
            Step::AddLearner { node } => nodes.extend([*node].into_iter().chain(sender)),
            Step::Promote { .. }
            | Step::RemoveReplica { .. }
            | Step::Split { .. }
            | Step::Merge { .. } => {}
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Who leads after the steps, where they say so.
pub(crate) fn last_transfer(steps: &[Step]) -> Option<NodeId> {
    steps.iter().rev().find_map(|step| match step {
        Step::TransferLeader { node } => Some(*node),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::synthetic::synthetic_input;
    use isobar_api::{DirectiveId, directive::DirectiveKind, plan::DirectiveEvent};

    /// A world and a record of its first directive in the given states.
    fn world(
        states: &[(DirectiveState, u64)],
    ) -> (crate::planner::synthetic::Synthetic, DirectiveRecord) {
        let world = synthetic_input(6, 12, 3);
        let mut directive = crate::planner::plan(&world.input()).directives.remove(0);
        directive.id = DirectiveId(7);
        assert_eq!(directive.kind, DirectiveKind::TransferLeader);
        let event = |(state, at): &(DirectiveState, u64)| DirectiveEvent {
            at_unix_ms: *at,
            controller_term: isobar_api::Term(1),
            state: *state,
            steps_done: 0,
            reason: String::new(),
        };
        let events = states.iter().map(event).collect();
        let state = states.last().expect("at least one").0;
        (world, DirectiveRecord { directive, state, steps_done: 0, events })
    }

    #[test]
    fn a_directive_under_way_counts_and_others_do_not() {
        let (w, mut record) = world(&[(DirectiveState::Sent, 1)]);
        let entry = build(std::slice::from_ref(&record), &w.view, &w.policy).remove(0);
        assert_eq!((entry.directive_id, entry.applied_unix_ms), (DirectiveId(7), None));
        assert_eq!(entry.load_delta.len(), 2);
        assert!(entry.load_delta.values().sum::<f64>().abs() < 1e-9, "load moves, it is not made");
        for state in [
            DirectiveState::Failed,
            DirectiveState::Undone,
            DirectiveState::Verified,
            DirectiveState::Checked,
        ] {
            record.state = state;
            assert!(build(std::slice::from_ref(&record), &w.view, &w.policy).is_empty(), "{state}");
        }
    }

    #[test]
    fn an_applied_one_counts_until_a_full_window_later() {
        let (mut w, record) =
            world(&[(DirectiveState::Sent, 1), (DirectiveState::Applied, 50_000)]);
        let window_ms = w.policy.observe.window_s * 1_000;
        let shard = record.directive.shard;
        for (reported, released) in [
            (None, false),
            (Some(50_000), false),
            (Some(49_999 + window_ms), false),
            (Some(50_000 + window_ms), true),
        ] {
            w.view.shards.get_mut(&shard).expect("it is there").reported_unix_ms = reported;
            let ledger = build(std::slice::from_ref(&record), &w.view, &w.policy);
            assert_eq!(ledger.is_empty(), released, "{reported:?}");
        }
        w.view.shards.remove(&shard);
        assert!(build(&[record], &w.view, &w.policy).is_empty());
    }

    #[test]
    fn the_old_leader_is_remembered_after_the_view_shows_the_new_one() {
        let (mut w, record) = world(&[(DirectiveState::Applied, 50_000)]);
        w.view.shards.get_mut(&record.directive.shard).expect("it is there").reported_unix_ms =
            None;
        let before = build(std::slice::from_ref(&record), &w.view, &w.policy).remove(0);
        let new = last_transfer(&record.directive.steps);
        w.view.shards.get_mut(&record.directive.shard).expect("it is there").entry.leader = new;
        assert_eq!(build(&[record], &w.view, &w.policy).remove(0).load_delta, before.load_delta);
    }

    #[test]
    fn copies_name_sender_and_receivers_once() {
        let steps = [Step::AddLearner { node: NodeId(4) }, Step::Promote { node: NodeId(4) }];
        assert_eq!(copies(&steps, Some(NodeId(2))), [NodeId(2), NodeId(4)]);
        assert!(copies(&steps[1..], Some(NodeId(2))).is_empty());
        let drain = [&[Step::TransferLeader { node: NodeId(3) }], &steps[..]].concat();
        assert_eq!(copies(&drain, Some(NodeId(2))), [NodeId(3), NodeId(4)], "the heir sends");
    }
}
