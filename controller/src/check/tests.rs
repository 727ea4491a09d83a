//! Each rule is seen to catch what it is for: good plans pass, and every corruption is flagged by the rule that
//! should flag it.

use super::{check, stopped};
use crate::planner::{
    plan,
    synthetic::{Dice, Synthetic, synthetic_input},
};
use crate::view::{InFlight, NodeHealth};
use isobar_api::{
    DirectiveId, Epoch, NodeId, Region, ShardId, TableId, Term,
    directive::{Directive, DirectiveKind, Step},
    plan::{Freeze, Plan},
    report::HotKey,
};

/// A world in which every kind of directive is planned, and its plan.
fn busy_world() -> (Synthetic, Plan) {
    let mut w = synthetic_input(10, 60, 11);
    w.policy.budget.active_max = 60;
    w.policy.budget.repair_active_max = 60;
    w.policy.budget.copies_per_node_max = 60;
    w.drains.insert(NodeId(4));
    let dead = w.view.nodes.get_mut(&NodeId(7)).expect("n7");
    dead.health = NodeHealth::Dead { since_unix_ms: 0 };
    for rate in w.view.shards.values_mut().take(20).flat_map(|s| s.arrivals.values_mut()) {
        rate.reads_per_s *= 40.0;
    }
    w.forecast();
    let made = plan(&w.input());
    (w, made)
}

const KINDS: [DirectiveKind; 5] = [
    DirectiveKind::Repair,
    DirectiveKind::Drain,
    DirectiveKind::TransferLeader,
    DirectiveKind::MoveReplica,
    DirectiveKind::Split,
];

/// Fatal messages about a shard.
fn fatal(w: &Synthetic, p: &Plan, shard: ShardId) -> Vec<String> {
    let notes = check(p, &w.input());
    notes.into_iter().filter(|n| n.fatal && n.shard == shard).map(|n| n.message).collect()
}

fn first(p: &Plan, kind: DirectiveKind) -> usize {
    p.directives.iter().position(|d| d.kind == kind).unwrap_or_else(|| panic!("no {kind} planned"))
}

/// Corrupts the first directive of each kind and expects the rule to speak up.
fn caught(rule: &str, kinds: &[DirectiveKind], corrupt: impl Fn(&mut Synthetic, &mut Directive)) {
    for kind in kinds {
        let (mut w, mut p) = busy_world();
        let i = first(&p, *kind);
        corrupt(&mut w, &mut p.directives[i]);
        let said = fatal(&w, &p, p.directives[i].shard);
        let spoke = said.iter().any(|m| m.starts_with(&format!("{rule}:")));
        assert!(spoke, "{rule} missed a corrupted {kind}: {said:?}\n{:#?}", p.directives[i]);
    }
}

use DirectiveKind::{Drain, MoveReplica, Repair, Split, TransferLeader};
const COPYING: [DirectiveKind; 3] = [Repair, Drain, MoveReplica];

fn target(d: &Directive) -> NodeId {
    d.steps.iter().find_map(Step::target).expect("a step with a target")
}

#[test]
fn good_plans_of_every_kind_pass() {
    let (w, p) = busy_world();
    for kind in KINDS {
        first(&p, kind);
    }
    assert!(stopped(&check(&p, &w.input())).is_empty(), "{:#?}", check(&p, &w.input()));
}

#[test]
fn form_catches_malformed_directives() {
    caught("form", &KINDS, |_, d| d.steps.clear());
    caught("form", &KINDS, |_, d| d.reason.clear());
    caught("form", &KINDS, |_, d| d.expires_at_unix_ms = 1);
    caught("form", &KINDS, |_, d| d.expires_at_unix_ms = u64::MAX);
    caught("form", &KINDS, |_, d| d.budget.stall_ms = 0);
    caught("form", &KINDS, |_, d| d.predicted.after = f64::NAN);
    caught("form", &KINDS, |_, d| d.predicted.after_lower = d.predicted.after_upper + 1.0);
    caught("form", &KINDS, |_, d| d.predicted.realised = Some(1.0));
    caught("form", &KINDS, |_, d| d.steps = vec![d.steps[0].clone(); 17]);
    caught("form", &KINDS, |_, d| d.steps.push(Step::Promote { node: NodeId(0) }));
    caught("form", &[Repair, Drain, MoveReplica, TransferLeader], |_, d| d.kind = Split);
    caught("form", &[Repair, Drain, MoveReplica, Split], |_, d| d.kind = TransferLeader);
}

