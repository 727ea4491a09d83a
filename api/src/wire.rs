//! Conversions between the vocabulary and the generated messages, and the text form of keys.

use crate::{
    hlc::Version,
    ids::{NodeId, ReplicaId, ShardId, TableId},
    plan::DrainAction,
    proto,
    shard::{Epoch, KeyRange, Replica, ReplicaRole, ShardEntry},
};

/// Shows a key: printable ASCII as it is, everything else as `\xNN`.
pub fn show_key(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Reads back what [`show_key`] wrote; the error says what is wrong with a backslash.
pub fn parse_key(text: &str) -> Result<Vec<u8>, String> {
    let mut key = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            key.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => key.push(b'\\'),
            Some(b'x') => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => key.push((16 * high + low) as u8),
                    _ => return Err("`\\x` stands before two hexadecimal digits".into()),
                }
            }
            _ => {
                return Err(
                    "a backslash stands before `x` and two digits, or another backslash".into()
                );
            }
        }
    }
    Ok(key)
}

/// serde form of a key: readable text in JSON.
pub(crate) mod key_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(key: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show_key(key))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        super::parse_key(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

impl From<Epoch> for proto::Epoch {
    fn from(epoch: Epoch) -> Self {
        Self { shape: epoch.shape, membership: epoch.membership }
    }
}
impl From<proto::Epoch> for Epoch {
    fn from(epoch: proto::Epoch) -> Self {
        Self { shape: epoch.shape, membership: epoch.membership }
    }
}
impl From<Version> for proto::RowVersion {
    fn from(version: Version) -> Self {
        Self { hlc: version.hlc, origin_node: version.origin.0 }
    }
}
impl From<proto::RowVersion> for Version {
    fn from(version: proto::RowVersion) -> Self {
        Self { hlc: version.hlc, origin: NodeId(version.origin_node) }
    }
}
impl From<&ShardEntry> for proto::ShardEntry {
    fn from(entry: &ShardEntry) -> Self {
        Self {
            shard_id: entry.shard_id.0,
            table_id: entry.table_id.0,
            start: entry.range.start.clone().into(),
            end: entry.range.end.clone().into(),
            epoch: Some(entry.epoch.into()),
            replicas: entry.replicas.iter().map(proto::Replica::from).collect(),
            leader_node: entry.leader.map_or(0, |n| n.0),
            term: entry.term,
        }
    }
}
impl From<&Replica> for proto::Replica {
    fn from(replica: &Replica) -> Self {
        let role = match replica.role {
            ReplicaRole::Voter => proto::ReplicaRole::Voter,
            ReplicaRole::Learner => proto::ReplicaRole::Learner,
        };
        Self { replica_id: replica.replica_id.0, node_id: replica.node_id.0, role: role.into() }
    }
}
impl From<proto::ShardEntry> for ShardEntry {
    fn from(entry: proto::ShardEntry) -> Self {
        Self {
            shard_id: ShardId(entry.shard_id),
            table_id: TableId(entry.table_id),
            range: KeyRange { start: entry.start.into(), end: entry.end.into() },
            epoch: entry.epoch.unwrap_or_default().into(),
            replicas: entry.replicas.into_iter().map(Replica::from).collect(),
            leader: Some(NodeId(entry.leader_node)).filter(|n| n.0 != 0),
            term: entry.term,
        }
    }
}
impl From<proto::Replica> for Replica {
    fn from(replica: proto::Replica) -> Self {
        let role = match replica.role() {
            proto::ReplicaRole::Voter => ReplicaRole::Voter,
            _ => ReplicaRole::Learner,
        };
        Self { replica_id: ReplicaId(replica.replica_id), node_id: NodeId(replica.node_id), role }
    }
}

impl proto::ListDirectivesRequest {
    /// The newest directives, of one shard if given.
    pub fn of(shard: Option<ShardId>, limit: u32) -> Self {
        Self { limit, shard_id: shard.map_or(0, |s| s.0) }
    }

    /// The shard that is meant; `None`: all.
    pub fn shard(&self) -> Option<ShardId> {
        Some(ShardId(self.shard_id)).filter(|s| s.0 != 0)
    }
}

impl proto::DrainRequest {
    /// An order or question about one node or, only to ask how far they are, about all.
    pub fn of(node: Option<NodeId>, action: DrainAction, owner: &str) -> Self {
        let node_id = node.map_or(0, |n| n.0);
        Self { node_id, action: action.to_string(), owner: owner.into() }
    }

    /// The node that is meant; `None`: all.
    pub fn node(&self) -> Option<NodeId> {
        Some(NodeId(self.node_id)).filter(|n| n.0 != 0)
    }
}

impl proto::PolicyRequest {
    /// Asks for the active policy: a request without a text.
    pub fn question() -> Self {
        Self { dry_run: true, ..Self::default() }
    }

    /// Replaces the policy, or with `dry_run` only shows what would change. An empty text is a policy
    /// too, of defaults alone, and no question.
    pub fn of(policy_toml: &str, dry_run: bool, owner: &str) -> Self {
        let text = if policy_toml.is_empty() { "\n" } else { policy_toml };
        Self { policy_toml: text.as_bytes().to_vec().into(), dry_run, owner: owner.into() }
    }

    /// Whether it only asks: nothing is given, and nobody gives it.
    pub fn is_question(&self) -> bool {
        self.policy_toml.is_empty() && self.owner.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_to_the_controller_say_none_and_all_apart() {
        let list = |shard| proto::ListDirectivesRequest::of(shard, 5).shard();
        assert_eq!((list(None), list(Some(ShardId(3)))), (None, Some(ShardId(3))));
        let all = proto::DrainRequest::of(None, DrainAction::Status, "");
        assert_eq!((all.node(), all.action.parse()), (None, Ok(DrainAction::Status)));
        assert!(proto::PolicyRequest::question().is_question());
        assert!(!proto::PolicyRequest::of("", true, "me").is_question());
    }

    proptest! {
        #[test]
        fn any_key_reads_back_from_its_text(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(parse_key(&show_key(&key)), Ok(key));
        }

        #[test]
        fn an_escape_has_exactly_two_digits(text in "[0-9a-g+ ]{0,2}") {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(parse_key(&format!("\\x{text}")).is_ok(), digits);
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text in "\\PC{0,32}") {
            let _ = parse_key(&text);
        }
    }
}
