//! Descent and large neighbourhoods, on books kept by differences.

use super::desk::Desk;
use super::dice::Dice;
use super::ground::{Ground, Price, Seat};
use super::offers::Best;
use super::{Budget, WIDE_SHARDS_MAX};

/// Sets of nodes up to which all places of a shard are tried.
const SETS_MAX: u64 = 1_500;
/// Shards between two looks at the budget.
const STRIDE: usize = 64;

/// A placement under search.
pub(crate) struct Search<'a> {
    pub desk: Desk<'a>,
    pub seats: Vec<Seat>,
    budget: &'a Budget<'a>,
    /// Per rule: all places are few enough to try.
    few: Vec<bool>,
    stopped: bool,
}

impl<'a> Search<'a> {
    pub(crate) fn new(g: &'a Ground, budget: &'a Budget<'a>) -> Self {
        let wide = g.shards.len() <= WIDE_SHARDS_MAX;
        let few =
            |r: &super::ground::GroundRule| wide && sets(r.nodes.len(), r.replicas) <= SETS_MAX;
        let few = g.rules.iter().map(few).collect();
        let seats = vec![Seat::NONE; g.shards.len()];
        Self { desk: Desk::new(g), seats, budget, few, stopped: false }
    }

    /// Evaluations that are left.
    pub(crate) fn left(&self) -> u64 {
        self.budget.evaluations_max.saturating_sub(self.desk.spent)
    }

    /// Whether the budget is used up, or the caller said stop.
    pub(crate) fn over(&mut self) -> bool {
        self.stopped =
            self.stopped || self.left() == 0 || self.budget.stop.is_some_and(|stop| stop());
        self.stopped
    }

    pub(crate) fn put(&mut self, s: usize, seat: Seat) {
        self.desk.book(s, &seat, 1);
        self.seats[s] = seat;
    }

    pub(crate) fn lift(&mut self, s: usize) -> Seat {
        let seat = std::mem::replace(&mut self.seats[s], Seat::NONE);
        self.desk.book(s, &seat, -1);
        seat
    }

    /// Takes everything off.
    pub(crate) fn clear(&mut self) -> Vec<Seat> {
        (0..self.seats.len()).map(|s| self.lift(s)).collect()
    }

    /// Whether all places of the shard can be tried.
    pub(crate) fn few_enough(&self, s: usize) -> bool {
        self.few[self.desk.g.shards[s].rule as usize]
    }

    /// The best places of a lifted shard, as far as is affordable.
    fn best(&mut self, s: usize) -> Best {
        if self.few_enough(s) { self.desk.all(s) } else { self.desk.grow(s) }
    }

    /// Moves one replica, or the leader, or both, if that is better; whether it was.
    pub(crate) fn improve(&mut self, s: usize) -> bool {
        let seat = self.lift(s);
        let before = self.desk.price(s, &seat);
        let best = self.desk.neighbours(s, &seat);
        let better = best.price < before;
        self.put(s, if better { best.seat } else { seat });
        better
    }

    /// Improves shard after shard, at most so many rounds, until a round finds next to nothing.
    pub(crate) fn descend(&mut self, dice: &mut Dice, rounds: usize) {
        let mut order: Vec<u32> = (0..self.seats.len() as u32).collect();
        dice.shuffle(&mut order);
        for _ in 0..rounds {
            let mut better = 0;
            for part in order.chunks(STRIDE) {
                if self.over() {
                    return;
                }
                better += part.iter().filter(|s| self.improve(**s as usize)).count();
            }
            if better * 200 <= order.len() {
                return;
            }
        }
    }

