//! What can go wrong below the log and the state machine.

use isobar_api::{ApiError, ErrorCode};
use std::{error::Error as StdError, io, sync::Arc};

/// The kinds of failure a caller treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineErrorKind {
    /// A stored block or record is not what was written, or acknowledged records are missing.
    Corruption,
    /// No space is left.
    DiskFull,
    /// Another failure of the file system.
    Io,
    /// Another process has the directory open.
    Locked,
    /// The directory was written by a newer version.
    NewerFormat,
    /// The engine or the log was closed, or refuses work after an earlier failure.
    Closed,
    /// The caller asked for something that makes no sense; a defect of ours.
    Internal,
}

/// An error of an engine or of the log above it. Cheap to clone: one failed fsync is told to many.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{context}")]
pub struct EngineError {
    kind: EngineErrorKind,
    context: String,
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl EngineError {
    /// An error without a cause below it.
    pub fn new(kind: EngineErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// A failed checksum or a missing record.
    pub fn corruption(context: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::Corruption, context)
    }

    /// The same with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// A failed file operation; a full disk is told apart.
    pub fn from_file(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineErrorKind::DiskFull,
            _ => EngineErrorKind::Io,
        };
        Self::new(kind, context).caused_by(source)
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The stable code a person sees.
    pub fn code(&self) -> ErrorCode {
        match self.kind {
            EngineErrorKind::Corruption => ErrorCode::Corruption,
            EngineErrorKind::DiskFull => ErrorCode::DiskFull,
            EngineErrorKind::Io => ErrorCode::StorageFailed,
            EngineErrorKind::Locked => ErrorCode::DirectoryLocked,
            EngineErrorKind::NewerFormat => ErrorCode::NewerFormat,
            EngineErrorKind::Closed => ErrorCode::Unavailable,
            EngineErrorKind::Internal => ErrorCode::Internal,
        }
    }

    /// The engine error inside an [`io::Error`] made by [`From<EngineError>`], if there is one.
    pub fn inside(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The whole story in one line: context, then each cause.
    pub fn message(&self) -> String {
        let mut text = self.context.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::new(error.code(), error.message())
    }
}

impl From<EngineError> for io::Error {
    fn from(error: EngineError) -> Self {
        let kind = match error.kind {
            EngineErrorKind::Corruption => io::ErrorKind::InvalidData,
            EngineErrorKind::DiskFull => io::ErrorKind::StorageFull,
            EngineErrorKind::Locked => io::ErrorKind::ResourceBusy,
            EngineErrorKind::NewerFormat => io::ErrorKind::Unsupported,
            EngineErrorKind::Closed => io::ErrorKind::BrokenPipe,
            EngineErrorKind::Io | EngineErrorKind::Internal => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_keeps_its_code_through_io_errors() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = EngineError::from_file("write /data/log", full);
        assert_eq!(error.kind(), EngineErrorKind::DiskFull);
        let wrapped = io::Error::from(error);
        assert_eq!(wrapped.kind(), io::ErrorKind::StorageFull);
        let inside = EngineError::inside(&wrapped).expect("it was just put there");
        let told = ApiError::from(inside.clone());
        assert_eq!(told.code, ErrorCode::DiskFull);
        assert!(told.message.starts_with("write /data/log: "), "{}", told.message);
    }

    #[test]
    fn an_ordinary_io_error_has_none_inside() {
        assert!(EngineError::inside(&io::Error::from(io::ErrorKind::NotFound)).is_none());
    }
}
