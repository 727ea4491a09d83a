//! What directives do to a view, without a cluster: a small exact model of shards and their steps.
//!
//! The tests ask it whether plans converge and whether every step on the way is safe. It is strict: a step that a
//! node would refuse is an error here.

use crate::view::{ClusterView, MoveHistory, NodeHealth, ShardView};
use isobar_api::{
    Replica, ReplicaId, ReplicaRole, ShardEntry, ShardId,
    directive::{Directive, Step},
    plan::Plan,
    table::key_from_text,
};

/// Does one step to a shard. A split gives the new right-hand shard, under the given id. A merge changes two shards and
/// is done by [`apply_directive`].
pub fn apply_step(
    entry: &mut ShardEntry,
    step: &Step,
    new_id: ShardId,
) -> Result<Option<ShardEntry>, String> {
    let refuse = |why: &str| Err(format!("{step}: {why}"));
    let role = step.target().and_then(|n| entry.replica_on(n)).map(|r| r.role);
    match step {
        Step::AddLearner { node } => {
            if role.is_some() {
                return refuse("there is a replica already");
            }
            let ids = entry.replicas.iter().map(|r| r.replica_id.0);
            let replica = Replica {
                replica_id: ReplicaId(ids.max().unwrap_or(0) + 1),
                node_id: *node,
                role: ReplicaRole::Learner,
            };
            entry.replicas.push(replica);
        }
        Step::Promote { node } => {
            if role != Some(ReplicaRole::Learner) {
                return refuse("it is not a learner");
            }
            for replica in entry.replicas.iter_mut().filter(|r| r.node_id == *node) {
                replica.role = ReplicaRole::Voter;
            }
        }
        Step::TransferLeader { node } => {
            if role != Some(ReplicaRole::Voter) {
                return refuse("it is not a voter");
            }
            entry.leader = Some(*node);
            entry.term += 1;
            return Ok(None);
        }
        Step::RemoveReplica { node } => {
            if role.is_none() {
                return refuse("there is no replica");
            }
            if entry.leader == Some(*node) {
                return refuse("it leads");
            }
            entry.replicas.retain(|r| r.node_id != *node);
        }
        Step::Split { at_key } => {
            let key = key_from_text(at_key).map_err(|e| e.message)?;
            let Some((left, right)) = entry.range.split_at(&key) else {
                return refuse("the key is not strictly inside");
            };
            entry.range = left;
            entry.epoch.shape += 1;
            return Ok(Some(ShardEntry { shard_id: new_id, range: right, ..entry.clone() }));
        }
        Step::Merge { .. } => return refuse("it concerns two shards"),
    }
    entry.epoch.membership += 1;
    Ok(None)
}

/// The leader as it is when a directive starts: a dead or failed one has been replaced by an election.
pub fn elect(view: &ClusterView, shard: &ShardView) -> ShardEntry {
    let mut entry = shard.entry.clone();
    let works = |replica: &Replica| {
        let node = view.nodes.get(&replica.node_id);
        let dead = node.is_some_and(|n| matches!(n.health, NodeHealth::Dead { .. }));
        !dead
            && !shard.faults.contains_key(&replica.replica_id)
            && replica.role == ReplicaRole::Voter
    };
    let leads = entry.leader.and_then(|l| entry.replica_on(l)).is_some_and(works);
    if !leads {
        entry.leader = entry.replicas.iter().find(|r| works(r)).map(|r| r.node_id);
    }
    entry
}

/// Carries out one directive on the view and writes the history. A split divides requests, bytes and keys evenly.
pub fn apply_directive(
    view: &mut ClusterView,
    history: &mut MoveHistory,
    directive: &Directive,
    now_unix_ms: u64,
) -> Result<(), String> {
    let new_id = ShardId(view.shards.keys().next_back().map_or(0, |id| id.0) + 1);
    if let [Step::Merge { right, .. }] = directive.steps[..] {
        return merge(view, directive.shard, right, now_unix_ms);
    }
    let shard = view.shards.get(&directive.shard).ok_or("no such shard")?;
    let mut entry = elect(view, shard);
    let mut right = None;
    for step in &directive.steps {
        right = apply_step(&mut entry, step, new_id)?.or(right);
    }
    let mut after = ShardView { entry, changed_unix_ms: now_unix_ms, ..shard.clone() };
    let held = |r: &ReplicaId| after.entry.replicas.iter().any(|x| x.replica_id == *r);
    after.faults =
        shard.faults.iter().filter(|(r, _)| held(r)).map(|(r, w)| (*r, w.clone())).collect();
    if let Some(right) = right {
        for rate in after.arrivals.values_mut() {
            rate.reads_per_s /= 2.0;
            rate.writes_per_s /= 2.0;
        }
        after.size_bytes /= 2;
        let mut other = ShardView { entry: right, ..after.clone() };
        after
            .access_octiles
            .retain(|k| key_from_text(k).is_ok_and(|k| after.entry.range.contains(&k)));
        other
            .access_octiles
            .retain(|k| key_from_text(k).is_ok_and(|k| other.entry.range.contains(&k)));
        view.shards.insert(new_id, other);
    }
    view.shards.insert(directive.shard, after);
    history.entry(directive.shard).or_default().push(now_unix_ms);
    Ok(())
}

fn merge(
    view: &mut ClusterView,
    left: ShardId,
    right: ShardId,
    now_unix_ms: u64,
) -> Result<(), String> {
    let gone = view.shards.remove(&right).ok_or("no such right shard")?;
    let shard = view.shards.get_mut(&left).ok_or("no such left shard")?;
    let nodes = |e: &ShardEntry| {
        let mut nodes: Vec<_> = e.replicas.iter().map(|r| r.node_id).collect();
        nodes.sort_unstable();
        nodes
    };
    if nodes(&shard.entry) != nodes(&gone.entry) {
        return Err("the shards lie on different nodes".into());
    }
    shard.entry.range =
        shard.entry.range.join(&gone.entry.range).ok_or("the shards do not adjoin")?;
    shard.entry.epoch.shape = shard.entry.epoch.shape.max(gone.entry.epoch.shape) + 1;
    for (region, rate) in gone.arrivals {
        let sum = shard.arrivals.entry(region).or_default();
        sum.reads_per_s += rate.reads_per_s;
        sum.writes_per_s += rate.writes_per_s;
    }
    shard.size_bytes += gone.size_bytes;
    shard.access_octiles.extend(gone.access_octiles);
    shard.changed_unix_ms = now_unix_ms;
    Ok(())
}

/// Carries out all directives of a plan, in priority order.
pub fn apply_plan(
    view: &mut ClusterView,
    history: &mut MoveHistory,
    plan: &Plan,
    now_unix_ms: u64,
) -> Result<(), String> {
    let mut directives: Vec<&Directive> = plan.directives.iter().collect();
    directives.sort_by_key(|d| std::cmp::Reverse(d.priority));
    directives.into_iter().try_for_each(|d| apply_directive(view, history, d, now_unix_ms))
}
