//! How one attempt can fail, and what that means for trying again.

use isobar_api::{ApiError, ErrorCode, NodeId};
use std::error::Error;

/// Why an attempt brought no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The node answered with a typed error.
    Answered(ApiError),
    /// The node could not be reached: nothing was sent.
    NotSent(String),
    /// Sent, perhaps; no answer came. A write may have been applied.
    Lost(String),
    /// The answer is larger than a message may be.
    TooLarge,
}

impl Failure {
    pub(crate) fn from_status(status: &tonic::Status, node: Option<NodeId>) -> Self {
        if let Ok(error) = serde_json::from_slice::<ApiError>(status.details()) {
            return Self::Answered(error);
        }
        if status.code() == tonic::Code::OutOfRange {
            return Self::TooLarge;
        }
        let why = match node {
            Some(node) => format!("{node}: {}", innermost(status)),
            None => innermost(status),
        };
        if has_connect_error(status) { Self::NotSent(why) } else { Self::Lost(why) }
    }

    /// Whether the way to the node failed, and not the node's work.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Lost(_))
    }

    /// Whether a write can have been applied although it failed. `to_leader`: it went to the node that
    /// was believed to lead; another one only refuses.
    pub(crate) fn may_have_been_applied(&self, to_leader: bool) -> bool {
        match self {
            Self::Lost(_) | Self::TooLarge => true,
            Self::NotSent(_) => false,
            Self::Answered(error) => match error.code {
                ErrorCode::DeadlineExceeded
                | ErrorCode::StorageFailed
                | ErrorCode::Corruption
                | ErrorCode::DiskFull
                | ErrorCode::Internal => true,
                ErrorCode::Unavailable | ErrorCode::NotLeader => to_leader,
                _ => false,
            },
        }
    }

    /// Whether another attempt, perhaps elsewhere, can succeed. Writes repeat their sequence number,
    /// so that repeating one that was applied after all returns its first answer.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Lost(_) | Self::TooLarge => true,
            Self::Answered(error) => matches!(
                error.code,
                ErrorCode::StaleEpoch
                    | ErrorCode::NotLeader
                    | ErrorCode::ShardNotHere
                    | ErrorCode::Unavailable
                    | ErrorCode::DeadlineExceeded
                    | ErrorCode::Overloaded
                    | ErrorCode::TooStale
                    | ErrorCode::StorageFailed
                    | ErrorCode::Corruption
                    | ErrorCode::DiskFull
                    | ErrorCode::Unreachable
            ),
        }
    }

    /// As a user sees it when no attempt is left.
    pub(crate) fn into_error(self) -> ApiError {
        match self {
            Self::Answered(error) => match error.code {
                // Routing is the client's own business; what its user meets is a shard that does not serve.
                ErrorCode::StaleEpoch | ErrorCode::NotLeader | ErrorCode::ShardNotHere => {
                    ApiError::new(ErrorCode::Unavailable, error.message)
                }
                _ => ApiError { shards: Vec::new(), ..error },
            },
            Self::NotSent(why) => ApiError::new(ErrorCode::Unreachable, why),
            Self::Lost(why) => ApiError::new(ErrorCode::Unavailable, why),
            Self::TooLarge => {
                let message = "the answer is larger than a message may be; ask for fewer keys";
                ApiError::new(ErrorCode::BatchSize, message)
            }
        }
    }
}

fn sources<'a>(status: &'a tonic::Status) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let first: Option<&'a (dyn Error + 'static)> = status.source();
    std::iter::successors(first, |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn has_connect_error(status: &tonic::Status) -> bool {
    sources(status).any(|error| error.is::<tonic::ConnectError>())
}

/// The most telling text of a status: its own, and the deepest cause below it.
fn innermost(status: &tonic::Status) -> String {
    match sources(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: ErrorCode) -> Failure {
        Failure::Answered(ApiError::new(code, "why"))
    }

    #[test]
    fn what_the_caller_did_wrong_is_never_repeated() {
        for code in [
            ErrorCode::InvalidArgument,
            ErrorCode::KeySize,
            ErrorCode::CrossShard,
            ErrorCode::SequenceExpired,
            ErrorCode::Internal,
        ] {
            assert!(!answered(code).is_retryable(), "{code}");
        }
        assert!(answered(ErrorCode::NotLeader).is_retryable());
    }

    #[test]
    fn only_a_leader_can_have_applied_what_it_disowned() {
        assert!(answered(ErrorCode::NotLeader).may_have_been_applied(true));
        assert!(!answered(ErrorCode::NotLeader).may_have_been_applied(false));
        assert!(!answered(ErrorCode::Overloaded).may_have_been_applied(true));
        assert!(Failure::Lost(String::new()).may_have_been_applied(false));
        assert!(!Failure::NotSent(String::new()).may_have_been_applied(true));
    }

    #[test]
    fn a_typed_error_survives_the_status() {
        let error = ApiError::new(ErrorCode::Overloaded, "full").retry_after_ms(7);
        let status = tonic::Status::from(error.clone());
        assert_eq!(Failure::from_status(&status, None), Failure::Answered(error));
        let status = tonic::Status::out_of_range("message too large");
        assert_eq!(Failure::from_status(&status, None), Failure::TooLarge);
    }
}
