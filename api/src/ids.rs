//! Identifiers. Each is a number with a letter in front when shown: `n3`, `s12`, `d7`.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: write a number, optionally after `{prefix}`")]
pub struct ParseIdError {
    text: String,
    what: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix).unwrap_or(text).parse().map($name).map_err(|_| {
                    ParseIdError { text: text.into(), what: $what, prefix: $prefix }
                })
            }
        }
    };
}

id!(
    /// A storage node. Never reused, not even after its disk was wiped. Zero means "none".
    NodeId, "n", "a node id"
);
id!(
    /// A table. Table 0 is the system table.
    TableId, "t", "a table id"
);
id!(
    /// A shard: a contiguous key range of one table, replicated by one consensus group.
    ShardId, "s", "a shard id"
);
id!(
    /// A replica, unique inside its shard and never reused there.
    ReplicaId, "r", "a replica id"
);
id!(
    /// A directive, unique per cluster; given by the controller's journal.
    DirectiveId, "d", "a directive id"
);
id!(
    /// A plan of the controller.
    PlanId, "p", "a plan id"
);
id!(
    /// A term of controller leadership; a higher one fences all lower ones.
    Term, "c", "a controller term"
);

/// A region, for instance `eu-west-1`: lower-case letters, digits and dashes, 1 to 63 of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// A text that is not a region name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region name: 1 to 63 lower-case letters, digits and dashes")]
pub struct ParseRegionError(String);

impl Region {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, ParseRegionError> {
        let name = name.into();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(legal) {
            return Err(ParseRegionError(name));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Region {
    type Error = ParseRegionError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}
impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0
    }
}
impl FromStr for Region {
    type Err = ParseRegionError;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_with_and_without_their_letter() {
        assert_eq!("n3".parse(), Ok(NodeId(3)));
        assert_eq!("3".parse(), Ok(NodeId(3)));
        assert!("s3".parse::<NodeId>().is_err());
        assert!("n-1".parse::<NodeId>().is_err());
        assert_eq!(ShardId(12).to_string(), "s12");
    }

    #[test]
    fn regions_refuse_what_could_not_be_a_label() {
        assert!(Region::new("eu-west-1").is_ok());
        for bad in ["", "EU", "a b", "é", &"x".repeat(64)] {
            assert!(Region::new(bad).is_err(), "{bad}");
        }
    }
}
