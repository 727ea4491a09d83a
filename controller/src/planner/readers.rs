//! Towards the readers: leadership goes to the region from which the mean read round trip is shortest.
//!
//! A transfer to a voter there is the cheap rung of the ladder. Where no voter is in the best region, a replica
//! move is the dear one, and it must beat the best transfer by the full margin, not only the present state.

use super::{
    Planning,
    draft::Draft,
    gain::{self, Range},
    gates,
    record::Stage,
    reject::Reject,
    score::{self, Score},
    targets::{self, Search},
};
use isobar_api::{
    NodeId,
    directive::{DirectiveKind, Step},
    plan::Effect,
};
use std::collections::BTreeSet;

const PRIORITY_TRANSFER: u8 = 100;
const PRIORITY_MOVE: u8 = 80;
/// Share of the reads whose origin must be known before anything is decided by it.
const KNOWN_SHARE_MIN: f64 = 0.5;

/// A region that leadership should go to.
#[derive(Clone, Copy)]
struct Goal {
    region: usize,
    /// Gain per read against the rung below, milliseconds.
    gain: Range,
}

/// A shard whose readers would be better off.
struct Wish {
    s: usize,
    score: Score,
    transfer: Option<Goal>,
    relocate: Option<Goal>,
    readers: Vec<(usize, [f64; 3])>,
    from: usize,
    wait_before_ms: f64,
}

/// Weighs every shard, then serves those that gain most, within the budget.
pub(crate) fn run(p: &mut Planning<'_>) {
    let mut wishes = Vec::new();
    for s in 0..p.facts.shards.len() {
        match weigh(p, s) {
            Ok(wish) => wishes.extend(wish),
            Err((stage, score, why)) => {
                let id = p.facts.shards[s].id;
                p.record.rejected(stage, id, DirectiveKind::TransferLeader, Vec::new(), score, why);
            }
        }
    }
    wishes.sort_by_key(|w| (w.score, w.s));
    for wish in wishes {
        p.unsettled[wish.from] = true;
        for goal in wish.transfer.iter().chain(&wish.relocate) {
            p.unsettled[goal.region] = true;
        }
        serve(p, &wish);
    }
}

fn weigh(p: &Planning<'_>, s: usize) -> Result<Option<Wish>, (Stage, Score, Reject)> {
    let facts = &p.facts;
    let unweighed = |why| (Stage::Unweighed, Score::default(), why);
    let closed = gates::open(p, s).or_else(|| gates::sight(p, s)).or_else(|| gates::foreseen(p, s));
    if let Some(why) = closed {
        return Err(unweighed(why));
    }
    let (readers, known_share) = facts.readers(s);
    let reads: f64 = readers.iter().map(|(_, w)| w[1]).sum();
    if reads < facts.input.policy.balance.reads_per_s_min || reads <= 0.0 {
        return Err(unweighed(Reject::FewReads { reads_per_s: reads }));
    }
    if known_share < KNOWN_SHARE_MIN {
        return Err(unweighed(Reject::ReadersUnknown { share: known_share }));
    }
    let Some(leader) = facts.shards[s].leader else {
        return Err(unweighed(Reject::NoLeader));
    };
    let from = facts.nodes[leader].region;
    let Some(wait_before_ms) = facts.wait_ms(&readers, from) else {
        return Err(unweighed(Reject::RttUnknown));
    };
    let (transfer, small) = best_transfer(p, s, &readers, from);
    // The dear rung must beat the cheap one by the full margin.
    let base = transfer.map_or(from, |goal| goal.region);
    let (mut relocate, mut small_move) = best_relocation(p, s, &readers, base);
    if relocate.is_some() && !facts.input.policy.balance.move_replicas {
        (relocate, small_move) = (None, Some(Reject::MovesOff));
    }
    let best_gain = transfer.map_or(0.0, |g| g.gain.lower) + relocate.map_or(0.0, |g| g.gain.lower);
    let score = Score { read_wait_us_per_s: score::milli(-best_gain * reads), ..Score::default() };
    if transfer.is_none() && relocate.is_none() {
        // Nothing better exists at all: the shard is where it should be, and there is nothing to tell.
        return small.or(small_move).map_or(Ok(None), |why| Err((Stage::Readers, score, why)));
    }
    let blocked = gates::rested(p, s)
        .or_else(|| facts.nodes[leader].frozen.then(|| Reject::NodeFrozen(facts.nodes[leader].id)));
    match blocked {
        Some(why) => Err((Stage::Readers, score, why)),
        None => Ok(Some(Wish { s, score, transfer, relocate, readers, from, wait_before_ms })),
    }
}

/// Voters in the region that may lead, least loaded first.
fn heirs(p: &Planning<'_>, s: usize, region: usize) -> Vec<usize> {
    let facts = &p.facts;
    let fit = |v: &usize| {
        let n = &facts.nodes[*v];
        n.region == region && n.is_usable()
    };
    if !facts.table(s).is_some_and(|t| t.allowed[region]) {
        return Vec::new();
    }
    let mut heirs: Vec<usize> = facts.voters(s).filter(fit).collect();
    let tie = |v: usize| score::tie(facts.input.seed, facts.shards[s].id.0, facts.nodes[v].id.0);
    heirs.sort_by_key(|v| (score::milli(p.book.led_per_s[*v]), tie(*v)));
    heirs
}

