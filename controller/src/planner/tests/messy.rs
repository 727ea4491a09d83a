//! Clusters in every kind of disorder, from a seed.

use super::world::region;
use crate::planner::synthetic::{Dice, Synthetic, synthetic_input};
use crate::view::{Forecasts, InFlight, NodeHealth};
use isobar_api::{
    DirectiveId, NodeId, Replica, ReplicaId, ReplicaRole, ShardId, TableId,
    directive::DirectiveKind, plan::Freeze, report::HotKey,
};

/// A cluster that has seen better days.
pub(super) fn messy(nodes: u64, shards: u64, seed: u64) -> Synthetic {
    let mut w = synthetic_input(nodes, shards, seed);
    let mut dice = Dice::new(seed ^ 0xD15_0DE4);
    let now = w.now_unix_ms;
    w.policy.repair.dead_share_max = dice.share();
    w.policy.balance.move_replicas = dice.below(4) > 0;
    w.policy.budget.active_max = 1 + dice.below(12) as u32;
    w.policy.budget.copies_per_node_max = 1 + dice.below(3) as u32;
    let rule = &mut w.view.tables.get_mut(&TableId(1)).expect("one table").spec.rule;
    rule.replicas = [1, 2, 3, 3, 3, 5][dice.below(6) as usize];
    rule.replicas_max = rule.replicas + dice.below(3) as u8;
    if dice.below(3) == 0 {
        rule.regions = (1..=1 + dice.below(3)).map(|i| region(&format!("region-{i}"))).collect();
    }
    for node in w.view.nodes.values_mut() {
        match dice.below(12) {
            0 => node.health = NodeHealth::Dead { since_unix_ms: now - dice.below(600_000) },
            1 => node.health = NodeHealth::Unknown,
            2 => node.load.disk_free_bytes = dice.below(node.load.disk_total_bytes / 8),
            3 => node.load = Default::default(),
            4 => node.reported_unix_ms = None,
            5 => w.drains.extend([node.node_id]),
            _ => {}
        }
    }
    let ids: Vec<ShardId> = w.view.shards.keys().copied().collect();
    for id in ids {
        disturb(&mut w, id, nodes, &mut dice);
    }
    for _ in 0..dice.below(3) {
        let scope = match dice.below(6) {
            0 => format!("node:{}", 1 + dice.below(nodes)),
            1 => format!("shard:{}", 1 + dice.below(shards)),
            2 => "region:region-1".into(),
            3 if dice.below(4) == 0 => "cluster".into(),
            4 if dice.below(4) == 0 => "table:orders".into(),
            _ => "node:n1".into(),
        };
        let expires_at_unix_ms = now - 1_000 + dice.below(3_000);
        w.freezes.push(Freeze { scope, reason: "r".into(), owner: "o".into(), expires_at_unix_ms });
    }
    w
}

fn scale(forecasts: &mut Forecasts, id: ShardId, change: fn([f64; 3]) -> [f64; 3]) {
    for f in forecasts.get_mut(&id).into_iter().flat_map(|f| f.values_mut()) {
        f.reads_per_s = change(f.reads_per_s);
    }
}

fn disturb(w: &mut Synthetic, id: ShardId, nodes: u64, dice: &mut Dice) {
    let now = w.now_unix_ms;
    let shard = w.view.shards.get_mut(&id).expect("known");
    let next = |shard: &crate::view::ShardView| ReplicaId(shard.entry.replicas.len() as u64 + 1);
    for _ in 0..3 {
        match dice.below(24) {
            0 => shard.reported_unix_ms = None,
            1 => shard.reported_unix_ms = Some(now - 20_000),
            2 => shard.entry.leader = None,
            3 => shard.faults.extend([(ReplicaId(1 + dice.below(3)), "fault".into())]),
            4 => shard.size_bytes = dice.below(12 << 30),
            5 => {
                let key = shard.access_octiles.get(3).cloned().unwrap_or_default();
                shard.hot_keys = vec![HotKey { key, share: dice.share() }];
            }
            6 => w.busy.extend([id]),
            7 => drop(
                w.history
                    .insert(id, vec![now - dice.below(4_000_000), now - dice.below(4_000_000)]),
            ),
            8 => shard.windows = dice.below(10) as u32,
            9 => drop(w.forecasts.remove(&id)),
            10 => drop(shard.entry.replicas.pop()),
            11 | 12 => {
                let role = [ReplicaRole::Learner, ReplicaRole::Voter][dice.below(2) as usize];
                let node_id = NodeId(1 + dice.below(nodes + 1));
                if shard.entry.replica_on(node_id).is_none() {
                    shard.entry.replicas.push(Replica { replica_id: next(shard), node_id, role });
                }
            }
            13 => shard.changed_unix_ms = now - dice.below(600_000),
            14 => shard.access_octiles.clear(),
            15 => scale(&mut w.forecasts, id, |reads| reads.map(|x| x * 20.0)),
            16 => w.ledger.push(InFlight {
                directive_id: DirectiveId(id.0),
                shard: id,
                kind: DirectiveKind::Repair,
                load_delta: [(NodeId(1), f64::NAN), (NodeId(2), 1e3)].into(),
                copies: vec![NodeId(1 + dice.below(nodes))],
                applied_unix_ms: (dice.below(2) == 0).then(|| now - dice.below(2_000)),
            }),
            17 => scale(&mut w.forecasts, id, |_| [f64::NAN, f64::INFINITY, -1.0]),
            18 => shard.entry.table_id = TableId(dice.below(3)),
            _ => {}
        }
    }
    if shard.entry.leader.is_some_and(|l| shard.entry.replica_on(l).is_none()) {
        shard.entry.leader = None;
    }
}
