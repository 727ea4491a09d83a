//! Where the registry and its packages are, and what a name on the command line means.

use crate::{
    args::Global,
    failure::{file_error, invalid},
    reach,
};
use clap::Args;
use isobar_api::{ApiError, ErrorCode};
use isobar_controller::registry::{CHAMPION, Location, Registry, Version};
use isobar_training::{Evaluation, package};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Largest judgement that is read from a file, bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// Where the registry is.
#[derive(Args, Debug, Default)]
pub(super) struct Database {
    /// The registry: a SQLite file or postgres://… [default: the controller's database]
    #[arg(long, value_name = "FILE|URL")]
    database: Option<String>,
}

/// The registry's database, and the folder of the packages it knows by hash.
#[derive(Debug)]
pub(super) struct Place {
    location: Location,
    packages: PathBuf,
}

impl Database {
    /// As told, or where the controller's configuration says.
    pub(super) fn place(&self, global: &Global) -> Result<Place, ApiError> {
        let controller = reach::settings(global, Vec::new())?.controller;
        let location = match &self.database {
            Some(text) => Location::of(text),
            None => Location::of_controller(&controller),
        };
        let beside = match &location {
            Location::File(path) => path.parent().unwrap_or(Path::new(".")).to_owned(),
            Location::Postgres(_) => controller.data_dir,
        };
        Ok(Place { location, packages: beside.join("packages") })
    }
}

impl Place {
    /// Opens the registry; a SQLite file that is not there is made.
    pub(super) async fn make(&self) -> Result<Registry, ApiError> {
        Registry::open(&self.location).await.map_err(Into::into)
    }

    /// Opens the registry that is there.
    pub(super) async fn open(&self) -> Result<Registry, ApiError> {
        match self.known().await? {
            Some(registry) => Ok(registry),
            None => {
                let message =
                    format!("there is no registry at {}: nothing was added yet", self.shown());
                Err(ApiError::new(ErrorCode::NoSuchModel, message))
            }
        }
    }

    /// The registry, if there is one.
    pub(super) async fn known(&self) -> Result<Option<Registry>, ApiError> {
        if self.location.exists() { self.make().await.map(Some) } else { Ok(None) }
    }

    /// The folder of a registered package.
    pub(super) fn folder(&self, version: &Version) -> Result<PathBuf, ApiError> {
        let hash = &version.package_hash;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            let message =
                format!("{} version {} has no hash of a package", version.name, version.version);
            return Err(ApiError::new(ErrorCode::BadPackage, message));
        }
        Ok(self.packages.join(hash))
    }

    /// Reads the package of a version and checks that it is the one that was registered.
    pub(super) fn package(&self, version: &Version) -> Result<package::Package, ApiError> {
        let folder = self.folder(version)?;
        let package = package::read(&folder)?;
        if package.hash != version.package_hash {
            let message = format!("{}: not the package that was registered", folder.display());
            return Err(ApiError::new(ErrorCode::BadPackage, message));
        }
        Ok(package)
    }

    /// Keeps a copy of a package under its hash.
    pub(super) fn keep(&self, from: &Path) -> Result<package::Package, ApiError> {
        let package = package::read(from)?;
        let folder = self.packages.join(&package.hash);
        if folder.exists() {
            return package::read(&folder).map_err(Into::into);
        }
        std::fs::create_dir_all(&self.packages).map_err(|e| file_error(&self.packages, &e))?;
        // Renamed when it is whole: a copy that was cut short is never taken for the package.
        let partial = self.packages.join(format!(".{}-{}", package.hash, std::process::id()));
        let copied = package::copy(from, &partial);
        let kept = copied.map_err(ApiError::from).and_then(|copied| {
            match std::fs::rename(&partial, &folder) {
                // Somebody else was faster with the same bytes.
                Err(_) if folder.exists() => Ok(copied),
                Err(error) => Err(file_error(&folder, &error)),
                Ok(()) => Ok(copied),
            }
        });
        let _ = std::fs::remove_dir_all(&partial);
        kept
    }

    fn shown(&self) -> String {
        match &self.location {
            Location::File(path) => path.display().to_string(),
            // An address may hold a password.
            Location::Postgres(_) => "the PostgreSQL server".into(),
        }
    }

    /// What `A` means: a folder with a package, a file with a judgement, or `NAME`, `NAME@VERSION`, `NAME@ALIAS`.
    pub(super) async fn resolve(&self, text: &str) -> Result<Side, ApiError> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Side::Package {
                folder: path.to_owned(),
                package: Box::new(package::read(path)?),
            });
        }
        if path.is_file() {
            return Ok(Side::Judged(Box::new(document(path)?)));
        }
        if text.contains(['/', '\\']) {
            return Err(ApiError::new(ErrorCode::File, format!("{text}: no such folder or file")));
        }
        let registry = self.open().await?;
        let (name, wanted) = text.split_once('@').unwrap_or((text, CHAMPION));
        let version = registry.version(name, wanted).await?;
        let package = self.package(&version)?;
        Ok(Side::Package { folder: self.folder(&version)?, package: Box::new(package) })
    }
}

/// One side of a comparison.
pub(super) enum Side {
    /// A package.
    Package {
        /// Where it is.
        folder: PathBuf,
        /// What it is.
        package: Box<package::Package>,
    },
    /// A judgement made before.
    Judged(Box<Evaluation>),
}

impl Side {
    /// A package, where only that will do.
    pub(super) fn into_package(self, text: &str) -> Result<(PathBuf, package::Package), ApiError> {
        match self {
            Self::Package { folder, package } => Ok((folder, *package)),
            Self::Judged(_) => {
                Err(invalid(format!("{text} is a file; name the folder of a package")))
            }
        }
    }
}

fn document(path: &Path) -> Result<Evaluation, ApiError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| file_error(path, &e))?;
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| file_error(path, &e))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(invalid(format!("{}: larger than {DOCUMENT_BYTES_MAX} bytes", path.display())));
    }
    let read = serde_json::from_slice(&bytes);
    read.map_err(|e| {
        invalid(format!(
            "{}: no judgement from `isobar model evaluate -o json`: {e}",
            path.display()
        ))
    })
}
