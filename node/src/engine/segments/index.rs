//! Which rows there are, and where their values lie. Snapshots share it; what is changed while shared is copied.

use super::{
    super::{EngineError, EngineRead, EngineSnapshot, RowVisitor, Scan, Space},
    rows::{Kept, Place, Rows, prefix},
    segment::Segment,
};
use bytes::Bytes;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

/// A value.
pub(super) enum Stored {
    Here(Bytes),
    InFile(Located),
}

/// A value in a file. As long as one lives, its segment stays.
pub(super) struct Located {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u32,
    pub(super) size_bytes: u32,
}

impl Stored {
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

/// Keys with the same first bytes are copied together when a snapshot is open: one group of the log, not all of it.
type Groups = BTreeMap<Vec<u8>, Arc<Rows>>;

/// All rows of all spaces.
#[derive(Clone, Default)]
pub(super) struct Index {
    spaces: [Groups; Space::ALL.len()],
    /// Those that a row refers to.
    segments: BTreeMap<u32, Arc<Segment>>,
}

/// The groups in which a scan may find something.
fn groups_of<'a>(
    groups: &'a Groups,
    scan: &Scan,
) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Arc<Rows>)> {
    // Cutting keys short keeps their order, so the groups of the range are a range of groups.
    let last = scan.end.as_deref().map_or(Bound::Unbounded, |end| Bound::Included(prefix(end)));
    let nothing = scan.end.as_ref().is_some_and(|end| *end <= scan.start);
    let found =
        (!nothing).then(|| groups.range::<[u8], _>((Bound::Included(prefix(&scan.start)), last)));
    found.into_iter().flatten()
}

impl Index {
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<Stored> {
        self.spaces[space.slot()].get(prefix(key))?.get(key).map(|kept| self.stored(kept))
    }

    fn stored(&self, kept: Kept) -> Stored {
        match kept {
            Kept::Here(value) => Stored::Here(value),
            Kept::At(Place { segment, offset, size_bytes }) => {
                let segment = self.segment(segment).clone();
                Stored::InFile(Located { segment, offset, size_bytes })
            }
        }
    }

    fn segment(&self, number: u32) -> &Arc<Segment> {
        self.segments.get(&number).expect("a segment that a row refers to is kept")
    }

    pub(super) fn read(&self, kept: &Kept) -> Result<Vec<u8>, EngineError> {
        match kept {
            Kept::Here(value) => Ok(value.to_vec()),
            Kept::At(at) => self.segment(at.segment).read(at.offset, at.size_bytes),
        }
    }

    pub(super) fn insert(&mut self, space: Space, key: Vec<u8>, stored: Stored) {
        let kept = match stored {
            Stored::Here(value) => Kept::Here(value),
            Stored::InFile(Located { segment, offset, size_bytes }) => {
                segment.add_live(size_bytes);
                let number = segment.number;
                self.segments.entry(number).or_insert(segment);
                Kept::At(Place { segment: number, offset, size_bytes })
            }
        };
        let groups = &mut self.spaces[space.slot()];
        if !groups.contains_key(prefix(&key)) {
            groups.insert(prefix(&key).to_vec(), Arc::default());
        }
        let rows = groups.get_mut(prefix(&key)).expect("it was just added if it was not there");
        if let Some(old) = Arc::make_mut(rows).insert(key, kept) {
            forget(&mut self.segments, &old);
        }
    }

    /// Removes every row of a space whose values are here.
    pub(super) fn clear(&mut self, space: Space) {
        self.spaces[space.slot()].clear();
    }

    pub(super) fn remove(&mut self, space: Space, key: &[u8]) {
        let groups = &mut self.spaces[space.slot()];
        let Some(rows) = groups.get_mut(prefix(key)) else { return };
        if rows.get(key).is_none() {
            return;
        }
        let rows = Arc::make_mut(rows);
        if let Some(old) = rows.remove(key) {
            forget(&mut self.segments, &old);
        }
        if rows.is_empty() {
            groups.remove(prefix(key));
        }
    }

    pub(super) fn remove_range(&mut self, space: Space, from: &[u8], to: &[u8]) {
        let scan = Scan::range(from, Some(to.to_vec()));
        let groups = &mut self.spaces[space.slot()];
        let touched: Vec<Vec<u8>> = groups_of(groups, &scan)
            .filter(|(group, rows)| rows.any_in(group, from, to))
            .map(|(group, _)| group.clone())
            .collect();
        for group in touched {
            let rows = Arc::make_mut(groups.get_mut(&group).expect("it was found just now"));
            rows.remove_range(&group, (from, to), |old| forget(&mut self.segments, &old));
            if rows.is_empty() {
                groups.remove(&group);
            }
        }
    }

    /// The rows in the scan's range, in ascending order; `next_back` of it descends.
    pub(super) fn range<'a>(
        &'a self,
        space: Space,
        scan: &'a Scan,
    ) -> impl DoubleEndedIterator<Item = (Cow<'a, [u8]>, Kept)> + 'a {
        groups_of(&self.spaces[space.slot()], scan)
            .flat_map(|(group, rows)| rows.range(group, &scan.start, scan.end.as_deref()))
    }

    /// Every row of a space.
    pub(super) fn all(&self, space: Space) -> impl Iterator<Item = (Cow<'_, [u8]>, Kept)> {
        self.spaces[space.slot()].iter().flat_map(|(group, rows)| rows.range(group, &[], None))
    }

    /// What a scan needs of it, as it is now.
    pub(super) fn part(&self, space: Space, scan: &Scan) -> Self {
        let mut part = Self { segments: self.segments.clone(), ..Self::default() };
        let groups = groups_of(&self.spaces[space.slot()], scan);
        part.spaces[space.slot()] =
            groups.map(|(group, rows)| (group.clone(), rows.clone())).collect();
        part
    }

    /// Bytes of keys and values in the scan's range.
    pub(super) fn size_bytes(&self, space: Space, scan: &Scan) -> u64 {
        self.range(space, scan).map(|(key, kept)| key.len() as u64 + kept.size_bytes()).sum()
    }
}

fn forget(segments: &mut BTreeMap<u32, Arc<Segment>>, old: &Kept) {
    if let Kept::At(place) = old
        && segments[&place.segment].remove_live(place.size_bytes)
    {
        segments.remove(&place.segment);
    }
}

/// Every value that is not here must be in its file already.
impl EngineRead for Index {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.get(space, key).map(|stored| stored.read()).transpose()
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        let mut range = self.range(space, scan);
        while let Some((key, kept)) = if scan.reverse { range.next_back() } else { range.next() } {
            if row(&key, &self.read(&kept)?) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl EngineSnapshot for Index {}
