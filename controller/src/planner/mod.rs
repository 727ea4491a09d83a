//! The planner: view, forecasts and policy in, plan out. Pure: no clock, no chance but the seed, no I/O.
//!
//! Stages run in order of priority and each shard gets at most one directive per plan, so the first stage that
//! wants a shard has it: repair, drain, split, readers (leader transfers and replica moves), load, merge. There is one
//! [`book::Book`] of loads and budgets and one [`score::Score`]; no stage has its own idea of either.

mod align;
mod balance;
mod book;
mod draft;
mod drain;
mod facts;
mod gain;
mod gates;
mod input;
mod merge;
mod readers;
mod record;
mod reject;
mod repair;
mod score;
#[cfg(test)]
pub(crate) mod simulate;
mod split;
pub mod synthetic;
mod targets;
#[cfg(test)]
mod tests;

pub use drain::drain_blockers;
pub use input::PlanInput;

use book::Book;
use facts::Facts;
use isobar_api::{
    PlanId,
    directive::{Directive, DirectiveKind},
    plan::{InputAge, Plan},
};
use record::Record;
use std::collections::BTreeMap;

/// Most node reports that a plan lists among its inputs; the oldest are listed.
const REPORT_AGES_MAX: usize = 64;

/// A plan under construction.
struct Planning<'a> {
    facts: Facts<'a>,
    book: Book,
    /// Per shard: what this plan already does with it.
    taken: Vec<Option<DirectiveKind>>,
    /// Per table: regions that it allows and that have a live node.
    regions_open: Vec<usize>,
    /// Per region: there is a node that can take more.
    regions_usable: Vec<bool>,
    /// Per region: leaders enter or leave it by this plan or wait to, so its load is about to change.
    unsettled: Vec<bool>,
    record: Record,
    directives: Vec<Directive>,
}

impl<'a> Planning<'a> {
    fn new(input: &'a PlanInput<'a>) -> Self {
        let facts = Facts::new(input);
        let live = |r: &usize| facts.nodes_by_region[*r].iter().any(|i| facts.nodes[*i].alive);
        let open = |t: &facts::TableFact<'_>| {
            (0..facts.regions.len()).filter(|r| t.allowed[*r]).filter(live).count()
        };
        let regions_open = facts.tables.iter().map(open).collect();
        let book = Book::open(&facts);
        let taken = vec![None; facts.shards.len()];
        let usable = |nodes: &Vec<usize>| nodes.iter().any(|i| facts.nodes[*i].is_usable());
        let regions_usable = facts.nodes_by_region.iter().map(usable).collect();
        let unsettled = vec![false; facts.regions.len()];
        Self {
            facts,
            book,
            taken,
            regions_open,
            regions_usable,
            unsettled,
            record: Record::default(),
            directives: Vec::new(),
        }
    }
}

/// Makes a plan. Ids are zero: the journal gives them. Notes are empty: the checks write them.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let mut planning = Planning::new(input);
    repair::run(&mut planning);
    drain::run(&mut planning);
    split::run(&mut planning);
    readers::run(&mut planning);
    balance::run(&mut planning);
    merge::run(&mut planning);
    let (candidates, candidates_dropped) = planning.record.finish();
    Plan {
        id: PlanId(0),
        parent: input.parent,
        controller_term: input.controller_term,
        at_unix_ms: input.now_unix_ms,
        policy_version: input.policy_version,
        seed: input.seed,
        input_hash: input.hash(),
        inputs: input_ages(input),
        candidates,
        candidates_dropped,
        directives: planning.directives,
        notes: Vec::new(),
    }
}

/// What the plan was made from, and how old each part was.
fn input_ages(input: &PlanInput<'_>) -> Vec<InputAge> {
    let age = |source: String, age_ms: Option<u64>| InputAge { source, age_ms };
    let mut ages = vec![
        age("view".into(), input.age_ms(Some(input.view.at_unix_ms))),
        age(format!("policy version {}", input.policy_version), Some(0)),
        age("round-trip times".into(), (!input.rtt.is_empty()).then_some(0)),
    ];
    let mut models: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for forecast in input.forecasts.values().flat_map(BTreeMap::values) {
        let entry = models.entry(&forecast.model).or_default();
        *entry = (entry.0.max(forecast.age_ms), entry.1 + 1);
    }
    if models.is_empty() {
        ages.push(age("forecasts".into(), None));
    }
    for (model, (oldest_ms, series)) in models {
        ages.push(age(format!("forecasts by {model}, oldest of {series}"), Some(oldest_ms)));
    }
    let mut reports: Vec<InputAge> = input
        .view
        .nodes
        .values()
        .map(|n| age(format!("report of {}", n.node_id), input.age_ms(n.reported_unix_ms)))
        .collect();
    // Missing ones first, then the oldest; a stable sort keeps node order among equals.
    reports.sort_by_key(|r| std::cmp::Reverse(r.age_ms.unwrap_or(u64::MAX)));
    let left_out = reports.len().saturating_sub(REPORT_AGES_MAX);
    reports.truncate(REPORT_AGES_MAX);
    let youngest_ms = reports.last().and_then(|r| r.age_ms);
    ages.extend(reports);
    if left_out > 0 {
        ages.push(age(format!("reports of {left_out} more nodes, at most"), youngest_ms));
    }
    ages
}
