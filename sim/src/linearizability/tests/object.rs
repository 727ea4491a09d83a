//! An object that does each operation at one moment, and clients whose calls and answers lie around it.

use crate::history::{History, Operation, Outcome};
use bytes::Bytes;
use isobar_api::Version;
use isobar_client::Mutation;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a client does; what it expects of a row comes from what it saw last.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) client: u64,
    /// 0 to 2: a read, 3 and 4: a put, 5: a delete, 6 and 7: a compare-and-set, 8: a batch, 9: a bounded read.
    pub(super) kind: u8,
    pub(super) key: u8,
    /// From the last answer to the call, from there to the effect, from there to the answer.
    pub(super) delays: [u64; 3],
    /// 0: the answer is lost; 1: the request is.
    pub(super) luck: u8,
}

pub(super) fn intents(
    clients: u64,
    keys: u8,
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Intent>> {
    let intent = (0..clients, 0..10_u8, 0..keys, [0..40_u64, 0..40, 0..40], 0..12_u8);
    let intent = intent.prop_map(|(client, kind, key, delays, luck)| Intent {
        client,
        kind,
        key,
        delays,
        luck,
    });
    prop::collection::vec(intent, count)
}

/// A mistake of the object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plant {
    None,
    /// The last write is acknowledged and not done.
    LoseLast,
    /// The first write from this step on that is answered is done again after everything else.
    Repeat(usize),
    /// The last write, a batch, is done in half.
    HalveLast,
    /// The first conditional write from this step on, and on what is known to be written, that should be refused is done.
    Ignore(usize),
}

#[derive(Default)]
struct Rows {
    rows: BTreeMap<Bytes, (Bytes, Version)>,
    clock: u64,
}

impl Rows {
    fn version(&self, key: &Bytes) -> Version {
        self.rows.get(key).map_or(Version::ABSENT, |row| row.1)
    }

    fn write(&mut self, mutations: &[Mutation], ignore: bool) -> Outcome {
        let conditioned = mutations.iter().filter(|m| m.expected.is_some());
        let current: Vec<(Version, Version)> = conditioned
            .map(|m| (self.version(&m.key), m.expected.expect("just filtered")))
            .collect();
        if !ignore && current.iter().any(|(is, want)| is != want) {
            return Outcome::Conflict(current.into_iter().map(|(is, _)| is).collect());
        }
        self.clock += 1;
        let version = Version { hlc: self.clock, ..Version::ABSENT };
        for mutation in mutations {
            match &mutation.value {
                Some(value) => {
                    self.rows.insert(mutation.key.clone(), (value.clone(), version));
                }
                None => {
                    self.rows.remove(&mutation.key);
                }
            }
        }
        Outcome::Applied(version)
    }
}

/// An operation with its times; `effect_ns`: none if it never reaches the object.
struct Planned {
    client: u64,
    invoked_ns: u64,
    effect_ns: Option<u64>,
    returned_ns: Option<u64>,
    kind: u8,
    keys: [Bytes; 2],
    value: Bytes,
}

fn plan(intents: &[Intent], keys: u8) -> Vec<Planned> {
    let mut free: BTreeMap<u64, u64> = BTreeMap::new();
    let mut planned = Vec::new();
    for (number, intent) in intents.iter().enumerate() {
        let free = free.entry(intent.client).or_default();
        let invoked_ns = *free + 1 + intent.delays[0];
        let effect_ns = invoked_ns + intent.delays[1];
        let returned_ns = effect_ns + intent.delays[2];
        let lost = intent.luck < 2;
        // A client that gave up goes on at once; what it sent may arrive much later.
        *free = if lost { invoked_ns + 1 } else { returned_ns };
        let name = |key: u8| Bytes::from(vec![b'a' + key % keys]);
        planned.push(Planned {
            client: intent.client,
            invoked_ns,
            effect_ns: (intent.luck != 1).then_some(if lost { effect_ns * 2 } else { effect_ns }),
            returned_ns: (!lost).then_some(returned_ns),
            kind: intent.kind,
            keys: [name(intent.key), name(intent.key + 1)],
            value: Bytes::from(format!("w{number}")),
        });
    }
    planned
}

/// The object while it works.
struct Object {
    rows: Rows,
    /// Versions that clients saw last.
    seen: BTreeMap<(u64, Bytes), Version>,
    /// Whether the last write of a key was answered.
    answered: BTreeMap<Bytes, bool>,
    plant: Plant,
    /// Whether the mistake was made.
    met: bool,
    again: Vec<Mutation>,
}

