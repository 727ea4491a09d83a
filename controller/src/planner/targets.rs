//! Where a new replica goes: hard goals filter the nodes, the score picks one.

use super::{
    Planning,
    reject::{Reject, Tally},
    score::{self, Score},
};
use isobar_api::NodeId;
use std::collections::BTreeSet;

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// The replica that will go, whose place in the spread of regions and zones is free.
    pub leaving: Option<NodeId>,
    /// Only in this region.
    pub region: Option<usize>,
    /// Only nodes whose report is young; repair does not ask for this.
    pub fresh: bool,
    /// Look also at copies under way; blockers of a drain are listed without.
    pub mind_copies: bool,
}

/// The best node for a new replica of the shard, or why there is none.
pub(crate) fn best(p: &Planning<'_>, s: usize, search: Search) -> Result<(usize, Score), Reject> {
    let facts = &p.facts;
    let mut tally = Tally::default();
    let mut found: Option<(Score, usize)> = None;
    let stay: Vec<usize> =
        facts.voters(s).filter(|v| Some(facts.nodes[*v].id) != search.leaving).collect();
    let (readers, _) = facts.readers(s);
    let mut look = |i: usize| {
        if p.eligible(s, i, search, &mut tally) {
            let score = score_of(p, s, i, &stay, &readers);
            if found.is_none_or(|f| (score, i) < f) {
                found = Some((score, i));
            }
        }
    };
    match search.region {
        Some(r) => facts.nodes_by_region[r].iter().copied().for_each(&mut look),
        None => (0..facts.nodes.len()).for_each(&mut look),
    }
    found.map(|(score, i)| (i, score)).ok_or(Reject::NoTarget(tally))
}

impl Planning<'_> {
    /// Whether the node passes every hard goal for a new replica of the shard; if not, the first reason is counted.
    pub(crate) fn eligible(&self, s: usize, i: usize, search: Search, tally: &mut Tally) -> bool {
        let (facts, node) = (&self.facts, &self.facts.nodes[i]);
        let entry = &facts.shards[s].view.entry;
        let counter = if entry.replica_on(node.id).is_some() {
            &mut tally.holds_one
        } else if !facts.table(s).is_some_and(|t| t.allowed[node.region]) {
            &mut tally.outside
        } else if !node.alive || (search.fresh && !node.fresh) {
            &mut tally.not_alive
        } else if node.draining {
            &mut tally.draining
        } else if node.frozen {
            &mut tally.frozen
        } else if !self.book.has_room(facts, i, facts.shards[s].view.size_bytes) {
            &mut tally.no_room
        } else if search.mind_copies && self.book.copies_full(facts, i) {
            &mut tally.copying
        } else {
            return true;
        };
        *counter += 1;
        false
    }
}

/// The soft goals, in order: spread over regions, then zones, then readers, load, replicas held.
fn score_of(
    p: &Planning<'_>,
    s: usize,
    i: usize,
    stay: &[usize],
    readers: &[(usize, [f64; 3])],
) -> Score {
    let facts = &p.facts;
    let node = &facts.nodes[i];
    let all = || stay.iter().copied().chain([i]);
    let regions: BTreeSet<usize> = all().map(|v| facts.nodes[v].region).collect();
    let zones: BTreeSet<(usize, &str)> =
        all().map(|v| (facts.nodes[v].region, facts.nodes[v].view.zone.as_str())).collect();
    let span = p.regions_wanted(s, stay.len() + 1);
    let reads: f64 = readers.iter().map(|(_, w)| w[1]).sum();
    // Without readers every place is as good; with some, a place at an unknown distance is the last choice.
    let wait = match facts.wait_ms(readers, node.region) {
        Some(ms) => score::milli(ms * reads),
        None if reads > 0.0 => i64::MAX,
        None => 0,
    };
    Score {
        regions_missing: span.saturating_sub(regions.len()) as i64,
        zones_shared: (stay.len() + 1 - zones.len()) as i64,
        read_wait_us_per_s: wait,
        node_load_milli: score::milli(p.book.led_per_s[i]),
        copy_bytes: i64::try_from(facts.shards[s].view.size_bytes).unwrap_or(i64::MAX),
        node_replicas: i64::from(p.book.replicas[i]),
        tie: score::tie(facts.input.seed, facts.shards[s].id.0, node.id.0),
        ..Score::default()
    }
}

impl Planning<'_> {
    /// Regions that so many voters can span at most: there must be a live node in them, and the table must allow them.
    pub(crate) fn regions_wanted(&self, s: usize, voters: usize) -> usize {
        let Some(table) = self.facts.shards[s].table else {
            return 0;
        };
        self.regions_open[table].min(voters)
    }
}