#[test]
fn fence_catches_strangers() {
    caught("fence", &KINDS, |_, d| d.controller_term = Term(9));
    caught("fence", &KINDS, |_, d| d.policy_version += 1);
    caught("fence", &KINDS, |_, d| d.expected_epoch = Epoch { shape: 1, membership: 99 });
    caught("fence", &KINDS, |_, d| d.table = "other".into());
    caught("fence", &KINDS, |_, d| d.shard = ShardId(999));
}

#[test]
fn alone_catches_company() {
    caught("alone", &KINDS, |w, d| assert!(w.busy.insert(d.shard)));
    for applied_unix_ms in [None, Some(u64::MAX)] {
        caught("alone", &KINDS, move |w, d| {
            w.ledger.push(InFlight {
                directive_id: DirectiveId(1),
                shard: d.shard,
                kind: d.kind,
                load_delta: Default::default(),
                copies: vec![],
                applied_unix_ms,
            });
        });
    }
    let (w, mut p) = busy_world();
    p.directives.push(p.directives[0].clone());
    assert!(fatal(&w, &p, p.directives[0].shard).iter().any(|m| m.contains("several directives")));
}

#[test]
fn freeze_catches_every_scope() {
    let with = |w: &mut Synthetic, scope: String| {
        w.freezes.push(Freeze {
            scope,
            reason: "r".into(),
            owner: "o".into(),
            expires_at_unix_ms: u64::MAX,
        });
    };
    caught("freeze", &KINDS, |w, _| with(w, "cluster".into()));
    caught("freeze", &KINDS, |w, _| with(w, "table:orders".into()));
    caught("freeze", &KINDS, |w, d| with(w, format!("shard:{}", d.shard)));
    caught("freeze", &KINDS, |w, _| with(w, "shard:x".into()));
    caught("freeze", &[Repair, Drain, MoveReplica, TransferLeader], |w, d| {
        with(w, format!("node:{}", target(d)))
    });
    caught("freeze", &[Repair, Drain, MoveReplica, TransferLeader], |w, d| {
        let region = w.view.nodes[&target(d)].region.clone();
        with(w, format!("region:{region}"));
    });
    caught("freeze", &[Split], |w, d| {
        let node = w.view.shards[&d.shard].entry.replicas[1].node_id;
        with(w, format!("node:{node}"));
    });
}

#[test]
fn residency_catches_foreign_regions() {
    caught("residency", &[Repair, Drain, MoveReplica, TransferLeader], |w, _| {
        let rule = &mut w.view.tables.get_mut(&TableId(1)).expect("one").spec.rule;
        rule.regions = vec![Region::new("elsewhere").expect("legal")];
    });
    caught("residency", &KINDS, |w, _| w.view.tables.clear());
    caught("residency", &COPYING, |_, d| d.steps[0] = Step::AddLearner { node: NodeId(77) });
}

#[test]
fn floor_quorum_and_order_catch_unsafe_removals() {
    let backwards = |_: &mut Synthetic, d: &mut Directive| d.steps.reverse();
    caught("order", &COPYING, backwards);
    caught("floor", &COPYING, backwards);
    let removals_only = |_: &mut Synthetic, d: &mut Directive| {
        d.steps.retain(|s| matches!(s, Step::RemoveReplica { .. }));
    };
    caught("floor", &COPYING, removals_only);
    caught("quorum", &[Drain, MoveReplica], |w, d| {
        let voters: Vec<NodeId> = w.view.shards[&d.shard].entry.voters().collect();
        for node in &voters[..2] {
            w.view.nodes.get_mut(node).expect("known").health =
                NodeHealth::Dead { since_unix_ms: 0 };
        }
    });
}

#[test]
fn cap_and_leader_catch_impossible_steps() {
    caught("cap", &COPYING, |w, _| {
        w.view.tables.get_mut(&TableId(1)).expect("one").spec.rule.replicas_max = 3;
    });
    caught("cap", &COPYING, |w, d| {
        let holder = w.view.shards[&d.shard].entry.replicas[0].node_id;
        d.steps.insert(0, Step::AddLearner { node: holder });
    });
    caught("leader", &[TransferLeader], |w, d| {
        let held = |n: &&NodeId| w.view.shards[&d.shard].entry.replica_on(**n).is_none();
        let node = *w.view.nodes.keys().find(held).expect("ten nodes, three replicas");
        d.steps = vec![Step::TransferLeader { node }];
    });
    caught("leader", &COPYING, |_, d| d.steps.retain(|s| !matches!(s, Step::AddLearner { .. })));
    caught("leader", &[MoveReplica, Drain], |w, d| {
        let node = w.view.shards[&d.shard].entry.leader.expect("led");
        d.steps.retain(|s| !matches!(s, Step::TransferLeader { .. }));
        d.steps.push(Step::RemoveReplica { node });
    });
}

