//! What the files hold: frames, one for each batch.
//!
//! ```text
//! magic 4 | checksum 4 | payload bytes 4 | kind 1 | 0 0 0 | durable 8 | previous 8 | payload, padded to 8 bytes
//! ```
//! The checksum covers everything behind it and the frame's [`Position`], so a frame counts only where it was written:
//! what an earlier life of a reused file left behind is no frame. `durable` is how far the log was known to be durable
//! when the frame was made: a frame that can be read proves that everything before that was once acknowledged.

use super::super::{EngineError, Op, Space};

const MAGIC: [u8; 4] = *b"ISLF";
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// A place in the log: the number of a segment, and an offset in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Position {
    pub(super) fn number(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self { segment: (number >> 32) as u32, offset: number as u32 }
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A batch.
    Batch = 0,
    /// The first of a segment: all rows that are kept in memory, so that older segments need not be kept for them.
    Base = 1,
}

/// The part of a frame before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The log was durable up to here when the frame was made.
    pub(super) durable: Position,
    /// Of a base: where the segment before ends. Otherwise zero.
    pub(super) previous: Position,
}

/// Appends a frame for `place` to `out`. Each value's offset in the segment goes to `placed`, in the order of the ops.
pub(super) fn encode<'a>(
    place: Position,
    header: Header,
    ops: impl Iterator<Item = &'a Op>,
    out: &mut Vec<u8>,
    mut placed: impl FnMut(u32),
) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[header.kind as u8, 0, 0, 0]);
    out.extend_from_slice(&header.durable.number().to_be_bytes());
    out.extend_from_slice(&header.previous.number().to_be_bytes());
    for op in ops {
        match op {
            Op::Put(space, key, value) => {
                put_head(out, 0, *space, key.len(), value.len());
                out.extend_from_slice(key);
                placed(place.offset + (out.len() - start) as u32);
                out.extend_from_slice(value);
            }
            Op::Delete(space, key) => {
                put_head(out, 1, *space, key.len(), 0);
                out.extend_from_slice(key);
            }
            Op::DeleteRange(space, from, to) => {
                put_head(out, 2, *space, from.len(), to.len());
                out.extend_from_slice(from);
                out.extend_from_slice(to);
            }
        }
    }
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), PADDING);
    let payload_bytes = (out.len() - start - HEADER_BYTES) as u32;
    out[start + 8..start + 12].copy_from_slice(&payload_bytes.to_be_bytes());
    let sum = checksum(place, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_be_bytes());
}

/// No op begins with it, so what follows the last op is known for what it is.
const PADDING: u8 = 0xff;
const OP_HEAD_BYTES: usize = 10;

fn put_head(out: &mut Vec<u8>, tag: u8, space: Space, first: usize, second: usize) {
    out.extend_from_slice(&[tag, space.slot() as u8]);
    out.extend_from_slice(&(first as u32).to_be_bytes());
    out.extend_from_slice(&(second as u32).to_be_bytes());
}

fn checksum(place: Position, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.number().to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// A frame as found in a file.
pub(super) struct Frame<'a> {
    pub(super) header: Header,
    payload: &'a [u8],
    payload_offset: u32,
    /// Where the next frame begins.
    pub(super) end: u32,
}

/// An operation as found in a frame.
pub(super) enum FoundOp<'a> {
    Put { space: Space, key: &'a [u8], value: &'a [u8], offset: u32 },
    Delete { space: Space, key: &'a [u8] },
    DeleteRange { space: Space, from: &'a [u8], to: &'a [u8] },
}

/// The frame at `place` in the bytes of its file; none if there is no whole, undamaged one.
pub(super) fn read(place: Position, file: &[u8]) -> Option<Frame<'_>> {
    let bytes = file.get(place.offset as usize..)?;
    let (head, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    if head[..4] != MAGIC {
        return None;
    }
    let number = |at: usize| {
        u64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes of a longer header"))
    };
    let word = |at: usize| {
        u32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes of a longer header"))
    };
    let payload_bytes = word(8) as usize;
    let payload = rest.get(..payload_bytes)?;
    if word(4) != checksum(place, &bytes[8..HEADER_BYTES + payload_bytes]) {
        return None;
    }
    let kind = match head[12] {
        0 => Kind::Batch,
        1 => Kind::Base,
        _ => return None,
    };
    let header = Header {
        kind,
        durable: Position::from_number(number(16)),
        previous: Position::from_number(number(24)),
    };
    let payload_offset = place.offset + HEADER_BYTES as u32;
    Some(Frame { header, payload, payload_offset, end: payload_offset + payload_bytes as u32 })
}

