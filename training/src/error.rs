//! What can go wrong in the workshop.

use isobar_api::{ApiError, ErrorCode};
use std::{io, path::Path};

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A model that cannot be trained, judged, packed or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] isobar_datasets::Error),
    /// The operating system gave an error.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// The folder is no model package, or a damaged one.
    #[error("{path}: {what}")]
    Package {
        /// The package or its file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The data do not hold what the task needs.
    #[error("{0}")]
    Unsuitable(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    pub(crate) fn package(path: &Path, what: impl Into<String>) -> Self {
        Self::Package { path: path.display().to_string(), what: what.into() }
    }

    /// The stable code for this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Data(error) => error.code(),
            Self::Io { .. } => ErrorCode::File,
            Self::Package { .. } => ErrorCode::BadPackage,
            Self::Unsuitable(_) => ErrorCode::BadDataset,
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::new(error.code(), error.to_string())
    }
}
