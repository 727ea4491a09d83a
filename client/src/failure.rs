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
}

impl Failure {
    pub(crate) fn from_status(status: &tonic::Status, node: Option<NodeId>) -> Self {
        if let Ok(error) = serde_json::from_slice::<ApiError>(status.details()) {
            return Self::Answered(error);
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

    /// Whether a write can have been applied although it failed. A node that does not lead says so
    /// before it touches its log; `Unavailable` comes from one that led, and lost an entry's outcome
    /// with its leadership. Whether the client knew that it led plays no part.
    pub(crate) fn may_have_been_applied(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::NotSent(_) => false,
            Self::Answered(error) => matches!(
                error.code,
                ErrorCode::DeadlineExceeded
                    | ErrorCode::Unavailable
                    | ErrorCode::StorageFailed
                    | ErrorCode::Corruption
                    | ErrorCode::DiskFull
                    | ErrorCode::Internal
            ),
        }
    }

    /// Whether another attempt, perhaps elsewhere, can succeed. Writes repeat their sequence number,
    /// so that repeating one that was applied after all returns its first answer.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Lost(_) => true,
            Self::Answered(error) => matches!(
                error.code,
                ErrorCode::StaleEpoch
                    | ErrorCode::NotLeader
                    | ErrorCode::ShardNotHere
                    // Another cluster's node serves at the address now.
                    | ErrorCode::Refused
                    | ErrorCode::Unavailable
                    | ErrorCode::DeadlineExceeded
                    | ErrorCode::Overloaded
                    | ErrorCode::TooStale
                    | ErrorCode::Merging
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
                ErrorCode::StaleEpoch
                | ErrorCode::NotLeader
                | ErrorCode::ShardNotHere
                | ErrorCode::Merging
                | ErrorCode::Refused => ApiError::new(ErrorCode::Unavailable, error.message),
                _ => ApiError { shards: Vec::new(), ..error },
            },
            Self::NotSent(why) => ApiError::new(ErrorCode::Unreachable, why),
            Self::Lost(why) => ApiError::new(ErrorCode::Unavailable, why),
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
    fn only_what_reached_a_log_may_have_been_applied() {
        for code in [ErrorCode::Unavailable, ErrorCode::DeadlineExceeded] {
            assert!(answered(code).may_have_been_applied(), "{code}");
        }
        for code in
            [ErrorCode::NotLeader, ErrorCode::StaleEpoch, ErrorCode::Overloaded, ErrorCode::Merging]
        {
            assert!(!answered(code).may_have_been_applied(), "{code}");
        }
        assert!(Failure::Lost(String::new()).may_have_been_applied());
        assert!(!Failure::NotSent(String::new()).may_have_been_applied());
    }

    #[test]
    fn a_typed_error_survives_the_status() {
        let error = ApiError::new(ErrorCode::Overloaded, "full").retry_after_ms(7);
        let status = tonic::Status::from(error.clone());
        assert_eq!(Failure::from_status(&status, None), Failure::Answered(error));
    }
}
