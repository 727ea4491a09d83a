//! Threshold accepting (Dueck and Scheuer 1990) over a few promising places per shard.
//!
//! The places are those that are cheapest at the dual prices: at good prices the optimum is nearly always among them,
//! and a step between two lists costs a few additions instead of a walk over the demand. Simulated annealing would need
//! a logarithm, whose last bit differs from machine to machine; a random threshold needs none.

use super::desk::Desk;
use super::dice::Dice;
use super::ground::{Ground, Loads, Price, Seat};
use super::problem::REPLICAS_MAX;
use super::search::Search;

/// Fewer sweeps over all shards than this find nothing.
const SWEEPS_MIN: u64 = 4;

/// Thresholds from the first to the last, which is a ten-thousandth of it: shards of all loads freeze in their turn.
const LEVELS: u64 = 60;
const FALL: f64 = 0.86;

/// Places of a shard with what they cost by themselves and put on nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub seat: Seat,
    pub ns_per_s: i64,
    pub loads: Loads,
}

/// Columns of all shards.
pub(crate) struct Columns {
    columns: Vec<Column>,
    begins: Vec<u32>,
}

impl Columns {
    /// The best `most` places of every shard at the prices, and the places it has.
    pub(crate) fn at(search: &Search<'_>, priced: &mut Desk<'_>, most: usize) -> Self {
        let g = search.desk.g;
        let bare = Desk::new(g);
        let (mut columns, mut begins) = (Vec::new(), vec![0]);
        for (s, seat) in search.seats.iter().enumerate() {
            let wide = search.few_enough(s);
            columns.push(bare.column(s, seat));
            for other in priced.ranked(s, seat, wide, most) {
                if !other.same(seat) {
                    columns.push(bare.column(s, &other));
                }
            }
            begins.push(columns.len() as u32);
        }
        Self { columns, begins }
    }

    fn of(&self, s: usize) -> &[Column] {
        &self.columns[self.begins[s] as usize..self.begins[s + 1] as usize]
    }
}

/// The state of a walk over columns.
struct Walk<'a> {
    g: &'a Ground,
    columns: &'a Columns,
    /// Per shard: its column.
    at: Vec<u32>,
    load: Vec<i64>,
    bytes: Vec<i64>,
}

/// Walks over the columns with falling thresholds until about so many steps are used up. What it finds is kept if it
/// is better than what there was. `heat` is the first threshold, in large steps.
pub(crate) fn anneal(
    search: &mut Search<'_>,
    columns: &Columns,
    dice: &mut Dice,
    steps: u64,
    heat: f64,
) {
    let g = search.desk.g;
    let shards: Vec<usize> = (0..g.shards.len()).filter(|s| columns.of(*s).len() > 1).collect();
    let sweeps = steps / shards.len().max(1) as u64;
    if shards.is_empty() || sweeps < SWEEPS_MIN {
        return;
    }
    let at = vec![0; g.shards.len()];
    let mut walk =
        Walk { g, columns, at, load: search.desk.load.clone(), bytes: search.desk.bytes.clone() };
    let mut threshold = heat * walk.large_step(&shards, dice) as f64;
    let (mut total, mut level) = (Price::default(), 0);
    for sweep in 0..sweeps {
        // The same factors on every machine: no power is taken.
        while level < sweep * LEVELS / sweeps {
            (threshold, level) = (threshold * FALL, level + 1);
        }
        total = total.plus(walk.sweep(&shards, dice, threshold));
        search.desk.spent += shards.len() as u64;
        if search.over() {
            break;
        }
    }
    if total < Price::default() {
        for s in shards {
            search.seats[s] = columns.of(s)[walk.at[s] as usize].seat;
        }
        (search.desk.load, search.desk.bytes) = (walk.load, walk.bytes);
    }
}

impl Walk<'_> {
    /// Offers every shard one of its columns. The order is that of memory: of many shards each would else be fetched anew.
    fn sweep(&mut self, shards: &[usize], dice: &mut Dice, threshold: f64) -> Price {
        let mut total = Price::default();
        for &s in shards {
            let to = dice.below(self.columns.of(s).len());
            if to == self.at[s] as usize {
                continue;
            }
            let change = self.change(s, to);
            let most = (threshold * dice.share()) as i64;
            if change < Price::default() || change.overflow == 0 && change.ns_per_s < most {
                self.go(s, to);
                total = total.plus(change);
            }
        }
        total
    }

    /// What a large step costs: nine in ten of those that cost something cost less.
    fn large_step(&mut self, shards: &[usize], dice: &mut Dice) -> i64 {
        let mut costs = Vec::new();
        for _ in 0..1000 {
            let s = shards[dice.below(shards.len())];
            let change = self.change(s, dice.below(self.columns.of(s).len()));
            if change.overflow == 0 && change.ns_per_s > 0 {
                costs.push(change.ns_per_s);
            }
        }
        costs.sort_unstable();
        costs.get(costs.len() * 9 / 10).copied().unwrap_or(1)
    }

    /// Nodes that a step changes, with what they get more of.
    fn nodes(&self, s: usize, to: usize) -> ([(u16, i64, i64); 2 * REPLICAS_MAX], usize) {
        let list = self.columns.of(s);
        let (from, to) = (&list[self.at[s] as usize], &list[to]);
        let bytes = self.g.shards[s].bytes;
        let mut nodes = [(0, 0, 0); 2 * REPLICAS_MAX];
        let mut count = 0;
        for (i, n) in from.seat.nodes().iter().enumerate() {
            nodes[count] = (*n, -from.loads[i], -bytes);
            count += 1;
        }
        for (i, n) in to.seat.nodes().iter().enumerate() {
            match nodes[..count].iter_mut().find(|x| x.0 == *n) {
                Some(x) => (x.1, x.2) = (x.1 + to.loads[i], x.2 + bytes),
                None => {
                    nodes[count] = (*n, to.loads[i], bytes);
                    count += 1;
                }
            }
        }
        (nodes, count)
    }

    fn change(&self, s: usize, to: usize) -> Price {
        let list = self.columns.of(s);
        let own = list[to].ns_per_s - list[self.at[s] as usize].ns_per_s;
        let mut price = Price { overflow: 0, ns_per_s: own };
        let (nodes, count) = self.nodes(s, to);
        for (n, load, bytes) in &nodes[..count] {
            let (l, b) = (self.load[usize::from(*n)], self.bytes[usize::from(*n)]);
            price =
                price.plus(self.g.strain(*n, l + load, b + bytes)).minus(self.g.strain(*n, l, b));
        }
        price
    }

    fn go(&mut self, s: usize, to: usize) {
        let (nodes, count) = self.nodes(s, to);
        for (n, load, bytes) in &nodes[..count] {
            self.load[usize::from(*n)] += load;
            self.bytes[usize::from(*n)] += bytes;
        }
        self.at[s] = to as u32;
    }
}
