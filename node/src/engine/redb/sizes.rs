//! Sizes of large ranges. redb cannot tell them without a walk over the rows, so one is done again only after much changed.

use super::super::{EngineError, Op, Space, WriteBatch};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

/// Smaller ranges are counted every time, and their sizes are exact.
const SMALL_BYTES: u64 = 4 << 20;
/// A size is taken again while less than this part of it, in rows and in bytes, was written since.
const CHANGED_PART: u64 = 8;
/// More ranges than any node has shards; above it all are forgotten.
const RANGES_MAX: usize = 4_096;

/// Rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

type RangeOf = (Space, Vec<u8>, Option<Vec<u8>>);

#[derive(Default)]
struct State {
    written: Amount,
    /// What was counted, and what was written when it was.
    counted: BTreeMap<RangeOf, (Amount, Amount)>,
}

/// What was counted before.
#[derive(Default)]
pub(super) struct Sizes(Mutex<State>);

impl Sizes {
    /// Tells of a batch that was written.
    pub(super) fn written(&self, batch: &WriteBatch) {
        let mut state = self.state();
        for op in batch.ops() {
            state.written.rows += 1;
            match op {
                Op::Put(_, key, value) => state.written.bytes += (key.len() + value.len()) as u64,
                Op::Delete(_, key) => state.written.bytes += key.len() as u64,
                Op::DeleteRange(space, ..) => state.counted.retain(|(of, ..), _| of != space),
            }
        }
    }

    /// The size of a range in bytes: as it was counted not long ago, or counted now.
    pub(super) fn of(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        count: impl FnOnce() -> Result<Amount, EngineError>,
    ) -> Result<u64, EngineError> {
        let range = (space, start.to_vec(), end.map(<[u8]>::to_vec));
        let before = {
            let state = self.state();
            if let Some((amount, at)) = state.counted.get(&range)
                && state.written.rows - at.rows <= amount.rows / CHANGED_PART
                && state.written.bytes - at.bytes <= amount.bytes / CHANGED_PART
            {
                return Ok(amount.bytes);
            }
            state.written
        };
        let amount = count()?;
        let mut state = self.state();
        if state.counted.len() >= RANGES_MAX {
            state.counted.clear();
        }
        if amount.bytes > SMALL_BYTES {
            state.counted.insert(range, (amount, before));
        } else {
            state.counted.remove(&range);
        }
        Ok(amount.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_range_is_counted_again_only_after_much_changed() {
        let sizes = Sizes::default();
        let large = Amount { rows: 80, bytes: 8 * SMALL_BYTES };
        let size = |expected: Option<Amount>| {
            let mut counts = 0;
            let found = sizes.of(Space::Data, b"a", None, || {
                counts += 1;
                Ok(expected.unwrap_or_default())
            });
            assert_eq!(counts > 0, expected.is_some(), "whether it is counted");
            found.expect("nothing fails")
        };
        let write = |fill: &dyn Fn(&mut WriteBatch)| {
            let mut batch = WriteBatch::new();
            fill(&mut batch);
            sizes.written(&batch);
        };
        assert_eq!(size(Some(large)), large.bytes);
        write(&|batch| (0..10_u8).for_each(|n| batch.delete(Space::Data, [n])));
        assert_eq!(size(None), large.bytes);
        write(&|batch| batch.delete(Space::Data, [1]));
        assert_eq!(size(Some(large)), large.bytes, "an eighth of its rows were written");
        write(&|batch| batch.put(Space::Meta, "k", vec![0; SMALL_BYTES as usize + 1]));
        assert_eq!(size(Some(large)), large.bytes, "an eighth of its bytes were written");
        write(&|batch| batch.delete_range(Space::Log, "a", "b"));
        assert_eq!(size(None), large.bytes);
        write(&|batch| batch.delete_range(Space::Data, "a", "b"));
        let small = Amount { rows: 1, bytes: SMALL_BYTES };
        assert_eq!(size(Some(small)), small.bytes, "nobody knows how much a range held");
        assert_eq!(size(Some(small)), small.bytes, "a small one is counted every time");
    }
}
