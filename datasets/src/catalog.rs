//! The list of public sets: what each is for, under which licence, and where it comes from.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};

const TEXT: &str = include_str!("../catalog.toml");
/// Larger files belong to tools made for them.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// A file with a pinned content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Where it goes, relative to the set's folder.
    pub path: String,
    /// The address, with a commit in it.
    pub url: String,
    /// Its exact size.
    pub size_bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Short name, as in `isobar dataset fetch NAME`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it is for.
    pub task: String,
    /// Columns and units, and which reader takes it.
    pub format: String,
    /// As the source states it.
    pub licence: String,
    /// Repository and commit, or publisher.
    pub source: String,
    /// What to keep in mind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caveats: String,
    /// How to get it by hand, where it cannot be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
    /// What `fetch` gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RemoteFile>,
}

impl Entry {
    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Whether `fetch` can get it.
    pub fn is_fetchable(&self) -> bool {
        !self.files.is_empty()
    }
}

/// All sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// In the order of the file.
    #[serde(rename = "dataset")]
    pub entries: Vec<Entry>,
}

impl Catalog {
    /// The embedded catalog.
    pub fn builtin() -> Self {
        Self::parse(TEXT).expect("embedded text, read by a test of this crate")
    }

    /// Reads and checks a catalog in TOML.
    fn parse(text: &str) -> Result<Self> {
        let catalog: Self = toml::from_str(text)
            .map_err(|error| Error::file("catalog", error.to_string().trim().to_owned()))?;
        let mut names = std::collections::BTreeSet::new();
        for entry in &catalog.entries {
            check(entry)
                .map_err(|what| Error::file("catalog", format!("{}: {what}", entry.name)))?;
            if !names.insert(&entry.name) {
                return Err(Error::file("catalog", format!("{}: given twice", entry.name)));
            }
        }
        Ok(catalog)
    }

    /// The set of this name.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
            Error::UnknownSet { name: name.into(), known: known.join(", ") }
        })
    }
}

fn check(entry: &Entry) -> std::result::Result<(), String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if entry.name.is_empty() || !entry.name.chars().all(legal) {
        return Err("a name is lower-case letters, digits and dashes".into());
    }
    if entry.files.is_empty() == entry.manual.is_none() {
        return Err("give either files or instructions".into());
    }
    entry.files.iter().try_for_each(check_file)
}

pub(crate) fn check_file(file: &RemoteFile) -> std::result::Result<(), String> {
    let RemoteFile { path, url, size_bytes, sha256 } = file;
    let mut parts = Path::new(path).components();
    // Nothing may be written outside the folder that the user named.
    if path.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("`{path}` is not a relative path without `..`"));
    }
    if !url.starts_with("https://") && !url.starts_with("http://127.0.0.1:") {
        return Err(format!("`{url}` is not an https address"));
    }
    if *size_bytes == 0 || *size_bytes > MAX_FILE_BYTES {
        return Err(format!("{path}: a size of {size_bytes} bytes is out of range"));
    }
    if sha256.len() != 64 || !sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        return Err(format!("{path}: a SHA-256 is 64 lower-case hexadecimal digits"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalog_is_sound_and_pinned() {
        let catalog = Catalog::builtin();
        assert!(catalog.get("ycsb").expect("there").is_fetchable());
        assert!(matches!(catalog.get("nothing"), Err(Error::UnknownSet { .. })));
        for file in catalog.entries.iter().flat_map(|entry| &entry.files) {
            let pinned = file
                .url
                .split('/')
                .any(|part| part.len() == 40 && part.chars().all(|c| c.is_ascii_hexdigit()));
            assert!(pinned, "{} names no commit", file.url);
        }
    }

    #[test]
    fn unsafe_and_unpinned_entries_are_refused() {
        let entry = |path: &str, url: &str, sha: &str| {
            format!(
                "[[dataset]]\nname='a'\ntitle=''\ntask=''\nformat=''\nlicence=''\nsource=''\n\
                 [[dataset.files]]\npath='{path}'\nurl='{url}'\nsize_bytes=1\nsha256='{sha}'\n"
            )
        };
        let sha = "0".repeat(64);
        assert!(Catalog::parse(&entry("x", "https://h/x", &sha)).is_ok());
        for (path, url, sha) in [
            ("../x", "https://h/x", sha.as_str()),
            ("/x", "https://h/x", &sha),
            ("x", "http://h/x", &sha),
            ("x", "https://h/x", "12"),
        ] {
            assert!(Catalog::parse(&entry(path, url, sha)).is_err(), "{path} {url}");
        }
        assert!(Catalog::parse("[[dataset]]\nnam='a'\n").is_err());
        let good = entry("x", "https://h/x", &sha);
        assert!(Catalog::parse(&format!("{good}{good}")).is_err(), "a name given twice");
    }
}
