//! What goes through a shard's log, and what applying it answers.

use isobar_api::{ReplicaId, ShardId, Version, directive::StepResult};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, ops::Deref, sync::Arc};

/// Identifies one client instance.
pub type ClientId = [u8; 16];

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Writes of clients, in order; each is atomic by itself.
    Write(WriteGroup),
    /// Cut the shard in two.
    Split(SplitCommand),
    /// Give out the next replica id.
    AllocateReplica,
    /// Remember the result of a directive step, so that any later leader can repeat it.
    NoteStep(StepNote),
    /// Forget deduplication entries of clients that have been silent since before this clock reading.
    ExpireSessions {
        /// Hybrid clock reading.
        before_hlc: u64,
    },
    /// Take no more requests: the left neighbour is about to subsume the shard.
    Freeze(FreezeCommand),
    /// Take requests again: the survivor has called the merge off.
    Thaw {
        /// Log index of the freeze.
        index: u64,
    },
    /// Take over the right neighbour.
    Subsume(SubsumeCommand),
    /// Never take over the right neighbour in this round, unless it was done already.
    CallOff {
        /// The right neighbour.
        right: ShardId,
        /// The round.
        round: u64,
    },
}

/// Writes that share one log entry. What an entry costs in the log, on the way to the followers and in their state is
/// then shared too. Clones share the writes: an entry is kept in memory, sent and applied without being copied.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteGroup(Arc<[WriteCommand]>);

impl Deref for WriteGroup {
    type Target = [WriteCommand];

    fn deref(&self) -> &[WriteCommand] {
        &self.0
    }
}

impl From<Vec<WriteCommand>> for WriteGroup {
    fn from(writes: Vec<WriteCommand>) -> Self {
        Self(writes.into())
    }
}

impl Serialize for WriteGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WriteGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

/// An atomic batch of mutations from one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteCommand {
    /// The client instance.
    pub client_id: ClientId,
    /// Its sequence number.
    pub sequence: u64,
    /// Every sequence below was answered.
    pub first_unacknowledged: u64,
    /// Clock reading of the leader that proposed it.
    pub hlc: u64,
    /// Node that proposed it.
    pub origin: u64,
    /// What to change.
    pub mutations: Vec<Mutation>,
}

impl WriteCommand {
    /// About as many bytes as it takes in the log.
    pub fn size_bytes(&self) -> usize {
        let of = |mutation: &Mutation| {
            mutation.key.len() + mutation.value.as_ref().map_or(0, Vec::len) + 24
        };
        self.mutations.iter().map(of).sum::<usize>() + 40
    }
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutation {
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The new value; `None` deletes.
    #[serde(with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
    /// Applies only if the row has this version.
    pub expected: Option<Version>,
    /// Schema version of the value.
    pub schema_version: u32,
}

/// Cut the shard in two at a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitCommand {
    /// First key of the right-hand shard.
    pub at_key: Vec<u8>,
    /// Id of the right-hand shard, never used before.
    pub child: ShardId,
    /// The shape the shard must have.
    pub expected_shape: u64,
    /// The directive and step it belongs to.
    pub directive_id: u64,
    /// The step.
    pub step_index: u32,
}

/// What a shard is frozen for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreezeCommand {
    /// The shard that is to subsume it.
    pub into: ShardId,
    /// The survivor's round.
    pub round: u64,
    /// The shape the shard must have.
    pub expected_shape: u64,
    /// The membership it must have.
    pub expected_membership: u64,
}

/// Take over the right neighbour, which every replica here has beside it, frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsumeCommand {
    /// The right neighbour.
    pub right: ShardId,
    /// Its first key.
    pub right_start: Vec<u8>,
    /// The end of its keys.
    pub right_end: Vec<u8>,
    /// Its shape.
    pub right_shape: u64,
    /// Log index, in its group, at which it was frozen.
    pub freeze_index: u64,
    /// The survivor's round in which it was frozen.
    pub round: u64,
    /// The shape the survivor must have.
    pub expected_shape: u64,
    /// The membership the survivor must have: on the nodes of these replicas the right one is known to be frozen.
    pub expected_membership: u64,
    /// The directive and step it belongs to.
    pub directive_id: u64,
    /// The step.
    pub step_index: u32,
}

/// A step result as stored, in its JSON form (the wire's form, so that it may gain fields).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepNote {
    /// The directive.
    pub directive_id: u64,
    /// The step.
    pub step_index: u32,
    /// JSON of [`StepResult`].
    pub result_json: String,
}

impl StepNote {
    /// Wraps a result.
    pub fn new(result: &StepResult) -> Self {
        Self {
            directive_id: result.directive_id.0,
            step_index: result.step_index,
            result_json: serde_json::to_string(result).expect("plain data always encodes"),
        }
    }
}

/// What applying a command answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CommandResult {
    /// Nothing to say.
    None,
    /// The outcomes of a group of writes, in their order.
    Write(Vec<WriteOutcome>),
    /// The replica id given out.
    Replica(ReplicaId),
    /// The split was done; the shard's shape afterwards.
    Split {
        /// Shape of both halves.
        shape: u64,
    },
    /// The command does not fit the state it met; nothing was changed.
    Refused(String),
    /// The shard is frozen, since this log index.
    Frozen {
        /// Log index of the freeze.
        index: u64,
    },
    /// The right neighbour is part of the shard.
    Subsumed,
    /// The merge will never be done.
    CalledOff,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// It was applied, giving the rows this version.
    Applied {
        /// The version.
        version: Version,
        /// Whether an earlier copy of the same request had been applied.
        repeated: bool,
    },
    /// A condition did not hold; nothing was changed.
    Conflict {
        /// Versions of the conditioned rows, in the order of the mutations.
        current: Vec<Version>,
        /// Whether an earlier copy of the same request was answered so.
        repeated: bool,
    },
    /// A key is outside the shard now; nothing was changed.
    OutsideRange,
    /// The sequence number was acknowledged before.
    SequenceExpired,
    /// The shard is frozen; nothing was changed.
    Frozen,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(writes) => write!(f, "{} writes", writes.len()),
            Self::Split(split) => write!(f, "split into {}", split.child),
            Self::AllocateReplica => f.write_str("allocate replica"),
            Self::NoteStep(note) => {
                write!(f, "note d{} step {}", note.directive_id, note.step_index)
            }
            Self::ExpireSessions { before_hlc } => write!(f, "expire sessions before {before_hlc}"),
            Self::Freeze(freeze) => write!(f, "freeze for {}", freeze.into),
            Self::Thaw { index } => write!(f, "thaw the freeze at {index}"),
            Self::Subsume(subsume) => write!(f, "subsume {}", subsume.right),
            Self::CallOff { right, .. } => write!(f, "call off the merge with {right}"),
        }
    }
}

impl fmt::Display for CommandResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
