//! Files that are there in full, with their content on disk, or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The last part of a temporary file's name.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes beside the file, then takes its place; the temporary name begins as the file's does. It is nobody else's, so that two attempts
/// at one job on one disk do not write into each other's, and what is left of a full disk's file goes when this ends.
///
/// The new name is on disk once the directory is (see [`sync_directory`]).
///
/// # Errors
/// The file system's.
pub(crate) fn write(
    path: &Path,
    write_content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file in a directory"));
    };
    // Made by hand: a file of tempfile's own making would be readable by its owner alone.
    let mut temporary = tempfile::Builder::new()
        .prefix(&format!("{}.", name.display()))
        .suffix(TEMPORARY_SUFFIX)
        .make_in(directory, |path| File::create_new(path))?;
    let mut out = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    write_content(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// The file system's.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
