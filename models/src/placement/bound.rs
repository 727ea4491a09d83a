//! How good any placement can be: a lower bound of the objective by Lagrangian relaxation (Held and Karp 1971; for
//! generalised assignment Fisher, Jaikumar, Van Wassenhove 1986).
//!
//! The nodes' limits and targets are taken out of the problem and paid for instead: a price per request and per MiB
//! and node. Each shard then takes its cheapest places by itself, by trying all of them, and what that costs together
//! is a bound for every choice of prices. A subgradient method with Polyak's step looks for good prices.

use super::desk::Desk;
use super::ground::{Ground, NO_LIMIT, Seat};
use super::problem::{Invalid, Problem};

/// Part of the former direction in each step.
const KEEP: f64 = 0.6;
/// Rounds without a better bound before the step is halved.
const QUIET_MAX: usize = 12;
/// Most that one shard pays for one replica.
const PAID_NS_MAX: i64 = 1 << 57;
/// Shards in the sample that prices are sought on, and rounds.
const SAMPLE_MAX: usize = 400;
const GUIDE_ROUNDS: usize = 120;

/// What a node takes for what is put on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodePrice {
    /// Nanoseconds per thousandth of a request.
    pub load: i64,
    /// Nanoseconds per MiB.
    pub mib: i64,
}

/// No placement that keeps the hard limits has an objective below this. `objective_ns_per_s` is that of a known
/// placement and guides the steps; `rounds` bounds the work: each prices all places of all shards.
pub fn lower_bound(
    problem: &Problem,
    objective_ns_per_s: i64,
    rounds: usize,
) -> Result<i64, Invalid> {
    let g = Ground::new(problem)?;
    let every: Vec<usize> = (0..g.shards.len()).collect();
    Ok(Dual::new(&g).ascend(&every, objective_ns_per_s, rounds).0)
}

/// The dual problem.
pub(crate) struct Dual<'a> {
    g: &'a Ground,
    desk: Desk<'a>,
    /// Prices while they are sought, not yet whole numbers.
    load: Vec<f64>,
    mib: Vec<f64>,
    room: Vec<Room>,
    /// Highest prices: what the largest shard pays stays far from an overflow.
    caps: (f64, f64),
    /// Whether each shard's choice is the best of all, as a bound needs, or only of those near to its last one.
    exact: bool,
    last: Vec<Seat>,
    former: Vec<(f64, f64)>,
}

/// What a node can take.
#[derive(Clone, Copy, Debug)]
struct Room {
    load_max: i64,
    load_target: i64,
    bytes_max: i64,
}

/// What the shards chose at some prices.
struct Chosen {
    bound: i64,
    load: Vec<i64>,
    bytes: Vec<i64>,
}

impl<'a> Dual<'a> {
    pub(crate) fn new(g: &'a Ground) -> Self {
        let free = vec![0.0; g.nodes.len()];
        let desk = Desk::priced(g, vec![NodePrice::default(); g.nodes.len()]);
        let room = g.nodes.iter().map(|n| Room {
            load_max: n.load_max,
            load_target: n.load_target,
            bytes_max: n.bytes_max,
        });
        let shards = 0..g.shards.len();
        let load = shards.clone().map(|s| g.load_total(s)).max().unwrap_or(0).max(1) as f64;
        let bytes = shards.map(|s| g.shards[s].bytes).max().unwrap_or(0).max(1 << 20) as f64;
        let most = PAID_NS_MAX as f64;
        Self {
            g,
            desk,
            caps: ((most / load).min(1e12), (most / bytes * f64::from(1 << 20)).min(1e12)),
            load: free.clone(),
            mib: free,
            room: room.collect(),
            exact: true,
            last: vec![Seat::NONE; g.shards.len()],
            former: vec![(0.0, 0.0); g.nodes.len()],
        }
    }

    /// The best bound found and its prices.
    pub(crate) fn ascend(
        &mut self,
        shards: &[usize],
        objective: i64,
        rounds: usize,
    ) -> (i64, Vec<NodePrice>) {
        let (mut best, mut step, mut quiet) = ((i64::MIN, Vec::new()), 1.0, 0);
        let mut kept = (self.load.clone(), self.mib.clone());
        for _ in 0..rounds.max(1) {
            let chosen = self.choose(shards);
            if chosen.bound > best.0 {
                best = (chosen.bound, self.desk.prices.clone().unwrap_or_default());
                kept = (self.load.clone(), self.mib.clone());
                quiet = 0;
            } else {
                quiet += 1;
                if quiet == QUIET_MAX {
                    (step, quiet) = (step / 2.0, 0);
                    (self.load, self.mib) = kept.clone();
                    continue;
                }
            }
            // Without a known placement: as if the bound could still rise by a twentieth.
            let missing = match objective {
                i64::MAX => chosen.bound.unsigned_abs() as f64 / 20.0,
                known => (known - chosen.bound).max(1) as f64,
            };
            if !self.walk(&chosen, step * missing) {
                break;
            }
        }
        best
    }

