//! A row as stored: a fixed header, then the value.
//!
//! ```text
//! byte 0      1      2..6            6..14   14..22        22..
//! format=1    flags  schema version  hlc     origin node   value     (all big endian)
//! ```

use isobar_api::{NodeId, Version};

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 22;

/// A decoded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When and where it was written.
    pub version: Version,
    /// Schema version the writer stated.
    pub schema_version: u32,
    /// The value.
    pub value: Vec<u8>,
}

/// Stored bytes that are not a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored row of {bytes} bytes has no valid header")]
pub struct BadRow {
    bytes: usize,
}

impl Row {
    /// The stored form.
    pub fn encode(version: Version, schema_version: u32, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + value.len());
        out.extend_from_slice(&[FORMAT, 0]);
        out.extend_from_slice(&schema_version.to_be_bytes());
        out.extend_from_slice(&version.hlc.to_be_bytes());
        out.extend_from_slice(&version.origin.0.to_be_bytes());
        out.extend_from_slice(value);
        out
    }

    /// Reads the stored form.
    pub fn decode(stored: &[u8]) -> Result<Self, BadRow> {
        let bad = BadRow { bytes: stored.len() };
        let Some((header, value)) = stored.split_at_checked(HEADER_BYTES) else {
            return Err(bad);
        };
        if header[0] != FORMAT || header[1] != 0 {
            return Err(bad);
        }
        let u64_at = |at: usize| {
            u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes were sliced"))
        };
        let schema = u32::from_be_bytes(header[2..6].try_into().expect("four bytes were sliced"));
        Ok(Self {
            version: Version { hlc: u64_at(6), origin: NodeId(u64_at(14)) },
            schema_version: schema,
            value: value.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(isobar_fuzz::config())]

        #[test]
        fn rows_read_back(hlc: u64, node: u64, schema: u32, value: Vec<u8>) {
            let version = Version { hlc, origin: NodeId(node) };
            let row = Row::decode(&Row::encode(version, schema, &value));
            prop_assert_eq!(row, Ok(Row { version, schema_version: schema, value }));
        }

        #[test]
        fn fuzz_any_bytes_are_a_row_or_an_error(bytes: Vec<u8>) {
            let _ = Row::decode(&bytes);
        }
    }
}
