//! Which rows there are, and where their values lie. Snapshots share it; what is changed while shared is copied.

use super::{
    super::{EngineError, EngineRead, EngineSnapshot, RowVisitor, Scan, Space},
    segment::Segment,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

/// Keys with the same first bytes are copied together when a snapshot is open: one group of the log, not all of it.
const PREFIX_BYTES: usize = 8;

/// A value.
#[derive(Clone)]
pub(super) enum Stored {
    Here(Bytes),
    InFile(Located),
}

/// A value in a file. As long as one lives, its segment stays.
#[derive(Clone)]
pub(super) struct Located {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u32,
    pub(super) size_bytes: u32,
}

impl Stored {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Here(value) => value.len() as u64,
            Self::InFile(located) => located.size_bytes.into(),
        }
    }

    /// Whether it is here or in its file, and not still in a buffer.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::InFile(at) => at.segment.has(at.offset + at.size_bytes),
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Here(value) => Ok(value.to_vec()),
            Self::InFile(at) => at.segment.read(at.offset, at.size_bytes),
        }
    }
}

type Rows = BTreeMap<Vec<u8>, Stored>;

/// All rows of all spaces.
#[derive(Clone, Default)]
pub(super) struct Index([BTreeMap<Vec<u8>, Arc<Rows>>; Space::ALL.len()]);

fn prefix(key: &[u8]) -> &[u8] {
    &key[..key.len().min(PREFIX_BYTES)]
}

impl Index {
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<&Stored> {
        self.0[space.slot()].get(prefix(key))?.get(key)
    }

    pub(super) fn insert(&mut self, space: Space, key: Vec<u8>, stored: Stored) {
        if let Stored::InFile(new) = &stored {
            new.segment.add_live(new.size_bytes);
        }
        let groups = &mut self.0[space.slot()];
        if !groups.contains_key(prefix(&key)) {
            groups.insert(prefix(&key).to_vec(), Arc::default());
        }
        let rows = groups.get_mut(prefix(&key)).expect("it was just added if it was not there");
        if let Some(old) = Arc::make_mut(rows).insert(key, stored) {
            forget(&old);
        }
    }

    /// Removes every row of a space whose values are here.
    pub(super) fn clear(&mut self, space: Space) {
        self.0[space.slot()].clear();
    }

    pub(super) fn remove(&mut self, space: Space, key: &[u8]) {
        let groups = &mut self.0[space.slot()];
        let Some(rows) = groups.get_mut(prefix(key)) else { return };
        if !rows.contains_key(key) {
            return;
        }
        let rows = Arc::make_mut(rows);
        if let Some(old) = rows.remove(key) {
            forget(&old);
        }
        if rows.is_empty() {
            groups.remove(prefix(key));
        }
    }

    pub(super) fn remove_range(&mut self, space: Space, from: &[u8], to: &[u8]) {
        let scan = Scan::range(from, Some(to.to_vec()));
        let gone: Vec<Vec<u8>> = self.range(space, &scan).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(space, &key);
        }
    }

    /// The rows in the scan's range, in ascending order; `next_back` of it descends.
    pub(super) fn range<'a>(
        &'a self,
        space: Space,
        scan: &'a Scan,
    ) -> Box<dyn DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Stored)> + 'a> {
        if scan.end.as_ref().is_some_and(|end| *end <= scan.start) {
            return Box::new(std::iter::empty());
        }
        let end = scan.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        // Cutting keys short keeps their order, so the groups of the range are a range of groups.
        let last = scan.end.as_deref().map_or(Bound::Unbounded, |end| Bound::Included(prefix(end)));
        let groups = (Bound::Included(prefix(&scan.start)), last);
        let rows = (Bound::Included(scan.start.as_slice()), end);
        Box::new(
            self.0[space.slot()]
                .range::<[u8], _>(groups)
                .flat_map(move |(_, group)| group.range::<[u8], _>(rows)),
        )
    }

    /// Every row of a space.
    pub(super) fn all(&self, space: Space) -> impl Iterator<Item = (&Vec<u8>, &Stored)> {
        self.0[space.slot()].values().flat_map(|rows| rows.iter())
    }

    /// Bytes of keys and values in the scan's range.
    pub(super) fn size_bytes(&self, space: Space, scan: &Scan) -> u64 {
        self.range(space, scan).map(|(key, stored)| key.len() as u64 + stored.size_bytes()).sum()
    }
}

fn forget(old: &Stored) {
    if let Stored::InFile(old) = old {
        old.segment.remove_live(old.size_bytes);
    }
}

/// Every value that is not here must be in its file already.
impl EngineRead for Index {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.get(space, key).map(Stored::read).transpose()
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        let mut range = self.range(space, scan);
        while let Some((key, stored)) = if scan.reverse { range.next_back() } else { range.next() }
        {
            if row(key, &stored.read()?) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl EngineSnapshot for Index {}
