//! The node's data directory: whose it is, of which cluster, and that only one process has it open.
//!
//! ```text
//! LOCK        held by the process that serves from here
//! node.json   the identity, below
//! log/        the shared consensus log
//! state/      rows and everything else
//! ```

use crate::config::EngineKind;
use isobar_api::{ApiError, ErrorCode, NodeId};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

/// Version of the directory's layout and of the records in it: what this program writes, and all that it reads.
pub const FORMAT: u32 = 4;

const IDENTITY_FILE: &str = "node.json";
const IDENTITY_TEMP: &str = "node.json.tmp";
const LOCK_FILE: &str = "LOCK";
/// More than this is no identity, and is not read into memory.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of the layout.
    pub format: u32,
    /// The cluster; empty while the node is in none.
    pub cluster_id: String,
    /// The node.
    pub node_id: NodeId,
    /// What made `state/`; where it is not said, RocksDB.
    #[serde(default)]
    pub engine: EngineKind,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// An open data directory. The lock lives as long as this does.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Identity>,
    _lock: File,
}

impl DataDir {
    /// Opens the directory of a node, making it if there is none.
    pub fn open(path: &Path, node_id: NodeId, engine: EngineKind) -> Result<Self, ApiError> {
        fs::create_dir_all(path).map_err(|why| file_error(path, "cannot be created", &why))?;
        let lock = lock(&path.join(LOCK_FILE), path)?;
        let identity = match read(&path.join(IDENTITY_FILE))? {
            Some(identity) => {
                let path = path.display();
                if identity.node_id != node_id {
                    let what = format!("{path} belongs to {}, not to {node_id}", identity.node_id);
                    return Err(ApiError::new(ErrorCode::ForeignDirectory, what));
                }
                if identity.engine != engine {
                    let made = identity.engine;
                    let what = format!(
                        "{path} was made with the storage engine {made}, and this node is to use \
                         {engine}; set node.engine to {made}"
                    );
                    return Err(ApiError::new(ErrorCode::ForeignDirectory, what));
                }
                identity
            }
            None => found(path, node_id, engine)?,
        };
        Ok(Self { path: path.to_owned(), identity: Mutex::new(identity), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the shared consensus log lies.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the rows lie.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The node whose directory it is.
    pub fn node_id(&self) -> NodeId {
        self.identity().node_id
    }

    /// The cluster; empty while the node is in none.
    pub fn cluster_id(&self) -> String {
        self.identity().cluster_id.clone()
    }

    /// Remembers the cluster, durably. A node never changes its cluster.
    pub fn set_cluster_id(&self, cluster_id: &str) -> Result<(), ApiError> {
        if cluster_id.is_empty() {
            return Err(ApiError::new(ErrorCode::InvalidArgument, "a cluster id is never empty"));
        }
        let mut identity = self.identity();
        if identity.cluster_id == cluster_id {
            return Ok(());
        }
        if !identity.cluster_id.is_empty() {
            let (path, owner) = (self.path.display(), &identity.cluster_id);
            let what = format!("{path} belongs to cluster `{owner}`, not to `{cluster_id}`");
            return Err(ApiError::new(ErrorCode::ForeignDirectory, what));
        }
        let next = Identity { cluster_id: cluster_id.into(), ..identity.clone() };
        write(&self.path, &next)?;
        *identity = next;
        Ok(())
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().expect("no holder of this lock panics")
    }
}

fn file_error(path: &Path, what: &str, why: &io::Error) -> ApiError {
    ApiError::new(ErrorCode::File, format!("{} {what}: {why}", path.display()))
}

/// The operating system drops the lock with the process, however that ends.
fn lock(file: &Path, dir: &Path) -> Result<File, ApiError> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(file);
    let open = open.map_err(|why| file_error(file, "cannot be opened", &why))?;
    match open.try_lock() {
        Ok(()) => Ok(open),
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is in use by another process", dir.display());
            Err(ApiError::new(ErrorCode::DirectoryLocked, what))
        }
        Err(TryLockError::Error(why)) => Err(file_error(file, "cannot be locked", &why)),
    }
}

fn read(file: &Path) -> Result<Option<Identity>, ApiError> {
    let size_bytes = match fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(file_error(file, "cannot be read", &why)),
    };
    let damaged = |why: String| {
        ApiError::new(ErrorCode::Corruption, format!("{} is damaged: {why}", file.display()))
    };
    if size_bytes > IDENTITY_BYTES_MAX {
        return Err(damaged(format!("{size_bytes} bytes")));
    }
    let bytes = fs::read(file).map_err(|why| file_error(file, "cannot be read", &why))?;
    let FormatOnly { format } =
        serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if format != FORMAT {
        let what = format!("{} has format {format}; this is {FORMAT}", file.display());
        return Err(ApiError::new(ErrorCode::NewerFormat, what));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|why| damaged(why.to_string()))
}

