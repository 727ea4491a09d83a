//! Freezes: scopes in which no new directive starts. A scope nobody can read stops everything.

use crate::view::ClusterView;
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region, ShardId,
    directive::{Directive, Step},
    plan::Freeze,
};

/// What a freeze covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    Table(String),
    Shard(ShardId),
    Node(NodeId),
    Region(Region),
}

/// Reads a scope; `None`: nobody can, and it has to stop everything.
pub(crate) fn parse(text: &str) -> Option<Scope> {
    match text.split_once(':') {
        None => (text == "cluster").then_some(Scope::Cluster),
        Some(("table", name)) if !name.is_empty() => Some(Scope::Table(name.into())),
        Some(("shard", id)) => id.parse().ok().map(Scope::Shard),
        Some(("node", id)) => id.parse().ok().map(Scope::Node),
        Some(("region", name)) => name.parse().ok().map(Scope::Region),
        Some(_) => None,
    }
}

/// Checks a scope and writes it in its one form (`shard:3` and `shard:s3` are the same).
pub(crate) fn normal_scope(text: &str) -> Result<String, ApiError> {
    match parse(text.trim()) {
        Some(Scope::Cluster) => Ok("cluster".into()),
        Some(Scope::Table(name)) => Ok(format!("table:{name}")),
        Some(Scope::Shard(id)) => Ok(format!("shard:{id}")),
        Some(Scope::Node(id)) => Ok(format!("node:{id}")),
        Some(Scope::Region(region)) => Ok(format!("region:{region}")),
        None => Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!(
                "`{text}` is not a scope: cluster, table:NAME, shard:sN, node:nN or region:NAME"
            ),
        )),
    }
}

/// The freeze that keeps a directive from starting now, if one does.
pub(crate) fn over<'a>(
    directive: &Directive,
    view: &ClusterView,
    freezes: &'a [Freeze],
    now_unix_ms: u64,
) -> Option<&'a Freeze> {
    let in_force = |f: &&Freeze| f.expires_at_unix_ms > now_unix_ms;
    freezes.iter().filter(in_force).find(|freeze| match parse(&freeze.scope) {
        None | Some(Scope::Cluster) => true,
        Some(Scope::Table(name)) => directive.table == name,
        Some(Scope::Shard(id)) => directive.shards().any(|shard| shard == id),
        Some(Scope::Node(id)) => touched(directive, view).contains(&id),
        Some(Scope::Region(region)) => {
            let inside = |node| view.nodes.get(node).is_some_and(|n| n.region == region);
            touched(directive, view).iter().any(inside)
        }
    })
}

/// Nodes on which the steps change something: those they name, the leader that hands over, and for a split or a merge
/// every replica.
fn touched(directive: &Directive, view: &ClusterView) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = directive.steps.iter().filter_map(Step::target).collect();
    let Some(shard) = view.shards.get(&directive.shard) else {
        return nodes;
    };
    for step in &directive.steps {
        match step {
            Step::Split { .. } | Step::Merge { .. } => {
                nodes.extend(shard.entry.replicas.iter().map(|r| r.node_id));
            }
            Step::TransferLeader { .. } => nodes.extend(shard.entry.leader),
            Step::AddLearner { .. } | Step::Promote { .. } | Step::RemoveReplica { .. } => {}
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::fake_node;

    fn freeze(scope: &str) -> Freeze {
        let (reason, owner) = ("test".into(), "me".into());
        Freeze { scope: scope.into(), reason, owner, expires_at_unix_ms: 1_000 }
    }

    #[test]
    fn a_freeze_covers_what_its_scope_says_and_no_more() {
        let directive = fake_node::move_directive(1, 4);
        let view = fake_node::view(&[]);
        let covered = |scope| over(&directive, &view, &[freeze(scope)], 999).is_some();
        for scope in [
            "cluster",
            "table:orders",
            "shard:s1",
            "shard:1",
            "node:n4",
            "node:n1",
            "region:us",
            "???",
        ] {
            assert!(covered(scope), "{scope}");
        }
        for scope in ["table:users", "shard:s2", "node:n2", "region:ap"] {
            assert!(!covered(scope), "{scope}");
        }
        assert!(over(&directive, &view, &[freeze("cluster")], 1_000).is_none(), "it is over");
    }

    #[test]
    fn the_leader_that_hands_over_and_every_replica_that_is_cut_are_touched() {
        let view = fake_node::view(&[]);
        let covered = |steps: Vec<Step>, scope| {
            let directive = Directive { steps, ..fake_node::move_directive(1, 4) };
            over(&directive, &view, &[freeze(scope)], 999).is_some()
        };
        let transfer = || vec![Step::TransferLeader { node: NodeId(2) }];
        assert!(covered(transfer(), "node:n1"), "n1 leads");
        assert!(!covered(transfer(), "node:n3"));
        let split = || vec![Step::Split { at_key: "m".into() }];
        assert!(covered(split(), "node:n3") && covered(split(), "region:eu"));
        assert!(!covered(split(), "node:n4") && !covered(split(), "region:us"));
    }

    #[test]
    fn scopes_have_one_form() {
        assert_eq!(normal_scope("shard:3"), Ok("shard:s3".into()));
        assert_eq!(normal_scope(" cluster "), Ok("cluster".into()));
        for bad in ["", "node", "node:", "node:x", "table:", "rack:1"] {
            assert!(normal_scope(bad).is_err(), "{bad}");
        }
    }
}