/// Where leadership would best go, and why not if nowhere: of the regions with a voter that could lead.
fn best_transfer(
    p: &Planning<'_>,
    s: usize,
    readers: &[(usize, [f64; 3])],
    from: usize,
) -> (Option<Goal>, Option<Reject>) {
    let facts = &p.facts;
    let open =
        |r: usize| facts.voters(s).map(|v| &facts.nodes[v]).any(|n| n.region == r && n.is_usable());
    best_goal(p, s, readers, from, open)
}

/// The same for a replica move: of the regions without a voter that could get one.
fn best_relocation(
    p: &Planning<'_>,
    s: usize,
    readers: &[(usize, [f64; 3])],
    from: usize,
) -> (Option<Goal>, Option<Reject>) {
    let facts = &p.facts;
    let open =
        |r: usize| p.regions_usable[r] && !facts.voters(s).any(|v| facts.nodes[v].region == r);
    best_goal(p, s, readers, from, open)
}

/// The region with the largest gain that is certain: one a little farther from the readers as expected may be the
/// better choice. Without any, why the one with the shortest expected round trip is none.
fn best_goal(
    p: &Planning<'_>,
    s: usize,
    readers: &[(usize, [f64; 3])],
    from: usize,
    open: impl Fn(usize) -> bool,
) -> (Option<Goal>, Option<Reject>) {
    let facts = &p.facts;
    let (Some(table), Some(before_ms)) = (facts.table(s), facts.wait_ms(readers, from)) else {
        return (None, None);
    };
    let tie = |r: usize| score::tie(facts.input.seed, facts.shards[s].id.0, r as u64);
    let (mut best, mut nearest) = (None, None);
    for r in (0..facts.regions.len()).filter(|r| *r != from && table.allowed[*r]) {
        // Most shards are where they should be: that is seen without any further work.
        let wait_ms = facts.wait_ms(readers, r).filter(|wait_ms| *wait_ms < before_ms);
        let Some(wait_ms) = wait_ms.filter(|_| open(r)) else { continue };
        match worth(p, readers, from, r, before_ms) {
            Some(Ok(goal)) => {
                let rank = (-score::milli(goal.gain.lower), score::milli(wait_ms), tie(r), r);
                if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                    best = Some((rank, goal));
                }
            }
            Some(Err(why)) => {
                let rank = (score::milli(wait_ms), tie(r), r);
                if nearest.as_ref().is_none_or(|(known, _)| rank < *known) {
                    nearest = Some((rank, why));
                }
            }
            None => {}
        }
    }
    match best {
        Some((_, goal)) => (Some(goal), None),
        None => (None, nearest.map(|(_, why)| why)),
    }
}

/// Whether going from one region to another is worth it at the lower bound of the gain, or why not. `None`: a round
/// trip is unknown.
fn worth(
    p: &Planning<'_>,
    readers: &[(usize, [f64; 3])],
    from: usize,
    to: usize,
    before_ms: f64,
) -> Option<Result<Goal, Reject>> {
    let (facts, policy) = (&p.facts, &p.facts.input.policy.balance);
    let saved = |(r, w): &(usize, [f64; 3])| Some((*w, facts.rtt(*r, from)? - facts.rtt(*r, to)?));
    let items: Vec<([f64; 3], f64)> = readers.iter().map(saved).collect::<Option<_>>()?;
    let gain = gain::range(&items)?;
    if gain.lower <= policy.gain_ms_min.max(0.0) {
        let need_ms = policy.gain_ms_min;
        return Some(Err(Reject::GainSmall { lower_ms: gain.lower, need_ms }));
    }
    let share = gain.lower / before_ms;
    if share <= policy.gain_share_min {
        return Some(Err(Reject::GainShareSmall { share, need: policy.gain_share_min }));
    }
    Some(Ok(Goal { region: to, gain }))
}

/// Tries the move, then the transfer.
fn serve(p: &mut Planning<'_>, wish: &Wish) {
    if let Some(goal) = wish.relocate {
        match relocation(p, wish, goal) {
            Ok(draft) => {
                if p.submit(draft) {
                    return;
                }
            }
            Err(why) => {
                let id = p.facts.shards[wish.s].id;
                p.record.rejected(
                    Stage::Readers,
                    id,
                    DirectiveKind::MoveReplica,
                    Vec::new(),
                    wish.score,
                    why,
                );
            }
        }
    }
    let kind = DirectiveKind::TransferLeader;
    let Some(goal) = wish.transfer else {
        return;
    };
    if let Some(max) = p.book.full(&p.facts, kind) {
        let id = p.facts.shards[wish.s].id;
        p.record.rejected(
            Stage::Readers,
            id,
            kind,
            Vec::new(),
            wish.score,
            Reject::Budget { kind, max },
        );
        return;
    }
    if let Some(to) = heirs(p, wish.s, goal.region).first().copied() {
        let node = p.facts.nodes[to].id;
        let draft = finish(p, wish, goal, to, kind, vec![Step::TransferLeader { node }]);
        p.submit(draft);
    }
}

