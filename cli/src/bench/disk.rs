//! The file system that everything is written to: figures of memory say nothing about a disk.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::path::Path;

/// Whether a folder is in memory.
pub(super) fn is_tmpfs(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

/// What to tell the user about it.
pub(super) fn remark(folder: &Path) -> Option<String> {
    is_tmpfs(folder).then(|| {
        "warning: the temporary folder is in memory (tmpfs), where fsync costs nothing; \
         set TMPDIR to a folder on a disk"
            .into()
    })
}
