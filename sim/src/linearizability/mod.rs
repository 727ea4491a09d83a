//! Whether a history is one that a correct cluster can produce.

mod exactly_once;
mod reads;
mod search;
mod staleness;
mod state;

use crate::history::{History, Operation, Outcome, Recorded};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No order of the operations on these rows explains all answers.
    NotLinearizable {
        /// The keys of one object: one key, or keys that a batch ties together.
        keys: Vec<Bytes>,
        /// The last operations of the longest order that was found.
        before: Vec<Recorded>,
        /// The rows after them, in words.
        state: Vec<String>,
        /// The operations of which one had to come next, each with why it cannot.
        stuck: Vec<(Recorded, String)>,
    },
    /// A bounded read is too old, or shows what was never written.
    Staleness {
        /// The read.
        read: Recorded,
        /// What it should have known.
        why: String,
    },
    /// A write took effect more than once.
    AppliedTwice {
        /// The write.
        write: Recorded,
        /// What shows it.
        why: String,
    },
    /// The search was given up after this many states: nothing is known of these keys.
    GivenUp {
        /// The keys of the object.
        keys: Vec<Bytes>,
        /// States tried.
        states: usize,
    },
}

/// Holds a history against everything that is promised: linearizable reads and writes, bounded reads, writes applied once.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = check_exactly_once(history);
    found.extend(check_linearizability(history));
    found.extend(check_staleness(history));
    found
}

/// Whether one order of all writes and linearizable reads explains their answers, key by key; keys that a batch writes
/// together are one object. An operation of unknown outcome may be anywhere after its call, or nowhere.
///
/// More is asked than of a map: a row's versions must rise, whoever wrote it. At most one violation per object.
pub fn check_linearizability(history: &History) -> Vec<Violation> {
    objects(history).iter().filter_map(|operations| search::explain(operations).err()).collect()
}

/// Whether each bounded read shows a row no older than what was acknowledged, or seen by a linearizable read, when the
/// time that it may be behind began.
pub fn check_staleness(history: &History) -> Vec<Violation> {
    staleness::check(history)
}

/// Whether every write took effect at most once: all its answers and all reads of its value show the same version.
pub fn check_exactly_once(history: &History) -> Vec<Violation> {
    exactly_once::check(history)
}

/// The operations that count for linearizability, by the object that they are about.
fn objects(history: &History) -> Vec<Vec<&Recorded>> {
    let counts = |recorded: &&Recorded| match (&recorded.operation, recorded.outcome()) {
        (_, Outcome::Failed) | (Operation::Get { .. }, Outcome::Unknown) => false,
        (Operation::Get { bound_ns, .. }, _) => bound_ns.is_none(),
        (Operation::Write(_), _) => true,
    };
    let operations: Vec<&Recorded> = history.operations().iter().filter(counts).collect();
    // Each key points to a smaller one of its object, or to itself.
    let mut smaller: BTreeMap<&Bytes, &Bytes> = BTreeMap::new();
    fn root<'a>(smaller: &BTreeMap<&'a Bytes, &'a Bytes>, mut key: &'a Bytes) -> &'a Bytes {
        while let Some(next) = smaller.get(key).filter(|next| **next != key) {
            key = next;
        }
        key
    }
    for recorded in &operations {
        let roots: BTreeSet<&Bytes> =
            recorded.operation.keys().map(|key| root(&smaller, key)).collect();
        let first = *roots.first().expect("every operation has a key");
        smaller.extend(roots.into_iter().map(|key| (key, first)));
    }
    let mut objects: BTreeMap<&Bytes, Vec<&Recorded>> = BTreeMap::new();
    for recorded in operations {
        let key = recorded.operation.keys().next().expect("every operation has a key");
        objects.entry(root(&smaller, key)).or_default().push(recorded);
    }
    objects.into_values().collect()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |keys: &[Bytes]| {
            let keys: Vec<_> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
            keys.join(", ")
        };
        match self {
            Self::NotLinearizable { keys, before, state, stuck } => {
                writeln!(f, "no order explains what was seen of {}", show(keys))?;
                writeln!(f, "  after, in this order:")?;
                before.iter().try_for_each(|recorded| writeln!(f, "    {recorded}"))?;
                writeln!(f, "  there is: {}", state.join("; "))?;
                writeln!(f, "  and one of these must be next:")?;
                stuck.iter().try_for_each(|(recorded, why)| writeln!(f, "    {recorded}: {why}"))
            }
            Self::Staleness { read, why } => write!(f, "{read}: {why}"),
            Self::AppliedTwice { write, why } => write!(f, "{write}: {why}"),
            Self::GivenUp { keys, states } => {
                write!(f, "{}: undecided after {states} states", show(keys))
            }
        }
    }
}

#[cfg(test)]
mod tests;
