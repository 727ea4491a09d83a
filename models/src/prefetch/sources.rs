//! What may be read next: keys a step further (sequential and stride streams), what followed this key before
//! (successors of order 1 and 2), and what came soon after it on several occasions (sporadic associations, as in
//! MITHRIL; Yang et al., SoCC 2017 — found here by comparing the stretches after the last occurrences of a key, so
//! without a mining step).

use super::class::{Class, Recurrence, Step, StepKind};
use super::history::{Entered, History};
use super::index::NONE;

/// Earlier occurrences of a key that are compared.
const OCCURRENCES: usize = 4;
/// Requests before an occurrence that make its context.
const CONTEXT: usize = 8;
/// Most requests after an occurrence that are looked at.
pub(super) const MAX_WINDOW: usize = 32;
/// A step back counts as evidence for a stream if it was requested within so many requests.
const STREAM_REQUESTS: u32 = 2000;

/// A key that may be read next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) key: u64,
    pub(super) class: Class,
}

/// Proposes what recurs, the stretch after the last occurrence first.
pub(super) fn recurring(
    history: &History,
    entered: &Entered,
    window: usize,
    out: &mut Vec<Proposal>,
) {
    let Some(last) = entered.before else {
        return;
    };
    let mut places = [last; OCCURRENCES];
    let mut occurrences = 1;
    while occurrences < OCCURRENCES
        && let Some(place) = history.before(places[occurrences - 1])
    {
        places[occurrences] = place;
        occurrences += 1;
    }
    let stretches: [Stretch; OCCURRENCES] = std::array::from_fn(|i| match i < occurrences {
        true => Stretch::after(history, places[i], entered.place, window),
        false => Stretch::default(),
    });
    let (overlap, same_before) = context(history, entered.place, last);
    for stretch in 0..occurrences.min(2) {
        for (steps, slot) in stretches[stretch].until(entered.slot).enumerate() {
            let seen = |s: &Stretch, count: usize| s.slots[..count].contains(&slot);
            let is_double = seen(&stretches[stretch], steps)
                || (stretch == 1 && stretches[0].until(entered.slot).any(|s| s == slot));
            if slot == NONE || is_double {
                continue;
            }
            let others = &stretches[stretch + 1..occurrences];
            let agreeing = 1 + others.iter().filter(|s| seen(s, s.length)).count();
            let place = last + 1 + steps as u32;
            let untouched = match stretch {
                0 => history.last(slot) == place,
                _ => history.last(slot) < last,
            };
            let class = Class::of_recurrence(&Recurrence {
                distance: steps + 1,
                overlap,
                same_before,
                occurrences,
                agreeing,
                last: stretch == 0,
                proven: history.proven(slot),
                untouched,
            });
            out.push(Proposal { key: history.key(slot), class });
        }
    }
}

/// What was requested after one place.
#[derive(Clone, Copy)]
struct Stretch {
    slots: [u32; MAX_WINDOW],
    length: usize,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { slots: [NONE; MAX_WINDOW], length: 0 }
    }
}

impl Stretch {
    /// At most `window` requests after `place`, all before `now`.
    fn after(history: &History, place: u32, now: u32, window: usize) -> Self {
        let mut stretch = Self::default();
        for next in (place + 1..now).take(window.min(MAX_WINDOW)) {
            stretch.slots[stretch.length] = history.at(next);
            stretch.length += 1;
        }
        stretch
    }

    /// Up to the next request for the key itself.
    fn until(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.slots[..self.length].iter().copied().take_while(move |&s| s != slot)
    }
}

/// How many of the requests just before are the same as just before that place, in whatever order, and whether the
/// nearest is.
fn context(history: &History, now: u32, place: u32) -> (usize, bool) {
    let before = |place: u32| -> [u32; CONTEXT] {
        let slot = |i: usize| place.checked_sub(i as u32 + 1).map_or(NONE, |at| history.at(at));
        std::array::from_fn(slot)
    };
    let (here, there) = (before(now), before(place));
    let overlap = here.iter().filter(|&slot| *slot != NONE && there.contains(slot)).count();
    (overlap, here[0] != NONE && here[0] == there[0])
}

/// Proposes keys a few steps further. Streams are not listed: whether one passes here is seen from the keys a few steps
/// back, so any number of streams may be interleaved.
pub(super) fn stepping(
    history: &History,
    key: u64,
    length: u64,
    before: Option<u64>,
    out: &mut Vec<Proposal>,
) {
    let stride = before.map_or(0, |before| key.wrapping_sub(before));
    let steps = [(StepKind::Length, length), (StepKind::One, 1), (StepKind::Stride, stride)];
    for (i, &(kind, step)) in steps.iter().enumerate() {
        if step == 0 || steps[..i].iter().any(|&(_, earlier)| earlier == step) {
            continue;
        }
        let recent = |back: u64| {
            history.is_recent(key.wrapping_sub(step.wrapping_mul(back)), STREAM_REQUESTS)
        };
        let evidence = match recent(1) {
            false => 0,
            true if !recent(2) => 1,
            true if !(recent(3) && recent(4)) => 2,
            true => 3,
        };
        let furthest = [1, 2, 2, 4][evidence];
        for ahead in 1..=furthest {
            let key = key.wrapping_add(step.wrapping_mul(ahead as u64));
            let known = history.slot(key).is_some();
            let class = Class::of_step(&Step { kind, evidence, ahead, known });
            out.push(Proposal { key, class });
        }
    }
}
