//! Repair: the replica set is brought back to what the table asks for. It needs no load data and never waits for it.

use super::{
    Planning,
    draft::Draft,
    gates,
    record::Stage,
    reject::Reject,
    score::Score,
    targets::{self, Search},
};
use isobar_api::{
    NodeId, ReplicaRole,
    directive::{DirectiveKind, Step},
    plan::Effect,
};

/// Priority of a repair without a spare voter; each spare voter takes some of it away.
const PRIORITY_MAX: u8 = 255;
const PRIORITY_PER_SPARE: u8 = 10;
const PRIORITY_TIDY: u8 = 200;

/// What a shard's replica set lacks.
#[derive(Clone)]
enum Need {
    /// A voter is lost.
    Lost(NodeId, String),
    /// A learner is lost.
    LostLearner(NodeId),
    /// Fewer voters than the floor.
    Missing,
    /// A learner of a broken-off directive is left over.
    Leftover(NodeId),
    /// More voters than the table asks for, left by a broken-off directive.
    Surplus(NodeId),
}

/// Finds what is wanting, most urgent first, and repairs within the budget.
pub(crate) fn run(p: &mut Planning<'_>) {
    let mut wishes: Vec<(Score, usize, Need)> = Vec::new();
    for s in 0..p.facts.shards.len() {
        if let Some(need) = need_of(p, s) {
            wishes.push((urgency(p, s, &need), s, need));
        }
    }
    wishes.sort_by_key(|w| (w.0, w.1));
    for (score, s, need) in wishes {
        match repair(p, s, &need, score) {
            Ok(draft) => drop(p.submit(draft)),
            Err(why) => reject(p, s, score, why),
        }
    }
}

fn reject(p: &mut Planning<'_>, s: usize, score: Score, why: Reject) {
    let id = p.facts.shards[s].id;
    p.record.rejected(Stage::Repair, id, DirectiveKind::Repair, Vec::new(), score, why);
}

fn urgency(p: &Planning<'_>, s: usize, need: &Need) -> Score {
    let facts = &p.facts;
    let voters = facts.shards[s].view.entry.voters().count();
    let spare = facts.voters_alive(s) as i64 - (voters / 2 + 1) as i64;
    let tidy = matches!(need, Need::Leftover(_) | Need::Surplus(_) | Need::LostLearner(_));
    // Tidying is never urgent, whatever the margin.
    Score { voters_spare: if tidy { 1_000 } else { spare }, ..Score::default() }
}

fn need_of(p: &mut Planning<'_>, s: usize) -> Option<Need> {
    let facts = &p.facts;
    let shard = &facts.shards[s];
    let mut waiting = None;
    let mut learner = None;
    for replica in &shard.view.entry.replicas {
        let node = replica.node_id;
        let fault = shard.view.faults.get(&replica.replica_id);
        let fact = facts.node(node).map(|i| &facts.nodes[i]);
        let lost = fault.map(|why| format!("its storage on {node} has failed ({why})"));
        let lost = lost.or_else(|| fact.filter(|n| n.lost).map(|_| format!("{node} is dead")));
        match (lost, replica.role) {
            (Some(why), ReplicaRole::Voter) => return Some(Need::Lost(node, why)),
            (Some(_), ReplicaRole::Learner) => learner = Some(Need::LostLearner(node)),
            (None, _) => {
                if let Some(crate::view::NodeHealth::Dead { since_unix_ms }) =
                    fact.map(|n| n.view.health)
                {
                    let dead_s = facts.input.age_ms(Some(since_unix_ms)).unwrap_or(0) / 1_000;
                    let left_s = facts.input.policy.repair.dead_after_s.saturating_sub(dead_s);
                    waiting = Some(Reject::NotDeadLongEnough { node, left_s });
                }
            }
        }
    }
    if shard.view.entry.voters().count() < facts.floor(s) {
        return Some(Need::Missing);
    }
    if let Some(why) = waiting {
        reject(p, s, Score::default(), why);
        return learner;
    }
    learner.or_else(|| leftover(p, s))
}

/// What a broken-off directive left behind, once the shard has been quiet for the dwell time.
fn leftover(p: &Planning<'_>, s: usize) -> Option<Need> {
    let (facts, shard) = (&p.facts, &p.facts.shards[s]);
    let quiet_ms = facts.input.age_ms(Some(shard.view.changed_unix_ms)).unwrap_or(0);
    let system = facts.table(s).is_none_or(|t| t.system);
    if system || quiet_ms < facts.input.policy.balance.dwell_s.saturating_mul(1_000) {
        return None;
    }
    if let Some(node) = facts.learners(s).next() {
        return Some(Need::Leftover(node));
    }
    let voters = || facts.voters(s);
    // Only while all are well: a surplus voter may be the one that keeps the majority.
    let well = voters().all(|v| facts.nodes[v].alive && facts.may_vote(s, facts.nodes[v].id));
    if !well || voters().count() <= facts.floor(s) {
        return None;
    }
    // The one whose going costs the least spread; leaders stay, draining nodes go first.
    let zones = |gone: usize| {
        let stay = || facts.voters(s).filter(move |v| *v != gone).map(|v| &facts.nodes[v]);
        let regions: std::collections::BTreeSet<_> = stay().map(|n| n.region).collect();
        let zones: std::collections::BTreeSet<_> =
            stay().map(|n| (n.region, &n.view.zone)).collect();
        (regions.len(), zones.len())
    };
    let may_go = facts.voters(s).filter(|v| shard.leader.is_some_and(|l| l != *v));
    let worst =
        may_go.max_by_key(|v| (facts.nodes[*v].draining, zones(*v), p.book.replicas[*v]))?;
    Some(Need::Surplus(facts.nodes[worst].id))
}

