//! Operations of clients with the times of their calls and answers.

use bytes::Bytes;
use isobar_api::Version;
use isobar_client::Mutation;
use std::{collections::BTreeMap, fmt};

/// A client: whoever numbers its operations in one sequence.
pub type ClientId = u64;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads a row.
    Get {
        /// Its key.
        key: Bytes,
        /// How far the answer may be behind, ns of virtual time; `None`: the read is linearizable.
        bound_ns: Option<u64>,
    },
    /// Changes rows of one shard, all or none: a put, a delete, a compare-and-set, or several of them as a batch.
    Write(Vec<Mutation>),
}

impl Operation {
    /// A linearizable read.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get { key: key.into(), bound_ns: None }
    }

    /// A read that may be behind by `bound_ns`.
    pub fn get_bounded(key: impl Into<Bytes>, bound_ns: u64) -> Self {
        Self::Get { key: key.into(), bound_ns: Some(bound_ns) }
    }

    /// Sets a row.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Write(vec![Mutation::put(key, value)])
    }

    /// Deletes a row.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Write(vec![Mutation::delete(key)])
    }

    /// Sets a row that must have this version ([`Version::ABSENT`]: that must not exist).
    pub fn compare_and_set(
        key: impl Into<Bytes>,
        expected: Version,
        value: impl Into<Bytes>,
    ) -> Self {
        Self::Write(vec![Mutation::put(key, value).expecting(expected)])
    }

    /// The keys it is about.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let (read, written) = match self {
            Self::Get { key, .. } => (Some(key), None),
            Self::Write(mutations) => (None, Some(mutations.iter().map(|m| &m.key))),
        };
        read.into_iter().chain(written.into_iter().flatten())
    }
}

/// What is known of an operation after one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A read: value and version of the row, or that there is none.
    Row(Option<(Bytes, Version)>),
    /// A write: it was applied and gave its rows this version.
    Applied(Version),
    /// A write: a condition did not hold, nothing was changed. The versions of the rows with a condition, in the order
    /// of the mutations.
    Conflict(Vec<Version>),
    /// The attempt may have taken effect, may still do so later (once), or never.
    Unknown,
    /// The attempt has had no effect and will have none.
    Failed,
}

impl Outcome {
    /// Whether it says what the operation did.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Failed)
    }
}

/// An answer, or that one was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When, ns of virtual time.
    pub at_ns: u64,
    /// What it said.
    pub outcome: Outcome,
}

/// One operation: from its first attempt to its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Who asked.
    pub client: ClientId,
    /// The client's number for it; attempts with the same number are the same operation.
    pub sequence: u64,
    /// What was asked.
    pub operation: Operation,
    /// When it was first sent, ns of virtual time.
    pub invoked_ns: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// What came back, in the order of its coming.
    pub answers: Vec<Answer>,
}

impl Recorded {
    fn definite(&self) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.outcome.is_definite())
    }

    /// What became of it. Failed only if every attempt failed: one without an answer may still take effect.
    pub fn outcome(&self) -> &Outcome {
        let failed = self.answers.iter().filter(|a| a.outcome == Outcome::Failed).count();
        match self.definite() {
            Some(answer) => &answer.outcome,
            None if failed >= self.attempts as usize => &Outcome::Failed,
            None => &Outcome::Unknown,
        }
    }

    /// When it was first known what it did, ns of virtual time; `None`: never.
    pub fn returned_ns(&self) -> Option<u64> {
        self.definite().map(|answer| answer.at_ns)
    }

    /// The version that it gave its rows, where it is known to have been applied.
    pub fn applied_version(&self) -> Option<Version> {
        match self.outcome() {
            Outcome::Applied(version) => Some(*version),
            _ => None,
        }
    }
}

/// Everything that clients did, in the order of their first attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Recorded>,
    places: BTreeMap<(ClientId, u64), usize>,
}

impl History {
    /// Notes that an operation is sent, for the first time or again.
    ///
    /// # Panics
    /// If the client has used the number for another operation: the recording would mean nothing.
    pub fn invoke(&mut self, client: ClientId, sequence: u64, operation: Operation, at_ns: u64) {
        if let Some(place) = self.places.get(&(client, sequence)) {
            let known = &mut self.operations[*place];
            assert_eq!(known.operation, operation, "client {client} repeats number {sequence}");
            known.attempts += 1;
            return;
        }
        self.places.insert((client, sequence), self.operations.len());
        let (attempts, answers) = (1, Vec::new());
        let invoked_ns = at_ns;
        self.operations.push(Recorded {
            client,
            sequence,
            operation,
            invoked_ns,
            attempts,
            answers,
        });
    }

    /// Notes the end of one attempt. An operation without an answer is of unknown outcome.
    ///
    /// # Panics
    /// If the operation was never sent.
    pub fn answer(&mut self, client: ClientId, sequence: u64, outcome: Outcome, at_ns: u64) {
        let place = self.places.get(&(client, sequence)).copied();
        let place = place.expect("only what was sent is answered");
        self.operations[place].answers.push(Answer { at_ns, outcome });
    }

    /// The operations.
    pub fn operations(&self) -> &[Recorded] {
        &self.operations
    }
}

fn show_versions(versions: &[Version]) -> String {
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |key: &Bytes| key.escape_ascii().to_string();
        match self {
            Self::Get { key: k, bound_ns: None } => write!(f, "get {}", key(k)),
            Self::Get { key: k, bound_ns: Some(ns) } => {
                write!(f, "get {} (bound {ns} ns)", key(k))
            }
            Self::Write(mutations) => {
                for (n, mutation) in mutations.iter().enumerate() {
                    let separator = if n == 0 { "" } else { "; " };
                    match &mutation.value {
                        Some(value) => write!(
                            f,
                            "{separator}put {}={}",
                            key(&mutation.key),
                            value.escape_ascii()
                        )?,
                        None => write!(f, "{separator}delete {}", key(&mutation.key))?,
                    }
                    if let Some(expected) = mutation.expected {
                        write!(f, " if {expected}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(Some((value, version))) => write!(f, "{} at {version}", value.escape_ascii()),
            Self::Row(None) => f.write_str("no row"),
            Self::Applied(version) => write!(f, "applied at {version}"),
            Self::Conflict(current) => write!(f, "conflict, seen {}", show_versions(current)),
            Self::Unknown => f.write_str("unknown"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = self.returned_ns().map_or("..".to_owned(), |ns| ns.to_string());
        write!(
            f,
            "[{}, {returned}] client {} number {}: {} -> {}",
            self.invoked_ns,
            self.client,
            self.sequence,
            self.operation,
            self.outcome()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_failed_only_if_every_attempt_is() {
        let mut history = History::default();
        let outcome = |history: &History| history.operations()[0].outcome().clone();
        history.invoke(1, 1, Operation::put("a", "x"), 10);
        assert_eq!(outcome(&history), Outcome::Unknown);
        history.answer(1, 1, Outcome::Failed, 20);
        assert_eq!(outcome(&history), Outcome::Failed);
        history.invoke(1, 1, Operation::put("a", "x"), 30);
        assert_eq!(outcome(&history), Outcome::Unknown);
        let version = Version { hlc: 5, ..Version::ABSENT };
        history.answer(1, 1, Outcome::Applied(version), 40);
        let recorded = &history.operations()[0];
        assert_eq!((recorded.invoked_ns, recorded.returned_ns()), (10, Some(40)));
        assert_eq!(recorded.applied_version(), Some(version));
        assert_eq!(
            recorded.to_string(),
            "[10, 40] client 1 number 1: put a=x -> applied at 0.5@n0"
        );
    }
}
