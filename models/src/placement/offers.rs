//! Places of a lifted shard: the best of its neighbours, of all, grown from good leaders, or a ranked list.

use super::desk::Desk;
use super::ground::{Loads, Price, Seat};

/// Leaders from which places are grown.
const GROWN_LEADERS_MAX: usize = 3;

/// The best places found, and the price of the best ones with another leader.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    pub price: Price,
    pub seat: Seat,
    pub second: Price,
    /// Everything that was offered, where a ranked list is wanted.
    list: Option<Vec<(Price, Seat)>>,
}

impl Best {
    fn none() -> Self {
        Self { price: Price::MAX, seat: Seat::NONE, second: Price::MAX, list: None }
    }

    /// How much is lost if the best places are taken by another.
    pub(crate) fn regret(&self) -> Price {
        self.second.minus(self.price)
    }

    fn offer(&mut self, price: Price, seat: Seat) {
        if let Some(list) = &mut self.list {
            list.push((price, seat));
        }
        if price >= self.second {
            return;
        }
        let same_leader = self.seat.count > 0 && self.seat.leader() == seat.leader();
        if price < self.price {
            if !same_leader {
                self.second = self.price;
            }
            (self.price, self.seat) = (price, seat);
        } else if !same_leader {
            self.second = price;
        }
    }
}

impl Desk<'_> {
    /// Prices the nodes under construction with each leader.
    fn offer(&mut self, s: usize, count: usize, loads: &Loads, near_ns: i64, best: &mut Best) {
        self.spent += 1;
        let nodes = &self.nodes[..count];
        let base = self.base(s, nodes, loads, near_ns);
        for i in 0..count {
            if self.g.may_lead(s, nodes[i]) {
                best.offer(base.plus(self.lead(s, nodes, loads, i)), Seat::of(nodes, i));
            }
        }
    }

    /// The best of the places that differ from these by one replica and the leader, themselves included.
    pub(crate) fn neighbours(&mut self, s: usize, seat: &Seat) -> Best {
        let mut best = Best::none();
        self.near_to(s, seat, &mut best);
        best
    }

    fn near_to(&mut self, s: usize, seat: &Seat, best: &mut Best) {
        let g = self.g;
        let (rule, count) = (g.rule(s), seat.nodes().len());
        for out in 0..count {
            let stay = seat.nodes().iter().enumerate().filter(|(i, _)| *i != out).map(|(_, n)| *n);
            for (depth, n) in stay.enumerate() {
                self.push(s, depth, n);
            }
            for n in rule.nodes.iter().copied() {
                let same = n == seat.nodes()[out];
                if (out == 0 || !same) && self.fits(s, count - 1, n) {
                    let (loads, ns) = self.with(s, count - 1, n);
                    self.offer(s, count, &loads, ns, best);
                }
            }
        }
    }

    /// The best of all places.
    pub(crate) fn all(&mut self, s: usize) -> Best {
        let mut best = Best::none();
        self.descend(s, 0, 0, &mut best);
        best
    }

    fn descend(&mut self, s: usize, depth: usize, from: usize, best: &mut Best) {
        let g = self.g;
        let rule = g.rule(s);
        for (at, n) in rule.nodes.iter().copied().enumerate().skip(from) {
            if !self.fits(s, depth, n) {
                continue;
            }
            if depth + 1 == rule.replicas {
                let (loads, ns) = self.with(s, depth, n);
                self.offer(s, depth + 1, &loads, ns, best);
            } else {
                self.push(s, depth, n);
                self.descend(s, depth + 1, at + 1, best);
            }
        }
    }

    /// Good places, found one node at a time from each of the most promising leaders.
    pub(crate) fn grow(&mut self, s: usize) -> Best {
        let mut best = Best::none();
        for leader in self.promising(s) {
            let grown = self.grow_from(s, leader);
            if usize::from(grown.seat.count) == self.g.rule(s).replicas {
                best.offer(grown.price, grown.seat);
            }
        }
        best
    }

    fn promising(&mut self, s: usize) -> impl Iterator<Item = u16> + use<> {
        let g = self.g;
        let mut leaders: Vec<(Price, u16)> = Vec::new();
        for n in g.rule(s).nodes.iter().copied() {
            if g.may_hold(s, n) && g.may_lead(s, n) {
                let (loads, ns) = self.near(s, &[n]);
                let price = self.base(s, &[n], &loads, ns).plus(self.lead(s, &[n], &loads, 0));
                leaders.push((price, n));
            }
        }
        leaders.sort_unstable();
        leaders.into_iter().take(GROWN_LEADERS_MAX).map(|(_, n)| n)
    }

    fn grow_from(&mut self, s: usize, leader: u16) -> Best {
        let g = self.g;
        let rule = g.rule(s);
        self.push(s, 0, leader);
        let mut grown = Best::none();
        if rule.replicas == 1 {
            let (loads, ns) = self.with(s, 0, leader);
            self.offer(s, 1, &loads, ns, &mut grown);
        }
        for depth in 1..rule.replicas {
            grown = Best::none();
            let mut next = (Price::MAX, None);
            for n in rule.nodes.iter().copied() {
                if self.fits(s, depth, n) {
                    let (loads, ns) = self.with(s, depth, n);
                    self.offer(s, depth + 1, &loads, ns, &mut grown);
                    if grown.price < next.0 {
                        next = (grown.price, Some(n));
                    }
                }
            }
            let Some(n) = next.1 else { break };
            self.push(s, depth, n);
        }
        grown
    }

    /// The best places in order, at most so many: of all, or of those next to these.
    pub(crate) fn ranked(&mut self, s: usize, seat: &Seat, wide: bool, most: usize) -> Vec<Seat> {
        let mut best = Best { list: Some(Vec::new()), ..Best::none() };
        if wide {
            self.descend(s, 0, 0, &mut best);
        } else {
            self.near_to(s, seat, &mut best);
        }
        let mut list = best.list.unwrap_or_default();
        let order = |a: &(Price, Seat), b: &(Price, Seat)| {
            (a.0, a.1.nodes, a.1.lead).cmp(&(b.0, b.1.nodes, b.1.lead))
        };
        if list.len() > 4 * most {
            list.select_nth_unstable_by(4 * most, order);
            list.truncate(4 * most);
        }
        list.sort_unstable_by(order);
        let mut seats: Vec<Seat> = Vec::with_capacity(most);
        for (_, seat) in list {
            if seats.len() < most && !seats.iter().any(|x| x.same(&seat)) {
                seats.push(seat);
            }
        }
        seats
    }
}
