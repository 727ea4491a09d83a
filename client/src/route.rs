//! Which replica to ask. Pure: what is known goes in, an order of nodes comes out.

use isobar_api::{NodeId, ReplicaRole, ShardEntry};
use std::{cmp::Ordering, collections::BTreeSet};

/// What is known of a node on the way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Way {
    /// It failed a moment ago, or gossip holds it for dead.
    pub(crate) suspect: bool,
    /// Round trip by the matrix, milliseconds.
    pub(crate) known_ms: Option<f64>,
    /// Whether it lies in the client's region; false where either is unknown.
    pub(crate) own_region: bool,
    /// Smoothed measured round trip, milliseconds; `None`: never measured.
    pub(crate) measured_ms: Option<f64>,
}

impl Way {
    /// Healthy first, then near by the matrix, then own region, then near as measured.
    /// A node that was never measured counts as near, so that it is tried once.
    fn closer(&self, other: &Self) -> Ordering {
        let far = f64::INFINITY;
        let matrix = self.known_ms.unwrap_or(far).total_cmp(&other.known_ms.unwrap_or(far));
        let measured = self.measured_ms.unwrap_or(0.0).total_cmp(&other.measured_ms.unwrap_or(0.0));
        self.suspect
            .cmp(&other.suspect)
            .then(matrix)
            .then(other.own_region.cmp(&self.own_region))
            .then(measured)
    }
}

/// What a request needs of its replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The leader: writes and linearizable reads.
    Leader,
    /// Any replica.
    Any,
}

/// The best node that did not fail this operation already; `None`: all did, or none is known.
pub(crate) fn choose(
    entry: &ShardEntry,
    need: Need,
    avoid: &BTreeSet<NodeId>,
    way: impl Fn(NodeId) -> Way,
) -> Option<NodeId> {
    if need == Need::Leader
        && let Some(leader) = entry.leader
        && !avoid.contains(&leader)
        && !way(leader).suspect
    {
        return Some(leader);
    }
    // Without a leader that answers, voters are asked: one of them knows the new leader or is it.
    let fits = |role| need == Need::Any || role == ReplicaRole::Voter;
    let nodes = entry.replicas.iter().filter(|r| fits(r.role)).map(|r| r.node_id);
    nodes
        .filter(|node| !avoid.contains(node))
        .map(|node| (way(node), node))
        .min_by(|(a, x), (b, y)| a.closer(b).then(x.cmp(y)))
        .map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Epoch, KeyRange, Replica, ReplicaId, ShardId, TableId};

    fn entry(leader: u64) -> ShardEntry {
        let replica =
            |node: u64, role| Replica { replica_id: ReplicaId(node), node_id: NodeId(node), role };
        ShardEntry {
            shard_id: ShardId(1),
            table_id: TableId(1),
            range: KeyRange::all(),
            epoch: Epoch::default(),
            replicas: vec![
                replica(1, ReplicaRole::Voter),
                replica(2, ReplicaRole::Voter),
                replica(3, ReplicaRole::Learner),
            ],
            leader: Some(NodeId(leader)).filter(|n| n.0 != 0),
            term: 1,
        }
    }

    fn pick(need: Need, avoid: &[u64], leader: u64, ways: [Way; 3]) -> Option<u64> {
        let avoid = avoid.iter().map(|n| NodeId(*n)).collect();
        choose(&entry(leader), need, &avoid, |n| ways[n.0 as usize - 1]).map(|n| n.0)
    }

    fn ms(known_ms: f64) -> Way {
        Way { known_ms: Some(known_ms), ..Way::default() }
    }

    #[test]
    fn reads_go_to_the_closest_and_then_to_the_next() {
        let ways = [ms(80.0), ms(40.0), ms(0.5)];
        assert_eq!(pick(Need::Any, &[], 1, ways), Some(3));
        assert_eq!(pick(Need::Any, &[3], 1, ways), Some(2));
        assert_eq!(pick(Need::Any, &[1, 2, 3], 1, ways), None);
    }

    #[test]
    fn a_suspect_is_asked_last() {
        let mut ways = [ms(80.0), ms(40.0), ms(0.5)];
        ways[2].suspect = true;
        assert_eq!(pick(Need::Any, &[], 1, ways), Some(2));
        assert_eq!(pick(Need::Any, &[1, 2], 1, ways), Some(3));
    }

    #[test]
    fn without_a_matrix_the_own_region_and_then_the_measured_time_decide() {
        let measured = |ms| Way { measured_ms: Some(ms), ..Way::default() };
        let home = |ms| Way { own_region: true, ..measured(ms) };
        assert_eq!(pick(Need::Any, &[], 1, [measured(0.1), home(2.0), home(1.0)]), Some(3));
        assert_eq!(pick(Need::Any, &[], 1, [measured(3.0), measured(2.0), measured(9.0)]), Some(2));
    }

    #[test]
    fn the_leader_is_asked_first_and_learners_never_lead() {
        let ways = [ms(80.0), ms(40.0), ms(0.5)];
        assert_eq!(pick(Need::Leader, &[], 1, ways), Some(1));
        assert_eq!(pick(Need::Leader, &[1], 1, ways), Some(2));
        assert_eq!(pick(Need::Leader, &[], 0, ways), Some(2));
        assert_eq!(pick(Need::Leader, &[1, 2], 1, ways), None);
        let mut dead = ways;
        dead[0].suspect = true;
        assert_eq!(pick(Need::Leader, &[], 1, dead), Some(2));
    }
}
