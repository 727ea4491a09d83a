//! Downloads with a pinned content: resumed where they stopped, verified, then put in place at once.
//!
//! A file grows as `NAME.part`. When it is whole and its SHA-256 is the pinned one, it is renamed to `NAME`; if the
//! hash differs, nothing is left. Running the command again goes on where the last run stopped.

mod transfer;

use crate::catalog::{Entry, RemoteFile, check_file};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use transfer::Transfer;

/// Limits of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// How often a transfer is tried; each try goes on where the last one broke off.
    pub attempts: u32,
    /// Pause before the next try.
    pub pause_ms: u64,
    /// No answer for this long is a failure.
    pub silence_ms: u64,
    /// Larger files are refused before anything is sent.
    pub max_size_bytes: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { attempts: 3, pause_ms: 500, silence_ms: 30_000, max_size_bytes: 1 << 30 }
    }
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Its path inside the set.
    pub path: &'a str,
    /// Bytes on disk, earlier runs included.
    pub done_bytes: u64,
    /// Bytes in all.
    pub size_bytes: u64,
}

/// Gets all files of a set into `dir`. Files that are there already, with the right content, are left alone.
pub fn fetch(
    entry: &Entry,
    dir: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<PathBuf>> {
    if let (false, Some(instructions)) = (entry.is_fetchable(), &entry.manual) {
        let (name, instructions) = (entry.name.clone(), instructions.clone());
        return Err(Error::Manual { name, instructions });
    }
    entry.files.iter().map(|file| fetch_file(file, dir, options, progress)).collect()
}

/// Gets one file.
pub fn fetch_file(
    file: &RemoteFile,
    dir: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    check_file(file).map_err(Error::Argument)?;
    if file.size_bytes > options.max_size_bytes {
        let limit = options.max_size_bytes;
        let what = format!("{}: {} bytes exceed the limit of {limit}", file.path, file.size_bytes);
        return Err(Error::Argument(what));
    }
    let target = dir.join(&file.path);
    let part_path = part_path(&target);
    let mut part = loop {
        if is_whole(file, &target)? {
            let (path, size_bytes) = (file.path.as_str(), file.size_bytes);
            progress(Progress { path, done_bytes: size_bytes, size_bytes });
            return Ok(target);
        }
        if let Some(part) = open_part(file, &part_path)? {
            break part;
        }
    };
    let transfer = Transfer::new(file, options);
    let mut attempt = 1;
    while let Err(error) = transfer.run(&mut part, &part_path, progress) {
        if !error.is_temporary || attempt >= options.attempts {
            remove_if_empty(&part, &part_path);
            return Err(error.error);
        }
        attempt += 1;
        std::thread::sleep(Duration::from_millis(options.pause_ms));
    }
    put_in_place(file, &mut part, &part_path, &target)?;
    Ok(target)
}

fn failed(file: &RemoteFile, what: impl Into<String>) -> Error {
    Error::FetchFailed { url: file.url.clone(), what: what.into(), source: None }
}

fn is_whole(file: &RemoteFile, target: &Path) -> Result<bool> {
    match File::open(target) {
        Ok(mut found) => {
            let size = found.metadata().map_err(|e| Error::io(target, e))?.len();
            if size != file.size_bytes {
                return Ok(false);
            }
            let hash = sha256(&mut found).map_err(|e| Error::io(target, e))?;
            Ok(hash == file.sha256)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(target, error)),
    }
}

fn part_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}

/// Opens what an earlier run left, or a new file, and keeps other processes out of it. `None`: another process
/// finished or removed the file between opening and locking it; look again.
fn open_part(file: &RemoteFile, path: &Path) -> Result<Option<File>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let part = options.open(path).map_err(|e| Error::io(path, e))?;
    if matches!(part.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(failed(file, format!("another process is fetching {}", path.display())));
    }
    // Any other failure is a file system without locks: nobody is kept out, and the hash still decides.
    Ok(is_at(&part, path).map_err(|e| Error::io(path, e))?.then_some(part))
}

/// Whether the path still names this very file: a lock on one that was renamed or removed protects nothing.
fn is_at(part: &File, path: &Path) -> io::Result<bool> {
    let own = part.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A failure before the first byte leaves no trace. Best effort: the failure itself is what counts.
fn remove_if_empty(part: &File, path: &Path) {
    if part.metadata().is_ok_and(|found| found.len() == 0) {
        let _ = fs::remove_file(path);
    }
}

fn put_in_place(file: &RemoteFile, part: &mut File, from: &Path, target: &Path) -> Result<()> {
    part.seek(SeekFrom::Start(0)).map_err(|e| Error::io(from, e))?;
    let found = sha256(part).map_err(|e| Error::io(from, e))?;
    if found != file.sha256 {
        fs::remove_file(from).map_err(|e| Error::io(from, e))?;
        let (url, wanted) = (file.url.clone(), file.sha256.clone());
        return Err(Error::WrongHash { url, wanted, found });
    }
    part.sync_all().map_err(|e| Error::io(from, e))?;
    fs::rename(from, target).map_err(|e| Error::io(target, e))
}

fn sha256(input: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(input, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_or_replaced_is_not_ours_any_more() {
        let dir = tempfile::tempdir().expect("folder");
        let (path, away) = (dir.path().join("x.part"), dir.path().join("x"));
        let part = File::create(&path).expect("creates");
        assert!(is_at(&part, &path).expect("there"));
        fs::rename(&path, &away).expect("renames");
        assert!(!is_at(&part, &path).expect("gone"));
        fs::write(&path, b"another").expect("writes");
        assert!(!is_at(&part, &path).expect("another file"));
    }
}
