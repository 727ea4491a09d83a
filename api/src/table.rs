//! Tables: what an operator asks for, and the rule that every shard of it carries.

use crate::{
    error::{ApiError, ErrorCode},
    ids::{Region, ShardId, TableId},
    limits,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AckLevel {
    /// Durable on a majority of voters: survives any failover.
    #[default]
    Majority,
    /// Durable on every voter.
    All,
    /// Durable on a majority and on at least this many voters.
    Count(u8),
    /// Durable on the leader only. Fast, and may be lost in a failover.
    Leader,
}

impl FromStr for AckLevel {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            "leader" => Ok(Self::Leader),
            _ => match text.parse::<u8>() {
                Ok(n) if (1..=limits::REPLICAS_MAX).contains(&n) => Ok(Self::Count(n)),
                _ => Err(format!(
                    "`{text}` is not an acknowledgement level: majority, all, leader, or a number of voters"
                )),
            },
        }
    }
}
impl TryFrom<String> for AckLevel {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<AckLevel> for String {
    fn from(level: AckLevel) -> Self {
        level.to_string()
    }
}
impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Majority => f.pad("majority"),
            Self::All => f.pad("all"),
            Self::Count(n) => f.pad(&n.to_string()),
            Self::Leader => f.pad("leader"),
        }
    }
}

/// The part of a table's definition that guards need. Every shard carries a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRule {
    /// Regions that may hold its data. Empty: every region.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Voters of each shard: never fewer.
    pub replicas: u8,
    /// Most replicas of a shard, learners included.
    pub replicas_max: u8,
    /// When a write counts as done.
    #[serde(default)]
    pub ack: AckLevel,
}

impl TableRule {
    /// Whether data of the table may lie in the region.
    pub fn allows(&self, region: &Region) -> bool {
        self.regions.is_empty() || self.regions.contains(region)
    }

    /// Whether the shard's rule may be as it is.
    pub fn validate(&self) -> Result<(), ApiError> {
        let bad = |message: String| Err(ApiError::new(ErrorCode::InvalidArgument, message));
        let max = limits::REPLICAS_MAX;
        if self.replicas == 0 || self.replicas > max {
            return bad(format!("replicas must be 1 to {max}, not {}", self.replicas));
        }
        if self.replicas_max < self.replicas || self.replicas_max > max {
            return bad(format!("replicas_max must be {} to {max}", self.replicas));
        }
        if let AckLevel::Count(n) = self.ack
            && n > self.replicas
        {
            return bad(format!(
                "ack {n} needs at least {n} replicas, there are {}",
                self.replicas
            ));
        }
        Ok(())
    }
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Its name: lower-case letters, digits, `_` and `-`, starting with a letter.
    pub name: String,
    /// Its placement rule.
    pub rule: TableRule,
    /// Keys at which the table is cut into shards from the start, ascending (printable form).
    #[serde(default)]
    pub split_keys: Vec<String>,
    /// Another table: each shard starts on the nodes where hashing put that table's shard with its first key, so that
    /// what is read together lies together. Where either goes later is not tied to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_like: Option<String>,
}

impl TableSpec {
    /// Checks everything that can be checked without knowing the nodes.
    pub fn validate(&self) -> Result<(), ApiError> {
        let bad = |message: String| Err(ApiError::new(ErrorCode::InvalidArgument, message));
        let name = &self.name;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.len() > limits::TABLE_NAME_BYTES_MAX
            || !name.starts_with(|c: char| c.is_ascii_lowercase())
            || !name.chars().all(legal)
        {
            return bad(format!(
                "`{name}` is not a table name: a lower-case letter, then up to 62 letters, digits, _ or -"
            ));
        }
        self.rule.validate()?;
        let keys = self.split_keys()?;
        if keys.len() >= limits::INITIAL_SHARDS_MAX as usize {
            return bad(format!("at most {} shards to start with", limits::INITIAL_SHARDS_MAX));
        }
        if keys.iter().any(|k| k.is_empty() || k.len() > limits::KEY_BYTES_MAX) {
            return bad("a split key is empty or too long".into());
        }
        if keys.windows(2).any(|w| w[0] >= w[1]) {
            return bad("split keys must ascend without repeats".into());
        }
        Ok(())
    }

    /// The split keys as bytes.
    pub fn split_keys(&self) -> Result<Vec<Vec<u8>>, ApiError> {
        let parse = |text: &String| {
            crate::wire::parse_key(text).map_err(|why| {
                ApiError::new(ErrorCode::InvalidArgument, format!("split key: {why}"))
            })
        };
        self.split_keys.iter().map(parse).collect()
    }
}

/// Shows a key as text that [`key_from_text`] reads back.
pub fn key_to_text(key: &[u8]) -> String {
    crate::wire::show_key(key)
}

/// Reads a key from its text: `\xNN` and `\\` are escapes, all else stands for itself.
pub fn key_from_text(text: &str) -> Result<Vec<u8>, ApiError> {
    crate::wire::parse_key(text).map_err(|why| ApiError::new(ErrorCode::InvalidArgument, why))
}

/// Whether a table's first shards are all up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// Its definition is durable; shards are being made.
    Creating,
    /// It serves.
    Ready,
}

/// A table as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// Its id.
    pub table_id: TableId,
    /// What was asked for.
    pub spec: TableSpec,
    /// Creating or ready.
    pub state: TableState,
    /// The shards it was created with.
    pub first_shards: Vec<ShardId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, split_keys: &[&str]) -> TableSpec {
        TableSpec {
            name: name.into(),
            rule: TableRule {
                regions: vec![],
                replicas: 3,
                replicas_max: 5,
                ack: AckLevel::Majority,
            },
            split_keys: split_keys.iter().map(|k| (*k).into()).collect(),
            placed_like: None,
        }
    }

    #[test]
    fn specs_are_checked() {
        assert!(spec("orders", &["a", "m"]).validate().is_ok());
        for (name, keys) in [
            ("Orders", &["a"][..]),
            ("", &[]),
            ("ok", &["m", "a"]),
            ("ok", &["a", "a"]),
            ("ok", &["\\z"]),
        ] {
            assert!(spec(name, keys).validate().is_err(), "{name} {keys:?}");
        }
    }

    #[test]
    fn ack_levels_read_back() {
        for level in [AckLevel::Majority, AckLevel::All, AckLevel::Leader, AckLevel::Count(2)] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("0".parse::<AckLevel>().is_err());
    }
}
