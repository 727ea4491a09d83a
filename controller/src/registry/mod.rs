//! The registry of models, in the controller's database: experiments, runs, versions, aliases, and who moved the champion
//! and why.
//!
//! A version is a model package by the SHA-256 of its manifest, which holds the SHA-256 of every file. The registry keeps
//! the hash, not the files: those lie beside it, see `isobar model add`. Every change takes a number of a counter first,
//! which takes the write lock on SQLite and the row lock on PostgreSQL: two that promote at once do so one after the other.

mod change;
mod read;
mod rows;
#[cfg(test)]
mod tests;

pub use rows::{Addition, Change, Experiment, Model, Order, Run, RunKind, Version};

use crate::{
    error::Error,
    store::{Store, sqlite_url},
};
use isobar_api::{ApiError, ErrorCode};
use std::path::{Path, PathBuf};

/// The version that serves.
pub const CHAMPION: &str = "champion";
/// The newest version that does not serve yet.
pub const CHALLENGER: &str = "challenger";
/// Longest name of a model, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest reason, bytes.
pub const WHY_BYTES_MAX: usize = 1_000;
/// Largest document of a run, bytes: a judgement of thousands of units with its curves.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    File(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

impl Location {
    /// What a person wrote: an address of PostgreSQL, otherwise the path of a SQLite file.
    pub fn of(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Self::Postgres(text.to_owned())
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    /// Where the controller with this configuration keeps it.
    pub fn of_controller(config: &crate::ControllerConfig) -> Self {
        match &config.database_url {
            Some(url) => Self::Postgres(url.clone()),
            None => Self::File(config.data_dir.join(crate::store::SQLITE_FILE)),
        }
    }

    /// `false`: it is a file that is not there yet.
    pub fn exists(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::Postgres(_) => true,
        }
    }
}

/// The registry.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
}

impl Registry {
    /// Opens the database and brings its schema up to date; a SQLite file that is not there is made.
    pub async fn open(location: &Location) -> Result<Self, Error> {
        let store = match location {
            Location::Postgres(url) => Store::connect(url).await?,
            Location::File(path) => {
                let folder = path.parent().unwrap_or(Path::new("."));
                let failed = |source| Error::File { path: folder.display().to_string(), source };
                std::fs::create_dir_all(folder).map_err(failed)?;
                Store::connect(&sqlite_url(path)).await?
            }
        };
        Ok(Self { store })
    }

    /// Closes every connection.
    pub async fn close(self) {
        self.store.close().await;
    }
}

fn refused(message: impl Into<String>) -> Error {
    ApiError::new(ErrorCode::InvalidArgument, message).into()
}

fn unknown(message: impl Into<String>) -> Error {
    ApiError::new(ErrorCode::NoSuchModel, message).into()
}

/// Names become parts of paths and addresses: letters, digits, `-`, `_`, `.`; not a dot first.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.bytes().all(fits)
    {
        let message = format!(
            "a model's name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.` and begins with no dot"
        );
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    Ok(())
}

/// A reason for the record.
fn check_why(why: &str) -> Result<(), Error> {
    if why.trim().is_empty() || why.len() > WHY_BYTES_MAX {
        return Err(refused(format!("say why, in at most {WHY_BYTES_MAX} bytes")));
    }
    Ok(())
}
