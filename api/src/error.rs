//! Errors that a person or a program outside may see: a stable code, what happened, what to do next.

use crate::{proto, shard::ShardEntry};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $next:literal;)*) => {
        /// A stable error code. `docs/src/errors.md` has a line for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)]
            $name,)*
        }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as written: `ISO-` and four digits.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What the reader can do about it.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }

            /// The code with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The request is malformed or contradicts itself.
    InvalidArgument = "ISO-1001", "correct the request; it will fail again as it is";
    /// A key is empty or longer than the limit.
    KeySize = "ISO-1002", "use keys of 1 to 4096 bytes";
    /// A value is longer than the limit.
    ValueSize = "ISO-1003", "keep values at or below 1 MiB, or store them in parts";
    /// A batch has too many mutations or bytes.
    BatchSize = "ISO-1004", "send smaller batches: at most 1000 mutations and 4 MiB";
    /// A batch has keys of more than one shard.
    CrossShard = "ISO-1005", "a batch is atomic inside one shard only; group keys by shard";
    /// No table of this name.
    NoSuchTable = "ISO-1006", "`isobar table list` shows the tables";
    /// A table of this name exists with another specification.
    TableExists = "ISO-1007", "choose another name, or drop the differing options";
    /// The table cannot be placed on the nodes there are.
    Unplaceable = "ISO-1008", "add nodes in the allowed regions, allow more regions, or ask for fewer replicas";
    /// The request was routed with an old shard map.
    StaleEpoch = "ISO-2001", "route again with the shard entries in the answer; the client library does";
    /// This replica does not lead the shard.
    NotLeader = "ISO-2002", "send it to the leader named in the answer; the client library does";
    /// The node holds no replica of the shard.
    ShardNotHere = "ISO-2003", "refresh the shard map; the client library does";
    /// The shard has no leader, or too few replicas answer.
    Unavailable = "ISO-2004", "retry with backoff; if it lasts, `isobar shard list` shows replicas that are down";
    /// The deadline passed; a write may or may not have been applied.
    DeadlineExceeded = "ISO-2005", "repeat the write with the same client id and sequence, or read back";
    /// The node is at its limits and refused before doing anything.
    Overloaded = "ISO-2006", "retry after the time in the answer";
    /// The sequence number was already acknowledged and forgotten.
    SequenceExpired = "ISO-2007", "never repeat a sequence below the acknowledged one";
    /// Bounded-stale data was asked for that this replica cannot promise now.
    TooStale = "ISO-2008", "ask another replica, or allow more staleness";
    /// The shard is about to be subsumed by its left neighbour.
    Merging = "ISO-2009", "retry in a moment; the client library does";
    /// A stored block or record fails its checksum.
    Corruption = "ISO-3001", "the replica is stopped; drain or replace it, other replicas keep serving";
    /// The disk is full.
    DiskFull = "ISO-3002", "free space or add a node; reads go on, writes resume by themselves after a restart";
    /// Reading or writing a file failed.
    StorageFailed = "ISO-3003", "see the node's log for the file and the operating system's reason";
    /// The data directory belongs to another cluster or node, or was made with another storage engine.
    ForeignDirectory = "ISO-3004", "point --data-dir at this node's own directory, or at an empty one, and keep the engine that made it";
    /// The data directory was written by a newer version.
    NewerFormat = "ISO-3005", "run the version that wrote it, or give the node a new directory and let it catch up";
    /// Another process has the data directory open.
    DirectoryLocked = "ISO-3006", "stop the other process first";
    /// A directive step was refused by the node's own guards.
    Refused = "ISO-4001", "the refusal says which guard; the controller plans again";
    /// The controller was fenced by one with a higher term.
    Fenced = "ISO-4002", "use the controller that holds the lease";
    /// The scope is frozen.
    Frozen = "ISO-4003", "`isobar resume` lifts a freeze";
    /// No plan or directive of this number.
    NoSuchRecord = "ISO-4004", "`isobar plan list` shows what there is";
    /// An unknown or ill-formed configuration key or value.
    BadConfig = "ISO-5001", "`isobar config show` prints every key with its default";
    /// The address or port cannot be used.
    BadAddress = "ISO-5002", "choose a free port and an address of this machine";
    /// No node or controller answers at the address.
    Unreachable = "ISO-5003", "check that it runs: `isobar up` starts a cluster; --connect names another address";
    /// A file could not be read or written.
    File = "ISO-5004", "check the path and its permissions";
    /// The policy contradicts itself.
    BadPolicy = "ISO-5005", "correct the policy; the active one stays in force";
    /// A program that the command needs is not installed.
    MissingProgram = "ISO-5006", "on Debian and Ubuntu: `apt-get install etcd-server redis-server`; or leave out --against";
    /// A downloaded or local data file is not the pinned one.
    WrongHash = "ISO-6001", "nothing was kept; try again, or check the source";
    /// A data file has a line that cannot be read.
    BadDataset = "ISO-6002", "the message names file and line";
    /// A download failed.
    FetchFailed = "ISO-6003", "run the command again: it goes on where it stopped";
    /// A model package is damaged, of a newer format, or for something else.
    BadPackage = "ISO-6004", "take the package from where it was made again; `isobar model train` makes a new one";
    /// No model, version or alias of this name in the registry.
    NoSuchModel = "ISO-6005", "`isobar model list` shows models, versions and aliases; --database names another registry";
    /// A defect of Isobar.
    Internal = "ISO-9000", "please report it with the log around this moment";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it crosses the wire and reaches a person.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened, in lower case, without the code.
    pub message: String,
    /// When to try again, milliseconds; 0: at the caller's own pace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_ms: u64,
    /// Current routing of the shards concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardEntry>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it by reference
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ApiError {
    /// An error with a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: 0, shards: Vec::new() }
    }

    /// The same with the current routing attached.
    #[must_use]
    pub fn with_shards(mut self, shards: Vec<ShardEntry>) -> Self {
        self.shards = shards;
        self
    }

    /// The same with a time after which a retry makes sense.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = ms;
        self
    }

    /// Reads an error back from a gRPC status; statuses made elsewhere become `Unreachable` or `Internal`.
    pub fn from_status(status: &tonic::Status) -> Self {
        if let Ok(error) = serde_json::from_slice(status.details()) {
            return error;
        }
        let code = match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => ErrorCode::InvalidArgument,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => ErrorCode::DeadlineExceeded,
            tonic::Code::ResourceExhausted => ErrorCode::Overloaded,
            tonic::Code::Unavailable | tonic::Code::Unknown => ErrorCode::Unreachable,
            _ => ErrorCode::Internal,
        };
        Self::new(code, status.message())
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        let code = match error.code {
            ErrorCode::NoSuchTable | ErrorCode::NoSuchRecord => tonic::Code::NotFound,
            ErrorCode::TableExists => tonic::Code::AlreadyExists,
            ErrorCode::Overloaded | ErrorCode::DiskFull => tonic::Code::ResourceExhausted,
            ErrorCode::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            ErrorCode::Unavailable
            | ErrorCode::NotLeader
            | ErrorCode::ShardNotHere
            | ErrorCode::Merging => tonic::Code::Unavailable,
            ErrorCode::Refused | ErrorCode::Fenced | ErrorCode::Frozen | ErrorCode::StaleEpoch => {
                tonic::Code::FailedPrecondition
            }
            ErrorCode::Corruption => tonic::Code::DataLoss,
            ErrorCode::Internal | ErrorCode::StorageFailed => tonic::Code::Internal,
            _ => tonic::Code::InvalidArgument,
        };
        let details = serde_json::to_vec(&error).unwrap_or_default();
        Self::with_details(code, error.to_string(), details.into())
    }
}

impl From<ApiError> for proto::KvError {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code.as_str().into(),
            message: error.message,
            retry_after_ms: error.retry_after_ms,
            shards: error.shards.iter().map(proto::ShardEntry::from).collect(),
        }
    }
}

impl From<proto::KvError> for ApiError {
    fn from(error: proto::KvError) -> Self {
        Self {
            code: ErrorCode::parse(&error.code).unwrap_or(ErrorCode::Internal),
            message: error.message,
            retry_after_ms: error.retry_after_ms,
            shards: error.shards.into_iter().map(ShardEntry::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        let mut seen = std::collections::BTreeSet::new();
        for &code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} is given twice");
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
            assert!(!code.next_step().is_empty());
        }
    }

    #[test]
    fn an_error_survives_the_status_and_back() {
        let error = ApiError::new(ErrorCode::Overloaded, "too many requests").retry_after_ms(20);
        assert_eq!(ApiError::from_status(&tonic::Status::from(error.clone())), error);
    }
}
