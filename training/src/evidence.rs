//! What a model was trained on: files by hash, the window of time, and how the features were spread.

use crate::{Error, Lesson, Progress, Result, drift::Reference, package::hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{Read, copy},
    path::{Path, PathBuf},
};

/// Values kept of each feature for a drift reference.
pub const SAMPLE_ROWS: usize = 50_000;
/// Most bytes of one set that are hashed; larger sets are not of the kind that lies in a folder.
const SET_BYTES_MAX: u64 = 64 << 30;

/// One data set: enough to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The folder's name, without where it lay.
    pub name: String,
    /// Files in it.
    pub files: u64,
    /// Their size, bytes.
    pub size_bytes: u64,
    /// SHA-256 over names, sizes and contents of all files, by name.
    pub sha256: String,
    /// First and last time in it, where it has a column of dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(String, String)>,
}

/// What goes into a package beside the model itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The sets it was trained on.
    pub sources: Vec<Source>,
    /// How the features were spread.
    pub reference: Reference,
}

/// Knows a data set by its contents: the same files give the same hash wherever the folder lies.
pub fn fingerprint(folder: &Path) -> Result<Source> {
    let files = isobar_datasets::files_of(folder)?;
    if files.is_empty() {
        return Err(Error::Unsuitable(format!("{}: no files", folder.display())));
    }
    let (mut hash, mut size_bytes) = (Sha256::new(), 0_u64);
    for file in &files {
        let open = File::open(&file.path).map_err(|e| Error::io(&file.path, e))?;
        let mut inner = Sha256::new();
        let mut limited = open.take(SET_BYTES_MAX.saturating_sub(size_bytes) + 1);
        let size = copy(&mut limited, &mut inner).map_err(|e| Error::io(&file.path, e))?;
        size_bytes += size;
        if size_bytes > SET_BYTES_MAX {
            return Err(Error::Unsuitable(format!(
                "{}: more than {SET_BYTES_MAX} bytes",
                folder.display()
            )));
        }
        hash.update((file.name.len() as u64).to_le_bytes());
        hash.update(&file.name);
        hash.update(size.to_le_bytes());
        hash.update(inner.finalize());
    }
    let whole = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sha256 = hex(&hash.finalize());
    Ok(Source { name, files: files.len() as u64, size_bytes, sha256, window: None })
}

/// One hash for several sets, whatever their order.
pub fn data_hash(sources: &[Source]) -> String {
    let mut all: Vec<&str> = sources.iter().map(|source| source.sha256.as_str()).collect();
    all.sort_unstable();
    match all[..] {
        [] => String::new(),
        [one] => one.to_owned(),
        _ => hex(&Sha256::digest(all.concat())),
    }
}

/// Gathers what a package says of the data it was trained on.
pub fn gather(
    lesson: &dyn Lesson,
    data: &[PathBuf],
    progress: &mut dyn Progress,
) -> Result<Evidence> {
    let mut sources = Vec::with_capacity(data.len());
    for folder in data {
        progress.step(sources.len() as u64, data.len() as u64, "knowing the data again by hash");
        let mut source = fingerprint(folder)?;
        source.window = lesson.window(folder)?;
        sources.push(source);
    }
    sources.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
    let reference = Reference::of(&lesson.features(data, SAMPLE_ROWS, progress)?);
    Ok(Evidence { sources, reference })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn a_set_is_known_by_contents_and_not_by_place() {
        let hash = |files: &[(&str, &str)]| fingerprint(set(files).path()).expect("files").sha256;
        let known = hash(&[("a.csv", "1"), ("b.csv", "2")]);
        assert_eq!(hash(&[("b.csv", "2"), ("a.csv", "1")]), known);
        // Other contents, another name, and bytes that moved from one file to the next.
        for other in [
            [("a.csv", "1"), ("b.csv", "3")],
            [("a.csv", "1"), ("c.csv", "2")],
            [("a.csv", "12"), ("b.csv", "")],
        ] {
            assert_ne!(hash(&other), known, "{other:?}");
        }
        assert!(fingerprint(set(&[]).path()).is_err());
    }

    #[test]
    fn several_sets_have_one_hash_in_any_order() {
        let source = |text: &str| fingerprint(set(&[("a", text)]).path()).expect("files");
        let (a, b) = (source("1"), source("2"));
        assert_eq!(data_hash(&[a.clone(), b.clone()]), data_hash(&[b.clone(), a.clone()]));
        assert_ne!(data_hash(&[a.clone(), b]), data_hash(std::slice::from_ref(&a)));
        assert_eq!(data_hash(&[]), "");
    }
}
