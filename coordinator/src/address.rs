//! Where the coordinator of a state directory listens: a file that it writes and that clients read.

use crate::file;
use crate::store::{self, StoreError};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const FILE: &str = "address";

/// The file with the address of a running coordinator; removed when dropped.
pub struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes `address` down for clients of `directory`.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write(directory: &Path, address: SocketAddr) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        match file::replace(&path, &format!("http://{address}\n")) {
            Ok(()) => Ok(AddressFile(path)),
            Err(error) => Err(StoreError::Unusable { path, error }),
        }
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the address file could not be removed");
        }
    }
}

/// The address of the coordinator that runs on `directory`, if one does. What one that was killed has left there does not count:
/// somebody else may listen on its port by now.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(directory: &Path) -> Result<Option<String>, StoreError> {
    let path = directory.join(FILE);
    if !store::is_open(directory) {
        return Ok(None);
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(StoreError::Unusable { path, error }),
    }
}
