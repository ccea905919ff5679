//! What the store needs of the system besides the standard library: the identity of files, private files, and locks of open files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// The number of a file on its device. Two names with the same number are the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file with this name; nothing if there is none.
    pub fn at(path: &Path) -> io::Result<Option<FileId>> {
        Ok(metadata(path)?.as_ref().map(FileId::of))
    }

    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> FileId {
        use std::os::unix::fs::MetadataExt;
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// All files are the same: open files cannot be deleted there.
    #[cfg(not(unix))]
    pub fn of(_: &Metadata) -> FileId {
        FileId { device: 0, inode: 0 }
    }
}

/// The metadata of the file with this name; nothing if there is none.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Options to open a file for reading and writing that nobody else can open if it is created. Its name may be a symbolic link only with
/// `follow`.
pub(super) fn private(follow: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(if follow { 0 } else { nix::libc::O_NOFOLLOW });
    }
    options
}

/// Takes the permissions of others from a file that an older version created.
#[cfg(unix)]
pub(super) fn make_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mode = file.metadata()?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    match file.set_permissions(fs::Permissions::from_mode(mode & 0o700)) {
        // The file belongs to somebody else, who decides on it.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            Ok(())
        }
        done => done,
    }
}

#[cfg(not(unix))]
pub(super) fn make_private(_: &File) -> io::Result<()> {
    Ok(())
}

/// Locks an open file. Returns whether nobody else has it locked. SQLite's locks on the file are independent of this one, since they are
/// on other bytes.
#[cfg(target_os = "linux")]
pub(super) fn lock_open_file(file: &File) -> io::Result<bool> {
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    /// Far behind the bytes that SQLite locks, which are at 1 GiB.
    const BYTE: libc::off_t = 1 << 40;
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: BYTE,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Other systems have no such locks. The lock file remains.
#[cfg(not(target_os = "linux"))]
pub(super) fn lock_open_file(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Whether the system's error says that the device fails, rather than that the file is not as it should be.
pub(super) fn is_device_failure(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use nix::libc;
        #[cfg(target_os = "linux")]
        const MORE: [i32; 3] = [libc::EREMOTEIO, libc::EUCLEAN, libc::ESHUTDOWN];
        #[cfg(not(target_os = "linux"))]
        const MORE: [i32; 0] = [];
        let failures = [libc::EIO, libc::ENXIO, libc::ENODEV, libc::ESTALE, libc::ENOTCONN];
        error.raw_os_error().is_some_and(|code| failures.contains(&code) || MORE.contains(&code))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}
