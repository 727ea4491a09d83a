//! Where replicas and leaders should be: the objective, and a solver for it.
//!
//! [`solve`] is pure: the same problem, budget and seed give the same [`Placement`], byte for byte, on every machine,
//! for all costs are whole numbers. Effort is counted, not timed. It gives a placement that keeps every hard limit, or
//! says which cannot be kept ([`Unsolved`]); a present layout that is legal is only left for a better one.
//! [`evaluate`] says what a placement costs, reckoned without the solver's books. [`lower_bound`] says how good any
//! placement can be, so that the gap to the optimum is known at every size.
//!
//! What is done, in order: prices of the nodes by Lagrangian relaxation on a sample (`bound`); insertion by regret at
//! these prices (`construct`); descent over moves and changes of leader (`search`); threshold accepting over the places
//! of each shard that are cheapest at the prices (`anneal`); large neighbourhoods of shards that may change places.

mod anneal;
mod bound;
mod construct;
mod cost;
mod desk;
mod dice;
mod ground;
mod infeasible;
mod offers;
mod problem;
mod repair;
#[cfg(test)]
mod restraint_tests;
mod search;
pub mod synthetic;
#[cfg(test)]
mod tests;

pub use bound::lower_bound;
pub use cost::{Cost, NodeUse, evaluate, node_uses};
pub use infeasible::{Unsatisfied, Unsolved};
pub use problem::{
    CELLS_MAX, Demand, Invalid, NODES_MAX, Node, NodeState, Placement, Problem, REPLICAS_MAX, Rule,
    Seats, Shard, Spread, Weights,
};

use anneal::Columns;
use bound::NodePrice;
use desk::Desk;
use dice::Dice;
use ground::{Ground, Price, Seat};
use search::Search;

/// Columns of all shards together; each shard has at least [`COLUMNS_MIN`] and at most [`COLUMNS_MAX`].
const COLUMNS_ALL: usize = 800_000;
const COLUMNS_MIN: usize = 8;
const COLUMNS_MAX: usize = 24;
/// All places are tried for each shard only if there are no more shards than this.
const WIDE_SHARDS_MAX: usize = 2_000;
/// Threshold of each round of threshold accepting, in large steps. Each begins at the best so far and is kept if it
/// ends below it, so that the hot rounds are restarts: where a few shards have much of the load, luck decides.
const HEATS: &[f64] = &[3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 0.1];
/// With fewer sweeps than this for all rounds together, there is only the last, mild one.
const HEATED_SWEEPS_MIN: u64 = 700;
/// A present layout that descent improves by more than this share was far from good: it is also solved afresh.
const FAR_SHARE: f64 = 0.02;

/// How much may be spent. Effort is counted, not timed, so that the same budget gives the same plan everywhere.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Places of one shard that are priced, over all. A first placement is made however few these are.
    pub evaluations_max: u64,
    /// Asked now and then: `true` ends the search with the best that was found. With it the result may depend on time.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

impl Budget<'_> {
    /// Enough to come near the optimum: 4 million evaluations and 150 for each shard.
    pub fn for_shards(shards: usize) -> Self {
        Self { evaluations_max: 4_000_000 + 150 * shards as u64, stop: None }
    }
}

/// The best placement that the budget finds, or what cannot be satisfied.
pub fn solve(problem: &Problem, budget: &Budget<'_>, seed: u64) -> Result<Placement, Unsolved> {
    let g = Ground::new(problem)?;
    infeasible::prove(&g)?;
    let mut dice = Dice::new(seed);
    let mut search = Search::new(&g, budget);
    let (prices, spent) = bound::guide(&g);
    search.desk.spent = spent;
    let open = construct::keep(&mut search);
    let anew = open.len() == g.shards.len();
    insert(&mut search, &mut dice, &prices, open);
    // What is left for a better placement only: the present layout, with places for what had none.
    let start = (!anew).then(|| (search.seats.clone(), search.total()));
    if !g.shards.is_empty() {
        descend(&mut search, &mut dice, &prices, start.as_ref().map(|s| s.1));
        search.repair(&mut dice);
        polish(&mut search, &mut dice, &prices);
        search.settle();
    }
    let total = search.total();
    let seats = match start {
        Some((seats, price)) if price.overflow == 0 && !worth_it(problem, price, total) => seats,
        _ if total.overflow > 0 => return Err(infeasible::overflowing(&g, &search.desk)),
        _ => search.seats,
    };
    Ok(Placement { seats: seats.iter().map(Seat::seats).collect() })
}

/// Whether the gain is out of the dead band.
fn worth_it(problem: &Problem, before: Price, after: Price) -> bool {
    let gain = before.ns_per_s - after.ns_per_s;
    let band = problem.weights.gain_share_min * before.ns_per_s as f64;
    after.overflow == 0 && gain > 0 && gain as f64 >= band
}

/// Inserts shards, guided by the prices.
fn insert(search: &mut Search<'_>, dice: &mut Dice, prices: &[NodePrice], open: Vec<usize>) {
    search.desk.prices = Some(prices.to_vec());
    construct::insert(search, dice, open);
    search.desk.prices = None;
}

/// Descent; at the prices first where nothing was there before. A present layout that turns out to be far from good is
/// also solved as if all were new.
fn descend(search: &mut Search<'_>, dice: &mut Dice, prices: &[NodePrice], present: Option<Price>) {
    if let Some(before) = present {
        search.descend(dice, usize::MAX);
        let near = search.total();
        let gain = (before.ns_per_s - near.ns_per_s) as f64;
        if before.overflow == 0 && gain <= FAR_SHARE * before.ns_per_s as f64 {
            return;
        }
        let kept = search.clear();
        insert(search, dice, prices, (0..kept.len()).collect());
        descend(search, dice, prices, None);
        if search.total() >= near {
            search.clear();
            kept.into_iter().enumerate().for_each(|(s, seat)| search.put(s, seat));
        }
        return;
    }
    search.desk.prices = Some(prices.to_vec());
    search.descend(dice, 1);
    search.desk.prices = None;
    search.descend(dice, usize::MAX);
}

/// Threshold accepting and large neighbourhoods, as far as the budget goes.
fn polish(search: &mut Search<'_>, dice: &mut Dice, prices: &[NodePrice]) {
    let g = search.desk.g;
    let most = (COLUMNS_ALL / g.shards.len()).clamp(COLUMNS_MIN, COLUMNS_MAX);
    let mut priced = Desk::priced(g, prices.to_vec());
    let many = search.left() / g.shards.len() as u64 >= HEATED_SWEEPS_MIN;
    let heats = if many { HEATS } else { &HEATS[HEATS.len() - 1..] };
    for (round, heat) in heats.iter().enumerate() {
        if search.over() {
            return;
        }
        let columns = Columns::at(search, &mut priced, most);
        search.desk.spent += std::mem::take(&mut priced.spent);
        // A part is left for the large neighbourhoods.
        let steps = search.left() / (heats.len() - round) as u64 / 20 * 19;
        anneal::anneal(search, &columns, dice, steps, *heat);
        search.descend(dice, usize::MAX);
    }
    search.neighbourhoods(dice, 20 * g.shards.len() + 100);
}
