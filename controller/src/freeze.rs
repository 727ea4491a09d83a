//! Freezes: scopes in which no new directive starts. A scope nobody can read stops everything.

use crate::view::ClusterView;
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region, ShardId,
    directive::{Directive, Step},
    plan::Freeze,
};

/// What a freeze covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Cluster,
    Table(String),
    Shard(ShardId),
    Node(NodeId),
    Region(Region),
}

fn parse(text: &str) -> Option<Scope> {
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
        Some(Scope::Shard(id)) => directive.shard == id,
        Some(Scope::Node(id)) => targets(directive).any(|node| node == id),
        Some(Scope::Region(region)) => {
            targets(directive).any(|node| view.nodes.get(&node).is_some_and(|n| n.region == region))
        }
    })
}

fn targets(directive: &Directive) -> impl Iterator<Item = NodeId> + '_ {
    directive.steps.iter().filter_map(Step::target)
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
    fn scopes_have_one_form() {
        assert_eq!(normal_scope("shard:3"), Ok("shard:s3".into()));
        assert_eq!(normal_scope(" cluster "), Ok("cluster".into()));
        for bad in ["", "node", "node:", "node:x", "table:", "rack:1"] {
            assert!(normal_scope(bad).is_err(), "{bad}");
        }
    }
}
