//! Private files: everything that plusminus creates for itself. Only the user who runs it can read or write them, whatever the umask.
//!
//! - [`create_dir`], [`own_dir`]: directories with mode 0700. A state directory that others can write is refused.
//! - [`create`], [`open`]: files with mode 0600. Links are not followed, so no file elsewhere is written by mistake.
//! - [`replace`], [`Unfinished`]: a file gets its whole content or keeps the old one. The temporary file has a random name.
//! - [`lock`]: an exclusive lock that other users cannot hold.
//!
//! Files that a user asks for, such as tables and `--output`, are not made here: they follow the user's umask.

mod directory;
mod lock;
mod replace;

pub use directory::{Unsafe, create_dir, own_dir};
pub use lock::lock;
pub use replace::{Unfinished, replace, sync_dir};

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of files.
const FILE: u32 = 0o600;
/// The mode bits of a file that belong to other users.
const OTHERS: u32 = 0o077;

/// Creates a file that does not exist.
///
/// # Errors
/// The file system's; also if there is a file or a link of that name.
pub fn create(path: &Path) -> io::Result<File> {
    let file = options().write(true).create_new(true).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Opens a file for reading and writing, and creates it if it is missing. An existing file becomes private.
///
/// # Errors
/// The file system's; also if the path is that of a link, or the file belongs to another user.
pub fn open(path: &Path) -> io::Result<File> {
    let file = options().read(true).write(true).create(true).truncate(false).open(path).map_err(link)?;
    make_private(&file)?;
    Ok(file)
}

/// Options that do not follow a link at the end of the path, and that create files with mode 0600 at most.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Removes the rights of other users.
fn make_private(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file"));
    }
    if metadata.uid() != user() {
        let found = format!("it belongs to user {}, and this is user {}", metadata.uid(), user());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, found));
    }
    if metadata.mode() & OTHERS != 0 || metadata.mode() & FILE != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(())
}

/// Explains the error that a link at the end of a path causes.
fn link(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return io::Error::new(error.kind(), "it is a symbolic link, which plusminus did not make; remove the link");
    }
    error
}

/// The user of this process.
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    pub(crate) fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn files_are_private_whatever_they_were_before() {
        let place = tempfile::tempdir().unwrap();
        let [new, open_to_all] = ["new", "open to all"].map(|name| place.path().join(name));
        create(&new).unwrap();
        assert_eq!(create(&new).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::write(&open_to_all, "content").unwrap();
        fs::set_permissions(&open_to_all, Permissions::from_mode(0o666)).unwrap();
        open(&open_to_all).unwrap();
        assert_eq!([mode(&new), mode(&open_to_all)], [0o600; 2]);
        assert_eq!(fs::read_to_string(&open_to_all).unwrap(), "content");
    }

    #[test]
    fn links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let [precious, planted, dangling] = ["precious", "planted", "dangling"].map(|name| place.path().join(name));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &planted).unwrap();
        symlink(place.path().join("elsewhere"), &dangling).unwrap();
        for link in [&planted, &dangling] {
            assert!(create(link).is_err());
            let error = open(link).unwrap_err().to_string();
            assert!(error.contains("symbolic link") && error.contains("remove"), "{error}");
        }
        replace(&planted, ".part", |out| io::Write::write_all(out, b"new")).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "the link is replaced, not its target");
        assert!(!place.path().join("elsewhere").exists());
    }
}
