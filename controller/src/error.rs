//! What can go wrong inside the controller, with sources kept.

use isobar_api::{ApiError, ErrorCode, Term};

/// An error of the controller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or is away.
    #[error("the controller's database: {0}")]
    Store(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the controller's database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored document cannot be read, or one cannot be written.
    #[error("a stored document of {what}: {source}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Another controller holds the lease.
    #[error("term {ours} is fenced: another controller holds the lease")]
    Fenced {
        /// The term that this controller had; zero: it never led.
        ours: Term,
    },
    /// The journal does not allow this change of state.
    #[error("{0}")]
    NotAllowed(String),
    /// An error with its code already chosen.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The server stopped.
    #[error("serving: {0}")]
    Serve(#[source] std::io::Error),
    /// A part of the controller ended in a panic.
    #[error("a part of the controller failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// A node's stream ended or could not be opened.
    #[error("node: {0}")]
    Node(#[from] Box<tonic::Status>),
    /// A test stopped the process here.
    #[error("stopped by a test")]
    Stopped,
}

impl Error {
    /// Reads or writes a document, naming its kind in the error.
    pub(crate) fn document(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Document { what, source }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Node(Box::new(status))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Api(inner) => inner,
            Error::Fenced { .. } => Self::new(ErrorCode::Fenced, message),
            Error::NotAllowed(_) => Self::new(ErrorCode::InvalidArgument, message),
            Error::Store(_) | Error::Migrate(_) | Error::Document { .. } => {
                Self::new(ErrorCode::StorageFailed, message)
            }
            Error::File { .. } => Self::new(ErrorCode::File, message),
            Error::Serve(_) => Self::new(ErrorCode::BadAddress, message),
            Error::Node(status) => Self::from_status(&status),
            Error::Stopped | Error::Task(_) => Self::new(ErrorCode::Internal, message),
        }
    }
}
