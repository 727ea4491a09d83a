//! Before a merge: the right neighbour's replicas come to lie on the left one's nodes, one ordinary move after the other.
//!
//! Each move is a change, so the next one waits for the dwell time of merges again. What is brought together must not be
//! drawn apart by the stages before: the region that leads the right shard must be one where the left one lies.

use super::{
    Planning,
    draft::Draft,
    gates, merge,
    record::Stage,
    reject::{Reject, Tally},
    score::Score,
    targets::Search,
};
use isobar_api::{
    NodeId,
    directive::{DirectiveKind, Step},
    plan::Effect,
};
use std::collections::BTreeSet;

/// Brings one replica of the right shard to a node where the left one lies.
pub(super) fn draft(
    p: &Planning<'_>,
    left: usize,
    right: usize,
    score: Score,
) -> Result<Draft, Reject> {
    let (facts, kind) = (&p.facts, DirectiveKind::MoveReplica);
    let shard = &facts.shards[right];
    let of_right = |why| Reject::Neighbour(shard.id, Box::new(why));
    if !facts.input.policy.balance.move_replicas {
        return Err(of_right(Reject::MovesOff));
    }
    if let Some(why) = gates::rested(p, right) {
        return Err(of_right(why));
    }
    let max = facts.table(right).map_or(0, |t| t.rule.replicas_max);
    if shard.view.entry.replicas.len() >= usize::from(max) {
        return Err(of_right(Reject::ReplicasMax { max }));
    }
    let leader = shard.leader.ok_or(Reject::NotAligned)?;
    let goal: Vec<usize> = facts.voters(left).collect();
    if !goal.iter().any(|i| facts.nodes[*i].region == facts.nodes[leader].region) {
        return Err(Reject::NotAligned);
    }
    let (from, to) = pair(p, right, &goal).map_err(of_right)?;
    let [gone, node] = [from, to].map(|i| facts.nodes[i].id);
    let mut steps = vec![Step::AddLearner { node }, Step::Promote { node }];
    if from == leader {
        let heir = heir(p, right, leader, &goal, to);
        steps.push(Step::TransferLeader { node: facts.nodes[heir].id });
    }
    steps.push(Step::RemoveReplica { node: gone });
    let reason = format!(
        "its left neighbour {} is cold as well and lies on {node}, not on {gone}; they can be merged once they lie on the \
         same nodes",
        facts.shards[left].id
    );
    Ok(Draft {
        s: right,
        stage: Stage::Merge,
        kind,
        steps,
        priority: merge::PRIORITY,
        score,
        model: p.model_of(right),
        reason,
        predicted: Effect { metric: "replicas_on_node".into(), before: 1.0, ..Effect::default() },
    })
}

/// The voter that goes and the node that gets one: in the same region if there are such, and never into fewer regions
/// than now.
fn pair(p: &Planning<'_>, right: usize, goal: &[usize]) -> Result<(usize, usize), Reject> {
    let facts = &p.facts;
    let voters: Vec<usize> = facts.voters(right).collect();
    let span = |nodes: &mut dyn Iterator<Item = usize>| {
        nodes.map(|i| facts.nodes[i].region).collect::<BTreeSet<_>>().len()
    };
    let before = span(&mut voters.iter().copied());
    let mut tally = Tally::default();
    let search = Search { leaving: None, region: None, fresh: true, mind_copies: true };
    let mut found = None;
    for to in goal.iter().copied().filter(|i| !voters.contains(i)) {
        if !p.eligible(right, to, search, &mut tally) {
            continue;
        }
        for from in voters.iter().copied().filter(|i| !goal.contains(i)) {
            let mut after = voters.iter().copied().filter(|i| *i != from).chain([to]);
            if span(&mut after) >= before {
                let leads = facts.shards[right].leader == Some(from);
                let elsewhere = facts.nodes[from].region != facts.nodes[to].region;
                let rank = (elsewhere, leads, facts.nodes[from].id, facts.nodes[to].id);
                if found.is_none_or(|(known, _): ((bool, bool, NodeId, NodeId), _)| rank < known) {
                    found = Some((rank, (from, to)));
                }
            }
        }
    }
    found.map(|(_, pair)| pair).ok_or(Reject::NoTarget(tally))
}

/// Who leads instead of a replica that goes: in its region, so that no reader is farther from the leader than before.
fn heir(p: &Planning<'_>, right: usize, leader: usize, goal: &[usize], to: usize) -> usize {
    let facts = &p.facts;
    let same = |i: &usize| facts.nodes[*i].region == facts.nodes[leader].region;
    let stays = |i: &usize| goal.contains(i) && facts.nodes[*i].is_usable();
    facts.voters(right).filter(stays).find(same).unwrap_or(to)
}
