//! How log records and marks look on disk: keys by shard and index, values with a version and a checksum.
//!
//! `Space::Log`: `shard u64 BE | index u64 BE`. `Space::LogMeta`: `shard u64 BE | kind byte`.
//! Value: `version byte | checksum 4 bytes | postcard`. The checksum covers the key too, so a record that ended up under
//! another key is damage, not data. (RocksDB has checksums of its own; these also cover what happens above it.)

use crate::engine::EngineError;
use serde::{Serialize, de::DeserializeOwned};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The marks a group keeps beside its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Vote,
    Purged,
    Committed,
}

impl Mark {
    fn byte(self) -> u8 {
        match self {
            Self::Vote => b'v',
            Self::Purged => b'p',
            Self::Committed => b'c',
        }
    }
}

pub(crate) fn entry_key(shard_id: u64, index: u64) -> Vec<u8> {
    [shard_id.to_be_bytes(), index.to_be_bytes()].concat()
}

pub(super) fn mark_key(shard_id: u64, mark: Mark) -> Vec<u8> {
    let mut key = shard_id.to_be_bytes().to_vec();
    key.push(mark.byte());
    key
}

/// Bounds of everything a group has, in either space.
pub(super) fn group_bounds(shard_id: u64) -> (Vec<u8>, Vec<u8>) {
    let start = shard_id.to_be_bytes().to_vec();
    // Above every index and every mark, and right for the highest shard id too.
    let end = [&start[..], &[u8::MAX; 9]].concat();
    (start, end)
}

/// The key just past all entries of a group.
pub(super) fn entries_end(shard_id: u64) -> Vec<u8> {
    group_bounds(shard_id).1
}

pub(super) fn index_of(key: &[u8]) -> Result<u64, EngineError> {
    let index = key.get(8..).and_then(|index| index.try_into().ok()).map(u64::from_be_bytes);
    index.ok_or_else(|| {
        EngineError::corruption(format!("a log key has {} bytes, not 16", key.len()))
    })
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[VERSION]);
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(body);
    let hash = hasher.finalize();
    hash.as_bytes()[..4].try_into().expect("a hash has 32 bytes")
}

/// A value for `key`.
pub(super) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, EngineError> {
    let mut bytes = postcard::to_extend(value, vec![0; HEADER_BYTES]).map_err(|error| {
        EngineError::new(crate::engine::EngineErrorKind::Internal, "encode a log record")
            .caused_by(error)
    })?;
    let sum = checksum(key, &bytes[HEADER_BYTES..]);
    bytes[0] = VERSION;
    bytes[1..HEADER_BYTES].copy_from_slice(&sum);
    Ok(bytes)
}

/// What was stored under `key`. Any change of a bit is an error.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, EngineError> {
    let damaged = |what: &str| EngineError::corruption(format!("log record {key:02x?}: {what}"));
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(damaged("too short"));
    };
    if header[0] != VERSION {
        return Err(damaged("unknown version"));
    }
    if header[1..] != checksum(key, body) {
        return Err(damaged("checksum mismatch"));
    }
    let (value, rest) = postcard::take_from_bytes(body)
        .map_err(|error| damaged("cannot be read").caused_by(error))?;
    if rest.is_empty() { Ok(value) } else { Err(damaged("bytes left over")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineErrorKind;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(isobar_fuzz::config())]

        #[test]
        fn fuzz_comes_back_and_any_flipped_bit_is_noticed(
            shard: u64, index: u64, value: (u64, Vec<u8>, Option<String>), place: prop::sample::Index, bit in 0..8_u8,
        ) {
            let key = entry_key(shard, index);
            let mut bytes = encode(&key, &value).unwrap();
            prop_assert_eq!(&decode::<(u64, Vec<u8>, Option<String>)>(&key, &bytes).unwrap(), &value);
            prop_assert_eq!(index_of(&key).unwrap(), index);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let error = decode::<(u64, Vec<u8>, Option<String>)>(&key, &bytes).unwrap_err();
            prop_assert_eq!(error.kind(), EngineErrorKind::Corruption);
        }

        #[test]
        fn fuzz_any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode::<(u64, String)>(b"key", &bytes);
        }

        #[test]
        fn a_group_owns_its_keys_and_no_others(shard: u64, other: u64, index: u64) {
            let (start, end) = group_bounds(shard);
            for key in [entry_key(other, index), mark_key(other, Mark::Vote)] {
                prop_assert_eq!(key >= start && key < end, other == shard);
            }
        }
    }

    #[test]
    fn a_record_under_another_key_is_damage() {
        let bytes = encode(&entry_key(1, 1), &7_u64).unwrap();
        assert!(decode::<u64>(&entry_key(1, 2), &bytes).is_err());
    }

    #[test]
    fn the_highest_shard_has_bounds_too() {
        let (start, end) = group_bounds(u64::MAX);
        assert!(start < entry_key(u64::MAX, u64::MAX) && entry_key(u64::MAX, u64::MAX) < end);
    }
}
