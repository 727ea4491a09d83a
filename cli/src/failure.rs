//! How a command ends.

use isobar_api::{ApiError, ErrorCode};

/// The exit code: 0 done, 1 failed, 2 misused (clap's own). `policy set` has its own, see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

/// All went well.
pub const DONE: Exit = Exit(0);

/// Stopped by Ctrl-C or SIGTERM before its end.
pub const INTERRUPTED: Exit = Exit(130);

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something to tell the user.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody reads the output any more (`isobar … | head`): not an error.
    #[error("the output was closed")]
    OutputClosed,
}

impl From<isobar_controller::Error> for Failure {
    fn from(error: isobar_controller::Error) -> Self {
        Self::Api(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Api(ApiError::new(ErrorCode::File, format!("writing the output: {error}")))
    }
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;

/// An error of a wrong argument that clap cannot see.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}

/// An error of a file, with its path.
pub fn file_error(path: &std::path::Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::File, format!("{}: {error}", path.display()))
}