    /// Lets every shard choose at the present prices.
    fn choose(&mut self, shards: &[usize]) -> Chosen {
        let prices: Vec<NodePrice> = (self.load.iter().zip(&self.mib))
            .map(|(load, mib)| NodePrice { load: load.round() as i64, mib: mib.round() as i64 })
            .collect();
        self.desk.prices = Some(prices.clone());
        let mut bound: i128 = 0;
        let mut booked = Desk::new(self.g);
        for &s in shards {
            let last = self.last[s];
            let best = match (self.exact, last.count) {
                (true, _) => self.desk.all(s),
                (false, 0) => self.desk.grow(s),
                (false, _) => self.desk.neighbours(s, &last),
            };
            self.last[s] = best.seat;
            bound += i128::from(best.price.ns_per_s);
            booked.book(s, &best.seat, 1);
        }
        for (node, price) in self.room.iter().zip(&prices) {
            let (load, target) = (i128::from(node.load_max), i128::from(node.load_target));
            let (per_load, most) = (i128::from(price.load), i128::from(self.g.overload_ns));
            // What the node itself would choose to take at its price.
            bound -= match per_load <= most {
                true => per_load * target.min(load),
                false => per_load * load - most * (load - target).max(0),
            };
            bound -= (i128::from(price.mib) * i128::from(node.bytes_max) >> 20) + 1;
        }
        let bound = bound.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        Chosen { bound, load: booked.load, bytes: booked.bytes }
    }

    /// Prices rise where more was chosen than there is, and fall elsewhere; whether there was any reason to.
    fn walk(&mut self, chosen: &Chosen, missing: f64) -> bool {
        let g = self.g;
        let rooms = &self.room;
        let room = |n: usize| rooms[n].load_target.min(rooms[n].load_max);
        let excess = |used: i64, room: i64| (used - room) as f64;
        let all = 0..g.nodes.len();
        // Units of both prices are levelled by what the nodes have on the average.
        let mean = |v: &[i64]| v.iter().map(|x| *x as f64).sum::<f64>().max(1.0) / v.len() as f64;
        let (per_load, per_byte) = (mean(&chosen.load), mean(&chosen.bytes));
        let mut slopes = Vec::with_capacity(g.nodes.len());
        for n in all {
            let limit =
                if self.load[n] > g.overload_ns as f64 { rooms[n].load_max } else { room(n) };
            let mut load = excess(chosen.load[n], limit) / per_load;
            let mut bytes = excess(chosen.bytes[n], rooms[n].bytes_max) / per_byte;
            if self.load[n] <= 0.0 && load < 0.0 || limit >= NO_LIMIT {
                load = 0.0;
            }
            if self.mib[n] <= 0.0 && bytes < 0.0 || rooms[n].bytes_max >= NO_LIMIT {
                bytes = 0.0;
            }
            slopes.push((load, bytes));
        }
        // Deflected by the former direction (Camerini, Fratta, Maffioli 1975): less zigzag.
        for (slope, former) in slopes.iter_mut().zip(&mut self.former) {
            *former = (slope.0 + KEEP * former.0, slope.1 + KEEP * former.1);
            *slope = *former;
        }
        let square: f64 = slopes.iter().map(|(a, b)| a * a + b * b).sum();
        if square <= 0.0 {
            return false;
        }
        let length = missing / square;
        for (n, (load, bytes)) in slopes.into_iter().enumerate() {
            let limited = self.room[n].load_max < NO_LIMIT;
            let cap = if limited { self.caps.0 } else { self.caps.0.min(g.overload_ns as f64) };
            self.load[n] = (self.load[n] + length * load / per_load).clamp(0.0, cap);
            let per_mib = per_byte / f64::from(1 << 20);
            self.mib[n] = (self.mib[n] + length * bytes / per_mib).clamp(0.0, self.caps.1);
        }
        true
    }
}

/// Prices from a sample of the shards, whose nodes have the sample's share of room, and the evaluations they took.
pub(crate) fn guide(g: &Ground) -> (Vec<NodePrice>, u64) {
    let mut order: Vec<(i64, usize)> = (0..g.shards.len()).map(|s| (g.load_total(s), s)).collect();
    order.sort_unstable();
    let all = order.len();
    let count = SAMPLE_MAX.min(all);
    // One of each stretch of equal length, in order of load.
    let sample: Vec<usize> = (0..count).map(|i| order[(2 * i + 1) * all / (2 * count)].1).collect();
    let load = |shards: &[usize]| shards.iter().map(|s| g.load_total(*s) as f64).sum::<f64>();
    let bytes = |shards: &[usize]| {
        shards.iter().map(|s| g.shards[*s].bytes as f64 * g.rule(*s).replicas as f64).sum::<f64>()
    };
    let every: Vec<usize> = (0..all).collect();
    let share = |part: f64, all: f64| if all > 0.0 { part / all } else { 1.0 };
    let load = share(load(&sample), load(&every));
    let bytes = share(bytes(&sample), bytes(&every));
    let mut dual = Dual::new(g);
    dual.exact = false;
    for room in &mut dual.room {
        let shrunk = |x: i64, share: f64| if x >= NO_LIMIT { x } else { (x as f64 * share) as i64 };
        room.load_max = shrunk(room.load_max, load);
        room.load_target = shrunk(room.load_target, load);
        room.bytes_max = shrunk(room.bytes_max, bytes);
    }
    let (_, prices) = dual.ascend(&sample, i64::MAX, GUIDE_ROUNDS);
    (prices, dual.desk.spent)
}
