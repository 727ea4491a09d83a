//! One object, its operations in a form that is quick to try, and what a next operation does to its rows.

use super::reads::Reads;
use crate::history::{Operation, Outcome, Recorded};
use bytes::Bytes;
use isobar_api::Version;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// A value by its place in the list of all values of the object.
pub(super) type ValueId = u32;
/// Every value that only an operation of unknown outcome wrote and that no read shows: which one it is makes no difference.
pub(super) const UNREAD: ValueId = ValueId::MAX;

/// A row, as far as an order of operations tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Row {
    Absent,
    At(ValueId, Version),
    /// Written by an operation of unknown outcome and of one key, whose version nobody has told yet.
    Unversioned(ValueId),
    /// Written by a batch of unknown outcome whose version nobody ever tells.
    Unseen,
}

/// A row and the highest version that its key has had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    row: Row,
    floor: Version,
}

/// The rows of an object, in the order of its keys.
pub(super) type State = Vec<Cell>;

/// One change of a write.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) cell: usize,
    pub(super) value: Option<ValueId>,
    expected: Option<Version>,
}

#[derive(Debug)]
pub(super) enum Action {
    Read(usize, Option<(ValueId, Version)>),
    Applied(Vec<Change>, Version),
    Conflict(Vec<Change>, Vec<Version>),
    /// Of unknown outcome. It is tried only as applied: where it has no effect it can as well come last, or never.
    Maybe(Vec<Change>),
}

/// An operation of one object.
#[derive(Debug)]
pub(super) struct Op<'a> {
    pub(super) recorded: &'a Recorded,
    /// When it was first sent, ns.
    pub(super) invoked_ns: u64,
    /// When it was known to be done, ns; `u64::MAX`: never.
    pub(super) returned_ns: u64,
    pub(super) action: Action,
    /// Of a batch of unknown outcome: the versions that it may have got; `None`: one that nobody ever tells. It is tried
    /// with each of them. What nothing can tell makes a difference only where the batch deletes something.
    guesses: Vec<Option<Version>>,
}

/// Why an operation cannot be next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It shows another row than there is.
    ShowsAnother,
    /// It was applied although a version that it expected is not there.
    NotExpected,
    /// It was refused although all its conditions hold.
    NoConflict,
    /// A lower version of a row is not written yet, or a higher one is.
    VersionOrder,
}

impl Refusal {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ShowsAnother => "shows another row or version",
            Self::NotExpected => "was applied, but a version it expected is not there",
            Self::NoConflict => "was refused, but its conditions hold",
            Self::VersionOrder => "its version is not above, or not next to, those before it",
        }
    }
}

/// The operations of one object.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) keys: Vec<&'a Bytes>,
    values: Vec<&'a Bytes>,
    /// Those of known outcome, then the others that something may see; each part in the order of the calls.
    pub(super) ops: Vec<Op<'a>>,
    /// How many are of known outcome.
    pub(super) known: usize,
    /// Per key: the versions that operations of known outcome gave it, ascending.
    versions: Vec<Vec<Version>>,
    /// Per key: the versions that operations of known outcome saw it have, ascending, and which did.
    observed: Vec<Vec<(Version, usize)>>,
    reads: Reads,
    /// For an operation of unknown outcome: an earlier one that does the same.
    pub(super) twin: Vec<Option<usize>>,
}

/// Numbers for keys and values.
struct Numbers<'a> {
    keys: BTreeMap<&'a Bytes, usize>,
    values: BTreeMap<&'a Bytes, ValueId>,
}

impl<'a> Numbers<'a> {
    fn value(&mut self, value: &'a Bytes) -> ValueId {
        let next = ValueId::try_from(self.values.len()).expect("fewer values than fit in memory");
        *self.values.entry(value).or_insert(next)
    }

    fn action(&mut self, recorded: &'a Recorded) -> Action {
        let mutations = match &recorded.operation {
            Operation::Get { key, .. } => {
                let seen = match recorded.outcome() {
                    Outcome::Row(Some((value, version))) => Some((self.value(value), *version)),
                    _ => None,
                };
                return Action::Read(self.keys[key], seen);
            }
            Operation::Write(mutations) => mutations,
        };
        let changes = mutations
            .iter()
            .map(|mutation| Change {
                cell: self.keys[&mutation.key],
                value: mutation.value.as_ref().map(|value| self.value(value)),
                expected: mutation.expected,
            })
            .collect();
        match recorded.outcome() {
            Outcome::Applied(version) => Action::Applied(changes, *version),
            Outcome::Conflict(current) => Action::Conflict(changes, current.clone()),
            _ => Action::Maybe(changes),
        }
    }
}

