//! What holds for every plan, over clusters in disorder.

use super::messy::messy;
use crate::planner::{
    drain_blockers, plan,
    simulate::{apply_step, elect},
    synthetic::Synthetic,
};
use isobar_api::{
    NodeId, Region, ShardId,
    directive::{Directive, DirectiveKind, Step},
    invariant,
    table::TableRule,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn cluster() -> impl Strategy<Value = Synthetic> {
    (1u64..14, 1u64..40, any::<u64>()).prop_map(|(nodes, shards, seed)| messy(nodes, shards, seed))
}

/// Every state on the way of a directive, by the model; panics where a step cannot be done.
fn safe_on_the_way(w: &Synthetic, d: &Directive) -> Result<(), TestCaseError> {
    let shard = &w.view.shards[&d.shard];
    let mut entry = elect(&w.view, shard);
    let regions: BTreeMap<NodeId, Region> =
        w.view.nodes.iter().map(|(id, n)| (*id, n.region.clone())).collect();
    let rule = w.view.tables.get(&shard.entry.table_id).map(|t| t.spec.rule.clone());
    let before = entry.clone();
    let all = TableRule { regions: vec![], replicas: 1, replicas_max: 9, ack: Default::default() };
    let rule =
        rule.unwrap_or(TableRule { replicas: before.voters().count().clamp(1, 9) as u8, ..all });
    // A shard may be below its floor or out of bounds to begin with; a directive must not make it worse.
    let floor = usize::from(rule.replicas).min(before.voters().count());
    let mut added: BTreeSet<NodeId> = BTreeSet::new();
    for step in &d.steps {
        apply_step(&mut entry, step, ShardId(u64::MAX)).map_err(TestCaseError::fail)?;
        if let Step::AddLearner { node } = step {
            added.insert(*node);
            prop_assert!(w.view.nodes.contains_key(node));
        }
        prop_assert!(invariant::leader_is_voter(&entry).is_ok(), "{:?}", d.steps);
        prop_assert!(invariant::one_replica_per_node(&entry).is_ok());
        prop_assert!(entry.voters().count() >= floor, "{:?}", d.steps);
        let mut new = entry.clone();
        new.replicas.retain(|r| added.contains(&r.node_id));
        prop_assert!(invariant::residency(&new, &rule, &regions).is_ok());
        let most = usize::from(rule.replicas_max).max(before.replicas.len());
        prop_assert!(entry.replicas.len() <= most);
    }
    for step in &d.undo {
        apply_step(&mut entry, step, ShardId(u64::MAX)).map_err(TestCaseError::fail)?;
        prop_assert!(invariant::leader_is_voter(&entry).is_ok());
    }
    let nodes = |e: &isobar_api::ShardEntry| e.voters().collect::<BTreeSet<_>>();
    prop_assert!(d.undo.is_empty() || nodes(&entry) == nodes(&before));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_step_on_the_way_is_safe(w in cluster()) {
        for d in &plan(&w.input()).directives {
            safe_on_the_way(&w, d)?;
        }
    }

    #[test]
    fn the_linter_finds_nothing_fatal(w in cluster()) {
        let (input, made) = (w.input(), plan(&w.input()));
        let notes = crate::check::check(&made, &input);
        let worst: Vec<_> = notes.iter().filter(|n| n.fatal).map(|n| &n.message).collect();
        let said: Vec<_> = made.directives.iter().map(|d| (d.shard, d.kind, &d.steps)).collect();
        prop_assert!(crate::check::stopped(&notes).is_empty(), "{:?}\n{:#?}", worst, said);
    }

    #[test]
    fn equal_input_gives_equal_bytes(w in cluster()) {
        let bytes = |w: &Synthetic| serde_json::to_string(&plan(&w.input())).expect("plain data");
        let (a, b) = (bytes(&w), bytes(&w.clone()));
        prop_assert_eq!(a, b);
        let mut other = w.clone();
        other.seed ^= 1;
        prop_assert_ne!(plan(&w.input()).input_hash, plan(&other.input()).input_hash);
    }

    #[test]
    fn busy_shards_and_frozen_scopes_are_untouched(w in cluster(), scope in 0u64..4, id in 1u64..14) {
        let mut w = w;
        let text = ["cluster".to_owned(), format!("node:{id}"), format!("shard:{id}"), "table:orders".into()];
        let freeze = isobar_api::plan::Freeze {
            scope: text[scope as usize].clone(),
            reason: "r".into(),
            owner: "o".into(),
            expires_at_unix_ms: u64::MAX,
        };
        w.freezes.push(freeze);
        for d in &plan(&w.input()).directives {
            prop_assert!(!w.busy.contains(&d.shard));
            let hit = match scope {
                0 => true,
                1 => d.steps.iter().any(|s| s.target() == Some(NodeId(id))),
                2 => d.shard == ShardId(id),
                _ => d.table == "orders",
            };
            prop_assert!(!hit, "{:?}", d);
        }
    }

    #[test]
    fn stale_shards_are_repaired_and_drained_but_never_optimised(w in cluster()) {
        let mut w = w;
        for shard in w.view.shards.values_mut() {
            shard.reported_unix_ms = Some(w.now_unix_ms - w.policy.observe.stale_after_s * 1_000 - 1);
        }
        for d in &plan(&w.input()).directives {
            prop_assert!(matches!(d.kind, DirectiveKind::Repair | DirectiveKind::Drain));
        }
    }

    #[test]
    fn the_record_is_bounded_and_whole(w in cluster()) {
        let made = plan(&w.input());
        let chosen = made.candidates.iter().filter(|c| c.rejected.is_none()).count();
        prop_assert_eq!(chosen, made.directives.len());
        prop_assert!(made.candidates.len() <= crate::planner::record::CANDIDATES_MAX.max(chosen));
        prop_assert_eq!(made.inputs.iter().filter(|i| i.source.starts_with("report of")).count(), w.view.nodes.len());
        let text = serde_json::to_string(&made).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<isobar_api::plan::Plan>(&text).expect("own text").directives, made.directives);
    }

    #[test]
    fn blockers_list_every_replica_left(w in cluster(), node in 1u64..14) {
        let (mut w, node) = (w, NodeId(node));
        w.drains.insert(node);
        let held = w.view.shards.values().filter(|s| s.entry.replica_on(node).is_some()).count();
        let blockers = &drain_blockers(&w.input())[&node];
        prop_assert_eq!(blockers.len(), held);
        prop_assert!(blockers.iter().all(|b| !b.reason.is_empty()));
    }
}
