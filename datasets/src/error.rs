//! What can be wrong with a data set.

use isobar_api::{ApiError, ErrorCode};
use std::{io, path::PathBuf};

/// A line may have 64 KiB, an error about it may not.
const MAX_WHAT_CHARS: usize = 300;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A data set that cannot be read or fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system, or the decompressor, gave an error.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A line is not what its format says.
    #[error("{file}, line {line}: {what}")]
    Line {
        /// The file.
        file: String,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The file as a whole is not usable.
    #[error("{file}: {what}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// An argument makes no sense.
    #[error("{0}")]
    Argument(String),
    /// No catalog entry has this name.
    #[error("no data set is called `{name}`; there are {known}")]
    UnknownSet {
        /// As asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The set has no pinned files; it must be got by hand.
    #[error("`{name}` cannot be fetched by itself: {instructions}")]
    Manual {
        /// The set.
        name: String,
        /// What to do.
        instructions: String,
    },
    /// A download did not succeed.
    #[error("fetching {url}: {what}")]
    FetchFailed {
        /// The address.
        url: String,
        /// What happened.
        what: String,
        /// The client's own error, if it was one.
        source: Option<Box<ureq::Error>>,
    },
    /// What was downloaded is not what was pinned.
    #[error("{url}: SHA-256 is {found}, the catalog says {wanted}; nothing was kept")]
    WrongHash {
        /// The address.
        url: String,
        /// As pinned.
        wanted: String,
        /// As downloaded.
        found: String,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into().display().to_string(), source }
    }

    pub(crate) fn file(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self::File { file: file.into(), what: what.into() }
    }

    /// `what` may quote the file: it is cut to a length that a person reads, and cannot steer a terminal.
    pub(crate) fn line(file: &str, line: u64, what: impl Into<String>) -> Self {
        let what = what.into();
        let mut shown = String::new();
        for (place, c) in what.chars().enumerate() {
            if place == MAX_WHAT_CHARS {
                shown.push('…');
                break;
            }
            if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
        }
        Self::Line { file: file.into(), line, what: shown }
    }

    /// The stable code for this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } => ErrorCode::File,
            Self::Line { .. } | Self::File { .. } => ErrorCode::BadDataset,
            Self::Argument(_) | Self::UnknownSet { .. } | Self::Manual { .. } => {
                ErrorCode::InvalidArgument
            }
            Self::FetchFailed { .. } => ErrorCode::FetchFailed,
            Self::WrongHash { .. } => ErrorCode::WrongHash,
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_code_file_and_line() {
        let error = Error::Line { file: "x.csv".into(), line: 7, what: "no number".into() };
        let seen = ApiError::from(error).to_string();
        assert_eq!(seen, "ISO-6002: x.csv, line 7: no number");
    }

    #[test]
    fn what_a_file_holds_is_quoted_short_and_harmless() {
        let error = Error::line("x", 1, format!("`\u{1b}[2J{}` é", "9".repeat(5000))).to_string();
        assert!(error.starts_with("x, line 1: `\\u{1b}[2J999"), "{error}");
        assert!(error.ends_with("9…") && error.chars().count() < 330, "{error}");
    }
}