#[test]
fn target_catches_unfit_nodes_and_healthy_victims() {
    caught("target", &[Repair, Drain, MoveReplica, TransferLeader], |w, d| {
        w.view.nodes.get_mut(&target(d)).expect("known").health = NodeHealth::Unknown;
    });
    caught("target", &[Repair, Drain, MoveReplica, TransferLeader], |w, d| {
        w.drains.extend([target(d)])
    });
    caught("target", &COPYING, |w, _| {
        for node in w.view.nodes.values_mut() {
            node.load.disk_free_bytes = node.load.disk_total_bytes / 20;
        }
    });
    caught("target", &[Repair], |w, _| {
        for node in w.view.nodes.values_mut() {
            node.health = NodeHealth::Alive;
        }
    });
    caught("target", &[Drain], |w, _| w.drains.clear());
}

#[test]
fn spread_catches_crowding() {
    caught("spread", &[MoveReplica], |w, d| {
        // Everything the move adds is put where a voter that stays already is.
        let stays = w.view.shards[&d.shard]
            .entry
            .voters()
            .find(|n| !d.steps.contains(&Step::RemoveReplica { node: *n }));
        let voters: Vec<NodeId> = w.view.shards[&d.shard].entry.voters().collect();
        for (i, node) in voters.iter().enumerate() {
            let name = Region::new(format!("alone-{i}")).expect("legal");
            w.view.nodes.get_mut(node).expect("known").region = name;
        }
        let home = w.view.nodes[&stays.expect("two stay")].region.clone();
        w.view.nodes.get_mut(&target(d)).expect("known").region = home;
    });
}

#[test]
fn split_catches_useless_cuts() {
    let cut = |d: &mut Directive, key: &str| d.steps = vec![Step::Split { at_key: key.into() }];
    caught("split", &[Split], |_, d| cut(d, "zzz"));
    caught("split", &[Split], |_, d| cut(d, ""));
    caught("split", &[Split], |_, d| cut(d, "\\q"));
    caught("split", &[Split], |w, d| {
        let start = w.view.shards[&d.shard].entry.range.start.clone();
        cut(d, &String::from_utf8(start).expect("printable"));
    });
    caught("split", &[Split], |w, d| {
        let shard = w.view.shards.get_mut(&d.shard).expect("known");
        shard.hot_keys = vec![HotKey { key: "k".into(), share: 0.9 }];
    });
}

#[test]
fn gain_and_calm_catch_restless_moves() {
    const MOVES: [DirectiveKind; 2] = [TransferLeader, MoveReplica];
    caught("gain", &[TransferLeader, MoveReplica, Split], |_, d| {
        d.predicted.before = d.predicted.after
    });
    caught("calm", &MOVES, |w, d| drop(w.history.insert(d.shard, vec![w.now_unix_ms - 1])));
    caught("calm", &MOVES, |w, d| {
        drop(w.history.insert(d.shard, vec![w.now_unix_ms - 1_000_000, w.now_unix_ms - 900_000]));
    });
    let shard = |w: &mut Synthetic, d: &Directive, f: fn(&mut crate::view::ShardView)| {
        f(w.view.shards.get_mut(&d.shard).expect("known"));
    };
    for kinds in [&MOVES[..], &[Split]] {
        caught("calm", kinds, |w, d| shard(w, d, |s| s.reported_unix_ms = None));
        caught("calm", kinds, |w, d| shard(w, d, |s| s.reported_unix_ms = Some(1)));
        caught("calm", kinds, |w, d| shard(w, d, |s| s.windows = 0));
    }
    caught("calm", &[Split], |w, d| shard(w, d, |s| s.changed_unix_ms = u64::MAX));
}

#[test]
fn mass_and_budget_catch_excess() {
    caught("mass", &[Repair, TransferLeader, MoveReplica, Split], |w, _| {
        w.policy.repair.dead_share_max = 0.05
    });
    caught("budget", &[Drain, TransferLeader, MoveReplica, Split], |w, _| {
        w.policy.budget.active_max = 0
    });
    caught("budget", &[Repair], |w, _| w.policy.budget.repair_active_max = 0);
    caught("budget", &COPYING, |w, _| w.policy.budget.copies_per_node_max = 0);
    caught("budget", &COPYING, |_, d| d.budget.copy_bytes = 1);
    caught("budget", &[Drain, MoveReplica], |w, _| w.policy.budget.copy_bytes_max = 1);
}

