//! Reading entries of one group: the newest from memory, older ones from the engine.

use super::{
    log_record::{decode, entry_key, index_of},
    log_store::{Group, index_after},
};
use crate::engine::{EngineError, EngineRead, Scan, Space};
use openraft::{RaftTypeConfig, entry::RaftEntry};
use std::ops::{ControlFlow, Range};

impl<C: RaftTypeConfig> Group<C>
where
    C::Entry: Clone,
{
    /// The entries of `start..end` that the log has; with a limit, at least the first of them.
    pub(super) fn read(
        &self,
        start: u64,
        end: u64,
        limit_bytes: usize,
    ) -> Result<Vec<C::Entry>, EngineError> {
        let state = self.state();
        let Some(first) = state.first_index else {
            return Ok(Vec::new());
        };
        let (start, end) = (start.max(first), end.min(index_after::<C>(state.last.as_ref())));
        if start >= end {
            return Ok(Vec::new());
        }
        let from_tail = state.tail.first_index().unwrap_or(end).clamp(start, end);
        let mut entries = Vec::with_capacity((end - start).min(4096) as usize);
        if from_tail == start {
            let mut budget = limit_bytes;
            for (entry, size_bytes) in state.tail.range(start, end) {
                entries.push(entry.clone());
                if *size_bytes > budget {
                    break;
                }
                budget -= size_bytes;
            }
            return Ok(entries);
        }
        // A view of this instant, so that a purge or truncation that comes meanwhile makes no hole.
        let view = self.log.engine().snapshot()?;
        let newest: Vec<C::Entry> = if limit_bytes == usize::MAX {
            state.tail.range(from_tail, end).map(|(entry, _)| entry.clone()).collect()
        } else {
            Vec::new() // a limited read may end early
        };
        drop(state);
        self.read_stored(&*view, start..from_tail, limit_bytes, &mut entries)?;
        entries.extend(newest);
        Ok(entries)
    }

    fn read_stored(
        &self,
        view: &(impl EngineRead + ?Sized),
        range: Range<u64>,
        mut budget: usize,
        entries: &mut Vec<C::Entry>,
    ) -> Result<(), EngineError> {
        let mut next = range.start;
        let mut outcome = Ok(());
        let scan = Scan::range(
            entry_key(self.shard_id, range.start),
            Some(entry_key(self.shard_id, range.end)),
        );
        view.visit(Space::Log, &scan, &mut |key, value| {
            match self.stored(next, key, value) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            }
            next += 1;
            if value.len() > budget {
                next = range.end; // enough; what is left out is no hole
                return ControlFlow::Break(());
            }
            budget -= value.len();
            ControlFlow::Continue(())
        })?;
        outcome?;
        if next < range.end { Err(self.missing(next)) } else { Ok(()) }
    }

    fn stored(&self, expected: u64, key: &[u8], value: &[u8]) -> Result<C::Entry, EngineError> {
        if index_of(key)? != expected {
            return Err(self.missing(expected));
        }
        let entry: C::Entry = decode(key, value)?;
        if entry.index() != expected {
            return Err(EngineError::corruption(format!(
                "entry {} is stored as {expected}",
                entry.index()
            )));
        }
        Ok(entry)
    }

    fn missing(&self, index: u64) -> EngineError {
        EngineError::corruption(format!("the log of shard {} has no entry {index}", self.shard_id))
    }
}