impl<'a> Object<'a> {
    pub(super) fn new(operations: &[&'a Recorded]) -> Self {
        let keys: BTreeSet<&Bytes> = operations.iter().flat_map(|r| r.operation.keys()).collect();
        let keys: Vec<&Bytes> = keys.into_iter().collect();
        let mut numbers = Numbers {
            keys: keys.iter().enumerate().map(|(cell, key)| (*key, cell)).collect(),
            values: BTreeMap::new(),
        };
        let mut ops: Vec<Op> = operations
            .iter()
            .map(|recorded| Op {
                recorded,
                invoked_ns: recorded.invoked_ns,
                returned_ns: recorded.returned_ns().unwrap_or(u64::MAX),
                action: numbers.action(recorded),
                guesses: Vec::new(),
            })
            .collect();
        let maybe = |op: &Op| matches!(op.action, Action::Maybe(_));
        ops.sort_by_key(|op| (maybe(op), op.invoked_ns));
        let known = ops.iter().take_while(|op| !maybe(op)).count();
        let reads = Reads::new(&mut ops);
        let mut versions = vec![Vec::new(); keys.len()];
        for op in &ops {
            if let Action::Applied(changes, version) = &op.action {
                let cells: BTreeSet<usize> = changes.iter().map(|change| change.cell).collect();
                cells.into_iter().for_each(|cell| versions[cell].push(*version));
            }
        }
        versions.iter_mut().for_each(|versions| versions.sort_unstable());
        let mut observed = vec![Vec::new(); keys.len()];
        for (at, op) in ops.iter().enumerate().take(known) {
            op.observes()
                .into_iter()
                .for_each(|(cell, version)| observed[cell].push((version, at)));
        }
        observed.iter_mut().for_each(|observed| observed.sort_unstable());
        let mut values = vec![keys[0]; numbers.values.len()];
        numbers.values.iter().for_each(|(value, id)| values[*id as usize] = value);
        let twin = Vec::new();
        let mut object = Self { keys, values, ops, known, versions, observed, reads, twin };
        let guesses: Vec<_> = object.ops[known..].iter().map(|op| object.guesses(op)).collect();
        for (op, guesses) in object.ops[known..].iter_mut().zip(guesses) {
            op.guesses = guesses;
        }
        // What nothing can see is never tried.
        object.ops.retain(|op| !maybe(op) || !op.guesses.is_empty());
        object.twin = twins(&object.ops, known);
        object
    }

    /// No rows.
    pub(super) fn empty(&self) -> State {
        vec![Cell { row: Row::Absent, floor: Version::ABSENT }; self.keys.len()]
    }

    /// The rows after one more operation of known outcome; borrowed if it changes nothing and tells nothing new.
    pub(super) fn apply<'s>(&self, state: &'s State, at: usize) -> Result<Cow<'s, State>, Refusal> {
        let mut state = Cow::Borrowed(state);
        match &self.ops[at].action {
            Action::Read(cell, None) => match state[*cell].row {
                Row::Absent => Ok(state),
                _ => Err(Refusal::ShowsAnother),
            },
            Action::Read(cell, Some((value, version))) => {
                let held = match state[*cell].row {
                    Row::At(held, _) | Row::Unversioned(held) => Some(held),
                    Row::Absent | Row::Unseen => None,
                };
                if held == Some(*value) && self.has_version(&mut state, *cell, *version) {
                    Ok(state)
                } else {
                    Err(Refusal::ShowsAnother)
                }
            }
            Action::Conflict(changes, current) => {
                let conditions = changes.iter().filter_map(|c| Some((c.cell, c.expected?)));
                let conditions: Vec<(usize, Version)> = conditions.collect();
                if conditions.len() != current.len() {
                    return Err(Refusal::ShowsAnother);
                }
                for ((cell, _), version) in conditions.iter().zip(current) {
                    if !self.has_version(&mut state, *cell, *version) {
                        return Err(Refusal::ShowsAnother);
                    }
                }
                let hold = conditions.iter().zip(current).all(|((_, want), is)| want == is);
                if hold { Err(Refusal::NoConflict) } else { Ok(state) }
            }
            Action::Applied(changes, version) => {
                let next = |c: &Change| self.is_next(&state[c.cell], c.cell, *version);
                if !changes.iter().all(next) {
                    return Err(Refusal::VersionOrder);
                }
                self.write(state, changes, Some(*version))
            }
            Action::Maybe(_) => unreachable!("it has several outcomes, see Self::attempts"),
        }
    }

    /// What the rows may be after a write of unknown outcome that takes effect.
    pub(super) fn attempts<'s>(
        &'s self,
        state: &'s State,
        at: usize,
    ) -> impl Iterator<Item = State> {
        let op = &self.ops[at];
        let attempt = |guess: &Option<Version>| {
            let after = self.write(Cow::Borrowed(state), op.changes(), *guess).ok()?.into_owned();
            (after != *state).then_some(after)
        };
        op.guesses.iter().filter_map(attempt)
    }

    fn write<'s>(
        &self,
        mut state: Cow<'s, State>,
        changes: &[Change],
        version: Option<Version>,
    ) -> Result<Cow<'s, State>, Refusal> {
        for change in changes {
            if let Some(expected) = change.expected
                && !self.has_version(&mut state, change.cell, expected)
            {
                return Err(Refusal::NotExpected);
            }
        }
        // Held against every row, also one that is deleted, or overwritten before anything tells the version.
        let above = |c: &Change| version.is_none_or(|v| self.is_above(&state[c.cell], c.cell, v));
        if !changes.iter().all(above) {
            return Err(Refusal::VersionOrder);
        }
        let rows = state.to_mut();
        let batch = ties(changes);
        for change in changes {
            let cell = &mut rows[change.cell];
            cell.row = match (change.value, version) {
                (None, _) => Row::Absent,
                (Some(value), Some(version)) => Row::At(value, version),
                (Some(_), None) if batch => Row::Unseen,
                (Some(value), None) => Row::Unversioned(value),
            };
            cell.floor = version.unwrap_or(cell.floor);
        }
        Ok(state)
    }

    /// Whether a version is the lowest that the key is still to get from an operation of known outcome.
    fn is_next(&self, cell: &Cell, key: usize, version: Version) -> bool {
        let versions = &self.versions[key];
        versions.get(versions.partition_point(|v| *v <= cell.floor)) == Some(&version)
    }

    /// Whether a key can get a version: above what it had, and below what it is still to get for certain.
    fn is_above(&self, cell: &Cell, key: usize, version: Version) -> bool {
        let next = self.versions[key].partition_point(|v| *v <= cell.floor);
        version > cell.floor && self.versions[key].get(next).is_none_or(|next| version <= *next)
    }

    /// Whether a row has, or may have, this version; from then on it has it.
    fn has_version(&self, state: &mut Cow<'_, State>, cell: usize, version: Version) -> bool {
        let value = match state[cell].row {
            Row::Absent => return version == Version::ABSENT,
            Row::At(_, held) => return version == held,
            Row::Unseen => return false,
            Row::Unversioned(value) => value,
        };
        let may = self.is_orphan(cell, version)
            && self.is_above(&state[cell], cell, version)
            && self.reads.allow(cell, value, version);
        if may {
            state.to_mut()[cell] = Cell { row: Row::At(value, version), floor: version };
        }
        may
    }

    /// The operation that still has to see a version which a step from one state to the next leaves behind. Versions do
    /// not come back, so nothing good can follow.
    pub(super) fn leaves_behind(
        &self,
        before: &State,
        after: &State,
        is_done: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let cells = before.iter().zip(after).zip(&self.observed);
        cells.filter(|((old, new), _)| old != new).find_map(|((old, new), observed)| {
            let gone = |version: Version| {
                version < new.floor || !matches!(new.row, Row::At(_, held) if held == version)
            };
            let from = observed.partition_point(|(version, _)| *version < old.floor);
            let passed = observed[from..].iter().take_while(|(version, _)| *version <= new.floor);
            let mut left = passed.filter(|(version, at)| gone(*version) && !is_done(*at));
            left.next().map(|(_, at)| *at)
        })
    }

    /// Whether a step overwrites the row of a write of unknown outcome that nothing has seen: it can as well never have
    /// been.
    pub(super) fn buries_unseen(&self, before: &State, at: usize) -> bool {
        before.iter().enumerate().any(|(cell, old)| {
            let mut changes = self.ops[at].changes().iter().filter(|c| c.cell == cell).peekable();
            matches!(old.row, Row::Unversioned(_))
                && changes.peek().is_some()
                && changes.all(|change| change.expected.is_none())
        })
    }

    /// Whether no operation of known outcome gave a row this version.
    fn is_orphan(&self, cell: usize, version: Version) -> bool {
        version != Version::ABSENT && self.versions[cell].binary_search(&version).is_err()
    }

    /// The versions with which a write of unknown outcome is tried: none if nothing can see it. The version of a single
    /// row stays open until something tells it.
    fn guesses(&self, op: &Op) -> Vec<Option<Version>> {
        let changes = op.changes();
        let may_get = |change: &Change, version: Version| {
            let read = |value| self.reads.allow(change.cell, value, version);
            self.is_orphan(change.cell, version) && change.value.is_none_or(read)
        };
        let told = changes.iter().filter(|change| change.value.is_some()).flat_map(|change| {
            let seen = self.observed[change.cell].iter().map(|(version, _)| *version);
            let maybe = self.ops[self.known..].iter().flat_map(Op::changes);
            let expected = maybe.filter(|c| c.cell == change.cell).filter_map(|c| c.expected);
            seen.chain(expected)
        });
        let told: BTreeSet<Version> =
            told.filter(|version| changes.iter().all(|c| may_get(c, *version))).collect();
        let deletes = changes.iter().any(|change| change.value.is_none());
        if ties(changes) {
            told.into_iter().map(Some).chain(deletes.then_some(None)).collect()
        } else {
            Vec::from_iter((deletes || !told.is_empty()).then_some(None))
        }
    }

    /// Whether the effect of `earlier`, of unknown outcome, matters to the operation right after it. If not, it can as
    /// well come later or never.
    pub(super) fn needs(&self, earlier: usize, at: usize) -> bool {
        let written: Vec<usize> = self.ops[earlier].changes().iter().map(|c| c.cell).collect();
        let op = &self.ops[at];
        match &op.action {
            Action::Read(cell, _) => written.contains(cell),
            Action::Conflict(..) | Action::Applied(..) | Action::Maybe(_) => {
                let overwrites = |cell: &usize| op.changes().iter().any(|c| c.cell == *cell);
                let touched = written.iter().any(overwrites);
                let looks = op
                    .changes()
                    .iter()
                    .any(|change| change.expected.is_some() && written.contains(&change.cell));
                // Two that have nothing in common may stand in one order only.
                let apart = matches!(op.action, Action::Maybe(_)) && !touched && at > earlier;
                looks || apart || touched && !written.iter().all(overwrites)
            }
        }
    }

    /// The rows in words.
    pub(super) fn show(&self, state: &State) -> Vec<String> {
        let value = |id: ValueId| {
            let value = self.values.get(id as usize);
            value.map_or("?".to_owned(), |value| value.escape_ascii().to_string())
        };
        let rows = self.keys.iter().zip(state).map(|(key, cell)| {
            let key = key.escape_ascii();
            match cell.row {
                Row::Absent => format!("no row {key}"),
                Row::At(id, version) => format!("{key}={} at {version}", value(id)),
                Row::Unversioned(id) => format!("{key}={} at an unknown version", value(id)),
                Row::Unseen => format!("{key} at a version that nothing tells"),
            }
        });
        rows.collect()
    }
}

