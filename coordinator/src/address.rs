//! The file in the state directory with the coordinator's address, for clients.

use crate::store::{self, StoreError};
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const FILE: &str = "address";

/// The address file of a running coordinator. Dropping it removes the file.
pub struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes `address` for clients of the state directory.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write(directory: &Path, address: SocketAddr) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        match plusminus_files::replace(&path, ".part", |out| writeln!(out, "http://{address}")) {
            Ok(()) => Ok(AddressFile(path)),
            Err(error) => Err(StoreError::Unusable { path, error }),
        }
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "cannot remove the address file");
        }
    }
}

/// The address of the coordinator that runs on the state directory; nothing if none runs. The file of a coordinator that was killed is
/// ignored: another program may listen on its port by now.
///
/// # Errors
/// If the file exists and cannot be read.
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