    /// Takes several shards off and puts them back by regret, or in the given order; undone unless that is better.
    pub(crate) fn rebuild(&mut self, group: &[usize], by_regret: bool) -> bool {
        let mut change = Price::default();
        let mut old = Vec::with_capacity(group.len());
        for &s in group {
            let seat = self.lift(s);
            change = change.minus(self.desk.price(s, &seat));
            old.push(seat);
        }
        let mut open: Vec<usize> = group.to_vec();
        while !open.is_empty() {
            let mut next = (self.best(open[0]), 0);
            if by_regret {
                for (i, s) in open.iter().enumerate().skip(1) {
                    let best = self.best(*s);
                    if best.regret() > next.0.regret() {
                        next = (best, i);
                    }
                }
            }
            let (best, s) = (next.0, open.remove(next.1));
            change = change.plus(best.price);
            self.put(s, best.seat);
        }
        let better = change < Price::default();
        if !better {
            for s in group {
                self.lift(*s);
            }
            group.iter().zip(&old).for_each(|(s, seat)| self.put(*s, *seat));
        }
        better
    }

    /// Large neighbourhoods until the budget is used up, or so many attempts in a row found nothing.
    pub(crate) fn neighbourhoods(&mut self, dice: &mut Dice, quiet_max: usize) {
        let (mut lists, mut age, mut quiet) = (self.lists(), 0, 0);
        while quiet < quiet_max && !self.over() {
            if age > self.seats.len() / 4 + 16 {
                (lists, age) = (self.lists(), 0);
            }
            age += 1;
            let first = dice.below(self.seats.len());
            let group = self.group(dice, &lists, first);
            let better = group.len() > 1 && self.rebuild(&group, dice.below(2) == 0);
            quiet = if better { 0 } else { quiet + 1 };
        }
    }

    /// Shards by node.
    pub(crate) fn lists(&self) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); self.desk.g.nodes.len()];
        for (s, seat) in self.seats.iter().enumerate() {
            seat.nodes().iter().for_each(|n| lists[usize::from(*n)].push(s as u32));
        }
        lists
    }

    /// A shard, and some that are where it is or may be: they may change places.
    pub(crate) fn group(&self, dice: &mut Dice, lists: &[Vec<u32>], first: usize) -> Vec<usize> {
        let size = 2 + dice.below(3);
        let rule = self.desk.g.rule(first);
        let mut group = vec![first];
        for _ in 0..4 * size {
            if group.len() == size {
                break;
            }
            let n = match dice.below(3) {
                0 => self.seats[first].nodes()[dice.below(rule.replicas)],
                _ => rule.nodes[dice.below(rule.nodes.len())],
            };
            let list = &lists[usize::from(n)];
            if list.is_empty() {
                continue;
            }
            let s = list[dice.below(list.len())] as usize;
            if !group.contains(&s) {
                group.push(s);
            }
        }
        group
    }

    /// Puts back where they were the shards that gain nothing by having moved.
    pub(crate) fn settle(&mut self) {
        for s in 0..self.seats.len() {
            let now = self.desk.g.shards[s].now;
            if now.count == 0 || self.seats[s].same(&now) || !self.desk.g.legal(s, &now) {
                continue;
            }
            let seat = self.lift(s);
            let back = self.desk.price(s, &now) <= self.desk.price(s, &seat);
            self.put(s, if back { now } else { seat });
        }
    }

    /// What the whole costs.
    pub(crate) fn total(&self) -> Price {
        total(self.desk.g, &self.seats)
    }
}

/// What a placement costs, without anybody's books.
pub(crate) fn total(g: &Ground, seats: &[Seat]) -> Price {
    let mut desk = Desk::new(g);
    let mut total = Price::default();
    for (s, seat) in seats.iter().enumerate() {
        total.ns_per_s += desk.column(s, seat).ns_per_s;
        desk.book(s, seat, 1);
    }
    let strain = |n: usize| g.strain(n as u16, desk.load[n], desk.bytes[n]);
    (0..g.nodes.len()).map(strain).fold(total, Price::plus)
}

/// Ways to choose `k` of `n`.
fn sets(n: usize, k: usize) -> u64 {
    let (n, k) = (n as u64, k as u64);
    (0..k).fold(1_u64, |sets, i| sets.saturating_mul(n.saturating_sub(i)) / (i + 1))
}
