//! Load: inside a region, where the readers do not care which node leads, leadership goes from the most loaded
//! node to less loaded ones.
//!
//! A move carries at most a share of the gap, so the gap shrinks and never turns round; below the dead band nothing
//! moves. A region whose leaders are coming or going by the readers' wish is left alone until that has settled.

use super::{
    Planning,
    draft::Draft,
    gates,
    record::Stage,
    reject::{Reject, Tally},
    score::{self, Score},
    targets::Search,
};
use isobar_api::{
    NodeId,
    directive::{DirectiveKind, Step},
    plan::Effect,
};
use std::collections::BTreeSet;

const PRIORITY_TRANSFER: u8 = 60;
const PRIORITY_MOVE: u8 = 50;
/// Shards of one node that are looked at before it is given up for this plan.
const TRIES_MAX: usize = 64;

/// A hand-over that narrows a gap.
struct Handover {
    s: usize,
    to: usize,
    moving: bool,
}

/// Narrows the gaps inside each region.
pub(crate) fn run(p: &mut Planning<'_>) {
    if p.facts.mass_failure.is_some() {
        return;
    }
    let mut led: Vec<Vec<usize>> = vec![Vec::new(); p.facts.nodes.len()];
    for (s, shard) in p.facts.shards.iter().enumerate() {
        if let Some(leader) = shard.leader {
            led[leader].push(s);
        }
    }
    for shards in &mut led {
        shards.sort_by_key(|s| (-score::milli(p.facts.shards[*s].load[1]), *s));
    }
    for region in 0..p.facts.regions.len() {
        if !p.unsettled[region] {
            level(p, region, &led);
        }
    }
}

fn level(p: &mut Planning<'_>, region: usize, led: &[Vec<usize>]) {
    let usable = |i: &usize| p.facts.nodes[*i].is_usable();
    let nodes: Vec<usize> =
        p.facts.nodes_by_region[region].iter().copied().filter(usable).collect();
    let mut given_up: BTreeSet<usize> = BTreeSet::new();
    let mean = nodes.iter().map(|i| p.book.led_per_s[*i]).sum::<f64>() / nodes.len().max(1) as f64;
    let band = p.facts.input.policy.balance.dead_band_share * mean;
    let load = |p: &Planning<'_>, i: usize| score::milli(p.book.led_per_s[i]);
    while p.book.full(&p.facts, DirectiveKind::TransferLeader).is_none() {
        let from = nodes
            .iter()
            .copied()
            .filter(|i| !given_up.contains(i))
            .max_by_key(|i| (load(p, *i), *i));
        let least = nodes.iter().copied().min_by_key(|i| (load(p, *i), *i));
        let (Some(from), Some(least)) = (from, least) else {
            return;
        };
        let gap = p.book.led_per_s[from] - p.book.led_per_s[least];
        if gap <= band || gap <= 0.0 {
            return;
        }
        let found = handover(p, &led[from], from, least, &nodes, band);
        let done = found.is_some_and(|h| {
            let draft = draft(p, &h, from);
            p.submit(draft)
        });
        if !done {
            given_up.insert(from);
        }
    }
}

/// The heaviest shard that fits, by transfer if possible, else by a move to the least loaded node.
fn handover(
    p: &mut Planning<'_>,
    led: &[usize],
    from: usize,
    least: usize,
    nodes: &[usize],
    band: f64,
) -> Option<Handover> {
    let share_max = p.facts.input.policy.balance.gap_share_max;
    let gap = p.book.led_per_s[from] - p.book.led_per_s[least];
    let start = led.partition_point(|s| p.facts.shards[*s].load[1] > share_max * gap);
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for s in led[start..].iter().copied().take(TRIES_MAX) {
        match gate(p, s) {
            None => candidates.push(s),
            Some(Reject::Taken(_)) => {}
            Some(why) => refused.push((s, why)),
        }
    }
    let fits = |s: usize, to: usize| {
        let gap = p.book.led_per_s[from] - p.book.led_per_s[to];
        let [_, mean, upper] = p.facts.shards[s].load;
        // Even at the upper bound of its load the shard must not make the other node the heavier one.
        gap > band && mean <= share_max * gap && upper <= 0.5 * gap
    };
    for &s in &candidates {
        let heirs = p.facts.voters(s).filter(|v| {
            *v != from && nodes.contains(v) && p.allowed(s, p.facts.nodes[*v].id) && fits(s, *v)
        });
        if let Some(to) = heirs.min_by_key(|v| (score::milli(p.book.led_per_s[*v]), *v)) {
            return Some(Handover { s, to, moving: false });
        }
    }
    let movable =
        candidates.iter().copied().find(|s| fits(*s, least) && may_move(p, *s, from, least));
    if let Some(s) = movable {
        return Some(Handover { s, to: least, moving: true });
    }
    if let Some(lightest) = led.last() {
        let requests_per_s = p.facts.shards[*lightest].load[1];
        refused.push((*lightest, Reject::Gap { requests_per_s, gap_per_s: gap }));
    }
    tell(p, refused);
    None
}

