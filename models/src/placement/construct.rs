//! The first complete placement: what is well placed stays, the rest is inserted by regret.

use super::dice::Dice;
use super::ground::{Price, Seat};
use super::search::Search;
use std::collections::BinaryHeap;

/// How often a shard is put back to wait before it is taken as it comes.
const WAITS_MAX: u8 = 2;

/// A shard that has no places yet. The one that would lose most by waiting is next.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    regret: Price,
    load: i64,
    tie: u64,
    s: u32,
    waits: u8,
    price: Price,
    seat: Seat,
}

/// Puts the shards whose present places are legal where they are, and lists the others.
pub(crate) fn keep(search: &mut Search<'_>) -> Vec<usize> {
    let g = search.desk.g;
    let mut open = Vec::new();
    for s in 0..g.shards.len() {
        let now = g.shards[s].now;
        if g.legal(s, &now) { search.put(s, now) } else { open.push(s) }
    }
    open
}

/// Inserts shards by regret: what is lost if their best places are taken by others.
pub(crate) fn insert(search: &mut Search<'_>, dice: &mut Dice, open: Vec<usize>) {
    let g = search.desk.g;
    let mut heap = BinaryHeap::with_capacity(open.len());
    for s in open {
        let best = search.desk.grow(s);
        heap.push(Waiting {
            regret: best.regret(),
            load: g.shards[s].load_all + g.shards[s].load_leader,
            tie: dice.next(),
            s: s as u32,
            waits: 0,
            price: best.price,
            seat: best.seat,
        });
    }
    while let Some(mut next) = heap.pop() {
        let s = next.s as usize;
        if search.desk.price(s, &next.seat) > next.price {
            // Others have taken room there since.
            let best = search.desk.grow(s);
            (next.price, next.seat) = (best.price, best.seat);
            let overtaken = heap.peek().is_some_and(|top| best.regret() < top.regret);
            if overtaken && next.waits < WAITS_MAX {
                next.regret = best.regret();
                next.waits += 1;
                heap.push(next);
                continue;
            }
        }
        search.put(s, next.seat);
    }
}