impl Object {
    fn step(&mut self, n: usize, step: &Planned, is_last_write: bool) -> (Operation, Outcome) {
        let [key, second] = step.keys.clone();
        let expected =
            self.seen.get(&(step.client, key.clone())).copied().unwrap_or(Version::ABSENT);
        let value = step.value.clone();
        let mutations = match step.kind {
            0..=2 | 9 => {
                let row = self.rows.rows.get(&key).cloned();
                self.seen.insert((step.client, key.clone()), self.rows.version(&key));
                let bound_ns = (step.kind == 9).then_some(10);
                return (Operation::Get { key, bound_ns }, Outcome::Row(row));
            }
            3 | 4 => vec![Mutation::put(key, value)],
            5 => vec![Mutation::delete(key)],
            6 | 7 => vec![Mutation::put(key, value).expecting(expected)],
            _ if key == second => vec![Mutation::put(key, value)],
            _ => vec![Mutation::put(key, value.clone()), Mutation::put(second, value)],
        };
        let outcome = match step.effect_ns {
            Some(_) => self.write(n, &mutations, step.returned_ns.is_some(), is_last_write),
            None => Outcome::Unknown,
        };
        (Operation::Write(mutations), outcome)
    }

    fn write(&mut self, n: usize, all: &[Mutation], answered: bool, is_last: bool) -> Outcome {
        let free = !self.met && answered;
        let (mut mutations, mut ignore) = (all, false);
        let first = &all[0];
        let holds = first.expected.is_none_or(|want| want == self.rows.version(&first.key));
        match self.plant {
            Plant::LoseLast if free && is_last && holds => (self.met, mutations) = (true, &[]),
            Plant::Repeat(from) if free && n >= from && holds && first.value.is_some() => {
                (self.met, self.again) = (true, all.to_vec());
                self.again.iter_mut().for_each(|mutation| mutation.expected = None);
            }
            Plant::HalveLast if free && is_last && all.len() > 1 => {
                (self.met, mutations) = (true, &all[..1]);
            }
            Plant::Ignore(from) if free && n >= from && !holds => {
                ignore = self.answered.get(&first.key).is_some_and(|answered| *answered);
                self.met = ignore;
            }
            _ => {}
        }
        let outcome = self.rows.write(mutations, ignore);
        if let Outcome::Applied(_) = outcome {
            mutations.iter().for_each(|m| _ = self.answered.insert(m.key.clone(), answered));
        }
        outcome
    }
}

/// The history of an object, which ends with a read of every key after everything else. Also says whether the mistake
/// was made.
pub(super) fn run(intents: &[Intent], keys: u8, plant: Plant) -> (History, bool) {
    let planned = plan(intents, keys);
    let mut order: Vec<usize> = (0..planned.len()).collect();
    order.sort_by_key(|n| (planned[*n].effect_ns, *n));
    let is_write =
        |n: &usize| (3..=8).contains(&planned[*n].kind) && planned[*n].effect_ns.is_some();
    let last_write = order.iter().copied().rfind(is_write);
    let mut object = Object {
        rows: Rows::default(),
        seen: BTreeMap::new(),
        answered: BTreeMap::new(),
        plant,
        met: false,
        again: Vec::new(),
    };
    let mut done = BTreeMap::new();
    for n in order {
        done.insert(n, object.step(n, &planned[n], Some(n) == last_write));
    }
    if !object.again.is_empty() {
        object.rows.write(&object.again, false);
    }
    (record(&planned, done, &object.rows, keys), object.met)
}

fn record(
    planned: &[Planned],
    mut done: BTreeMap<usize, (Operation, Outcome)>,
    rows: &Rows,
    keys: u8,
) -> History {
    let mut history = History::default();
    let mut order: Vec<usize> = (0..planned.len()).collect();
    order.sort_by_key(|n| planned[*n].invoked_ns);
    let mut end_ns = 0;
    for n in order {
        let step = &planned[n];
        let (operation, outcome) = done.remove(&n).expect("every step was done");
        history.invoke(step.client, n as u64, operation, step.invoked_ns);
        if let Some(returned_ns) = step.returned_ns {
            history.answer(step.client, n as u64, outcome, returned_ns);
        }
        end_ns = end_ns.max(step.returned_ns.unwrap_or(0)).max(step.effect_ns.unwrap_or(0));
    }
    for key in 0..keys {
        let name = Bytes::from(vec![b'a' + key]);
        history.invoke(1_000, u64::from(key), Operation::get(name.clone()), end_ns + 1);
        let row = rows.rows.get(&name).cloned();
        history.answer(1_000, u64::from(key), Outcome::Row(row), end_ns + 2);
    }
    history
}
