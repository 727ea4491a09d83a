//! Drains: how far each has come, when it will be done, and what holds it up.

use super::Core;
use crate::{
    error::Error,
    store::{DrainRow, Grant},
    view::{ClusterView, NodeHealth},
};
use isobar_api::{
    NodeId,
    plan::{DrainBlocker, DrainStatus},
};
use std::collections::BTreeMap;

/// Replicas on a node, as the view shows them.
pub(super) fn replicas_on(view: &ClusterView, node: NodeId) -> u32 {
    let holds = |s: &&crate::view::ShardView| s.entry.replica_on(node).is_some();
    u32::try_from(view.shards.values().filter(holds).count()).unwrap_or(u32::MAX)
}

/// Whether the view is enough to say that a node holds nothing: the node itself says so, or is dead.
fn is_certainly_empty(view: &ClusterView, node: NodeId) -> bool {
    let Some(known) = view.nodes.get(&node) else {
        return false;
    };
    let says_so = known.health == NodeHealth::Alive && known.load.replicas == 0;
    let dead = matches!(known.health, NodeHealth::Dead { .. });
    replicas_on(view, node) == 0 && !view.shards.is_empty() && (says_so || dead)
}

/// The status of one drain.
pub(super) fn status(
    row: &DrainRow,
    blockers: Vec<DrainBlocker>,
    view: &ClusterView,
    now_unix_ms: u64,
) -> DrainStatus {
    let left = replicas_on(view, row.node);
    let moved = row.replicas_at_start.saturating_sub(left);
    #[allow(clippy::cast_precision_loss)] // seconds of a drain
    let elapsed_s = now_unix_ms.saturating_sub(row.started_unix_ms) as f64 / 1_000.0;
    let eta_s = match (row.state.as_str(), left, moved) {
        ("draining", 0, _) | ("drained", ..) => Some(0.0),
        ("draining", _, 1..) => Some(f64::from(left) * elapsed_s / f64::from(moved)),
        _ => None,
    };
    DrainStatus {
        node: row.node,
        state: row.state.clone(),
        replicas_left: left,
        replicas_at_start: row.replicas_at_start,
        eta_s,
        blockers,
    }
}

impl Core {
    /// Brings drains up to date with the view, and remembers their status.
    pub(super) async fn update_drains(
        &self,
        grant: Grant,
        view: &ClusterView,
        mut blockers: BTreeMap<NodeId, Vec<DrainBlocker>>,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let rows = self.live().drains.clone();
        let mut done = Vec::new();
        for row in &rows {
            let empty = row.state == "draining" && is_certainly_empty(view, row.node);
            // An operator may have cancelled it meanwhile.
            if empty && self.store.end_drain(grant, row.node).await? {
                tracing::info!(node = %row.node, "drained");
                done.push(row.node);
            }
        }
        let mut live = self.live();
        let ended = |row: &&mut DrainRow| row.state == "draining" && done.contains(&row.node);
        live.drains.iter_mut().filter(ended).for_each(|row| row.state = "drained".into());
        live.drain_status = live
            .drains
            .iter()
            .filter(|row| row.state != "cancelled")
            .map(|row| {
                status(row, blockers.remove(&row.node).unwrap_or_default(), view, now_unix_ms)
            })
            .collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::fake_node;

    fn row(at_start: u32) -> DrainRow {
        DrainRow {
            node: NodeId(1),
            state: "draining".into(),
            owner: "ann".into(),
            started_unix_ms: 10_000,
            replicas_at_start: at_start,
        }
    }

    #[test]
    fn the_eta_comes_from_what_has_moved() {
        let view = fake_node::view(&[]);
        assert_eq!(status(&row(1), vec![], &view, 50_000).eta_s, None, "nothing has moved yet");
        let later = status(&row(5), vec![], &view, 50_000);
        assert_eq!((later.replicas_left, later.eta_s), (1, Some(10.0)));
    }

    #[test]
    fn a_view_that_shows_nothing_is_no_proof_of_emptiness() {
        let mut view = fake_node::view(&[]);
        assert!(!is_certainly_empty(&view, NodeId(1)));
        assert!(is_certainly_empty(&view, NodeId(4)), "it says so itself");
        view.nodes.get_mut(&NodeId(4)).expect("made above").load.replicas = 1;
        assert!(!is_certainly_empty(&view, NodeId(4)), "it knows better than we do");
        view.shards.clear();
        assert!(!is_certainly_empty(&view, NodeId(4)));
    }
}