/// Records why a node could hand nothing over.
fn tell(p: &mut Planning<'_>, refused: Vec<(usize, Reject)>) {
    for (s, why) in refused {
        let id = p.facts.shards[s].id;
        p.record.rejected(
            Stage::Load,
            id,
            DirectiveKind::TransferLeader,
            Vec::new(),
            Score::default(),
            why,
        );
    }
}

fn gate(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let closed = gates::open(p, s).or_else(|| gates::sight(p, s)).or_else(|| gates::foreseen(p, s));
    let few = || {
        let requests_per_s = p.facts.shards[s].load[1];
        let few =
            requests_per_s < p.facts.input.policy.balance.reads_per_s_min || requests_per_s <= 0.0;
        few.then_some(Reject::FewReads { reads_per_s: requests_per_s })
    };
    closed.or_else(few).or_else(|| gates::rested(p, s))
}

/// Whether the replica that leads may go from one node to another of the region.
fn may_move(p: &Planning<'_>, s: usize, from: usize, to: usize) -> bool {
    let facts = &p.facts;
    let Some(table) = facts.table(s) else {
        return false;
    };
    let room = facts.shards[s].view.entry.replicas.len() < usize::from(table.rule.replicas_max);
    let zone = |i: usize| &facts.nodes[i].view.zone;
    let region = facts.nodes[to].region;
    let mut others = facts.voters(s).filter(|v| *v != from && facts.nodes[*v].region == region);
    let keeps_zones = others.all(|v| zone(v) != zone(to));
    let search = Search { leaving: None, region: Some(region), fresh: true, mind_copies: true };
    let eligible = p.eligible(s, to, search, &mut Tally::default());
    facts.input.policy.balance.move_replicas
        && room
        && keeps_zones
        && eligible
        && !p.book.copies_full(facts, from)
        && facts.shards[s].view.size_bytes <= facts.input.policy.budget.copy_bytes_max
}

fn draft(p: &Planning<'_>, handover: &Handover, from: usize) -> Draft {
    let facts = &p.facts;
    let (s, to) = (handover.s, handover.to);
    let shard = &facts.shards[s];
    let id = |i: usize| -> NodeId { facts.nodes[i].id };
    let (node, old) = (id(to), id(from));
    let (steps, kind, priority) = if handover.moving {
        let steps = vec![
            Step::AddLearner { node },
            Step::Promote { node },
            Step::TransferLeader { node },
            Step::RemoveReplica { node: old },
        ];
        (steps, DirectiveKind::MoveReplica, PRIORITY_MOVE)
    } else {
        (vec![Step::TransferLeader { node }], DirectiveKind::TransferLeader, PRIORITY_TRANSFER)
    };
    let (high, low) = (p.book.led_per_s[from], p.book.led_per_s[to]);
    let [lower, mean, upper] = shard.load;
    let copied = if handover.moving { shard.view.size_bytes } else { 0 };
    Draft {
        s,
        stage: Stage::Load,
        kind,
        steps,
        priority,
        score: Score {
            node_load_milli: score::milli(low + mean),
            copy_bytes: i64::try_from(copied).unwrap_or(i64::MAX),
            node_replicas: i64::from(p.book.replicas[to]),
            ..Score::default()
        },
        model: p.model_of(s),
        reason: format!(
            "{old} leads {high:.1} requests/s, {node} in the same region {low:.1}; handing {mean:.1} over narrows the \
             gap from {:.1} to {:.1}",
            high - low,
            high - low - 2.0 * mean
        ),
        predicted: Effect {
            metric: "node_requests_per_s_max".into(),
            before: high,
            after: high - mean,
            after_lower: high - upper,
            after_upper: high - lower,
            realised: None,
        },
    }
}
