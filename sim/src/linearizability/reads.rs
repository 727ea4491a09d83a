//! What reads tell of values and versions: which version a write of unknown outcome can have got.

use super::state::{Action, Op, UNREAD, ValueId};
use isobar_api::Version;
use std::collections::{BTreeMap, BTreeSet};

/// What reads tell of values and versions, by key.
#[derive(Debug, Default)]
pub(super) struct Reads {
    value_of: BTreeMap<(usize, Version), ValueId>,
    /// Of values that only one operation writes, where all reads agree.
    version_of: BTreeMap<(usize, ValueId), Version>,
}

impl Reads {
    /// Also makes one of all values that make no difference.
    pub(super) fn new(ops: &mut [Op]) -> Self {
        let mut reads = Self::default();
        let mut versions: BTreeMap<(usize, ValueId), BTreeSet<Version>> = BTreeMap::new();
        for op in ops.iter() {
            if let Action::Read(cell, Some((value, version))) = op.action {
                reads.value_of.insert((cell, version), value);
                versions.entry((cell, value)).or_default().insert(version);
            }
        }
        let mut writers: BTreeMap<(usize, ValueId), usize> = BTreeMap::new();
        for op in ops {
            for change in op.changes() {
                let Some(value) = change.value else { continue };
                *writers.entry((change.cell, value)).or_default() += 1;
            }
            if let Action::Maybe(changes) = &mut op.action {
                for change in changes {
                    let read = |value: &ValueId| versions.contains_key(&(change.cell, *value));
                    change.value = change.value.map(|v| if read(&v) { v } else { UNREAD });
                }
            }
        }
        for (place, seen) in versions {
            if let (Some(1), [version]) = (writers.get(&place), &*Vec::from_iter(seen)) {
                reads.version_of.insert(place, *version);
            }
        }
        reads
    }

    /// Whether a write of unknown outcome can have given a row this version.
    pub(super) fn allow(&self, cell: usize, value: ValueId, version: Version) -> bool {
        self.value_of.get(&(cell, version)).is_none_or(|other| *other == value)
            && self.version_of.get(&(cell, value)).is_none_or(|other| *other == version)
    }
}
