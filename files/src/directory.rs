//! Private directories, and the check of directories that exist.

use super::{OTHERS, link, user};
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o700;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// Only the owner of a file, or of the directory, can remove it.
const STICKY: u32 = 0o1000;

/// Why a directory is not safe to keep files in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// It belongs to somebody else, who can replace every file in it.
    #[error(
        "it belongs to user {owner} (mode {mode:04o}), and plusminus runs as user {user}, so others control its files; run plusminus as its \
         owner, or choose a directory of your own"
    )]
    Foreign {
        /// The owner's number.
        owner: u32,
        /// The number of the user of this process.
        user: u32,
        /// The directory's mode.
        mode: u32,
    },
    /// Every user can write it, and can remove and replace its files.
    #[error(
        "every user can write it (owner {owner}, mode {mode:04o}), so its files may be anybody's; check what is in it, then run \
         `chmod 700 {}`, or choose another directory", .path.display()
    )]
    Writable {
        /// The directory.
        path: PathBuf,
        /// The owner's number.
        owner: u32,
        /// The directory's mode.
        mode: u32,
    },
    /// Others could write it, and somebody has put something into it.
    #[error(
        "other users could write it (mode {mode:04o}), and {} belongs to user {owner}; remove that file, or choose another directory",
        .entry.display()
    )]
    Planted {
        /// The foreign file.
        entry: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// The directory's mode.
        mode: u32,
    },
}

impl From<Unsafe> for io::Error {
    fn from(problem: Unsafe) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, problem)
    }
}

/// Creates a directory with mode 0700, and the missing ones above it. It succeeds if it exists, which is left as it is.
///
/// # Errors
/// The file system's.
pub fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY).create(path) {
        // The umask may have removed rights of the owner.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(DIRECTORY)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory for plusminus's own files, or takes an existing one over: a directory that others can read becomes private, with all
/// files in it.
///
/// # Errors
/// [`Unsafe`] inside an I/O error if the directory belongs to another user or every user can write it; the file system's.
pub fn own_dir(path: &Path) -> io::Result<()> {
    create_dir(path)?;
    let directory = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed())
        .open(path)
        .map_err(link)?;
    let metadata = directory.metadata()?;
    let mode = metadata.mode() & 0o7777;
    check(path, &metadata)?;
    warn_of_parent(path);
    if mode & OTHERS == 0 && mode & DIRECTORY == DIRECTORY {
        return Ok(());
    }
    directory.set_permissions(Permissions::from_mode(DIRECTORY))?;
    // From now on, only this user can add files. This finds files that others added before.
    if mode & (GROUP_WRITES | OTHERS_WRITE) != 0 {
        refuse_planted(path, mode)?;
    }
    let changed = tighten(path)?;
    tracing::warn!(
        path = %path.display(),
        files = changed,
        "other users could read this directory (mode {mode:04o}); it and its files are private now (modes 0700 and 0600)"
    );
    Ok(())
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), Unsafe> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != user() {
        return Err(Unsafe::Foreign { owner, user: user(), mode });
    }
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(Unsafe::Writable { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

/// Users who can write the directory above can replace the whole directory. That loses the state, but gives nobody its content.
fn warn_of_parent(path: &Path) {
    let Ok(path) = fs::canonicalize(path) else { return };
    let Some((parent, metadata)) = path.parent().and_then(|parent| Some((parent, parent.metadata().ok()?))) else {
        return;
    };
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        let parent = parent.display();
        tracing::warn!(
            "every user can write {parent} (mode {mode:04o}), and so can move or replace {}",
            path.display()
        );
    }
}

/// Refuses a directory with an entry of another user.
fn refuse_planted(path: &Path, mode: u32) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let owner = entry.metadata()?.uid();
        if owner != user() {
            return Err(Unsafe::Planted { entry: entry.path(), owner, mode }.into());
        }
    }
    Ok(())
}

/// Makes everything below a directory private, and returns how many entries changed. Links are left as they are.
fn tighten(directory: &Path) -> io::Result<usize> {
    let mut changed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Not of a link's target. A file may be gone already.
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if metadata.uid() != user() || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(mode & !OTHERS))?;
            changed += 1;
        }
        if kind.is_dir() {
            changed += tighten(&entry.path())?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::super::tests::mode as mode_of;
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    fn with_mode(path: PathBuf, mode: u32) -> PathBuf {
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn new_directories_are_private_with_those_above() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b/c");
        own_dir(&path).unwrap();
        create_dir(&path).unwrap();
        assert_eq!(["a", "a/b", "a/b/c"].map(|below| mode_of(&place.path().join(below))), [0o700; 3]);
        fs::write(place.path().join("file"), "").unwrap();
        assert!(own_dir(&place.path().join("file")).is_err());
        assert!(create_dir(&place.path().join("file/below")).is_err());
    }

    #[test]
    fn an_existing_directory_becomes_private_with_its_files() {
        let place = tempfile::tempdir().unwrap();
        let path = with_mode(place.path().join("state"), 0o755);
        with_mode(path.join("weights"), 0o775);
        let outside = place.path().join("outside");
        let [store, weights] = ["store", "weights/w"].map(|name| path.join(name));
        for file in [&store, &weights, &outside] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        symlink(&outside, path.join("link")).unwrap();
        own_dir(&path).unwrap();
        let all = [&path, &path.join("weights"), &store, &weights, &outside].map(|path| mode_of(path));
        assert_eq!(all, [0o700, 0o700, 0o600, 0o600, 0o644], "what a link names is not touched");
    }

    #[test]
    fn a_directory_that_every_user_can_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o757, 0o2777] {
            let path = with_mode(place.path().join("state"), mode);
            let error = own_dir(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 700"), "{error}");
        }
        for mode in [0o775, 0o1777] {
            own_dir(&with_mode(place.path().join("state"), mode)).unwrap();
            assert_eq!(mode_of(&place.path().join("state")), 0o700);
        }
    }

    /// Only root can give a file to another user.
    #[test]
    fn directories_and_files_of_other_users_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let foreign = with_mode(place.path().join("foreign"), 0o700);
        let shared = with_mode(place.path().join("shared"), 0o775);
        fs::write(shared.join("planted"), "").unwrap();
        if chown(&foreign, Some(12_345), None).is_err() {
            return;
        }
        chown(shared.join("planted"), Some(12_345), None).unwrap();
        let error = own_dir(&foreign).unwrap_err().to_string();
        assert!(error.contains("belongs to user 12345 (mode 0700)") && error.contains("as its owner"), "{error}");
        let error = own_dir(&shared).unwrap_err().to_string();
        assert!(error.contains("planted belongs to user 12345"), "{error}");
        assert!(crate::open(&shared.join("planted")).unwrap_err().to_string().contains("user 12345"));
    }
}
