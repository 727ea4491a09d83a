//! What goes in and comes out of a table: rows, mutations, read levels, outcomes.

use bytes::Bytes;
use isobar_api::{ApiError, ErrorCode, Version, limits, proto};
use std::{fmt, str::FromStr};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// Sees every write that was acknowledged before the read began. Served by the leader.
    #[default]
    Linearizable,
    /// May be behind by at most this many milliseconds. Served by the closest replica.
    Bounded(u64),
    /// Whatever the closest replica has.
    Local,
}

impl ReadLevel {
    pub(crate) fn to_proto(self) -> proto::ReadOptions {
        let (level, staleness_ms) = match self {
            Self::Linearizable => (proto::ReadLevel::Linearizable, 0),
            Self::Bounded(ms) => (proto::ReadLevel::Bounded, ms),
            Self::Local => (proto::ReadLevel::Local, 0),
        };
        proto::ReadOptions { level: level.into(), staleness_ms }
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.pad("linearizable"),
            Self::Bounded(ms) => f.pad(&format!("bounded:{ms}")),
            Self::Local => f.pad("local"),
        }
    }
}

impl FromStr for ReadLevel {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        match text {
            "linearizable" => return Ok(Self::Linearizable),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        text.strip_prefix("bounded:").and_then(|ms| ms.parse().ok()).map(Self::Bounded).ok_or_else(
            || {
                let message = format!(
                    "`{text}` is not a read level: linearizable, bounded:MILLISECONDS or local"
                );
                ApiError::new(ErrorCode::InvalidArgument, message)
            },
        )
    }
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Its version, for compare-and-set.
    pub version: Version,
    /// Schema version that its writer stated.
    pub schema_version: u32,
}

impl Row {
    /// The row of an answer; `None` where it says that there is none.
    pub(crate) fn from_proto(row: proto::Row) -> Option<Self> {
        Some(Self {
            key: row.key,
            value: row.value?,
            version: row.version.unwrap_or_default().into(),
            schema_version: row.schema_version,
        })
    }
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The row's key.
    pub key: Bytes,
    /// Its new value; `None` deletes the row.
    pub value: Option<Bytes>,
    /// Applies only if the row has this version ([`Version::ABSENT`]: only if there is no row).
    pub expected: Option<Version>,
    /// Schema version to store with the row.
    pub schema_version: u32,
}

impl Mutation {
    /// Sets a row.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()), expected: None, schema_version: 0 }
    }

    /// Deletes a row.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: None, expected: None, schema_version: 0 }
    }

    /// The same, but only if the row has this version.
    #[must_use]
    pub fn expecting(mut self, version: Version) -> Self {
        self.expected = Some(version);
        self
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    pub(crate) fn to_proto(&self) -> proto::Mutation {
        proto::Mutation {
            key: self.key.clone(),
            value: self.value.clone(),
            expected: self.expected.map(Into::into),
            schema_version: self.schema_version,
        }
    }
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOutcome {
    /// False: a version that was expected did not hold, and nothing was changed.
    pub applied: bool,
    /// The version that the written rows have now.
    pub version: Version,
    /// Where nothing was changed: the versions seen, one per mutation.
    pub current: Vec<Version>,
    /// Whether this answer belongs to an earlier attempt of the same write.
    pub repeated: bool,
}

impl From<proto::WriteResult> for WriteOutcome {
    fn from(result: proto::WriteResult) -> Self {
        Self {
            applied: result.applied,
            version: result.version.unwrap_or_default().into(),
            current: result.current.into_iter().map(Into::into).collect(),
            repeated: result.repeated_request,
        }
    }
}

/// Rows of a scan, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where to go on; `None`: the range is exhausted.
    pub resume: Option<Vec<u8>>,
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), ApiError> {
    match key.len() {
        1..=limits::KEY_BYTES_MAX => Ok(()),
        0 => Err(ApiError::new(ErrorCode::KeySize, "the key is empty")),
        n => {
            let message = format!("the key has {n} bytes, at most {}", limits::KEY_BYTES_MAX);
            Err(ApiError::new(ErrorCode::KeySize, message))
        }
    }
}

/// Refuses a batch that every node would refuse.
pub(crate) fn check_batch(mutations: &[Mutation]) -> Result<(), ApiError> {
    let bad = |code, message: String| Err(ApiError::new(code, message));
    if mutations.is_empty() {
        return bad(ErrorCode::InvalidArgument, "the batch has no mutations".into());
    }
    if mutations.len() > limits::BATCH_MUTATIONS_MAX {
        let max = limits::BATCH_MUTATIONS_MAX;
        let message = format!("the batch has {} mutations, at most {max}", mutations.len());
        return bad(ErrorCode::BatchSize, message);
    }
    for mutation in mutations {
        check_key(&mutation.key)?;
        let size = mutation.value.as_ref().map_or(0, Bytes::len);
        if size > limits::VALUE_BYTES_MAX {
            let max = limits::VALUE_BYTES_MAX;
            return bad(ErrorCode::ValueSize, format!("the value has {size} bytes, at most {max}"));
        }
    }
    let total: usize = mutations.iter().map(Mutation::size_bytes).sum();
    if total > limits::BATCH_BYTES_MAX {
        let max = limits::BATCH_BYTES_MAX;
        return bad(ErrorCode::BatchSize, format!("the batch has {total} bytes, at most {max}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_back_as_shown() {
        for level in [ReadLevel::Linearizable, ReadLevel::Bounded(250), ReadLevel::Local] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("bounded".parse::<ReadLevel>().is_err() && "stale".parse::<ReadLevel>().is_err());
    }

    #[test]
    fn limits_have_their_own_codes() {
        let code = |mutations: &[Mutation]| check_batch(mutations).expect_err("over a limit").code;
        assert_eq!(code(&[]), ErrorCode::InvalidArgument);
        assert_eq!(code(&[Mutation::put("", "x")]), ErrorCode::KeySize);
        assert_eq!(
            code(&[Mutation::put(vec![1; limits::KEY_BYTES_MAX + 1], "x")]),
            ErrorCode::KeySize
        );
        let large = Mutation::put("k", vec![0; limits::VALUE_BYTES_MAX]);
        assert!(check_batch(std::slice::from_ref(&large)).is_ok());
        assert_eq!(
            code(&[large.clone(), large.clone(), large.clone(), large]),
            ErrorCode::BatchSize
        );
        assert_eq!(
            code(&[Mutation::put("k", vec![0; limits::VALUE_BYTES_MAX + 1])]),
            ErrorCode::ValueSize
        );
        assert_eq!(
            code(&vec![Mutation::delete("k"); limits::BATCH_MUTATIONS_MAX + 1]),
            ErrorCode::BatchSize
        );
    }
}
