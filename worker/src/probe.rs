//! Tests at start whether a directory can be written: a job must not train for hours before its worker finds that out.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The size of the test file in bytes: more than a directory entry can hold, so that the disk must provide a block.
const SIZE: usize = 4096;

/// A directory that a worker must be able to write.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What the directory is for, such as `the directory for weights`.
    pub what: &'static str,
    /// The option that selects it.
    pub option: &'static str,
    /// Its path.
    pub directory: &'a Path,
}

/// A directory that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write to {what} {}: {found}; make it a directory in which this user can create files, or give another one with {option}",
    .directory.display()
)]
pub struct Unwritable {
    /// What the directory is for.
    pub what: &'static str,
    /// The option that selects it.
    pub option: &'static str,
    /// Its path.
    pub directory: PathBuf,
    /// What was found there.
    pub found: String,
}

impl Place<'_> {
    /// Creates the directory if necessary, and creates, writes, syncs, renames and removes a file in it.
    ///
    /// # Errors
    /// What prevents this.
    pub fn probe(&self) -> Result<(), Unwritable> {
        write_and_remove(self.directory).map_err(|error| Unwritable {
            what: self.what,
            option: self.option,
            directory: self.directory.to_owned(),
            found: describe(self.directory, &error),
        })
    }
}

fn write_and_remove(directory: &Path) -> io::Result<()> {
    plusminus_files::create_dir(directory)?;
    let number = RandomState::new().hash_one(std::process::id());
    let [first, second] = ["new", "renamed"].map(|state| directory.join(format!(".plusminus-{number:016x}.{state}")));
    // Fails if the name exists, also as a link.
    let written = File::create_new(&first).and_then(|mut file| {
        file.write_all(&[0; SIZE])?;
        file.sync_all()
    });
    // Weights and checkpoints are written under another name first.
    let renamed = written.and_then(|()| fs::rename(&first, &second));
    let removed = if renamed.is_ok() { fs::remove_file(&second) } else { fs::remove_file(&first) };
    renamed.and(removed)
}

/// Describes why a directory cannot be written: by the part of its path that is in the way, else by the system's error.
fn describe(directory: &Path, error: &io::Error) -> String {
    obstacle(directory).unwrap_or_else(|| match error.kind() {
        ErrorKind::PermissionDenied => format!("{error}{}", owner(directory)),
        _ => error.to_string(),
    })
}

/// The first part of the path that is not a directory.
fn obstacle(directory: &Path) -> Option<String> {
    let directory = std::path::absolute(directory).ok()?;
    let mut parts: Vec<&Path> = directory.ancestors().collect();
    parts.reverse();
    parts.into_iter().find_map(|part| {
        let link = fs::symlink_metadata(part).ok()?;
        match fs::metadata(part) {
            Ok(found) if found.is_dir() => None,
            Ok(_) => Some(format!("{} is not a directory", part.display())),
            Err(error) if link.is_symlink() && error.kind() == ErrorKind::NotFound => {
                let target = fs::read_link(part).unwrap_or_default();
                Some(format!("{} is a link to {}, which does not exist", part.display(), target.display()))
            }
            Err(_) => None,
        }
    })
}

/// Who may write the directory, or the nearest one above it that exists; empty if that is unknown.
#[cfg(unix)]
fn owner(directory: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(directory) = std::path::absolute(directory) else { return String::new() };
    let found = directory.ancestors().find_map(|part| Some((part, fs::metadata(part).ok()?)));
    let Some((part, found)) = found else { return String::new() };
    let user = rustix::process::geteuid().as_raw();
    let (path, mode, owner) = (part.display(), found.mode() & 0o7777, found.uid());
    format!(": {path} belongs to user {owner} and has the mode {mode:04o}, and this process runs as user {user}")
}

#[cfg(not(unix))]
fn owner(_: &Path) -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(directory: &Path) -> Result<(), String> {
        let place = Place { what: "the directory for weights", option: "--weights", directory };
        place.probe().map_err(|error| error.to_string())
    }

    #[test]
    fn a_writable_directory_is_created_and_left_empty() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("made/when/needed");
        assert_eq!(probe(&directory), Ok(()));
        assert_eq!(probe(&directory), Ok(()));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "kept").unwrap();
        for directory in [file.clone(), file.join("below"), file.join("far/below")] {
            let error = probe(&directory).unwrap_err();
            let start = format!("cannot write to the directory for weights {}: ", directory.display());
            assert!(error.starts_with(&start), "{error}");
            assert!(error.contains(&format!("{} is not a directory; ", file.display())), "{error}");
            assert!(error.ends_with("give another one with --weights"), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_named_and_a_link_to_a_directory_is_followed() {
        use std::os::unix::fs::symlink;
        let place = tempfile::tempdir().unwrap();
        let (link, target) = (place.path().join("link"), place.path().join("target"));
        symlink(&target, &link).unwrap();
        for directory in [link.clone(), link.join("below")] {
            let error = probe(&directory).unwrap_err();
            let expected = format!("{} is a link to {}, which does not exist; ", link.display(), target.display());
            assert!(error.contains(&expected), "{error}");
        }
        assert!(!target.exists());
        fs::create_dir(&target).unwrap();
        assert_eq!(probe(&link.join("below")), Ok(()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_that_takes_no_files_is_reported_with_the_systems_reason() {
        let error = probe(Path::new("/proc/self/weights")).unwrap_err();
        assert!(error.contains("os error"), "{error}");
        let error = describe(Path::new("/"), &io::Error::from_raw_os_error(30));
        assert_eq!(error, "Read-only file system (os error 30)");
        let error = describe(Path::new("/absent"), &io::Error::from_raw_os_error(13));
        assert!(error.contains("(os error 13): / belongs to user 0 and has the mode "), "{error}");
    }
}