/// Takes a new directory. One that holds data but no identity has lost it: whose data it is, nobody knows.
fn found(path: &Path, node_id: NodeId, engine: EngineKind) -> Result<Identity, ApiError> {
    if ["log", "state"].iter().any(|part| path.join(part).exists()) {
        let what = format!("{} holds data but no {IDENTITY_FILE}", path.display());
        return Err(ApiError::new(ErrorCode::Corruption, what));
    }
    let identity = Identity { format: FORMAT, cluster_id: String::new(), node_id, engine };
    write(path, &identity)?;
    // The name of a new directory is durable only once its parent is.
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(identity)
}

/// The old identity or the new one survives a crash at any moment, never a mixture.
fn write(dir: &Path, identity: &Identity) -> Result<(), ApiError> {
    let temp = dir.join(IDENTITY_TEMP);
    let mut text = serde_json::to_vec_pretty(identity).expect("plain data always encodes");
    text.push(b'\n');
    let written = File::create(&temp).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(|why| file_error(&temp, "cannot be written", &why))?;
    let file = dir.join(IDENTITY_FILE);
    fs::rename(&temp, &file).map_err(|why| file_error(&file, "cannot be replaced", &why))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), ApiError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|why| file_error(dir, "cannot be made durable", &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_fuzz::{config, damage, read_within};
    use proptest::prelude::*;

    fn open(path: &Path, node_id: NodeId) -> Result<DataDir, ApiError> {
        DataDir::open(path, node_id, EngineKind::Rocksdb)
    }

    fn code(opened: Result<DataDir, ApiError>) -> ErrorCode {
        opened.expect_err("must be refused").code
    }

    #[test]
    fn a_new_directory_is_made_and_remembers_its_node_and_cluster() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let dir = open(&path, NodeId(7)).unwrap();
        assert_eq!((dir.node_id(), dir.cluster_id()), (NodeId(7), String::new()));
        assert_eq!(dir.log_dir(), path.join("log"));
        assert_eq!(dir.state_dir(), path.join("state"));
        dir.set_cluster_id("c-1").unwrap();
        fs::create_dir(dir.state_dir()).unwrap();
        drop(dir);
        let again = open(&path, NodeId(7)).unwrap();
        assert_eq!(again.cluster_id(), "c-1");
        assert!(!path.join(IDENTITY_TEMP).exists());
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let first = open(temp.path(), NodeId(1)).unwrap();
        assert_eq!(code(open(temp.path(), NodeId(1))), ErrorCode::DirectoryLocked);
        drop(first);
        open(temp.path(), NodeId(1)).unwrap();
    }

    #[test]
    fn the_directory_of_another_node_or_cluster_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = open(temp.path(), NodeId(1)).unwrap();
        dir.set_cluster_id("ours").unwrap();
        dir.set_cluster_id("ours").unwrap();
        let error = dir.set_cluster_id("theirs").unwrap_err();
        assert_eq!(error.code, ErrorCode::ForeignDirectory);
        assert_eq!(dir.set_cluster_id("").unwrap_err().code, ErrorCode::InvalidArgument);
        drop(dir);
        assert_eq!(code(open(temp.path(), NodeId(2))), ErrorCode::ForeignDirectory);
        assert_eq!(open(temp.path(), NodeId(1)).unwrap().cluster_id(), "ours");
    }

    #[test]
    fn the_directory_of_another_engine_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        DataDir::open(temp.path(), NodeId(1), EngineKind::Redb).unwrap();
        let file = temp.path().join(IDENTITY_FILE);
        let before = fs::read(&file).unwrap();
        for other in [EngineKind::Rocksdb, EngineKind::Memory] {
            let error = DataDir::open(temp.path(), NodeId(1), other).unwrap_err();
            assert_eq!(error.code, ErrorCode::ForeignDirectory);
            assert!(error.message.contains("redb"), "{}", error.message);
        }
        assert_eq!(fs::read(&file).unwrap(), before);
        DataDir::open(temp.path(), NodeId(1), EngineKind::Redb).unwrap();
    }

    #[test]
    fn a_directory_that_does_not_say_its_engine_is_rocksdbs() {
        let temp = tempfile::tempdir().unwrap();
        let old = r#"{"format":4,"cluster_id":"c-1","node_id":1}"#;
        fs::write(temp.path().join(IDENTITY_FILE), old).unwrap();
        assert_eq!(open(temp.path(), NodeId(1)).unwrap().cluster_id(), "c-1");
        let other = DataDir::open(temp.path(), NodeId(1), EngineKind::Redb);
        assert_eq!(code(other), ErrorCode::ForeignDirectory);
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join(IDENTITY_FILE);
        for other in [FORMAT - 1, FORMAT + 1] {
            fs::write(&file, format!(r#"{{"format":{other},"node_id":1,"novelty":[]}}"#)).unwrap();
            assert_eq!(code(open(temp.path(), NodeId(1))), ErrorCode::NewerFormat);
        }
        let long = " ".repeat(IDENTITY_BYTES_MAX as usize + 1);
        let bare = format!(r#"{{"format":{FORMAT}}}"#);
        for bad in ["", "{", "{}", &bare, r#"{"format":-1}"#, "\u{0}", &long] {
            fs::write(&file, bad).unwrap();
            assert_eq!(code(open(temp.path(), NodeId(1))), ErrorCode::Corruption, "{bad:?}");
        }
    }

    #[test]
    fn data_without_an_identity_is_not_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("state")).unwrap();
        assert_eq!(code(open(temp.path(), NodeId(1))), ErrorCode::Corruption);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_a_usable_directory() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(IDENTITY_TEMP), "{\"form").unwrap();
        fs::write(temp.path().join(LOCK_FILE), "").unwrap();
        open(temp.path(), NodeId(3)).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_written_is_a_file_error() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(code(open(&file.join("dir"), NodeId(1))), ErrorCode::File);
        assert_eq!(code(open(&file, NodeId(1))), ErrorCode::File);
        fs::create_dir(temp.path().join(IDENTITY_FILE)).unwrap();
        assert_eq!(code(open(temp.path(), NodeId(1))), ErrorCode::File);
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn fuzz_identities(
            cluster_id in "[a-z0-9-]{0,20}", node in 1..u64::MAX, redb: bool, damage in damage(), any: Vec<u8>,
        ) {
            let engine = if redb { EngineKind::Redb } else { EngineKind::Rocksdb };
            let identity = Identity { format: FORMAT, cluster_id, node_id: NodeId(node), engine };
            let temp = tempfile::tempdir().unwrap();
            let file = temp.path().join(IDENTITY_FILE);
            write(temp.path(), &identity).unwrap();
            prop_assert_eq!(&read(&file).unwrap(), &Some(identity));
            let whole = fs::read(&file).unwrap();
            for bytes in [damage.of(&whole), any] {
                fs::write(&file, &bytes).unwrap();
                if let Err(error) = read_within(bytes.len(), || read(&file)) {
                    let known = [ErrorCode::Corruption, ErrorCode::NewerFormat];
                    prop_assert!(known.contains(&error.code), "{error:?}");
                }
            }
        }
    }
}
