//! What a command reads: a file, or stdin.

use crate::failure::file_error;
use isobar_api::ApiError;
use std::{fs::File, io::Read, path::Path};

/// The bytes of a file, or of stdin where the path is `-`; no more than `most` of them. [`isobar_api::ErrorCode::File`]
/// if they cannot be read.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| file_error(path, &error))?;
    Ok(bytes)
}
