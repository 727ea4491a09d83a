//! Drain: a node is emptied, shard by shard, because a person wants it. It needs no load data.

use super::{
    PlanInput, Planning,
    draft::Draft,
    gates,
    record::Stage,
    reject::Reject,
    repair,
    score::{self, Score},
    targets::{self, Search},
};
use isobar_api::{
    NodeId, ReplicaRole,
    directive::{DirectiveKind, Step},
    plan::{DrainBlocker, Effect},
};
use std::collections::BTreeMap;

const PRIORITY: u8 = 180;

/// Plans the next replicas to leave draining nodes.
pub(crate) fn run(p: &mut Planning<'_>) {
    if p.facts.input.drains.is_empty() {
        return;
    }
    for s in 0..p.facts.shards.len() {
        let Some(node) = draining_replica(p, s) else {
            continue;
        };
        let full = p.book.full(&p.facts, DirectiveKind::Drain);
        let kind = DirectiveKind::Drain;
        let draft = match full {
            Some(max) => gates::open(p, s).map_or(Err(Reject::Budget { kind, max }), Err),
            None => draft(p, s, node, true),
        };
        match draft {
            Ok(draft) => drop(p.submit(draft)),
            Err(why) => {
                let id = p.facts.shards[s].id;
                p.record.rejected(Stage::Drain, id, kind, Vec::new(), Score::default(), why);
            }
        }
    }
}

/// What keeps each draining node from being empty: every shard that still has a replica there, with the reason.
///
/// A shard that could move now is listed as waiting for its turn, so a list is empty only when the node is.
pub fn drain_blockers(input: &PlanInput<'_>) -> BTreeMap<NodeId, Vec<DrainBlocker>> {
    let mut blockers: BTreeMap<NodeId, Vec<DrainBlocker>> =
        input.drains.iter().map(|node| (*node, Vec::new())).collect();
    if blockers.is_empty() {
        return blockers;
    }
    let p = Planning::new(input);
    for s in 0..p.facts.shards.len() {
        for replica in &p.facts.shards[s].view.entry.replicas {
            if let Some(list) = blockers.get_mut(&replica.node_id) {
                list.push(blocker(&p, s, replica.node_id));
            }
        }
    }
    blockers
}

fn blocker(p: &Planning<'_>, s: usize, node: NodeId) -> DrainBlocker {
    let shard = p.facts.shards[s].id;
    let lost = p.facts.node(node).is_some_and(|i| p.facts.nodes[i].lost);
    let wish = if lost { repair::of_lost(p, s, node) } else { draft(p, s, node, false) };
    let refusal = wish.map_or_else(Some, |draft| p.no_turn(s, draft.kind, &draft.steps));
    let reason = refusal
        .map_or_else(|| "can move, comes with one of the next plans".into(), |why| why.to_string());
    let directive = p.facts.in_flight.get(&shard).map(|e| e.directive_id);
    DrainBlocker { shard, reason, directive }
}

/// The first node to be emptied that holds a replica of the shard. Lost nodes are a matter of repair.
fn draining_replica(p: &Planning<'_>, s: usize) -> Option<NodeId> {
    let replicas = p.facts.shards[s].view.entry.replicas.iter().map(|r| r.node_id);
    let leaves = |id: &NodeId| {
        p.facts.node(*id).is_some_and(|i| p.facts.nodes[i].draining && !p.facts.nodes[i].lost)
    };
    replicas.into_iter().find(leaves)
}

fn draft(p: &Planning<'_>, s: usize, node: NodeId, mind_copies: bool) -> Result<Draft, Reject> {
    if let Some(why) = gates::open(p, s) {
        return Err(why);
    }
    let facts = &p.facts;
    if facts.node_frozen(node) {
        return Err(Reject::NodeFrozen(node));
    }
    if !facts.node(node).is_some_and(|i| facts.nodes[i].alive) {
        return Err(Reject::HealthUnknown(node));
    }
    let (alive, voters) = (facts.voters_alive(s), facts.shards[s].view.entry.voters().count());
    if alive < voters / 2 + 1 {
        return Err(Reject::QuorumLost { alive, voters });
    }
    let (steps, score) = steps(p, s, node, mind_copies)?;
    let predicted = Effect { metric: "replicas_on_node".into(), before: 1.0, ..Effect::default() };
    let todo: Vec<String> = steps.iter().map(Step::to_string).collect();
    Ok(Draft {
        s,
        stage: Stage::Drain,
        kind: DirectiveKind::Drain,
        reason: format!("{node} is being drained; {}", todo.join(", then ")),
        steps,
        priority: PRIORITY,
        score,
        model: "baseline".into(),
        predicted,
    })
}

fn steps(
    p: &Planning<'_>,
    s: usize,
    node: NodeId,
    mind_copies: bool,
) -> Result<(Vec<Step>, Score), Reject> {
    let facts = &p.facts;
    let entry = &facts.shards[s].view.entry;
    let remove = Step::RemoveReplica { node };
    if entry.replica_on(node).is_some_and(|r| r.role == ReplicaRole::Learner) {
        return Ok((vec![remove], Score::default()));
    }
    let leader = facts.live_leader(s).ok_or(Reject::NoLeader)?;
    let leads = facts.nodes[leader].id == node;
    let heir = leads.then(|| heir(p, s, node)).flatten();
    let mut steps: Vec<Step> = heir.map(|node| Step::TransferLeader { node }).into_iter().collect();
    let (voters, alive) = (entry.voters().count(), facts.voters_alive(s));
    let majority_stays = alive.saturating_sub(1) * 2 > voters - 1;
    if voters > facts.floor(s) && majority_stays && (heir.is_some() || !leads) {
        steps.push(remove);
        return Ok((steps, Score::default()));
    }
    let max = facts.table(s).map_or(0, |t| t.rule.replicas_max);
    if entry.replicas.len() >= usize::from(max) {
        return Err(Reject::ReplicasMax { max });
    }
    let search = Search { leaving: Some(node), region: None, fresh: false, mind_copies };
    let (i, score) = targets::best(p, s, search)?;
    let target = facts.nodes[i].id;
    steps.extend([Step::AddLearner { node: target }, Step::Promote { node: target }]);
    if leads && heir.is_none() {
        steps.push(Step::TransferLeader { node: target });
    }
    steps.push(remove);
    Ok((steps, score))
}

/// The voter that takes leadership over: the best for the readers, then the least loaded.
fn heir(p: &Planning<'_>, s: usize, leaving: NodeId) -> Option<NodeId> {
    let facts = &p.facts;
    let (readers, _) = facts.readers(s);
    let fit = |v: &usize| {
        let n = &facts.nodes[*v];
        let fit = n.id != leaving && n.alive && !n.draining && !n.frozen && facts.may_vote(s, n.id);
        fit && p.allowed(s, n.id)
    };
    let rank = |v: &usize| {
        let wait = facts.wait_ms(&readers, facts.nodes[*v].region).map_or(i64::MAX, score::milli);
        (wait, score::milli(p.book.led_per_s[*v]), facts.nodes[*v].id)
    };
    facts.voters(s).filter(fit).min_by_key(rank).map(|v| facts.nodes[v].id)
}
