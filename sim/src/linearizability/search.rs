//! The search for an order: Wing and Gong's, with Lowe's memory of the configurations that led nowhere.
//!
//! What keeps it short, and never makes it accept more:
//! - An operation that changes nothing and fits the rows is taken at once: wherever it stands later, it can stand here.
//! - A write of known version is tried only when every lower version of its keys is written.
//! - No version is left behind that an operation still has to see: versions do not come back.
//! - A write of unknown outcome is tried only where the operation after it sees it; see [`Object::needs`].
//! - It gets only versions that agree with what reads show of its value. A batch is tried with each that something
//!   tells, from the start: so the version is held against all its rows, whichever of them are overwritten first.
//! - Of several such writes that do the same, the one sent first is tried.

use super::{
    Violation,
    state::{Object, State},
};
use crate::history::Recorded;
use std::{borrow::Cow, collections::HashSet};

/// Configurations after which the search gives up.
const STATES_MAX: usize = 1_000_000;
/// Operations of the longest order that are shown.
const SHOWN: usize = 6;

/// What the rest of the search depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    /// Operations of known outcome that are done: all of the first `full * 64`, and those in `bits` after them.
    full: usize,
    bits: Vec<u64>,
    /// Operations of unknown outcome that are done, ascending.
    maybe: Vec<usize>,
    /// The last one, if it is of unknown outcome.
    unseen: Option<usize>,
    state: State,
}

/// A configuration and how it came about.
#[derive(Clone, Debug)]
struct Node {
    configuration: Configuration,
    done: usize,
    /// The last operations, the newest first.
    last: Vec<usize>,
}

impl Configuration {
    fn is_done(&self, at: usize) -> bool {
        let Some(at) = at.checked_sub(self.full * 64) else { return true };
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn set_done(&mut self, at: usize) {
        let at = at - self.full * 64;
        if self.bits.len() <= at / 64 {
            self.bits.resize(at / 64 + 1, 0);
        }
        self.bits[at / 64] |= 1 << (at % 64);
        let full = self.bits.iter().take_while(|word| **word == u64::MAX).count();
        self.bits.drain(..full);
        self.full += full;
    }
}

impl Node {
    fn first(object: &Object) -> Self {
        let state = object.empty();
        let configuration =
            Configuration { full: 0, bits: Vec::new(), maybe: Vec::new(), unseen: None, state };
        Self { configuration, done: 0, last: Vec::new() }
    }

    /// Operations of known outcome that may be next by their times, and the end of the first of them, ns.
    fn open(&self, object: &Object) -> (Vec<usize>, u64) {
        let mut first_return = u64::MAX;
        let mut open = Vec::new();
        for at in self.configuration.full * 64..object.known {
            let op = &object.ops[at];
            if op.invoked_ns > first_return {
                break;
            }
            if !self.configuration.is_done(at) {
                first_return = first_return.min(op.returned_ns);
                open.push(at);
            }
        }
        (open, first_return)
    }

    /// The configuration after one more operation.
    fn after(&self, object: &Object, at: usize, state: State) -> Self {
        let mut next = self.clone();
        next.take(object, at);
        next.configuration.state = state;
        next
    }

    fn take(&mut self, object: &Object, at: usize) {
        if at < object.known {
            self.configuration.set_done(at);
            self.configuration.unseen = None;
            self.done += 1;
        } else {
            let place = self.configuration.maybe.partition_point(|other| *other < at);
            self.configuration.maybe.insert(place, at);
            self.configuration.unseen = Some(at);
        }
        self.last.insert(0, at);
        self.last.truncate(SHOWN);
    }

    /// Takes everything that fits and changes nothing.
    fn settle(&mut self, object: &Object) {
        loop {
            let (open, _) = self.open(object);
            let before = self.done;
            for at in open {
                let applied = object.apply(&self.configuration.state, at);
                if matches!(applied, Ok(Cow::Borrowed(_))) {
                    self.take(object, at);
                }
            }
            if self.done == before {
                return;
            }
        }
    }

    fn left_behind(&self, object: &Object, after: &State, at: usize) -> Option<usize> {
        let done = |other| other == at || self.configuration.is_done(other);
        object.leaves_behind(&self.configuration.state, after, done)
    }

    fn is_hopeless(&self, object: &Object, after: &State, at: usize) -> bool {
        self.left_behind(object, after, at).is_some()
            || object.buries_unseen(&self.configuration.state, at)
    }

    fn may_follow(&self, object: &Object, at: usize) -> bool {
        self.configuration.unseen.is_none_or(|earlier| object.needs(earlier, at))
    }

    /// Everything that can be next. `look_ahead`: leave out writes of unknown outcome that nothing could follow.
    fn next(&self, object: &Object, look_ahead: bool) -> Vec<Self> {
        let (open, first_return) = self.open(object);
        let mut next = Vec::new();
        let state = &self.configuration.state;
        for at in open.into_iter().filter(|at| self.may_follow(object, *at)) {
            if let Ok(after) = object.apply(state, at)
                && !self.is_hopeless(object, &after, at)
            {
                next.push(self.after(object, at, after.into_owned()));
            }
        }
        let maybe = &self.configuration.maybe;
        for at in object.known..object.ops.len() {
            if object.ops[at].invoked_ns > first_return {
                break;
            }
            let done = |at: &usize| maybe.binary_search(at).is_ok();
            if done(&at)
                || object.twin[at].is_some_and(|twin| !done(&twin))
                || !self.may_follow(object, at)
            {
                continue;
            }
            for after in object.attempts(state, at) {
                if self.is_hopeless(object, &after, at) {
                    continue;
                }
                let after = self.after(object, at, after);
                if !look_ahead || !after.next(object, false).is_empty() {
                    next.push(after);
                }
            }
        }
        next
    }
}

/// Finds an order of the operations of one object, or says where there is none.
pub(super) fn explain(operations: &[&Recorded]) -> Result<(), Violation> {
    let object = Object::new(operations);
    let mut tried = HashSet::new();
    let first = Node::first(&object);
    let mut farthest = first.clone();
    let mut open = vec![first];
    while let Some(mut node) = open.pop() {
        node.settle(&object);
        if node.done == object.known {
            return Ok(());
        }
        if !tried.insert(node.configuration.clone()) {
            continue;
        }
        if tried.len() > STATES_MAX {
            let keys = object.keys.iter().map(|key| (*key).clone()).collect();
            return Err(Violation::GivenUp { keys, states: STATES_MAX });
        }
        open.extend(node.next(&object, true));
        if node.done >= farthest.done && node.configuration.unseen.is_none() {
            farthest = node;
        }
    }
    Err(violation(&object, &farthest))
}

fn violation(object: &Object, node: &Node) -> Violation {
    let state = &node.configuration.state;
    let stuck = node.open(object).0.into_iter().map(|at| {
        let why = match object.apply(state, at) {
            Err(why) => why.as_str().to_owned(),
            Ok(after) => match node.left_behind(object, &after, at) {
                Some(other) => format!("comes after {}", object.ops[other].recorded),
                None => "no order goes on after it".to_owned(),
            },
        };
        (object.ops[at].recorded.clone(), why)
    });
    Violation::NotLinearizable {
        keys: object.keys.iter().map(|key| (*key).clone()).collect(),
        before: node.last.iter().rev().map(|at| object.ops[*at].recorded.clone()).collect(),
        state: object.show(state),
        stuck: stuck.collect(),
    }
}
