//! Atomic writes: after a crash, a file has its whole content or does not exist.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The extension of temporary files.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes a temporary file in the same directory and renames it to `path`. The temporary name starts with the name of `path` and is
/// unique, so that two attempts at one job do not write to the same file. It is removed on an error, such as a full disk.
///
/// The content is on disk when this returns; the new name is on disk after [`sync_directory`].
///
/// # Errors
/// The file system's.
pub(crate) fn write(
    path: &Path,
    write_content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"));
    };
    // `make_in` rather than `tempfile_in`, whose files only their owner can read.
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