fn relocation(p: &Planning<'_>, wish: &Wish, goal: Goal) -> Result<Draft, Reject> {
    let facts = &p.facts;
    let kind = DirectiveKind::MoveReplica;
    if let Some(max) = p.book.full(facts, kind) {
        return Err(Reject::Budget { kind, max });
    }
    let max = facts.table(wish.s).map_or(0, |t| t.rule.replicas_max);
    if facts.shards[wish.s].view.entry.replicas.len() >= usize::from(max) {
        return Err(Reject::ReplicasMax { max });
    }
    let search =
        Search { leaving: None, region: Some(goal.region), fresh: true, mind_copies: true };
    let (to, _) = targets::best(p, wish.s, search)?;
    let gone = worst_for_readers(p, wish, to).ok_or(Reject::RttUnknown)?;
    let node = facts.nodes[to].id;
    let steps = vec![
        Step::AddLearner { node },
        Step::Promote { node },
        Step::TransferLeader { node },
        Step::RemoveReplica { node: gone },
    ];
    Ok(finish(p, wish, goal, to, kind, steps))
}

/// The voter that goes: it must leave as many regions and zones spanned as any other choice would; among those,
/// the farthest from the readers, then the most loaded.
fn worst_for_readers(p: &Planning<'_>, wish: &Wish, to: usize) -> Option<NodeId> {
    let facts = &p.facts;
    let voters: Vec<usize> = facts.voters(wish.s).collect();
    let wanted = p.regions_wanted(wish.s, voters.len());
    let rank = |gone: usize| {
        let stay = || voters.iter().copied().filter(|v| *v != gone).chain([to]);
        let regions: BTreeSet<usize> = stay().map(|v| facts.nodes[v].region).collect();
        let zones: BTreeSet<(usize, &str)> =
            stay().map(|v| (facts.nodes[v].region, facts.nodes[v].view.zone.as_str())).collect();
        let wait =
            facts.wait_ms(&wish.readers, facts.nodes[gone].region).map_or(i64::MAX, score::milli);
        let load = score::milli(p.book.led_per_s[gone]);
        (wanted.saturating_sub(regions.len()), voters.len() - zones.len(), -wait, -load, gone)
    };
    let may_go = voters.iter().copied().filter(|v| !facts.nodes[*v].frozen);
    may_go.min_by_key(|v| rank(*v)).map(|v| facts.nodes[v].id)
}

fn finish(
    p: &Planning<'_>,
    wish: &Wish,
    goal: Goal,
    to: usize,
    kind: DirectiveKind,
    steps: Vec<Step>,
) -> Draft {
    let (facts, s) = (&p.facts, wish.s);
    let trips = facts.trips(&wish.readers, goal.region).unwrap_or_default();
    let after = gain::range(&trips).unwrap_or(Range { lower: 0.0, mean: 0.0, upper: 0.0 });
    let moving = kind == DirectiveKind::MoveReplica;
    let reason = reason(p, wish, goal, to, moving, after.mean);
    Draft {
        s,
        stage: Stage::Readers,
        kind,
        steps,
        priority: if moving { PRIORITY_MOVE } else { PRIORITY_TRANSFER },
        score: Score {
            node_load_milli: score::milli(p.book.led_per_s[to] + facts.shards[s].load[1]),
            copy_bytes: if moving {
                i64::try_from(facts.shards[s].view.size_bytes).unwrap_or(i64::MAX)
            } else {
                0
            },
            node_replicas: i64::from(p.book.replicas[to]),
            ..wish.score
        },
        model: p.model_of(s),
        reason,
        predicted: Effect {
            metric: "read_rtt_ms_mean".into(),
            before: wish.wait_before_ms,
            after: after.mean,
            after_lower: after.lower,
            after_upper: after.upper,
            realised: None,
        },
    }
}

fn reason(
    p: &Planning<'_>,
    wish: &Wish,
    goal: Goal,
    to: usize,
    moving: bool,
    after_ms: f64,
) -> String {
    let facts = &p.facts;
    let reads: f64 = wish.readers.iter().map(|(_, w)| w[1]).sum();
    let most = wish.readers.iter().max_by(|a, b| a.1[1].total_cmp(&b.1[1]));
    let (most, share) =
        most.map_or(("nowhere", 0.0), |(r, w)| (facts.regions[*r].as_str(), w[1] / reads));
    let leader = facts.shards[wish.s].leader.map_or(NodeId(0), |l| facts.nodes[l].id);
    format!(
        "{:.0} % of {reads:.1} reads/s come from {most}; leading from {} ({}) instead of {leader} ({}) lowers the mean \
         read round trip from {:.1} to {:.1} ms; at least {:.1} ms are gained over {}",
        share * 100.0,
        facts.nodes[to].id,
        facts.regions[goal.region],
        facts.regions[wish.from],
        wish.wait_before_ms,
        after_ms,
        goal.gain.lower,
        if moving { "what a leader transfer can do" } else { "now" },
    )
}