/// Whether a write is about several keys.
fn ties(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.cell != changes[0].cell)
}

/// For each operation of unknown outcome, the last before it that does the same.
fn twins(ops: &[Op], known: usize) -> Vec<Option<usize>> {
    let mut alike: BTreeMap<&[Change], usize> = BTreeMap::new();
    let mut twins = vec![None; ops.len()];
    for (at, op) in ops.iter().enumerate().skip(known) {
        twins[at] = alike.insert(op.changes(), at);
    }
    twins
}

impl Op<'_> {
    /// The rows and versions that it shows to have been there.
    fn observes(&self) -> Vec<(usize, Version)> {
        let expected = |change: &Change| Some((change.cell, change.expected?));
        let mut observed: Vec<(usize, Version)> = match &self.action {
            Action::Read(cell, seen) => seen.iter().map(|(_, version)| (*cell, *version)).collect(),
            Action::Applied(changes, _) => changes.iter().filter_map(expected).collect(),
            Action::Conflict(changes, current) => {
                let cells = changes.iter().filter_map(expected).map(|(cell, _)| cell);
                cells.zip(current.iter().copied()).collect()
            }
            Action::Maybe(_) => Vec::new(),
        };
        observed.retain(|(_, version)| *version != Version::ABSENT);
        observed
    }

    pub(super) fn changes(&self) -> &[Change] {
        match &self.action {
            Action::Read(..) => &[],
            Action::Applied(changes, _) | Action::Conflict(changes, _) | Action::Maybe(changes) => {
                changes
            }
        }
    }
}