#[test]
fn undo_catches_dead_ends() {
    caught("undo", &[Drain, MoveReplica], |_, d| d.undo.reverse());
    caught("undo", &[Drain, MoveReplica, TransferLeader], |_, d| {
        d.undo.push(Step::Promote { node: NodeId(8) });
    });
    caught("undo", &[MoveReplica], |_, d| {
        d.undo.retain(|s| !matches!(s, Step::TransferLeader { .. }))
    });
}

#[test]
fn merge_catches_what_must_stay_apart() {
    let world = || {
        let mut w = synthetic_input(3, 2, 3);
        w.policy.merge.enabled = true;
        for shard in w.view.shards.values_mut() {
            shard.arrivals.values_mut().for_each(|rate| rate.reads_per_s = 1.0);
        }
        w.forecast();
        let mut p = plan(&w.input());
        p.directives.retain(|d| d.kind == DirectiveKind::Merge);
        (w, p)
    };
    let (w, p) = world();
    assert_eq!(p.directives.len(), 1, "{p:#?}");
    assert!(stopped(&check(&p, &w.input())).is_empty(), "{:#?}", check(&p, &w.input()));
    let right = p.directives[0].shards().last().expect("two shards");
    type Corrupt = fn(&mut Synthetic, &mut Plan, ShardId);
    let cases: [(&str, Corrupt); 12] = [
        ("not in the view", |w, _, right| drop(w.view.shards.remove(&right))),
        ("do not adjoin", |w, _, right| view(w, right).entry.range.start.push(0)),
        ("another epoch", |w, _, right| view(w, right).entry.epoch.shape += 1),
        ("different nodes", |w, _, right| view(w, right).entry.replicas[0].node_id = NodeId(9)),
        ("not alive", |w, _, _| {
            let node = w.view.nodes.get_mut(&NodeId(2)).expect("n2");
            node.health = NodeHealth::Dead { since_unix_ms: 0 };
        }),
        ("allows no merges", |w, _, _| w.policy.merge.enabled = false),
        ("would be busy", |w, _, right| {
            view(w, right).arrivals.values_mut().for_each(|rate| rate.reads_per_s = 1e4);
        }),
        ("would be large", |w, _, right| view(w, right).size_bytes = 3 << 30),
        ("dwell time of merges", |w, _, right| view(w, right).changed_unix_ms = u64::MAX),
        ("directive works on the right", |w, _, right| _ = w.busy.insert(right)),
        ("directive for the right", |_, p, right| {
            let other = Directive { shard: right, ..p.directives[0].clone() };
            p.directives.push(other);
        }),
        ("system table", |w, p, _| view(w, p.directives[0].shard).entry.table_id = TableId(0)),
    ];
    for (what, corrupt) in cases {
        let (mut w, mut p) = world();
        corrupt(&mut w, &mut p, right);
        let said = fatal(&w, &p, p.directives[0].shard);
        assert!(
            said.iter().any(|m| m.starts_with("merge:") && m.contains(what)),
            "{what}: {said:?}"
        );
    }
}

fn view(w: &mut Synthetic, shard: ShardId) -> &mut crate::view::ShardView {
    w.view.shards.get_mut(&shard).expect("known")
}

/// Random vandalism must never make the linter panic, and a plan that it passes must be safe to play.
#[test]
fn vandalised_plans_never_panic() {
    let (w, good) = busy_world();
    let mut dice = Dice::new(1);
    for _ in 0..2_000 {
        let mut p = good.clone();
        let i = dice.below(p.directives.len() as u64) as usize;
        let d = &mut p.directives[i];
        let node = NodeId(dice.below(12));
        let step = match dice.below(6) {
            0 => Step::AddLearner { node },
            1 => Step::Promote { node },
            2 => Step::TransferLeader { node },
            3 => Step::RemoveReplica { node },
            4 => Step::Merge { right: ShardId(dice.below(61)), right_epoch: Epoch::default() },
            _ => Step::Split { at_key: "k".into() },
        };
        let at = dice.below(d.steps.len() as u64 + 1) as usize;
        d.steps.insert(at, step);
        let passes = !stopped(&check(&p, &w.input())).contains(&p.directives[i].shard);
        if passes {
            let (mut view, mut history) = (w.view.clone(), w.history.clone());
            crate::planner::simulate::apply_directive(
                &mut view,
                &mut history,
                &p.directives[i],
                w.now_unix_ms,
            )
            .expect("what passes can be done");
        }
    }
}
