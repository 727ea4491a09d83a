//! Opening: reads every segment, oldest first, and tells a torn tail from damage.
//!
//! A frame that cannot be read ends the log. What a crash leaves of frames that were never made durable looks like that,
//! and is dropped. But if any frame behind it says that the log was durable beyond that place, or the note beside the
//! segments does, acknowledged writes are gone: that is an error, and the files stay as they are.

use super::{
    super::{EngineError, Space},
    frame::{self, FoundOp, Frame, Kind, Position},
    index::{Index, Located, Stored},
    segment::{self, Segment},
};
use bytes::Bytes;
use std::{collections::VecDeque, path::Path, sync::Arc};

/// Version of the files, the first byte of each base's value under [`VERSION_KEY`].
pub(super) const VERSION: u8 = 1;
/// A row of every base that no caller can ask for: their keys of this space are never empty.
pub(super) const VERSION_KEY: (Space, &[u8]) = (Space::LogMeta, b"");

/// What the files hold.
pub(super) struct Recovered {
    pub(super) index: Index,
    /// Those with something in them, oldest first.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Where the log ends.
    pub(super) end: Position,
    /// The highest number ever given to a segment that is still there.
    pub(super) last_number: u32,
}

struct Found {
    segment: Arc<Segment>,
    bytes: Vec<u8>,
}

pub(super) fn recover(dir: &Path, noted: Position) -> Result<Recovered, EngineError> {
    let mut found = Vec::new();
    for number in segment::numbers(dir)? {
        let (segment, bytes) = Segment::open(dir, number)?;
        found.push(Found { segment: Arc::new(segment), bytes });
    }
    let last_number = found.last().map_or(0, |last| last.segment.number);
    let mut index = Index::default();
    let mut segments = VecDeque::new();
    let mut end = Position::default();
    let mut torn = None;
    for (at, this) in found.iter().enumerate() {
        let number = this.segment.number;
        let begin = Position { segment: number, offset: 0 };
        let follows = frame::read(begin, &this.bytes).is_some_and(|first| {
            first.header.kind == Kind::Base && (at == 0 || first.header.previous == end)
        });
        if !follows {
            torn = Some(at);
            break;
        }
        end = apply_all(this, &mut index)?;
        segments.push_back(this.segment.clone());
    }
    let proof = furthest_durable(&found, end, torn).max(noted);
    if proof > end {
        return Err(EngineError::corruption(format!(
            "{}: the log was durable up to segment {} offset {}, but ends at segment {} offset {}",
            dir.display(),
            proof.segment,
            proof.offset,
            end.segment,
            end.offset
        )));
    }
    for dropped in &found[torn.unwrap_or(found.len())..] {
        tracing::warn!(dir = %dir.display(), segment = dropped.segment.number, "dropping a segment that was never durable");
        dropped.segment.retire(dir)?;
    }
    segment::sync_dir(dir)?;
    Ok(Recovered { index, segments, end, last_number })
}

/// Applies the frames of a segment up to the first that cannot be read; where that is.
fn apply_all(found: &Found, index: &mut Index) -> Result<Position, EngineError> {
    let mut place = Position { segment: found.segment.number, offset: 0 };
    while let Some(frame) = frame::read(place, &found.bytes) {
        apply(&found.segment, &frame, index)?;
        place.offset = frame.end;
    }
    Ok(place)
}

fn apply(segment: &Arc<Segment>, frame: &Frame<'_>, index: &mut Index) -> Result<(), EngineError> {
    if frame.header.kind == Kind::Base {
        // It has all of them; what went before need not have been read.
        for space in Space::ALL.into_iter().filter(|space| !super::in_files(*space)) {
            index.clear(space);
        }
    }
    for op in frame.ops()? {
        match op {
            FoundOp::Put { space, key, value, .. } if (space, key) == VERSION_KEY => {
                check_version(value)?;
            }
            FoundOp::Put { space, key, value, offset } => {
                let stored = if super::in_files(space) {
                    let size_bytes = value.len() as u32;
                    Stored::InFile(Located { segment: segment.clone(), offset, size_bytes })
                } else {
                    Stored::Here(Bytes::copy_from_slice(value))
                };
                index.insert(space, key.to_vec(), stored);
            }
            FoundOp::Delete { space, key } => index.remove(space, key),
            FoundOp::DeleteRange { space, from, to } => index.remove_range(space, from, to),
        }
    }
    Ok(())
}

fn check_version(value: &[u8]) -> Result<(), EngineError> {
    match value {
        [VERSION] => Ok(()),
        other => Err(EngineError::new(
            super::EngineErrorKind::NewerFormat,
            format!("the log's files have version {other:?}; this is {VERSION}"),
        )),
    }
}

/// What any frame behind the end says of how far the log was durable.
fn furthest_durable(found: &[Found], end: Position, torn: Option<usize>) -> Position {
    let behind = |this: &Found| {
        let segment = this.segment.number;
        let offset = if segment == end.segment { end.offset } else { 0 };
        frame::durable_behind(Position { segment, offset }, &this.bytes)
    };
    let torn = torn.unwrap_or(found.len());
    let last = found[..torn].last();
    last.into_iter().chain(&found[torn..]).map(behind).max().unwrap_or_default()
}