/// The repair that replaces the replica of a node that is lost, or why there is none now.
pub(crate) fn of_lost(p: &Planning<'_>, s: usize, node: NodeId) -> Result<Draft, Reject> {
    let entry = &p.facts.shards[s].view.entry;
    let learner = entry.replica_on(node).is_some_and(|r| r.role == ReplicaRole::Learner);
    let need =
        if learner { Need::LostLearner(node) } else { Need::Lost(node, format!("{node} is dead")) };
    repair(p, s, &need, urgency(p, s, &need))
}

/// The repair of one shard, or why there is none now.
fn repair(p: &Planning<'_>, s: usize, need: &Need, urgency: Score) -> Result<Draft, Reject> {
    let facts = &p.facts;
    let shard = &facts.shards[s];
    if let Some(why) = gates::open(p, s) {
        return Err(why);
    }
    if let Some(mass) = &facts.mass_failure {
        return Err(mass.clone());
    }
    let voters = shard.view.entry.voters().count();
    let alive = facts.voters_alive(s);
    if alive < voters / 2 + 1 {
        return Err(Reject::QuorumLost { alive, voters });
    }
    let kind = DirectiveKind::Repair;
    if let Some(max) = p.book.full(facts, kind) {
        return Err(Reject::Budget { kind, max });
    }
    let (steps, score, gained) = steps_for(p, s, need, urgency)?;
    let after = alive as i64 + gained;
    let predicted = Effect {
        metric: "voters_alive".into(),
        before: alive as f64,
        after: after as f64,
        after_lower: after as f64,
        after_upper: after as f64,
        realised: None,
    };
    let spare = u8::try_from(score.voters_spare.max(0)).unwrap_or(u8::MAX);
    let priority =
        PRIORITY_MAX.saturating_sub(spare.saturating_mul(PRIORITY_PER_SPARE)).max(PRIORITY_TIDY);
    Ok(Draft {
        s,
        stage: Stage::Repair,
        kind,
        reason: reason(need, &steps, alive, voters),
        steps,
        priority,
        score,
        model: "baseline".into(),
        predicted,
    })
}

/// Steps, their score, and how many live voters they add (or take away).
fn steps_for(
    p: &Planning<'_>,
    s: usize,
    need: &Need,
    urgency: Score,
) -> Result<(Vec<Step>, Score, i64), Reject> {
    let facts = &p.facts;
    let remove = |node: NodeId| {
        let frozen = facts.node_frozen(node);
        let leads = facts.live_leader(s).is_some_and(|l| facts.nodes[l].id == node);
        match (frozen, leads) {
            (true, _) => Err(Reject::NodeFrozen(node)),
            // A voter that still leads is not lost, whatever was reported.
            (_, true) => Err(Reject::HealthUnknown(node)),
            _ => Ok(Step::RemoveReplica { node }),
        }
    };
    let going = match need {
        Need::Missing => None,
        Need::Leftover(node) | Need::LostLearner(node) | Need::Surplus(node) => {
            let gained = if matches!(need, Need::Surplus(_)) { -1 } else { 0 };
            return Ok((vec![remove(*node)?], urgency, gained));
        }
        Need::Lost(node, _) => Some(*node),
    };
    let removal = going.map(remove).transpose()?;
    let voters = facts.shards[s].view.entry.voters().count();
    if let (Some(removal), true) = (&removal, voters > facts.floor(s)) {
        return Ok((vec![removal.clone()], urgency, 0));
    }
    let (mut steps, score) = addition(p, s, going, urgency)?;
    steps.extend(removal);
    Ok((steps, score, 1))
}

/// One more voter: a learner that is there already, or a new replica on the best node.
fn addition(
    p: &Planning<'_>,
    s: usize,
    going: Option<NodeId>,
    urgency: Score,
) -> Result<(Vec<Step>, Score), Reject> {
    let facts = &p.facts;
    let table = facts.table(s).ok_or(Reject::TableUnknown)?;
    let usable = |id: &NodeId| {
        let node = facts.node(*id).map(|i| &facts.nodes[i]);
        let fit =
            node.is_some_and(|n| n.alive && !n.draining && !n.frozen && table.allowed[n.region]);
        fit && facts.may_vote(s, *id)
    };
    if let Some(node) = facts.learners(s).find(usable) {
        return Ok((vec![Step::Promote { node }], urgency));
    }
    let max = table.rule.replicas_max;
    if facts.shards[s].view.entry.replicas.len() >= usize::from(max) {
        return Err(Reject::ReplicasMax { max });
    }
    let search = Search { leaving: going, region: None, fresh: false, mind_copies: true };
    let (i, found) = targets::best(p, s, search)?;
    let node = facts.nodes[i].id;
    let score = Score { voters_spare: urgency.voters_spare, ..found };
    Ok((vec![Step::AddLearner { node }, Step::Promote { node }], score))
}

fn reason(need: &Need, steps: &[Step], alive: usize, voters: usize) -> String {
    let todo: Vec<String> = steps.iter().map(Step::to_string).collect();
    let todo = todo.join(", then ");
    match need {
        Need::Lost(_, why) => {
            format!("a voter is lost: {why}; {alive} of {voters} voters are left; {todo}")
        }
        Need::LostLearner(node) => format!("the learner on {node} is lost; {todo}"),
        Need::Missing => format!("only {voters} voters, the table asks for more; {todo}"),
        Need::Leftover(node) => {
            format!("a learner on {node} was left over by an earlier directive; {todo}")
        }
        Need::Surplus(_) => format!("{voters} voters are more than the table asks for; {todo}"),
    }
}
