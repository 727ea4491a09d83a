//! Two other ways to the same answer, for small histories: every order by brute force, and the checker of `todc-utils`.
//! Both are told the version of every write, so they try all that a write of unknown outcome may have got.

use crate::history::{History, Operation, Outcome, Recorded};
use bytes::Bytes;
use isobar_api::Version;
use std::collections::{BTreeMap, BTreeSet};
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History as TodcHistory},
    },
    specifications::Specification,
};

/// Rows by key: value and version, and the highest version that the key has had.
type Rows = BTreeMap<Bytes, (Option<(Bytes, Option<Version>)>, Version)>;

/// An operation of which it is assumed what version its write got; `None`: one that nobody ever saw.
#[derive(Clone, Debug)]
pub(super) struct Assumed {
    recorded: Recorded,
    version: Option<Version>,
}

impl Assumed {
    fn is_unknown(&self) -> bool {
        *self.recorded.outcome() == Outcome::Unknown
    }

    /// The rows after it, if it can be next.
    fn step(&self, rows: &Rows) -> Option<Rows> {
        let none = (None, Version::ABSENT);
        let at = |key: &Bytes| rows.get(key).unwrap_or(&none);
        let version = |key: &Bytes| match &at(key).0 {
            None => Some(Version::ABSENT),
            Some((_, version)) => *version,
        };
        let mutations = match &self.recorded.operation {
            Operation::Get { key, .. } => {
                let shown = match self.recorded.outcome() {
                    Outcome::Row(Some((value, version))) => Some((value.clone(), Some(*version))),
                    _ => None,
                };
                return (at(key).0 == shown).then(|| rows.clone());
            }
            Operation::Write(mutations) => mutations,
        };
        let conditioned: Vec<_> = mutations.iter().filter(|m| m.expected.is_some()).collect();
        let holds = conditioned.iter().all(|m| version(&m.key) == m.expected);
        if let Outcome::Conflict(current) = self.recorded.outcome() {
            let is: Vec<_> = conditioned.iter().map(|m| version(&m.key)).collect();
            let told: Vec<_> = current.iter().copied().map(Some).collect();
            return (!holds && is == told).then(|| rows.clone());
        }
        if !holds {
            return None;
        }
        if let Some(version) = self.version
            && mutations.iter().any(|m| at(&m.key).1 >= version)
        {
            return None;
        }
        let mut after = rows.clone();
        for mutation in mutations {
            let row = after.entry(mutation.key.clone()).or_insert_with(|| none.clone());
            row.0 = mutation.value.clone().map(|value| (value, self.version));
            row.1 = self.version.unwrap_or(row.1);
        }
        Some(after)
    }
}

/// Every assumption about the versions of the writes of unknown outcome.
fn assumptions(history: &History) -> Vec<Vec<Assumed>> {
    let counts = |recorded: &&Recorded| {
        !matches!(
            (&recorded.operation, recorded.outcome()),
            (_, Outcome::Failed)
                | (Operation::Get { .. }, Outcome::Unknown)
                | (Operation::Get { bound_ns: Some(_), .. }, _)
        )
    };
    let operations: Vec<&Recorded> = history.operations().iter().filter(counts).collect();
    let mut named = BTreeSet::new();
    let mut given = BTreeSet::from([Version::ABSENT]);
    for recorded in &operations {
        match recorded.outcome() {
            Outcome::Row(Some((_, version))) => _ = named.insert(*version),
            Outcome::Conflict(current) => named.extend(current),
            Outcome::Applied(version) => _ = given.insert(*version),
            _ => {}
        }
        if let Operation::Write(mutations) = &recorded.operation {
            named.extend(mutations.iter().filter_map(|m| m.expected));
        }
    }
    // Keys of different shards may well have the same versions, so one that is given may be another's too.
    let mut choices: Vec<Option<Version>> = named.iter().copied().map(Some).collect();
    choices.retain(|version| *version != Some(Version::ABSENT));
    choices.push(None);
    let mut all = vec![Vec::new()];
    for recorded in operations {
        let mine = match recorded.outcome() {
            Outcome::Unknown => choices.clone(),
            _ => vec![recorded.applied_version()],
        };
        let extended = all.iter().flat_map(|before: &Vec<Assumed>| {
            mine.iter().map(|version| {
                let assumed = Assumed { recorded: recorded.clone(), version: *version };
                [before.as_slice(), &[assumed]].concat()
            })
        });
        all = extended.collect();
    }
    all
}

/// Tries every order.
pub(super) fn by_brute_force(history: &History) -> bool {
    fn search(rows: &Rows, left: &[&Assumed]) -> bool {
        if left.iter().all(|operation| operation.is_unknown()) {
            return true;
        }
        let first_return = left.iter().filter_map(|o| o.recorded.returned_ns()).min();
        (0..left.len()).any(|n| {
            if first_return.is_some_and(|end| left[n].recorded.invoked_ns > end) {
                return false;
            }
            let others: Vec<&Assumed> = [&left[..n], &left[n + 1..]].concat();
            left[n].step(rows).is_some_and(|rows| search(&rows, &others))
        })
    }
    assumptions(history).iter().any(|operations| {
        let operations: Vec<&Assumed> = operations.iter().collect();
        search(&Rows::new(), &operations)
    })
}

struct Map;

impl Specification for Map {
    type State = Rows;
    type Operation = Assumed;

    fn init() -> Rows {
        Rows::new()
    }

    fn apply(operation: &Assumed, rows: &Rows) -> (bool, Rows) {
        match operation.step(rows) {
            Some(rows) => (true, rows),
            // Where it has no effect, a write of unknown outcome may be anywhere.
            None => (operation.is_unknown(), rows.clone()),
        }
    }
}

/// What `todc-utils` says.
pub(super) fn by_todc(history: &History) -> bool {
    assumptions(history).into_iter().any(|operations| {
        // Calls before answers of the same moment: they overlap. What is not answered ends after everything.
        let mut events = Vec::new();
        for (process, operation) in operations.into_iter().enumerate() {
            let end = operation.recorded.returned_ns().unwrap_or(u64::MAX);
            let start = operation.recorded.invoked_ns;
            events.push(((start, false), process, Action::Call(operation.clone())));
            events.push(((end, true), process, Action::Response(operation)));
        }
        events.sort_by_key(|(time, ..)| *time);
        let actions: Vec<_> =
            events.into_iter().map(|(_, process, action)| (process, action)).collect();
        actions.is_empty() || WGLChecker::<Map>::is_linearizable(TodcHistory::from_actions(actions))
    })
}