impl<'a> Frame<'a> {
    /// The operations, in order. A frame whose checksum is right and whose content is not was written by a defect.
    pub(super) fn ops(&self) -> Result<Vec<FoundOp<'a>>, EngineError> {
        let mut ops = Vec::new();
        let mut at = 0;
        while at < self.payload.len() && self.payload[at] != PADDING {
            let (op, next) = self.op(at).ok_or_else(|| {
                EngineError::corruption(format!("a frame's operation at {at} cannot be read"))
            })?;
            ops.push(op);
            at = next;
        }
        Ok(ops)
    }

    fn op(&self, at: usize) -> Option<(FoundOp<'a>, usize)> {
        let head = self.payload.get(at..at + OP_HEAD_BYTES)?;
        let space = *Space::ALL.get(usize::from(head[1]))?;
        let length = |from: usize| {
            let word = head[from..from + 4].try_into().expect("4 bytes of a longer head");
            u32::from_be_bytes(word) as usize
        };
        let first_at = at + OP_HEAD_BYTES;
        let second_at = first_at.checked_add(length(2))?;
        let end = second_at.checked_add(length(6))?;
        let (first, second) =
            (self.payload.get(first_at..second_at)?, self.payload.get(second_at..end)?);
        let offset = self.payload_offset + second_at as u32;
        let op = match head[0] {
            0 => FoundOp::Put { space, key: first, value: second, offset },
            1 => FoundOp::Delete { space, key: first },
            2 => FoundOp::DeleteRange { space, from: first, to: second },
            _ => return None,
        };
        Some((op, end))
    }
}

/// The furthest `durable` of any whole frame that begins behind `from` in this file.
pub(super) fn durable_behind(from: Position, file: &[u8]) -> Position {
    let first = (from.offset as usize).next_multiple_of(ALIGN);
    (first..file.len())
        .step_by(ALIGN)
        .filter(|&at| file[at..].starts_with(&MAGIC))
        .filter_map(|at| read(Position { segment: from.segment, offset: at as u32 }, file))
        .map(|frame| frame.header.durable)
        .max()
        .unwrap_or_default()
}

/// A frame of anything, as only a defect of ours could write it.
#[cfg(test)]
pub(super) fn with_right_sum(place: Position, header: [u8; 20], payload: &[u8]) -> Vec<u8> {
    let mut out = [&MAGIC[..], &[0; 4], &(payload.len() as u32).to_be_bytes(), &header].concat();
    out.extend_from_slice(payload);
    let sum = checksum(place, &out[8..]);
    out[4..8].copy_from_slice(&sum.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op() -> impl Strategy<Value = Op> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        let space = prop::sample::select(Space::ALL.to_vec());
        (0..3_u8, space, bytes(), bytes()).prop_map(|(kind, space, a, b)| match kind {
            0 => Op::Put(space, a, b),
            1 => Op::Delete(space, a),
            _ => Op::DeleteRange(space, a, b),
        })
    }

    fn back(found: &FoundOp<'_>) -> Op {
        match *found {
            FoundOp::Put { space, key, value, .. } => Op::Put(space, key.into(), value.into()),
            FoundOp::Delete { space, key } => Op::Delete(space, key.into()),
            FoundOp::DeleteRange { space, from, to } => {
                Op::DeleteRange(space, from.into(), to.into())
            }
        }
    }

    proptest! {
        #![proptest_config(isobar_fuzz::config())]

        #[test]
        fn fuzz_comes_back_where_it_was_written_and_nowhere_else(
            ops in prop::collection::vec(op(), 0..8), flip: prop::sample::Index, bit in 0..8_u8,
        ) {
            let place = Position { segment: 3, offset: 16 };
            let header = Header {
                kind: Kind::Batch,
                durable: Position { segment: 2, offset: 7 },
                previous: Position::default(),
            };
            let mut file = vec![0; 16];
            let mut placed = Vec::new();
            encode(place, header, ops.iter(), &mut file, |offset| placed.push(offset));
            let frame = read(place, &file).expect("it was just written");
            prop_assert_eq!((frame.header, frame.end as usize), (header, file.len()));
            let found = frame.ops().expect("whole");
            prop_assert_eq!(found.iter().map(back).collect::<Vec<_>>(), ops);
            let offsets: Vec<u32> = found
                .iter()
                .filter_map(|op| match op { FoundOp::Put { offset, .. } => Some(*offset), _ => None })
                .collect();
            prop_assert_eq!(offsets, placed);
            let (before, elsewhere) =
                (Position { offset: 1, ..place }, Position { segment: 4, ..place });
            prop_assert_eq!(durable_behind(before, &file), header.durable);
            prop_assert!(read(elsewhere, &file).is_none());
            let at = 16 + flip.index(file.len() - 16);
            file[at] ^= 1 << bit;
            prop_assert!(read(place, &file).is_none(), "bit {} of byte {}", bit, at);
        }

        #[test]
        fn fuzz_any_bytes_are_a_frame_or_none(bytes: Vec<u8>, offset in 0..64_u32) {
            let _ = read(Position { segment: 1, offset }, &bytes);
            let _ = durable_behind(Position { segment: 1, offset }, &bytes);
        }
    }
}
